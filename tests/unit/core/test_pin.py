"""`Pin`: its spellings, what it is made of, and what it refuses."""

from __future__ import annotations

import base64
import copy
import hashlib
import pickle
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pinned_requests import Pin, PinFormatError
from pinned_requests.core.der import MAX_SIZE
from pinned_requests.core.pin import find_keys
from pinned_requests.testing import Authority, Credential, generate_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinned_requests.core.pin import PinKind

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PKCS8, TRADITIONAL = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
PLAIN = serialization.NoEncryption()

DIGEST = bytes(range(32))
# printf "$(printf '\\%03o' $(seq 0 31))" | openssl enc -base64
BASE64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
FINGERPRINT = ":".join(f"{byte:02X}" for byte in DIGEST)
KEY, CERT = Pin("spki", DIGEST), Pin("cert", DIGEST)
SLASHED = Pin("spki", b"\xff" * 32)  # its base64 begins with two slashes


class _Liar(str):
    """A string that claims to be another one."""

    __slots__ = ()

    def startswith(self, *_args: object) -> bool:
        raise RuntimeError

    def encode(self, *_args: object) -> bytes:
        return b"A" * 43 + b"="


class _Bytes(bytes):
    """Bytes that are equal to all others."""

    __slots__ = ()

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        (f"sha256/{BASE64}", KEY),
        (f"sha256//{BASE64}", KEY),
        (f'pin-sha256="{BASE64}"', KEY),
        (BASE64, KEY),
        (f"cert-sha256/{BASE64}", CERT),
        (FINGERPRINT, CERT),
        (FINGERPRINT.lower(), CERT),
        (f"sha256 Fingerprint={FINGERPRINT}", CERT),
        (f"SHA256 Fingerprint={FINGERPRINT}", CERT),
        (f"sha256 fingerprint={FINGERPRINT.lower()}", CERT),
        ("sha256///////////////////////////////////////////8=", SLASHED),
        ("sha256////////////////////////////////////////////8=", SLASHED),
        ("//////////////////////////////////////////8=", SLASHED),
        ("cert-sha256///////////////////////////////////////////8=", Pin("cert", b"\xff" * 32)),
        (_Liar(f"sha256/{BASE64}"), KEY),
    ],
)
def test_spellings(text: str, pin: Pin) -> None:
    """Every spelling of the world gives the kind and the bytes that are meant."""
    assert pin == Pin.parse(text)


@pytest.mark.parametrize("text", [str(KEY), str(CERT), BASE64, FINGERPRINT, f'pin-sha256="{BASE64}"'])
def test_white_space_around_a_pin_is_stripped(text: str) -> None:
    """As openssl's output has it, which ends with a line feed, or a file that was indented."""
    for spaced in (f"{text}\n", f" \t{text}\r\n", f"\v\f{text} "):
        assert Pin.parse(spaced) == Pin.parse(text)


def test_a_note_is_for_people() -> None:
    """It takes no part in equality or hash, survives pickle and copy, and an empty one is none."""
    noted = Pin("spki", DIGEST, note="2026 leaf")
    assert {noted} == {KEY} == {KEY.with_note("2026 leaf")}
    assert (noted.note, KEY.note, KEY.with_note("").note, noted.with_note(None).note) == ("2026 leaf", None, None, None)
    for again in (copy.copy(noted), copy.deepcopy(noted), eval(repr(noted)), KEY.with_note("2026 leaf")):  # noqa: S307 - our own
        assert (again, again.note) == (KEY, "2026 leaf")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(noted, protocol))  # noqa: S301 - our own
        assert (again, again.note) == (KEY, "2026 leaf")
    assert str(noted) == str(KEY)
    assert Pin.parse(str(noted)).note is None


def test_a_pin_is_described_with_its_note() -> None:
    """One line for any note: it is untrusted."""
    assert KEY.describe() == KEY.describe([SLASHED.with_note("x"), KEY]) == str(KEY)
    assert KEY.describe([SLASHED.with_note("x"), CERT.with_note("y"), KEY.with_note("z")]) == f"{KEY}  (z)"
    assert KEY.with_note("2026 leaf, safe B").describe() == f"{KEY}  (2026 leaf, safe B)"
    hostile = CERT.with_note("\n\x1b[2J\u202e" * 20).describe()
    assert hostile.startswith(f"{CERT}  (\\n\\x1b[2J\\u202e")
    assert hostile.isprintable()
    assert len(hostile) <= 200


@pytest.mark.parametrize("note", [1, True, b"x", [], "a" * 121, "\ud800"])
def test_wrong_notes(note: Any) -> None:
    """Other types, too long, and what no file could hold."""
    for make in (lambda: Pin("spki", DIGEST, note=note), lambda: KEY.with_note(note)):
        with pytest.raises(PinFormatError, match="'note'"):
            make()
    assert Pin("spki", DIGEST, note=_Liar("x")).note == "x"
    assert type(Pin("spki", DIGEST, note=_Liar("x")).note) is str


def test_the_slash_is_told_by_the_length() -> None:
    """One pin in 64 begins with a slash, and looks like curl's spelling of a shorter one."""
    encoded = "/" + BASE64[1:-2] + "8="
    assert len(f"sha256/{encoded}") == 51
    assert base64.b64decode(encoded) == Pin.parse(f"sha256/{encoded}").digest
    assert base64.b64decode(encoded) == Pin.parse(f"sha256//{encoded}").digest
    bare = f"sha256/{BASE64[7:]}"  # of openssl, of a key whose hash begins so
    assert base64.b64decode(bare) == Pin.parse(bare).digest


@given(st.sampled_from(["spki", "cert"]), st.binary(min_size=32, max_size=32))
def test_the_canonical_spelling_parses_back(kind: PinKind, digest: bytes) -> None:
    """`Pin.parse(str(pin)) == pin`, and every other spelling gives the same pin."""
    pin = Pin(kind, digest)
    encoded = base64.b64encode(digest).decode()
    assert pin == Pin.parse(str(pin))
    if kind == "spki":
        assert {pin} == {Pin.parse(s) for s in (encoded, f"sha256/{encoded}", f"sha256//{encoded}")}
        assert pin == Pin.parse(f'pin-sha256="{encoded}"')
    else:
        assert pin == Pin.parse(digest.hex(":"))


WRONG = [
    "",
    " ",
    "sha256/",
    "sha256//",
    'pin-sha256="',
    'pin-sha256=""',
    f"pin-sha256={BASE64}",
    f'pin-sha256="{BASE64}',
    f"sha256/{BASE64}\u00a0",  # a space outside ASCII
    f"\u2003sha256/{BASE64}",
    f"sha256/ {BASE64}",
    f'pin-sha256="{BASE64} "',
    f"sha256/{BASE64[:20]}\n{BASE64[20:]}",
    f"sha256///{BASE64}",
    f"SHA256/{BASE64}",
    f"sha256/{BASE64[:-1]}",  # no padding
    f"sha256/{BASE64[:-2]}9=",  # bits behind the end: decodes to the same bytes
    f"sha256/{BASE64}=",
    f"sha256/{BASE64[:-1]}A",  # 33 bytes
    f"sha256/{BASE64.replace('A', '-')}",  # base64url
    f"sha256//{BASE64};sha256//{BASE64}",
    f"cert-sha256//{BASE64}",
    "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    'pin-sha1="AAAAAAAAAAAAAAAAAAAAAAAAAAA="',
    DIGEST.hex(),
    "0x" + DIGEST.hex(),
    f"sha256/{DIGEST.hex()}",
    FINGERPRINT[:-3],
    FINGERPRINT + ":00",
    f"sha256 Fingerprint= {FINGERPRINT}",
    f"sha256 Fingerprint = {FINGERPRINT}",
    f"sha1 Fingerprint={FINGERPRINT[:59]}",
    f"sha256/{'é' * 44}",
    "sha256/" + "\uff21" * 44,
    "\ud800",
    "\u202e" + BASE64,
    "A" * 1_000_000,
]


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_other_spellings_are_refused(text: str) -> None:
    """Bare hexadecimal, SHA-1, other lengths, non-canonical base64, white space, other alphabets."""
    with pytest.raises(PinFormatError) as refusal:
        Pin.parse(text)
    assert str(refusal.value).isprintable()
    said = str(refusal.value)
    if meant := re.search("did you mean '(.*)'", said):
        assert str(Pin.parse(meant[1])) == meant[1]
    else:
        assert "sha256/AAAA" in said
    shown = text.encode("unicode_escape").decode() if text.isascii() else ""
    assert shown[:20] in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (DIGEST.hex(), "hexadecimal"),
        ("sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "SHA-1"),
        (f"sha256/ {BASE64}", "white space"),
        (f"sha256/{'é' * 44}", "ASCII"),
        (f"sha256/{BASE64}=", "45"),
        (f"sha256/{BASE64[:-2]}9=", "canonical"),
        (f"sha256/{BASE64[:20]}", "too short: .* 44 characters, and this has 20"),
        (f"sha512/{BASE64}", "SHA-256 only"),
        (FINGERPRINT[:-3], "95 characters, and this has 92"),
    ],
)
def test_the_error_says_what_is_wrong(text: str, fault: str) -> None:
    """Each fault is told apart."""
    with pytest.raises(PinFormatError, match=fault):
        Pin.parse(text)


@pytest.mark.parametrize(
    ("text", "fault", "meant"),
    [
        (f"sha-256/{BASE64}", "wrong prefix", f"sha256/{BASE64}"),
        (f"SHA256:{BASE64}", "wrong prefix", f"sha256/{BASE64}"),
        (f"sha256-{BASE64}", "wrong prefix", f"sha256/{BASE64}"),
        (f"pin-sha256={BASE64}", "wrong prefix", f"sha256/{BASE64}"),
        (f"Cert-SHA256/{BASE64}", "wrong prefix", f"cert-sha256/{BASE64}"),
        (f"sha256/{BASE64[:-1]}", "lacks the '='", f"sha256/{BASE64}"),
        (BASE64[:-1], "lacks the '='", f"sha256/{BASE64}"),
        ("sha256/-_" + BASE64[2:], "URL-safe alphabet", "sha256/+/" + BASE64[2:]),
    ],
)
def test_the_error_says_what_was_meant(text: str, fault: str, meant: str) -> None:
    """A spelling that is close to an accepted one is named, and not accepted."""
    with pytest.raises(PinFormatError, match=fault) as refusal:
        Pin.parse(text)
    assert str(refusal.value).endswith(f"did you mean '{meant}'?")


def test_spellings_of_other_programs() -> None:
    """Each is what that program prints or takes, and is read back to the same pin."""
    key, certificate = Pin("spki", DIGEST), Pin("cert", DIGEST)
    assert {style: key.spelled(style) for style in ("canonical", "openssl", "curl", "rfc7469")} == {
        "canonical": f"sha256/{BASE64}",
        "openssl": BASE64,
        "curl": f"sha256//{BASE64}",
        "rfc7469": f'pin-sha256="{BASE64}"',
    }
    assert certificate.spelled("fingerprint") == f"sha256 Fingerprint={FINGERPRINT.upper()}"
    for pin, styles in (
        (key, ("canonical", "openssl", "curl", "rfc7469")),
        (certificate, ("canonical", "fingerprint")),
    ):
        assert [Pin.parse(pin.spelled(style)) for style in styles] == [pin] * len(styles)  # type: ignore[arg-type]  # as above
    for pin, style in ((key, "fingerprint"), (certificate, "curl"), (key, "other"), (key, 5)):
        with pytest.raises(PinFormatError, match="cannot be spelled"):
            pin.spelled(style)  # type: ignore[arg-type]  # wrong on purpose


@given(st.text(st.characters(codec=None)) | st.text('sha256/=:pin-"ABab019+ \n', max_size=80))
def test_any_text_is_a_pin_or_refused(text: str) -> None:
    """A pin, or our error; nothing else."""
    try:
        pin = Pin.parse(text)
    except PinFormatError:
        return
    assert pin == Pin.parse(str(pin))


@pytest.mark.parametrize("value", [None, 1, True, b"sha256/" + BASE64.encode(), [], {}, KEY, 10**5000], ids=range(8))
def test_what_is_no_text_is_refused(value: Any) -> None:
    """Pins are strings: bytes and numbers are refused."""
    with pytest.raises(PinFormatError):
        Pin.parse(value)


def test_a_pem_text_is_not_shown() -> None:
    """It may be a private key; the error says what to call instead."""
    secret = Authority.create().key_pem.decode()
    for wrong in (lambda: Pin.parse(secret), lambda: Pin.from_private_key(secret)):  # type: ignore[arg-type]  # what is tested
        with pytest.raises(PinFormatError) as refusal:
            wrong()
        assert secret.splitlines()[1][:20] not in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        ("sha256", DIGEST),
        ("", DIGEST),
        (None, DIGEST),
        ([], DIGEST),
        (_Liar("spki"), DIGEST),
        ("spki", DIGEST[1:]),
        ("spki", DIGEST + b"\0"),
        ("spki", bytearray(DIGEST)),
        ("spki", _Bytes(DIGEST)),
        ("spki", DIGEST.hex()),
        ("spki", None),
        ("spki", 32),
    ],
)
def test_the_constructor_takes_a_kind_and_32_bytes(kind: Any, digest: Any) -> None:
    """Of exactly these types: a subclass could compare in its own way."""
    with pytest.raises(PinFormatError):
        Pin(kind, digest)


@pytest.mark.parametrize("pin", [KEY, CERT])
def test_a_pin_is_a_value(pin: Pin) -> None:
    """Equal, hashable, frozen; `repr` is code, and pickle and copy give an equal one."""
    assert pin == eval(repr(pin), {"Pin": Pin})  # noqa: S307 - the point of a repr
    assert {pin} == {pin, Pin(pin.kind, pin.digest), copy.copy(pin), copy.deepcopy(pin)}
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pin == pickle.loads(pickle.dumps(pin, protocol))  # noqa: S301 - our own
    with pytest.raises(AttributeError):
        pin.digest = b""
    assert KEY != CERT
    assert str(KEY) != KEY


# What pins are made of


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """A certificate, a CSR and both halves of one key, as objects."""
    credential = Authority.create().issue("api.example.com")
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.example.com")])
    )
    return {
        "certificate": credential.certificate,
        "csr": builder.sign(credential.key, hashes.SHA256()),
        "public_key": credential.key.public_key(),
        "private_key": credential.key,
    }


@pytest.fixture(scope="module")
def forms(made: dict[str, Any]) -> dict[str, list[bytes]]:
    """Each of them in its encodings."""
    key = made["private_key"]
    return {
        "certificate": [made["certificate"].public_bytes(encoding) for encoding in (DER, PEM)],
        "csr": [made["csr"].public_bytes(encoding) for encoding in (DER, PEM)],
        "public_key": [made["public_key"].public_bytes(encoding, SPKI) for encoding in (DER, PEM)],
        "private_key": [
            key.private_bytes(encoding, form, PLAIN) for encoding in (DER, PEM) for form in (PKCS8, TRADITIONAL)
        ],
    }


@pytest.fixture(scope="module")
def pin(made: dict[str, Any]) -> Pin:
    """The pin of that key."""
    return Pin("spki", hashlib.sha256(made["public_key"].public_bytes(DER, SPKI)).digest())


MAKERS: dict[str, Callable[[Any], Pin]] = {
    "certificate": Pin.from_certificate,
    "csr": Pin.from_csr,
    "public_key": Pin.from_public_key,
    "private_key": Pin.from_private_key,
}


@pytest.mark.parametrize("what", MAKERS)
def test_bytes_objects_and_files(
    what: str, made: dict[str, Any], forms: dict[str, list[bytes]], pin: Pin, tmp_path: Path
) -> None:
    """The object, PEM, DER and a file of either give the pin of the one key."""
    assert pin == MAKERS[what](made[what])
    for data in forms[what]:
        assert pin == MAKERS[what](data)
        path = tmp_path / "file"
        path.write_bytes(data)
        assert pin == Pin.from_file(path)
        assert pin == Pin.from_file(str(path))


@pytest.mark.parametrize("what", MAKERS)
def test_another_kind_is_refused(what: str, made: dict[str, Any], forms: dict[str, list[bytes]]) -> None:
    """A certificate is refused as a CSR, and so on, as an object and as bytes."""
    for other in MAKERS.keys() - {what}:
        for wrong in (made[other], *forms[other]):
            with pytest.raises(PinFormatError):
                MAKERS[what](wrong)


@pytest.mark.parametrize("maker", [*MAKERS.values(), Pin.fingerprint])
@pytest.mark.parametrize(
    "value",
    [None, "", "text", 1, b"", b"0", b"\x30\x80\x00\x00", bytearray(b"x"), [], object(), KEY, b"\x30" * (1 << 20)],
)
def test_what_is_neither_is_refused(maker: Callable[[Any], Pin], value: Any) -> None:
    """Anything else is our own error."""
    with pytest.raises(PinFormatError):
        maker(value)


@pytest.mark.parametrize("maker", [*MAKERS.values(), Pin.fingerprint])
@given(data=st.binary(max_size=200) | st.binary(max_size=60).map(lambda b: b"\x30" + bytes([len(b)]) + b))
def test_any_bytes_give_a_pin_or_are_refused(maker: Callable[[Any], Pin], data: bytes) -> None:
    """A pin, or our error; nothing else."""
    with suppress(PinFormatError):
        assert isinstance(maker(data), Pin)


def test_the_pin_of_a_whole_certificate(made: dict[str, Any], forms: dict[str, list[bytes]]) -> None:
    """Its SHA-256 fingerprint, as openssl prints it."""
    fingerprint = made["certificate"].fingerprint(hashes.SHA256())
    assert Pin("cert", fingerprint) == Pin.fingerprint(made["certificate"])
    for data in forms["certificate"]:
        assert Pin.parse(f"sha256 Fingerprint={fingerprint.hex(':').upper()}") == Pin.fingerprint(data)


@pytest.mark.parametrize("make", [Pin.fingerprint, Pin.from_certificate])
def test_pem_inside_pem_is_refused(make: Callable[[Any], Pin], made: dict[str, Any]) -> None:
    """PEM is unwrapped once, and its content is read as DER."""
    inner = made["certificate"].public_bytes(serialization.Encoding.PEM)
    outer = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(b"junk\n" + inner) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(PinFormatError):
        make(outer)


class _Broken:
    """Has the methods of a key, and raises in them."""

    def public_bytes(self, *_args: object) -> bytes:
        raise RuntimeError

    def private_bytes(self, *_args: object) -> bytes:
        raise RuntimeError

    def public_key(self) -> object:
        raise RuntimeError


class _KeyLike(bytes):
    """Looks like the object of a private key, without its methods."""

    private_bytes = None


@pytest.mark.parametrize("maker", MAKERS.values())
@pytest.mark.parametrize("value", [_Broken(), _KeyLike(b"junk")])
def test_an_object_that_raises_is_refused(maker: Callable[[Any], Pin], value: object) -> None:
    """A key in a device that is not there, for instance."""
    with pytest.raises(PinFormatError):
        maker(value)


def test_the_first_of_several_counts(tmp_path: Path) -> None:
    """As for openssl; blocks of other kinds and text around them are passed over."""
    first, second = (Authority.create(name) for name in ("First", "Second"))
    pems = b"text\n" + first.key_pem + b"# first\n" + first.certificate_pem + second.certificate_pem
    assert Pin.from_certificate(first.certificate_der) == Pin.from_certificate(pems)
    other = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    (tmp_path / "bundle").write_bytes(other + second.certificate_pem + first.key_pem)
    assert Pin.from_certificate(second.certificate_der) == Pin.from_file(tmp_path / "bundle")


@pytest.mark.parametrize(
    "change",
    [
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: pem.replace(b"\n", b"  \n"),
        lambda pem: pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
        lambda pem: pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        lambda pem: pem.rstrip(),
        lambda pem: b"0 s:CN = api.example.com\n" + pem,
    ],
)
def test_pem_as_it_comes(change: Callable[[bytes], bytes]) -> None:
    """Line ends, white space and old labels as openssl reads them."""
    root = Authority.create()
    assert Pin.from_certificate(root.certificate_der) == Pin.from_certificate(change(root.certificate_pem))


@pytest.mark.parametrize(
    "change",
    [
        lambda pem: pem.replace(b"-----END CERTIFICATE-----", b""),
        lambda pem: pem.replace(b"END CERTIFICATE", b"END PUBLIC KEY"),
        lambda pem: pem.replace(b"-----END", b" -----END"),
        lambda pem: pem.replace(b"-----BEGIN", b" -----BEGIN"),
        lambda pem: pem.replace(b"MII", b"M!I").replace(b"MIB", b"M!B"),
        lambda pem: pem[:60] + pem[61:],
        lambda pem: pem[:60] + b"-----BEGIN CERTIFICATE-----\n" + pem[60:],
        lambda pem: pem.replace(b"CERTIFICATE", b"certificate"),
        lambda pem: pem.replace(b"CERTIFICATE", b"ENCRYPTED PRIVATE KEY"),
    ],
)
def test_a_broken_block_is_refused_and_not_skipped(change: Callable[[bytes], bytes]) -> None:
    """The certificate after it is not the one that was meant, although openssl accepts it."""
    pem = change(Authority.create().certificate_pem)
    with pytest.raises(PinFormatError):
        Pin.from_certificate(pem)


def test_a_broken_first_certificate_is_not_skipped() -> None:
    """Nor is openssl's own format with data behind the certificate."""
    first, second = Authority.create(), Authority.create()
    broken = first.certificate_pem.replace(b"-----END CERTIFICATE-----", b"")
    trusted = base64.encodebytes(first.certificate_der + b"\x30\x00")
    trusted = b"-----BEGIN TRUSTED CERTIFICATE-----\n" + trusted + b"-----END TRUSTED CERTIFICATE-----\n"
    for pem in (broken, trusted):
        with pytest.raises(PinFormatError):
            Pin.from_certificate(pem + second.certificate_pem)


def test_a_certificate_that_holds_a_pem_text(tmp_path: Path) -> None:
    """The pin is that of the certificate, not of the one in its text, though that looks like PEM."""
    other = Authority.create().certificate_pem.decode()
    subject = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.5.4.13"), "\n" + other)])
    attacker = Authority.create().issue("api.example.com", subject=subject)
    key = attacker.key.public_key()
    (tmp_path / "der").write_bytes(attacker.certificate_der)
    assert b"\n-----BEGIN CERTIFICATE-----\n" in attacker.certificate_der
    assert Pin.from_public_key(key) == Pin.from_certificate(attacker.certificate_der)
    assert Pin.from_public_key(key) == Pin.from_file(tmp_path / "der")


@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL])
@pytest.mark.parametrize("encoding", [PEM, DER])
def test_an_encrypted_key_is_refused(
    encoding: serialization.Encoding, form: serialization.PrivateFormat, tmp_path: Path
) -> None:
    """There is no pass phrase to give; the error does not show the bytes."""
    if (encoding, form) == (DER, TRADITIONAL):
        pytest.skip("there is no such format")
    data = generate_key().private_bytes(encoding, form, serialization.BestAvailableEncryption(b"secret"))
    (tmp_path / "key").write_bytes(data)
    for wrong in (lambda: Pin.from_private_key(data), lambda: Pin.from_file(tmp_path / "key")):
        with pytest.raises(PinFormatError, match="is encrypted" if form == TRADITIONAL else None):
            wrong()


@pytest.mark.parametrize("maker", MAKERS.values())
def test_no_error_shows_a_private_key(maker: Callable[[Any], Pin]) -> None:
    """An Ed25519 key in DER is 48 bytes, the last 32 of which are the secret; a raw one is nothing else."""
    key = generate_key("ed25519").private_bytes(DER, PKCS8, PLAIN)
    for data in (key + b"\0", key[16:], key[:-1]):
        with pytest.raises(PinFormatError) as refusal:
            maker(data)
        assert repr(key[16:20])[2:-1] not in str(refusal.value)
        assert f"{len(data)} of them" in str(refusal.value)


def test_files_that_hold_none(tmp_path: Path) -> None:
    """The error names the file, escaped."""
    path = tmp_path / "a\n\u202e"
    for data in (
        b"",
        b"text",
        b"\x30\x03\x02\x01\x00",
        b"\x30" * (MAX_SIZE + 1),
        b"-----BEGIN PUBLIC KEY-----\n!\n",
    ):
        path.write_bytes(data)
        with pytest.raises(PinFormatError, match=re.escape(r"a\n\u202e")):
            Pin.from_file(path)


@pytest.mark.parametrize("path", [None, 1.5, [], "a\0b", b"bytes"])
def test_what_is_no_path(path: Any) -> None:
    """A wrong type is a `PinFormatError`, and so a `ValueError`."""
    with pytest.raises(PinFormatError):
        Pin.from_file(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """That is an `OSError`, as ever."""
    with pytest.raises(FileNotFoundError):
        Pin.from_file(tmp_path / "missing")


def test_a_renewal_keeps_the_key_pin_and_changes_the_certificate_pin() -> None:
    """What SPKI pins are for."""
    old = Credential.self_signed("api.example.com")
    new = old.renew()
    assert Pin.from_certificate(old.certificate) == Pin.from_certificate(new.certificate)
    assert Pin.fingerprint(old.certificate) != Pin.fingerprint(new.certificate)


def test_the_point_of_a_private_key_is_taken_as_it_stands() -> None:
    """A key kept with a compressed point gives certificates with a compressed point, and so another hash."""
    key = ec.derive_private_key(1, ec.SECP256R1())
    # openssl ec -in key.pem -conv_form compressed, of the key 1: the point is the generator of P-256
    generator = bytes.fromhex("036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
    traditional = key.private_bytes(DER, TRADITIONAL, PLAIN)
    head = traditional[2 : traditional.index(b"\xa1\x44")]
    body = head + b"\xa1\x24\x03\x22\x00" + generator
    compressed = b"\x30" + bytes([len(body)]) + body
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    spki_head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    assert generator == point
    assert Pin("spki", hashlib.sha256(spki_head + generator).digest()) == Pin.from_private_key(compressed)
    assert Pin.from_public_key(spki_head + generator) == Pin.from_private_key(compressed)


def test_a_pin_stays_what_it_is() -> None:
    """Nothing of it is set, deleted or added."""
    pin = Pin("spki", bytes(32))
    for name in ("kind", "digest", "other"):
        with pytest.raises(AttributeError):
            setattr(pin, name, "cert")
        with pytest.raises(AttributeError):
            delattr(pin, name)
    assert ("spki", bytes(32)) == (pin.kind, pin.digest)


def test_find_keys() -> None:
    """Every block of a file counts, in order, and says what it was; what is broken behind the first is an error."""
    root = Authority.create()
    leaf = root.issue("localhost")
    found = list(find_keys(leaf.certificate_pem + b"text\n" + leaf.key_pem + root.certificate_pem))
    assert [each.kind for each in found] == ["certificate", "private key", "certificate"]
    leaf_pin, root_pin = Pin.from_certificate(leaf.certificate), Pin.from_certificate(root.certificate)
    assert [each.pin for each in found] == [leaf_pin, leaf_pin, root_pin]
    assert found[0].der == leaf.certificate_der
    assert repr(found[1]) == f"<FoundKey of a private key, {leaf_pin}>"  # which shows none of it
    assert [each.kind for each in find_keys(leaf.certificate_der)] == ["certificate"]
    assert list(find_keys(b"")) == []
    keys = find_keys(leaf.certificate_pem + b"-----BEGIN CERTIFICATE-----\n")
    assert next(keys).pin == leaf_pin
    with pytest.raises(PinFormatError):
        next(keys)

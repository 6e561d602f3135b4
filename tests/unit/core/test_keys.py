"""The DER reader: the bytes of the key as they stand, or a refusal; for any input."""

from __future__ import annotations

import hashlib
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pinned_requests import PinFormatError
from pinned_requests.core import keys
from pinned_requests.core.der import MAX_SIZE, parts_of_certificate, spki_of_certificate
from pinned_requests.core.keys import pem_blocks, spki_of_csr, spki_of_private_key, spki_of_public_key
from pinned_requests.core.x509_name import name_as_text
from pinned_requests.testing import Authority, generate_key

if TYPE_CHECKING:
    from collections.abc import Callable

DER = serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def tlv(tag: int, *contents: bytes) -> bytes:
    """One DER element."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


OID, NULL = tlv(6, b"\x2a\x03"), tlv(5)
ALGORITHM = tlv(0x30, OID, NULL)
BITS = tlv(3, b"\0key")
KEY = tlv(0x30, ALGORITHM, BITS)
NAME = tlv(0x30)
VERSION, SERIAL = tlv(0xA0, tlv(2, b"\x02")), tlv(2, b"\x01")


def certificate(key: bytes = KEY, head: bytes = VERSION, tail: bytes = b"") -> bytes:
    """A certificate as small as the grammar allows."""
    tbs = tlv(0x30, head, SERIAL, ALGORITHM, NAME, tlv(0x30), tlv(0x30, tlv(0x31)), key, tail)
    return tlv(0x30, tbs, ALGORITHM, BITS)


def request(key: bytes = KEY, tail: bytes = b"\xa0\x00") -> bytes:
    """A certification request as small as the grammar allows."""
    return tlv(0x30, tlv(0x30, SERIAL, NAME, key, tail), ALGORITHM, BITS)


CERTIFICATES = [
    Authority.create(key=generate_key(kind)).certificate_der for kind in ("ecdsa-p256", "rsa-2048", "ed25519")
] + [Authority.create().issue("api.example.com").certificate_der]


@pytest.fixture(scope="module")
def bundle() -> list[x509.Certificate]:
    """The certificates of certifi's bundle."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one has the serial number 0
        return x509.load_pem_x509_certificates(Path(certifi.where()).read_bytes())


@pytest.mark.parametrize("der", CERTIFICATES)
def test_the_key_of_a_certificate(der: bytes) -> None:
    """For these kinds of key `cryptography` does not change the bytes."""
    read = x509.load_der_x509_certificate(der)
    *names, key = parts_of_certificate(der)
    assert read.public_key().public_bytes(DER, SPKI) == key == spki_of_certificate(der)
    assert [read.issuer.public_bytes(), read.subject.public_bytes()] == names


def test_every_certificate_of_the_web(bundle: list[x509.Certificate]) -> None:
    """Of the whole bundle of certifi, by the positions that `cryptography` gives."""
    assert len(bundle) > 50
    for each in bundle:
        key = spki_of_certificate(each.public_bytes(DER))
        assert each.public_key() == serialization.load_der_public_key(key)
        assert key in each.tbs_certificate_bytes


@pytest.mark.parametrize("head", [VERSION, b""])
@pytest.mark.parametrize(
    "tail", [b"", tlv(0x81, b"\0"), tlv(0x82, b"\0"), tlv(0xA3), tlv(0x81, b"\0") + tlv(0x82, b"\0") + tlv(0xA3, NAME)]
)
@pytest.mark.parametrize("key", [KEY, tlv(0x30, tlv(0x30, OID), BITS), tlv(0x30, ALGORITHM, tlv(3, b"\0" * 70_000))])
def test_what_the_grammar_allows(head: bytes, tail: bytes, key: bytes) -> None:
    """Version, unique identifiers, extensions and parameters may be absent; a length has up to three octets."""
    assert key == spki_of_certificate(certificate(key, head, tail))
    assert key == spki_of_public_key(key)
    assert key == spki_of_csr(request(key)) == spki_of_csr(request(key, b""))


WRONG_KEYS = {
    "empty": tlv(0x30),
    "no algorithm": tlv(0x30, BITS),
    "no key": tlv(0x30, ALGORITHM),
    "two keys": tlv(0x30, ALGORITHM, BITS, BITS),
    "no identifier": tlv(0x30, tlv(0x30, NULL), BITS),
    "two parameters": tlv(0x30, tlv(0x30, OID, NULL, NULL), BITS),
    "parameters with a long tag": tlv(0x30, tlv(0x30, OID, b"\x1f\x02\x81\x00"), BITS),
    "an octet string": tlv(0x30, ALGORITHM, tlv(4, b"\0key")),
    "a constructed bit string": tlv(0x30, ALGORITHM, tlv(0x23, BITS)),
    "a set": tlv(0x31, ALGORITHM, BITS),
    "an indefinite length": b"\x30\x80" + ALGORITHM + BITS + b"\0\0",
    "a long form that is not needed": b"\x30\x81" + KEY[1:],
    "a leading zero": b"\x30\x82\x00" + KEY[1:],
    "five octets of length": b"\x30\x85\x00\x00\x00\x00" + KEY[1:],
    "the reserved length": b"\x30\xff" + KEY[2:],
    "a length beyond the end": b"\x30" + bytes([KEY[1] + 1]) + KEY[2:],
    "a length before the end": b"\x30" + bytes([KEY[1] - 1]) + KEY[2:],
    "one octet": b"\x30",
    "a cut length": b"\x30\x82\x01",
}
TBS = tlv(0x30, VERSION, SERIAL, ALGORITHM, NAME, tlv(0x30), NAME, KEY)
WRONG_CERTIFICATES = {
    "nothing": b"",
    "bytes behind": certificate() + b"\0",
    "another behind": certificate() + certificate(),
    "bytes before": b"\0" + certificate(),
    "no version inside": certificate(head=tlv(0xA0)),
    "two versions inside": certificate(head=tlv(0xA0, SERIAL, SERIAL)),
    "two versions": certificate(head=VERSION + VERSION),
    "two serial numbers": certificate(head=VERSION + SERIAL),
    "two keys": certificate(KEY + KEY),
    "two extensions": certificate(tail=tlv(0xA3) * 2),
    "extensions before the identifiers": certificate(tail=tlv(0xA3) + tlv(0x81)),
    "an unknown field": certificate(tail=tlv(0xA4)),
    "no signature": tlv(0x30, TBS, ALGORITHM),
    "two signatures": tlv(0x30, TBS, ALGORITHM, BITS, BITS),
    "a request": request(),
    "too much": certificate(tlv(0x30, ALGORITHM, tlv(3, bytes(MAX_SIZE)))),
}


@pytest.mark.parametrize("key", WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_a_key_out_of_the_grammar_is_refused(key: bytes) -> None:
    """In a certificate, in a request and alone."""
    for read, der in ((spki_of_certificate, certificate(key)), (spki_of_csr, request(key)), (spki_of_public_key, key)):
        with pytest.raises(PinFormatError):
            read(der)


@pytest.mark.parametrize("der", WRONG_CERTIFICATES.values(), ids=WRONG_CERTIFICATES)
def test_a_certificate_out_of_the_grammar_is_refused(der: bytes) -> None:
    """The walk does not skip ahead to find something that looks like a key."""
    assert spki_of_certificate(tlv(0x30, TBS, ALGORITHM, BITS)) == KEY
    with pytest.raises(PinFormatError):
        spki_of_certificate(der)


@pytest.mark.parametrize(
    "der",
    [
        request() + b"\0",
        request(tail=b"\xa1\x00"),
        request(tail=b"\xa0\x00\xa0\x00"),
        tlv(0x30, KEY, KEY, BITS),
        certificate(),
    ],
)
def test_a_request_out_of_the_grammar_is_refused(der: bytes) -> None:
    """The same for certification requests."""
    with pytest.raises(PinFormatError):
        spki_of_csr(der)


def test_a_key_with_bytes_behind_is_refused() -> None:
    """One key, and nothing else."""
    with pytest.raises(PinFormatError):
        spki_of_public_key(KEY + b"\0")


READERS = [spki_of_certificate, spki_of_csr, spki_of_public_key, spki_of_private_key]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "value", [None, "text", 1, bytearray(b"x"), memoryview(b"x"), bytes(MAX_SIZE + 1)], ids=range(6)
)
def test_what_is_no_der_is_refused(read: Callable[[Any], bytes], value: Any) -> None:
    """Of another type, or too long."""
    with pytest.raises(PinFormatError):
        read(value)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A certificate with one to three mutations: bits, bytes more or less, the end cut off, a length changed."""
    data = bytearray(draw(st.sampled_from(CERTIFICATES)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        how = draw(st.sampled_from(["flip", "set", "insert", "delete", "cut", "length", "append"]))
        if how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "set" and data:
            data[at] = draw(st.sampled_from([0, 1, 0x02, 0x03, 0x30, 0x31, 0x7F, 0x80, 0x81, 0x82, 0xA0, 0xA3, 0xFF]))
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif how == "delete":
            del data[at : at + draw(st.integers(1, 8))]
        elif how == "cut":
            del data[at:]
        elif how == "length":
            places = [place for place in range(len(data) - 1) if data[place] in (0x30, 0x03, 0x02, 0xA3)]
            if places:
                place = draw(st.sampled_from(places)) + 1
                data[place] = (data[place] + draw(st.sampled_from([-2, -1, 1, 2, 0x80]))) % 256
        else:
            data += draw(st.binary(min_size=1, max_size=4))
    return bytes(data)


@given(mutated())
def test_a_mutated_certificate_is_refused_or_has_the_key_that_others_see(der: bytes) -> None:
    """Never another exception, and never a key that `cryptography` does not see in the same bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd names
        try:
            key = spki_of_certificate(der)
        except PinFormatError:
            return
        try:
            seen = x509.load_der_x509_certificate(der).public_key()
        except Exception:  # noqa: BLE001 - it cannot say what it sees
            return
        assert seen == serialization.load_der_public_key(key)


@pytest.mark.parametrize("read", READERS)
@given(data=st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(read: Callable[[bytes], bytes], data: bytes) -> None:
    """Bytes, or our error; nothing else."""
    for der in (data, tlv(0x30, data), tlv(0x30, tlv(0x30, data), ALGORITHM, BITS)):
        with suppress(PinFormatError):
            assert read(der) in der


# Private keys


EC_KEY = ec.derive_private_key(1, ec.SECP256R1())
PUBLIC = EC_KEY.public_key().public_bytes(DER, SPKI)
POINT = PUBLIC[-65:]
P256 = tlv(6, bytes.fromhex("2a8648ce3d030107"))


def ec_key(*parts: bytes) -> bytes:
    """An ECPrivateKey (RFC 5915 §3) of the number 1."""
    return tlv(0x30, tlv(2, b"\x01"), tlv(4, (1).to_bytes(32, "big")), *parts)


def public(point: bytes) -> bytes:
    """Its field for the public key."""
    return tlv(0xA1, tlv(3, b"\0" + point))


X = POINT[1:33]
ODD = POINT[-1] & 1


@pytest.mark.parametrize("point", [POINT, bytes([2 | ODD]) + X, bytes([6 | ODD]) + POINT[1:]])
def test_the_point_stands_in_any_of_three_forms(point: bytes) -> None:
    """SEC 1 §2.3.3: uncompressed, compressed and hybrid; the hash is that of the form the key has."""
    expected = tlv(0x30, tlv(0x30, keys.ID_EC_PUBLIC_KEY, P256), tlv(3, b"\0" + point))
    assert expected == keys._spki_of_ec_key(ec_key(tlv(0xA0, P256), public(point)), None, PUBLIC)
    assert expected == keys._spki_of_ec_key(ec_key(public(point)), P256, PUBLIC)
    assert expected == keys._spki_of_ec_key(ec_key(tlv(0xA0, NULL), public(point)), P256, PUBLIC)


def test_a_key_without_its_public_half() -> None:
    """The point is computed, for a named curve."""
    assert keys._spki_of_ec_key(ec_key(tlv(0xA0, P256)), None, PUBLIC) == PUBLIC


@pytest.mark.parametrize(
    ("der", "parameters"),
    [
        (ec_key(public(POINT)), None),
        (ec_key(public(POINT)), b""),
        (ec_key(), tlv(0x30)),
        (ec_key(tlv(0xA0, tlv(0x30))), None),
        (ec_key(public(bytes([3 - ODD]) + X)), P256),
        (ec_key(public(b"\4" + bytes(64))), P256),
        (ec_key(public(POINT[:-1])), P256),
        (ec_key(public(b"")), P256),
        (ec_key(tlv(0xA1, tlv(3, b"\0" + POINT), NULL)), P256),
        (ec_key(public(POINT)) + b"\0", P256),
    ],
)
def test_a_key_at_odds_with_itself_is_refused(der: bytes, parameters: bytes | None) -> None:
    """Without a curve, with another point, or where only openssl knows which form the point would take."""
    with pytest.raises(PinFormatError):
        keys._spki_of_ec_key(der, parameters, PUBLIC)


def test_parameters_of_rsa_are_written_as_openssl_writes_them() -> None:
    """A PKCS #8 key without the NULL of rsaEncryption (RFC 8017 §A.1) gets certificates with it."""
    key = generate_key("rsa-2048")
    pkcs8 = key.private_bytes(DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    traditional = key.private_bytes(DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    rsa = tlv(6, bytes.fromhex("2a864886f70d010101"))
    without = tlv(0x30, tlv(2, b"\0"), tlv(0x30, rsa), tlv(4, traditional))
    expected = key.public_key().public_bytes(DER, SPKI)
    assert expected == spki_of_private_key(pkcs8) == spki_of_private_key(traditional)
    with suppress(PinFormatError):  # as the version of cryptography has it; another hash is what must not be
        assert expected == spki_of_private_key(without)


def test_a_key_that_is_restricted_to_pss_keeps_its_restriction() -> None:
    """RFC 4055 §1.2: identifier and parameters go into the certificate as they stand in the PKCS #8 key."""
    key = generate_key("rsa-2048")
    traditional = key.private_bytes(DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    algorithm = tlv(0x30, keys.ID_RSASSA_PSS)
    bits = tlv(3, b"\0", key.public_key().public_bytes(DER, serialization.PublicFormat.PKCS1))
    pkcs8 = tlv(0x30, tlv(2, b"\0"), algorithm, tlv(4, traditional))
    assert spki_of_private_key(pkcs8) == tlv(0x30, algorithm, bits)


# PEM and names


def test_many_blocks_without_an_end_take_linear_time() -> None:
    """Of a megabyte of beginnings the first decides: none is searched for its end twice."""
    data = b"-----BEGIN CERTIFICATE-----\n" * 35_000
    with pytest.raises(PinFormatError, match="has no end"):
        next(pem_blocks(data, {"CERTIFICATE"}))
    assert [*pem_blocks(data, {"PUBLIC KEY"})] == []


@pytest.mark.parametrize(
    "data", [b"", b"text", b"x-----BEGIN A-----\n-----END A-----", b"-----BEGIN A-----", b"-----BEGIN A B-----\n"]
)
def test_no_block(data: bytes) -> None:
    """None, where nothing wanted begins."""
    assert [*pem_blocks(data, {"A"})] == []


def test_a_block() -> None:
    """Its label and its bytes; an empty one is empty."""
    text = b"-----BEGIN B-----\n-----END B-----\n-----BEGIN A-----\r\nAA\r\nAA \n-----END A-----"
    assert [*pem_blocks(text, {"A"})] == [("A", b"\0\0\0")]
    assert [*pem_blocks(b"-----BEGIN A-----\n-----END A-----", {"A"})] == [("A", b"")]


def attribute(oid: str, value: bytes) -> bytes:
    """One attribute of a name; the identifier in hexadecimal."""
    return tlv(0x30, tlv(6, bytes.fromhex(oid)), value)


def name(*rdns: bytes) -> bytes:
    """A name of these attributes, one in a set each."""
    return tlv(0x30, *(tlv(0x31, rdn) for rdn in rdns))


CN, ORG = "550403", "55040a"  # 2.5.4.3, 2.5.4.10


@pytest.mark.parametrize(
    ("der", "text"),
    [
        (name(), "(no name)"),
        (name(attribute(ORG, tlv(12, b"Example")), attribute(CN, tlv(12, b"a.example"))), "CN=a.example,O=Example"),
        (name(attribute(ORG, tlv(12, b"A")) + attribute(CN, tlv(12, b"B"))), "O=A+CN=B"),
        (name(attribute(CN, tlv(12, "ü".encode()))), "CN=ü"),
        (name(attribute(CN, tlv(0x1E, "ü".encode("utf-16-be")))), "CN=ü"),
        (name(attribute(CN, tlv(0x1C, "ü".encode("utf-32-be")))), "CN=ü"),
        (name(attribute(CN, tlv(0x14, b"\xfc"))), "CN=ü"),
        (name(attribute(CN, tlv(0x1E, b"\0a\0"))), "CN=a\ufffd"),
        (name(attribute(CN, tlv(12, b"\xff"))), "CN=\ufffd"),
        (name(attribute(CN, tlv(12, b"a\n\x1b[2J\xe2\x80\xae"))), r"CN=a\n\x1b[2J\u202e"),
        (name(attribute(CN, tlv(12, b"x,O=Bank+C=DE"))), r"CN=x\,O\=Bank\+C\=DE"),
        (name(attribute(CN, tlv(12, b'\\"<>;'))), r"CN=\\\"\<\>\;"),
        (name(attribute("0992268993f22c6401 19".replace(" ", ""), tlv(12, b"com"))), "DC=com"),
        (name(attribute("2a0305", tlv(12, b"x"))), "1.2.3.5=x"),
        (name(attribute("8837 03".replace(" ", ""), tlv(12, b"x"))), "2.999.3=x"),
        (name(attribute(CN, tlv(12, b"x" * 1000))), "CN=" + "x" * 196 + "…"),
        (name(attribute("", tlv(12, b"x"))), None),
        (name(attribute("5584", tlv(12, b"x"))), None),
        (name(attribute("81" * 40 + "01", tlv(12, b"x"))), None),
        (name(attribute(CN, tlv(12, b"x") + NULL)), None),
        (name(attribute(CN, b"")), None),
        (tlv(0x30, tlv(0x30)), None),
        (tlv(0x30, b"\x31"), None),
        (b"", None),
    ],
)
def test_names(der: bytes, text: str | None) -> None:
    """One line in the manner of RFC 4514; escaped, so that no value looks like two; cut; or a note that it is odd."""
    assert (text or "(a name that cannot be read)") == name_as_text(der)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_name_that_prints(data: bytes) -> None:
    """Any bytes give one line."""
    for der in (data, tlv(0x30, data), name(data), name(tlv(0x30, data)), name(attribute(CN, data))):
        text = name_as_text(der)
        assert text.isprintable()
        assert 0 < len(text) <= 200


def test_the_reader_takes_a_key_pin_of_known_bytes(bundle: list[x509.Certificate]) -> None:
    """The root of Let's Encrypt: ISRG Root X1."""
    (root,) = [each for each in bundle if "ISRG Root X1" in each.subject.rfc4514_string()]
    # openssl x509 -in isrgrootx1.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256
    expected = "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3"
    assert expected == hashlib.sha256(spki_of_certificate(root.public_bytes(DER))).hexdigest()

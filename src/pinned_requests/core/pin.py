"""`Pin`: the SHA-256 of a public key or of a certificate, and its spellings in other tools.

Rules for the next maintainer:

- A `Pin` is its kind and its 32 bytes. Two spellings of the same bytes are equal; nothing compares text.
- Each spelling has one accepted form (canonical base64, no white space inside): what was reviewed is what is used.
- A note is untrusted text for people. No decision, comparison or hash depends on it.
- Error texts never show bytes: they may be a private key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pinned_requests.core.der import MAX_SIZE
from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.text import escape, exact, show
from pinned_requests.core.value import Value, put

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from typing import Literal

    from pinned_requests.core.keys import CertificateObject, CSRObject, PrivateKeyObject, PublicKeyObject

    PinKind = Literal["spki", "cert"]
    PinStyle = Literal["canonical", "openssl", "curl", "rfc7469", "fingerprint"]

DIGEST_SIZE = 32  # bytes of a SHA-256, the only hash of RFC 7469 §2.1.1
MAX_NOTE = 120  # characters: beside the longest pin it fits on one line of an error, which has 200
_BASE64_LENGTH = 44  # characters of 32 bytes in base64, padding included
_SPACE = " \t\r\n\v\f"  # of ASCII alone: a pin with another kind of space was not copied from a tool
_FINGERPRINT = r"(?:sha256 fingerprint=)?((?:[0-9a-f]{2}:){31}[0-9a-f]{2})"  # compiled where one is read
_ACCEPTED = f"write 'sha256/' and the base64 of the key's SHA-256, as in 'sha256/{'A' * 43}='"


class Pin(Value):
    """The SHA-256 of a certificate's public key (`"spki"`), or of the whole certificate (`"cert"`).

    An SPKI pin is the SHA-256 of the SubjectPublicKeyInfo as it stands in the certificate (RFC 7469 §2.4). It survives
    a renewal that keeps the key; a certificate pin does not.

    Args:
        kind: `"spki"` or `"cert"`.
        digest: 32 bytes.
        note: text for people, such as `"2026 leaf, offline key in safe B"`, of at most 120 characters. It is not part
            of equality or hash. An empty note is None.

    Raises:
        PinFormatError: the kind is unknown, the digest is not 32 bytes, or the note is not text, too long, or not
            valid Unicode.
    """

    __slots__ = ("digest", "kind", "note")
    kind: PinKind
    digest: bytes
    note: str | None

    def __init__(self, kind: PinKind, digest: bytes, *, note: str | None = None) -> None:
        # Exact types: a subclass may compare and hash in its own way.
        if type(kind) is not str or kind not in ("spki", "cert"):
            raise PinFormatError(f"unknown kind of pin {show(kind)}; use 'spki' or 'cert'")
        if type(digest) is not bytes or len(digest) != DIGEST_SIZE:
            raise PinFormatError(f"{show(digest)} is not a SHA-256 digest, which has {DIGEST_SIZE} bytes")
        # Not by `_set()`: a policy may hold hundreds of thousands of pins.
        put(self, "kind", kind)
        put(self, "digest", digest)
        put(self, "note", None if note is None else _read_note(note))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pin):
            return NotImplemented
        return self.digest == other.digest and self.kind == other.kind

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[object, ...]:
        return _restore_pin, (type(self), self.kind, self.digest, self.note)

    def __str__(self) -> str:
        """Return the canonical spelling, which `Pin.parse` reads back to an equal pin."""
        prefix = "sha256/" if self.kind == "spki" else "cert-sha256/"
        return prefix + base64.b64encode(self.digest).decode("ascii")

    def __repr__(self) -> str:
        note = "" if self.note is None else f".with_note({self.note!r})"
        return f"Pin.parse({str(self)!r}){note}"

    def spelled(self, style: PinStyle) -> str:
        """Return the pin as another program spells it; `Pin.parse` reads each of them back.

        Args:
            style: `"canonical"`; for the pin of a key `"openssl"` (the bare base64 that `openssl dgst` and `openssl
                enc` give), `"curl"` (`--pinnedpubkey`) or `"rfc7469"`; for the pin of a certificate `"fingerprint"`,
                as `openssl x509 -fingerprint -sha256` prints it.

        Raises:
            PinFormatError: the style is unknown, or cannot spell this kind of pin.
        """
        encoded = str(self).partition("/")[2]
        styles = {"canonical": str(self)}
        if self.kind == "spki":
            styles |= {"openssl": encoded, "curl": f"sha256//{encoded}", "rfc7469": f'pin-sha256="{encoded}"'}
        else:
            styles["fingerprint"] = f"sha256 Fingerprint={self.digest.hex(':').upper()}"
        if style not in styles:
            raise PinFormatError(f"{self} cannot be spelled as {show(style)}; choose one of {', '.join(styles)}")
        return styles[style]

    def describe(self, listed: Iterable[Pin] = ()) -> str:
        """Return the canonical spelling and, behind it in parentheses, the note: escaped, on one line.

        Args:
            listed: pins of a policy. If this pin has no note, as one out of a chain, the note of an equal one is shown.
        """
        notes = (pin.note for pin in (self, *listed) if pin.note is not None and pin == self)
        note = next(notes, None)
        return str(self) if note is None else f"{self}  ({escape(note, MAX_NOTE)})"

    def with_note(self, note: str | None) -> Pin:
        """Return this pin with another note, or with none.

        Raises:
            PinFormatError: as the constructor.
        """
        return type(self)(self.kind, self.digest, note=note)

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Return the pin that `text` spells, without a note.

        Args:
            text: `sha256/BASE64=` (OkHttp, TrustKit), `sha256//BASE64=` (curl), `pin-sha256="BASE64="` (RFC 7469 §2.1),
                bare `BASE64=` of 44 characters (openssl), `cert-sha256/BASE64=`, or 32 colon-separated hexadecimal
                bytes as `openssl x509 -fingerprint -sha256` prints them, also behind its `sha256 Fingerprint=`. ASCII
                white space around it is ignored, such as the line feed of openssl's output; inside it is refused.

        Raises:
            PinFormatError: another spelling; the message says what is wrong and gives an accepted one.
        """
        if not isinstance(text, str):
            raise PinFormatError(f"invalid pin {show(text)}: a pin is a string; {_ACCEPTED}")
        text = exact(text).strip(_SPACE)
        usual = text if len(text) == _BASE64_LENGTH else text.removeprefix("sha256/")
        if (digest := _digest_of(usual)) is not None:  # first, since policies hold many
            return cls("spki", digest)
        if "-----BEGIN " in text:
            raise PinFormatError(f"invalid pin {show(text)}; use Pin.from_certificate or Pin.from_file to compute one")
        if fingerprint := re.fullmatch(_FINGERPRINT, text, re.IGNORECASE | re.ASCII):
            return cls("cert", bytes.fromhex(fingerprint[1].replace(":", "")))
        if text.startswith("cert-sha256/"):
            return cls("cert", _decode(text, text[len("cert-sha256/") :]))
        return cls("spki", _decode(text, _base64_of_key(text)))

    @classmethod
    def from_certificate(cls, certificate: bytes | CertificateObject) -> Pin:
        """Return the SPKI pin of a certificate.

        The same as `openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary |
        openssl enc -base64`, except where openssl re-encodes a malformed key. The certificate is not verified.

        Args:
            certificate: PEM (the first certificate of several counts, as for openssl) or DER bytes, or the object.

        Raises:
            PinFormatError: it cannot be read as a certificate.
        """
        return _spki_pin("certificate", certificate)

    @classmethod
    def fingerprint(cls, certificate: bytes | CertificateObject) -> Pin:
        """Return the pin of the whole certificate: its SHA-256 fingerprint. It changes with every renewal.

        Args:
            certificate: as for `from_certificate`.

        Raises:
            PinFormatError: it cannot be read as a certificate.
        """
        from pinned_requests.core import keys  # noqa: PLC0415  as in `_spki_pin()`

        der = keys.der_of("certificate", certificate)
        keys.read("certificate", der)
        return cls("cert", hashlib.sha256(der).digest())

    @classmethod
    def from_csr(cls, csr: bytes | CSRObject) -> Pin:
        """Return the SPKI pin of a certification request (PKCS #10, RFC 2986). Its signature is not checked.

        Args:
            csr: PEM or DER bytes, or the object.

        Raises:
            PinFormatError: it cannot be read as a certification request.
        """
        return _spki_pin("certification request", csr)

    @classmethod
    def from_public_key(cls, key: bytes | PublicKeyObject) -> Pin:
        """Return the SPKI pin of a public key: what `openssl pkey -pubin -outform der | openssl dgst …` gives.

        Args:
            key: a SubjectPublicKeyInfo in PEM or DER bytes, or the object. An object is serialised again, without the
                restriction of an RSA key to PSS: for such a key give the bytes.

        Raises:
            PinFormatError: it cannot be read as a public key.
        """
        return _spki_pin("public key", key)

    @classmethod
    def from_private_key(cls, key: bytes | PrivateKeyObject) -> Pin:
        """Return the SPKI pin of the public half of a private key, such as a backup key kept for a rotation.

        Args:
            key: PEM or DER bytes (PKCS #8, or the traditional RSA, EC and DSA formats), not encrypted, or the object.
                Of an RSA key restricted to PSS give the bytes, as in `from_public_key`.

        Raises:
            PinFormatError: it cannot be read as a private key.
        """
        return _spki_pin("private key", key)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Pin:
        """Return the SPKI pin of a file: a certificate, a CSR, a public or a private key, in PEM or DER.

        Of several PEM blocks the first of these kinds counts. No other function of `core/` but
        `PinPolicy.from_file` reads a file, and no decision calls either.

        Raises:
            PinFormatError: the file has none of these, or one that cannot be read.
            OSError: the file cannot be opened or read.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_SIZE + 1)
        except (TypeError, ValueError):  # no path, or one with a null byte
            raise PinFormatError(f"{show(path)} is not a path; give the path of a certificate, CSR or key") from None
        name = show(str(path))
        try:
            found = next(find_keys(data), None)
        except PinFormatError as e:
            raise PinFormatError(f"{name}: {e}") from None
        if found is None:
            raise PinFormatError(
                f"{name} has no certificate, certification request, public key or unencrypted private key"
            )
        return found.pin


class FoundKey(Value):
    """A public key, and the object it was found in.

    Attributes:
        kind: of the object: `"certificate"`, `"certification request"`, `"public key"` or `"private key"`.
        der: the object. A private key is secret.
        spki: the SubjectPublicKeyInfo, in DER.
    """

    kind: str
    der: bytes
    spki: bytes
    __slots__ = tuple(__annotations__)

    def __init__(self, kind: str, der: bytes, spki: bytes) -> None:
        self._set(kind=kind, der=der, spki=spki)

    @property
    def pin(self) -> Pin:
        """The SPKI pin."""
        return _of_spki(self.spki)

    def __repr__(self) -> str:
        return f"<FoundKey of a {self.kind}, {self.pin}>"


def find_keys(data: bytes) -> Iterator[FoundKey]:
    """Yield the public keys of the certificates, CSRs, public and private keys in `data`, which is PEM or DER.

    Raises:
        PinFormatError: the content of a PEM block does not match its label.
    """
    from pinned_requests.core import keys  # noqa: PLC0415  as in `_spki_pin()`

    for found in keys.find(data):
        yield FoundKey(*found)


def _read_note(note: object) -> str | None:
    if not isinstance(note, str):
        raise PinFormatError(f"'note' is {show(note)}; give text")
    text = exact(note)
    if len(text) > MAX_NOTE:
        raise PinFormatError(f"'note' has {len(text)} characters, and {MAX_NOTE} are allowed")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which no file could hold
        raise PinFormatError(f"'note' is {show(text)}, which is not valid Unicode") from None
    return text or None


def _restore_pin(cls: type[Pin], kind: PinKind, digest: bytes, note: str | None) -> Pin:
    return cls(kind, digest, note=note)


def _spki_pin(kind: str, value: object) -> Pin:
    from pinned_requests.core import keys  # noqa: PLC0415  many programs are given their pins

    return _of_spki(keys.spki_of(kind, value))


def _of_spki(der: bytes) -> Pin:
    return Pin("spki", hashlib.sha256(der).digest())


def _base64_of_key(text: str) -> str:
    if text.startswith('pin-sha256="') and text.endswith('"'):
        return text[len('pin-sha256="') : -1]
    # A base64 text may itself begin with a slash (1 pin in 64): only the length tells `sha256/` from curl's `sha256//`.
    if text.startswith("sha256//") and len(text) != len("sha256/") + _BASE64_LENGTH:
        return text[len("sha256//") :]
    return text.removeprefix("sha256/")


def _digest_of(encoded: str) -> bytes | None:
    """Return the 32 bytes of their canonical base64 (RFC 4648 §3.5), or None of other text."""
    if len(encoded) != _BASE64_LENGTH or not encoded.isascii():
        return None
    try:
        digest = binascii.a2b_base64(encoded)
    except binascii.Error:
        return None
    is_canonical = len(digest) == DIGEST_SIZE and binascii.b2a_base64(digest, newline=False).decode() == encoded
    return digest if is_canonical else None


def _decode(text: str, encoded: str) -> bytes:
    if (digest := _digest_of(encoded)) is not None:
        return digest
    from pinned_requests.core.pin_faults import fault_of, meant_by  # noqa: PLC0415  for an error alone

    meant = meant_by(text)
    advice = _ACCEPTED if meant is None else f"did you mean '{meant}'?"
    raise PinFormatError(f"invalid pin {show(text)}: {fault_of(text, encoded)}; {advice}")

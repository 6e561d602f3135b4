"""Certificate, CSR or key → its SubjectPublicKeyInfo (SPKI) bytes, exactly as they stand.

Rules for the next maintainer:

- A parser that disagrees with the TLS library would hash a key that the peer does not hold. So the reader is strict DER
  (ITU-T X.690 §10): definite and minimal lengths, every bound checked, every tag on the way expected (RFC 5280 §4.1).
  What it does not understand it refuses; it never skips ahead to find something that looks like a key.
- Bytes are cut out, not parsed and written again: `cryptography` re-encodes RSA-PSS and explicit-parameter EC keys, and
  does not load keys of unknown kinds. It is imported only where a private key or an object has to be read.
- Any input gives bytes or a `PinFormatError`, never another error.
- Signatures, dates and extensions are *not* checked. That is the TLS library's work, and it has been done by then.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.errors import PinFormatError, escape, show

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import TypeAlias

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

    CertificateObject: TypeAlias = x509.Certificate
    CSRObject: TypeAlias = x509.CertificateSigningRequest
    PublicKeyObject: TypeAlias = PublicKeyTypes
    PrivateKeyObject: TypeAlias = PrivateKeyTypes

INTEGER, BIT_STRING, OCTET_STRING, OID, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x06, 0x30, 0x31
HIGH_TAG = 0x1F  # X.690 §8.1.2.4: the number of the tag follows, in octets of its own
VERSION = 0xA0  # [0] EXPLICIT
ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID, EXTENSIONS = 0x81, 0x82, 0xA3  # [1], [2] IMPLICIT BIT STRING, [3] EXPLICIT
CSR_ATTRIBUTES = 0xA0  # [0] IMPLICIT SET
EC_PARAMETERS, EC_PUBLIC_KEY = 0xA0, 0xA1  # [0], [1] EXPLICIT
ID_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")  # 1.2.840.10045.2.1, RFC 5480 §2.1.1
ID_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")  # 1.2.840.113549.1.1.10, RFC 4055 §1.2

# A certificate of the web is 1 to 5 kB; OpenSSL takes 100 kB of chain from a peer. What is larger is no certificate.
MAX_SIZE = 1 << 20  # bytes

_PEM_BEGIN = re.compile(rb"^-----BEGIN ([A-Z0-9 ]{1,64})-----[ \t]*\r?\n", re.MULTILINE)
_PEM_END = re.compile(rb"^-----END ([A-Z0-9 ]{1,64})-----", re.MULTILINE)
_NAME_TYPES = {  # RFC 4514 §3, and those that are seen in certificates of the web
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_NAME_SPECIAL, _BACKSLASHED = re.compile(r'[,+"\\<>;=]'), r"\\\g<0>"
_STRING_ENCODINGS = {0x0C: "utf-8", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}  # UTF8String, UniversalString, BMPString


class CertificateParts(NamedTuple):
    """What the walk over a certificate passes on its way: DER bytes as they stand, tag and length included."""

    issuer: bytes
    subject: bytes
    spki: bytes


class _Element(NamedTuple):
    tag: int
    content: bytes
    whole: bytes


class _Reader:
    """A strict cursor over the DER bytes of one constructed value."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def peek(self) -> int | None:
        return self._data[self._at] if self else None

    def take(self, *tags: int) -> _Element:
        """Return the next element, whose tag must be one of `tags` (any of one octet where none is given)."""
        data, start = self._data, self._at
        if start + 2 > len(data):
            raise PinFormatError("it ends in the middle of a field")
        tag, length, at = data[start], data[start + 1], start + 2
        if tags and tag not in tags:
            raise PinFormatError(f"it holds tag 0x{tag:02x} where 0x{tags[0]:02x} must stand")
        if tag & HIGH_TAG == HIGH_TAG:
            raise PinFormatError(f"it holds tag 0x{tag:02x}, which certificates and keys have no use for")
        if length >= 0x80:  # noqa: PLR2004  X.690 §8.1.3.5: the long form; 0x80 is the indefinite form, which DER forbids
            octets = length & 0x7F
            if not 1 <= octets <= 4 or at + octets > len(data):  # noqa: PLR2004  MAX_SIZE needs no more than 3 octets
                raise PinFormatError("it holds a length that DER does not allow")
            length = int.from_bytes(data[at : at + octets], "big")
            if length < 0x80 or length >> (8 * (octets - 1)) == 0:  # noqa: PLR2004  X.690 §10.1: the shortest form
                raise PinFormatError("it holds a length that is not in its shortest form")
            at += octets
        end = at + length
        if end > len(data):
            raise PinFormatError("it holds a field that is longer than what is left")
        self._at = end
        return _Element(tag, data[at:end], data[start:end])

    def rest(self) -> bytes:
        """Return what has not been taken."""
        return self._data[self._at :]

    def end(self) -> None:
        if self:
            raise PinFormatError("it has bytes behind its end")


def parts_of_certificate(der: bytes) -> CertificateParts:
    """Walk over the DER bytes of an X.509 certificate (RFC 5280 §4.1) and return what stands there.

    Raises:
        PinFormatError: `der` is not one certificate in strict DER.
    """
    outer = _Reader(_bounded(der))
    certificate = _Reader(outer.take(SEQUENCE).content)
    outer.end()
    tbs = _Reader(certificate.take(SEQUENCE).content)
    certificate.take(SEQUENCE)  # signatureAlgorithm
    certificate.take(BIT_STRING)  # signatureValue
    certificate.end()

    if tbs.peek() == VERSION:
        version = _Reader(tbs.take(VERSION).content)
        version.take(INTEGER)
        version.end()
    tbs.take(INTEGER)  # serialNumber
    tbs.take(SEQUENCE)  # signature
    issuer = tbs.take(SEQUENCE).whole
    tbs.take(SEQUENCE)  # validity
    subject = tbs.take(SEQUENCE).whole
    spki = _checked_spki(tbs.take(SEQUENCE))
    for optional in (ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID, EXTENSIONS):  # in this order, each at most once
        if tbs.peek() == optional:
            tbs.take(optional)
    tbs.end()
    return CertificateParts(issuer, subject, spki)


def spki_of_certificate(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of a DER certificate, tag and length included.

    Raises:
        PinFormatError: `der` is not one certificate in strict DER.
    """
    return parts_of_certificate(der).spki


def spki_of_csr(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of a DER certification request (PKCS #10, RFC 2986 §4).

    Its signature is not checked.

    Raises:
        PinFormatError: `der` is not one certification request in strict DER.
    """
    outer = _Reader(_bounded(der))
    request = _Reader(outer.take(SEQUENCE).content)
    outer.end()
    info = _Reader(request.take(SEQUENCE).content)
    request.take(SEQUENCE)  # signatureAlgorithm
    request.take(BIT_STRING)  # signature
    request.end()
    info.take(INTEGER)  # version
    info.take(SEQUENCE)  # subject
    spki = _checked_spki(info.take(SEQUENCE))
    if info:
        info.take(CSR_ATTRIBUTES)
    info.end()
    return spki


def spki_of_public_key(der: bytes) -> bytes:
    """Return `der` where it is one SubjectPublicKeyInfo in strict DER (RFC 5280 §4.1.2.7).

    Raises:
        PinFormatError: it is not.
    """
    outer = _Reader(_bounded(der))
    spki = _checked_spki(outer.take(SEQUENCE))
    outer.end()
    return spki


def spki_of_private_key(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of the public half of an unencrypted private key in DER.

    The bytes are those that openssl would put into a certificate of this key: the algorithm identifier of an RSA-PSS
    key, and parameters and public point of an EC key, are taken as they stand in it.

    Raises:
        PinFormatError: it cannot be read, or is encrypted.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  heavy, and seldom needed

    _bounded(der)
    encoded = _through_cryptography(lambda: serialization.load_der_private_key(der, None).public_key(), "a private key")
    outer = _Reader(der)
    key = _Reader(outer.take(SEQUENCE).content)
    outer.end()
    key.take(INTEGER)  # version
    if key.peek() == OCTET_STRING:  # SEC 1: ECPrivateKey, RFC 5915 §3
        return _spki_of_ec_key(der, None, encoded)
    if key.peek() != SEQUENCE:  # PKCS #1 and openssl's DSA format: these have one encoding only
        return encoded
    algorithm = key.take(SEQUENCE)  # PKCS #8: OneAsymmetricKey, RFC 5958 §2
    reader = _Reader(algorithm.content)
    identifier = reader.take(OID).whole
    if identifier == ID_EC_PUBLIC_KEY:
        return _spki_of_ec_key(key.take(OCTET_STRING).content, reader.rest(), encoded)
    if identifier == ID_RSASSA_PSS:
        return _sequence(algorithm.whole + _bits_of_spki(encoded).whole)
    return encoded


def spki_of_private_key_object(key: PrivateKeyObject) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of the public half of a private key object of `cryptography`.

    Raises:
        PinFormatError: it is no such object.
    """
    return spki_of_public_key(_through_cryptography(key.public_key, "a private key"))


def der_of_object(value: object) -> bytes:
    """Return the DER bytes of a certificate, CSR or public key object of `cryptography`.

    Raises:
        PinFormatError: `value` is no such object.
    """
    if not hasattr(value, "public_bytes"):
        raise PinFormatError(f"{show(value)} is neither bytes nor an object of cryptography")
    from cryptography import x509  # noqa: PLC0415  whoever has such an object has imported it already
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    if isinstance(value, (x509.Certificate, x509.CertificateSigningRequest)):
        return value.public_bytes(Encoding.DER)  # the bytes it was read from
    return _through_cryptography(lambda: value, "a public key")


def is_whole_element(data: bytes) -> bool:
    """Say whether `data` is one DER SEQUENCE from its first to its last byte, and so no text with PEM in it."""
    reader = _Reader(data)
    try:
        reader.take(SEQUENCE)
    except PinFormatError:
        return False
    return not reader


def first_pem(data: bytes, labels: Collection[str]) -> tuple[str, bytes] | None:
    """Return label and DER bytes of the first PEM block (RFC 7468 §2) with one of `labels`, or None without one.

    Raises:
        PinFormatError: that block has no end, or its body is no base64 or is encrypted.
    """
    for begin in _PEM_BEGIN.finditer(_bounded(data)):
        label = begin[1].decode("ascii")
        if label not in labels:
            continue
        end = _PEM_END.search(data, begin.end())
        if end is None or end[1] != begin[1]:  # no look further on: another block's end is not this one's
            raise PinFormatError(f"the PEM block {show(label)} has no end")
        body = data[begin.end() : end.start()]
        if b":" in body:  # RFC 1421 §4.6: the headers of an encrypted key in a traditional format
            raise PinFormatError(f"the PEM block {show(label)} is encrypted; use its certificate, CSR or public key")
        try:
            return label, base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error as e:
            raise PinFormatError(f"the PEM block {show(label)} holds what is no base64: {escape(str(e))}") from None
    return None


def name_as_text(der: bytes) -> str:
    """Return an X.501 Name as one line in the manner of RFC 4514, for people to read.

    The text is escaped and cut, not fit for comparison. It is read here and not by `cryptography`, because that warns
    of odd names, and no warning can be kept from surfacing without changing the filters of the whole process.
    """
    try:
        rdns = [_rdn_as_text(rdn.content) for rdn in _elements(_Reader(der).take(SEQUENCE).content, SET)]
    except PinFormatError:
        return "(a name that cannot be read)"
    return escape(",".join(reversed(rdns))) or "(no name)"


def _rdn_as_text(rdn: bytes) -> str:
    return "+".join(_attribute_as_text(attribute.content) for attribute in _elements(rdn, SEQUENCE))


def _attribute_as_text(attribute: bytes) -> str:
    reader = _Reader(attribute)
    oid = _dotted(reader.take(OID).content)
    value = reader.take()
    reader.end()
    text = value.content.decode(_STRING_ENCODINGS.get(value.tag, "latin-1"), "replace")
    # RFC 4514 §2.4: else the common name "x,O=Bank" would look like two attributes.
    return f"{_NAME_TYPES.get(oid, oid)}={_NAME_SPECIAL.sub(_BACKSLASHED, text)}"


def _dotted(oid: bytes) -> str:
    """Return an OBJECT IDENTIFIER's content in its dotted form (X.690 §8.19)."""
    if not oid or oid[-1] & 0x80 or len(oid) > 32:  # noqa: PLR2004  octets; the longest in use has some 20
        raise PinFormatError("it holds an object identifier that ends in the middle of a number")
    numbers, number = [], 0
    for octet in oid:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _elements(data: bytes, tag: int) -> Iterator[_Element]:
    reader = _Reader(data)
    while reader:
        yield reader.take(tag)


def _checked_spki(element: _Element) -> bytes:
    """Check SubjectPublicKeyInfo ::= SEQUENCE { SEQUENCE { OID, ANY OPTIONAL }, BIT STRING } and return it whole."""
    spki = _Reader(element.content)
    algorithm = _Reader(spki.take(SEQUENCE).content)
    algorithm.take(OID)
    if algorithm:
        algorithm.take()  # parameters
    algorithm.end()
    spki.take(BIT_STRING)
    spki.end()
    return element.whole


def _bits_of_spki(spki: bytes) -> _Element:
    """Return the subjectPublicKey of a SubjectPublicKeyInfo."""
    reader = _Reader(_Reader(spki).take(SEQUENCE).content)
    reader.take(SEQUENCE)
    return reader.take(BIT_STRING)


def _spki_of_ec_key(der: bytes, parameters: bytes | None, encoded: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of an ECPrivateKey (RFC 5915 §3), with parameters and point as they stand.

    Args:
        der: the ECPrivateKey.
        parameters: those of the PKCS #8 key around it, or None where there is none.
        encoded: the SubjectPublicKeyInfo as `cryptography` encodes it: named curve, uncompressed point.
    """
    outer = _Reader(der)
    key = _Reader(outer.take(SEQUENCE).content)
    outer.end()
    key.take(INTEGER)  # version
    key.take(OCTET_STRING)  # privateKey
    if key.peek() == EC_PARAMETERS:
        own = key.take(EC_PARAMETERS).content
        parameters = own if parameters is None else parameters
    if not parameters:
        raise PinFormatError("it holds an elliptic-curve key that does not name its curve")
    computed = _bits_of_spki(encoded)
    if key.peek() == EC_PUBLIC_KEY:
        public = _Reader(key.take(EC_PUBLIC_KEY).content)
        point = public.take(BIT_STRING)
        public.end()
        if not _is_encoding_of(point.content, computed.content):
            raise PinFormatError("it holds a public point that is not that of the private key")
    elif parameters[0] == OID:
        point = computed
    else:
        # openssl then encodes the point as the explicit parameters encode their generator.
        raise PinFormatError("it holds explicit curve parameters and no public point; use its certificate or CSR")
    return _sequence(_sequence(ID_EC_PUBLIC_KEY + parameters) + point.whole)


def _is_encoding_of(point: bytes, uncompressed: bytes) -> bool:
    """Say whether the BIT STRING content `point` is `uncompressed` in any of the three forms of SEC 1 §2.3.3."""
    coordinates = uncompressed[2:]  # behind "no unused bits" and "uncompressed"
    x, is_odd = coordinates[: len(coordinates) // 2], coordinates[-1] & 1
    return point in (uncompressed, bytes((0, 2 | is_odd)) + x, bytes((0, 6 | is_odd)) + coordinates)


def _sequence(content: bytes) -> bytes:
    """Return `content` behind the tag and length of a SEQUENCE, in DER."""
    length = len(content)
    if length < 0x80:  # noqa: PLR2004  X.690 §8.1.3.4: the short form
        return bytes((SEQUENCE, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((SEQUENCE, 0x80 | len(octets))) + octets + content


def _bounded(data: bytes) -> bytes:
    if not isinstance(data, bytes):
        raise PinFormatError(f"{show(data)} is not bytes")
    if len(data) > MAX_SIZE:
        raise PinFormatError(f"{len(data)} bytes are too many for a certificate or a key; at most {MAX_SIZE} are read")
    return data


def _through_cryptography(load: Callable[[], Any], what: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415  heavy

    try:
        spki: bytes = load().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception as e:  # noqa: BLE001  whatever it does not understand is an input that cannot be read
        raise PinFormatError(f"it cannot be read as {what}: {escape(str(e))}") from None
    return spki

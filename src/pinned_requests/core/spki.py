"""The SubjectPublicKeyInfo (SPKI) bytes of a certificate, CSR or key, unchanged.

Rules for the next maintainer:

- A parser that disagrees with the TLS library would hash a key that the peer does not have. So the reader is strict DER
  (ITU-T X.690 §10): definite and minimal lengths, every bound checked, every tag on the way expected (RFC 5280 §4.1).
  It refuses what it does not understand, and never skips ahead to something that looks like a key.
- Copy the bytes; do not parse and serialize them: `cryptography` re-encodes RSA-PSS keys and EC keys with explicit
  parameters, and cannot load keys of unknown types. It is imported only to read a private key or an object.
- For any input, return bytes or raise a `PinFormatError`; raise no other error.
- Signatures, dates and extensions are *not* checked: the TLS library does that, before this code runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinned_requests.core.der import (
    ANY,
    BIT_STRING,
    INTEGER,
    NOTHING,
    OCTET_STRING,
    OID,
    SEQUENCE,
    Element,
    bounded,
    elements,
    fields,
    sequence,
)
from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.text import escape, show

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

    CertificateObject: TypeAlias = x509.Certificate
    CSRObject: TypeAlias = x509.CertificateSigningRequest
    PublicKeyObject: TypeAlias = PublicKeyTypes
    PrivateKeyObject: TypeAlias = PrivateKeyTypes

VERSION = 0xA0  # [0] EXPLICIT
ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID, EXTENSIONS = 0x81, 0x82, 0xA3  # [1], [2] IMPLICIT BIT STRING, [3] EXPLICIT
CSR_ATTRIBUTES = 0xA0  # [0] IMPLICIT SET
EC_PARAMETERS, EC_PUBLIC_KEY = 0xA0, 0xA1  # [0], [1] EXPLICIT
ID_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")  # 1.2.840.10045.2.1, RFC 5480 §2.1.1
ID_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")  # 1.2.840.113549.1.1.10, RFC 4055 §1.2


class CertificateParts:
    """Three fields of a certificate, each as its unchanged DER bytes with tag and length."""

    __slots__ = ("issuer", "spki", "subject")

    def __init__(self, issuer: bytes, subject: bytes, spki: bytes) -> None:
        self.issuer = issuer
        self.subject = subject
        self.spki = spki


def parts_of_certificate(der: bytes) -> CertificateParts:
    """Return issuer, subject and SPKI of an X.509 certificate in DER (RFC 5280 §4.1).

    Raises:
        PinFormatError: `der` is not one certificate in strict DER.
    """
    (certificate,) = fields(bounded(der), SEQUENCE)
    tbs, _algorithm, _signature = fields(certificate.content, SEQUENCE, SEQUENCE, BIT_STRING)
    version, _serial, _algorithm, issuer, _validity, subject, spki, *_ = fields(
        tbs.content,
        *([VERSION], INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE),
        *([ISSUER_UNIQUE_ID], [SUBJECT_UNIQUE_ID], [EXTENSIONS]),
    )
    if version is not NOTHING:
        fields(version.content, INTEGER)
    return CertificateParts(issuer.whole, subject.whole, _checked_spki(spki))


def spki_of_certificate(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of a DER certificate, tag and length included.

    Raises:
        PinFormatError: `der` is not one certificate in strict DER.
    """
    return parts_of_certificate(der).spki


def spki_of_csr(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of a DER certification request (PKCS #10, RFC 2986 §4).

    Raises:
        PinFormatError: `der` is not one certification request in strict DER.
    """
    (request,) = fields(bounded(der), SEQUENCE)
    info, _algorithm, _signature = fields(request.content, SEQUENCE, SEQUENCE, BIT_STRING)
    _version, _subject, spki, _attributes = fields(info.content, INTEGER, SEQUENCE, SEQUENCE, [CSR_ATTRIBUTES])
    return _checked_spki(spki)


def spki_of_public_key(der: bytes) -> bytes:
    """Return `der` unchanged. It must be a SubjectPublicKeyInfo in strict DER (RFC 5280 §4.1.2.7).

    Raises:
        PinFormatError: it is something else.
    """
    (spki,) = fields(bounded(der), SEQUENCE)
    return _checked_spki(spki)


def spki_of_private_key(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of the public half of an unencrypted private key in DER.

    As openssl puts them into a certificate: the algorithm identifier of an RSA-PSS key, and the parameters and public
    point of an EC key, are copied unchanged.

    Raises:
        PinFormatError: it cannot be read, or is encrypted.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  slow to import, and rarely needed

    bounded(der)
    encoded = _through_cryptography(lambda: serialization.load_der_private_key(der, None).public_key(), "a private key")
    (key,) = fields(der, SEQUENCE)
    version, second, third = [*elements(key.content), NOTHING, NOTHING, NOTHING][:3]
    fields(version.whole, INTEGER)
    if second.tag == OCTET_STRING:  # SEC 1: ECPrivateKey, RFC 5915 §3
        return _spki_of_ec_key(der, None, encoded)
    if second.tag != SEQUENCE:  # PKCS #1 and openssl's DSA format, which have only one encoding
        return encoded
    identifier, parameters = fields(second.content, OID, [ANY])  # PKCS #8: OneAsymmetricKey, RFC 5958 §2
    if identifier.whole == ID_EC_PUBLIC_KEY:
        (secret,) = fields(third.whole, OCTET_STRING)
        return _spki_of_ec_key(secret.content, parameters.whole, encoded)
    if identifier.whole == ID_RSASSA_PSS:
        return sequence(second.whole + _bits_of_spki(encoded).whole)
    return encoded


def spki_of_private_key_object(key: PrivateKeyObject) -> bytes:
    """Return the same of a private key object of `cryptography`; another object raises a `PinFormatError`."""
    return spki_of_public_key(_through_cryptography(key.public_key, "a private key"))


def der_of_object(value: object) -> bytes:
    """Return the DER bytes of a certificate, CSR or public key object of `cryptography`.

    Raises:
        PinFormatError: `value` is something else.
    """
    if not hasattr(value, "public_bytes"):
        raise PinFormatError(f"{show(value)} is neither bytes nor an object of cryptography")
    from cryptography import x509  # noqa: PLC0415  the caller, who has such an object, has imported it
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    if isinstance(value, (x509.Certificate, x509.CertificateSigningRequest)):
        return value.public_bytes(Encoding.DER)  # the bytes it was read from
    return _through_cryptography(lambda: value, "a public key")


def _checked_spki(element: Element) -> bytes:
    """Return the bytes of SubjectPublicKeyInfo ::= SEQUENCE { SEQUENCE { OID, ANY OPTIONAL }, BIT STRING }, checked."""
    algorithm, _key = fields(element.content, SEQUENCE, BIT_STRING)
    fields(algorithm.content, OID, [ANY])
    return element.whole


def _bits_of_spki(der: bytes) -> Element:
    (spki,) = fields(der, SEQUENCE)
    _algorithm, bits = fields(spki.content, SEQUENCE, BIT_STRING)
    return bits


def _spki_of_ec_key(der: bytes, parameters: bytes | None, encoded: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of an ECPrivateKey (RFC 5915 §3), with unchanged parameters and point.

    Args:
        der: the ECPrivateKey.
        parameters: those of the PKCS #8 key around it, if there is one.
        encoded: the result of `cryptography`: named curve, uncompressed point.
    """
    (key,) = fields(der, SEQUENCE)
    _version, _secret, own, public = fields(key.content, INTEGER, OCTET_STRING, [EC_PARAMETERS], [EC_PUBLIC_KEY])
    if own is not NOTHING and parameters is None:
        parameters = own.content
    if not parameters:
        raise PinFormatError("it has an elliptic-curve key that does not name its curve")
    computed = _bits_of_spki(encoded)
    if public is not NOTHING:
        (point,) = fields(public.content, BIT_STRING)
        if not _is_encoding_of(point.content, computed.content):
            raise PinFormatError("it has a public point that does not belong to the private key")
    elif parameters[0] == OID:
        point = computed
    else:
        # openssl then encodes the point in the way that the explicit parameters encode their generator.
        raise PinFormatError("it has explicit curve parameters and no public point; use its certificate or CSR")
    return sequence(sequence(ID_EC_PUBLIC_KEY + parameters) + point.whole)


def _is_encoding_of(point: bytes, uncompressed: bytes) -> bool:
    """Return whether the BIT STRING content `point` is `uncompressed` in one of the three forms of SEC 1 §2.3.3."""
    coordinates = uncompressed[2:]  # after the octets for "no unused bits" and "uncompressed"
    x, is_odd = coordinates[: len(coordinates) // 2], coordinates[-1] & 1
    return point in (uncompressed, bytes((0, 2 | is_odd)) + x, bytes((0, 6 | is_odd)) + coordinates)


def _through_cryptography(load: Callable[[], Any], what: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415  slow to import

    try:
        spki: bytes = load().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception as e:  # noqa: BLE001  any error of `cryptography` means that the input cannot be read
        raise PinFormatError(f"it cannot be read as {what}: {escape(str(e))}") from None
    return spki

"""Reads the public key of a certificate, CSR, public or private key, in PEM, DER or an object, to make pins.

It is imported at first use: a program that is given its pins does not need it, and no check of a chain does.

Rules for the next maintainer:

- The rules of `core/der.py` hold here, too. `cryptography` is imported only to read a private key or an object.
- No text of an error shows an input: it may be a private key.
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
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
    checked_spki,
    elements,
    fields,
    spki_of_certificate,
)
from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.text import escape, show

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import TypeAlias

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

    CertificateObject: TypeAlias = x509.Certificate
    CSRObject: TypeAlias = x509.CertificateSigningRequest
    PublicKeyObject: TypeAlias = PublicKeyTypes
    PrivateKeyObject: TypeAlias = PrivateKeyTypes

CSR_ATTRIBUTES = 0xA0  # [0] IMPLICIT SET
EC_PARAMETERS, EC_PUBLIC_KEY = 0xA0, 0xA1  # [0], [1] EXPLICIT
ID_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")  # 1.2.840.10045.2.1, RFC 5480 §2.1.1
ID_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")  # 1.2.840.113549.1.1.10, RFC 4055 §1.2
_PEM_BEGIN = rb"(?m)^-----BEGIN ([A-Z0-9 ]{1,64})-----[ \t]*\r?\n"  # compiled by `re` where it is used
_PEM_END = rb"(?m)^-----END ([A-Z0-9 ]{1,64})-----"


def spki_of(kind: str, value: Any) -> bytes:
    """Return the SubjectPublicKeyInfo of `value`, a `kind` given as PEM or DER bytes or as an object of `cryptography`.

    `kind` is `"certificate"`, `"certification request"`, `"public key"` or `"private key"`.

    Raises:
        PinFormatError: it cannot be read as one.
    """
    if kind == "private key" and not isinstance(value, bytes) and hasattr(value, "private_bytes"):
        return spki_of_public_key(_through_cryptography(value.public_key, "a private key"))
    return read(kind, der_of(kind, value))


def der_of(kind: str, value: object) -> bytes:
    """Return the DER bytes of `value`: PEM, DER, or an object of `cryptography` other than a private key.

    The bytes are not parsed.

    Raises:
        PinFormatError: a PEM text has no `kind`, or the object is another one.
    """
    if not isinstance(value, bytes):
        return _der_of_object(value)
    # DER first: a certificate may hold text that looks like PEM, with another certificate in it.
    if _is_whole_element(value) or b"-----BEGIN " not in value:
        return value
    block = next(pem_blocks(value, {label for label, each in _LABELS.items() if each == kind}), None)
    if block is None:
        raise PinFormatError(f"the PEM text has no {kind} that can be read")
    return block[1]


def read(kind: str, der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a `kind` in DER.

    Raises:
        PinFormatError: it cannot be read as one.
    """
    try:
        return _READERS[kind](der)
    except PinFormatError as e:
        raise PinFormatError(f"{show(der)} cannot be read as a {kind}: {e}") from None


def find(data: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield the kind, DER and SPKI of the certificates, CSRs, public and private keys in `data`, which is PEM or DER.

    Raises:
        PinFormatError: the content of a PEM block does not match its label.
    """
    if _is_whole_element(data):
        for kind, reader in _READERS.items():
            with suppress(PinFormatError):  # the next kind may fit
                yield kind, data, reader(data)
                return
    else:
        for label, der in pem_blocks(data, _LABELS):
            yield _LABELS[label], der, read(_LABELS[label], der)


def pem_blocks(data: bytes, labels: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield label and DER bytes of each PEM block (RFC 7468 §2) with one of `labels`. Other blocks are skipped.

    Raises:
        PinFormatError: a block has no end, is encrypted, or its body is not base64.
    """
    find_end = re.compile(_PEM_END).search
    for begin in re.finditer(_PEM_BEGIN, bounded(data)):
        label = begin[1].decode("ascii")
        if label not in labels:
            continue
        end = find_end(data, begin.end())
        if end is None or end[1] != begin[1]:  # the end of another block does not end this one
            raise PinFormatError(f"the PEM block {show(label)} has no end; copy it with its '-----END' line")
        body = data[begin.end() : end.start()]
        if b":" in body:  # RFC 1421 §4.6: the headers of an encrypted key in a traditional format
            raise PinFormatError(f"the PEM block {show(label)} is encrypted; use its certificate, CSR or public key")
        try:
            der = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error as e:
            raise PinFormatError(f"the PEM block {show(label)} is not valid base64: {escape(str(e))}") from None
        yield label, der


def spki_of_csr(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of a DER certification request (PKCS #10, RFC 2986 §4).

    Raises:
        PinFormatError: `der` is not one certification request in strict DER.
    """
    (request,) = fields(bounded(der), SEQUENCE)
    info, _algorithm, _signature = fields(request.content, SEQUENCE, SEQUENCE, BIT_STRING)
    _version, _subject, spki, _attributes = fields(info.content, INTEGER, SEQUENCE, SEQUENCE, [CSR_ATTRIBUTES])
    return checked_spki(spki)


def spki_of_public_key(der: bytes) -> bytes:
    """Return `der` unchanged. It must be a SubjectPublicKeyInfo in strict DER (RFC 5280 §4.1.2.7).

    Raises:
        PinFormatError: it is something else.
    """
    (spki,) = fields(bounded(der), SEQUENCE)
    return checked_spki(spki)


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
        return _sequence(second.whole + _bits_of_spki(encoded).whole)
    return encoded


_LABELS = {  # RFC 7468, and the other labels that openssl writes or reads
    "CERTIFICATE": "certificate",
    "X509 CERTIFICATE": "certificate",
    "TRUSTED CERTIFICATE": "certificate",  # with openssl's own data behind it, it is refused, not skipped
    "CERTIFICATE REQUEST": "certification request",
    "NEW CERTIFICATE REQUEST": "certification request",
    "PUBLIC KEY": "public key",
    "PRIVATE KEY": "private key",
    "RSA PRIVATE KEY": "private key",
    "EC PRIVATE KEY": "private key",
    "DSA PRIVATE KEY": "private key",
}
_READERS: dict[str, Callable[[bytes], bytes]] = {
    "certificate": spki_of_certificate,
    "certification request": spki_of_csr,
    "public key": spki_of_public_key,
    "private key": spki_of_private_key,
}


def _der_of_object(value: object) -> bytes:
    """Return the DER bytes of a certificate, CSR or public key object of `cryptography`."""
    if not hasattr(value, "public_bytes"):
        raise PinFormatError(f"{show(value)} is neither bytes nor an object of cryptography")
    from cryptography import x509  # noqa: PLC0415  the caller, who has such an object, has imported it
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    if isinstance(value, (x509.Certificate, x509.CertificateSigningRequest)):
        return value.public_bytes(Encoding.DER)  # the bytes it was read from
    return _through_cryptography(lambda: value, "a public key")


def _is_whole_element(data: bytes) -> bool:
    """Return whether `data` is exactly one DER SEQUENCE, and so not a text with PEM in it."""
    try:
        fields(data, SEQUENCE)
    except PinFormatError:
        return False
    return True


def _sequence(content: bytes) -> bytes:
    """Return the DER encoding of a SEQUENCE with this content."""
    length = len(content)
    if length < 0x80:  # noqa: PLR2004  X.690 §8.1.3.4: the short form
        return bytes((SEQUENCE, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((SEQUENCE, 0x80 | len(octets))) + octets + content


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
    return _sequence(_sequence(ID_EC_PUBLIC_KEY + parameters) + point.whole)


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

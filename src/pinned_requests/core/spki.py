"""The SubjectPublicKeyInfo (SPKI) bytes of a certificate, unchanged.

Rules for the next maintainer:

- A parser that disagrees with the TLS library would hash a key that the peer does not have. So the reader is strict DER
  (ITU-T X.690 §10): definite and minimal lengths, every bound checked, every tag on the way expected (RFC 5280 §4.1).
  It refuses what it does not understand, and never skips ahead to something that looks like a key.
- Copy the bytes; do not parse and serialize them: `cryptography` re-encodes RSA-PSS keys and EC keys with explicit
  parameters, and cannot load keys of unknown types.
- For any input, return bytes or raise a `PinFormatError`; raise no other error.
- Signatures, dates and extensions are *not* checked: the TLS library does that, before this code runs.
"""

from __future__ import annotations

from pinned_requests.core.der import (
    ANY,
    BIT_STRING,
    INTEGER,
    NOTHING,
    OID,
    SEQUENCE,
    Element,
    bounded,
    fields,
)

VERSION = 0xA0  # [0] EXPLICIT
ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID, EXTENSIONS = 0x81, 0x82, 0xA3  # [1], [2] IMPLICIT BIT STRING, [3] EXPLICIT


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
    return CertificateParts(issuer.whole, subject.whole, checked_spki(spki))


def spki_of_certificate(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of a DER certificate, tag and length included.

    Raises:
        PinFormatError: `der` is not one certificate in strict DER.
    """
    return parts_of_certificate(der).spki


def checked_spki(element: Element) -> bytes:
    """Return the bytes of SubjectPublicKeyInfo ::= SEQUENCE { SEQUENCE { OID, ANY OPTIONAL }, BIT STRING }, checked."""
    algorithm, _key = fields(element.content, SEQUENCE, BIT_STRING)
    fields(algorithm.content, OID, [ANY])
    return element.whole

"""`Details` of a certificate, CSR or key, for people. Pins do not depend on them; what cannot be read is left out."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.der import parts_of_certificate, spki_of_certificate
from pinned_requests.core.pin import FoundKey, Pin
from pinned_requests.core.x509_name import name_as_text

if TYPE_CHECKING:
    from datetime import datetime


class Details(NamedTuple):
    """What a certificate, CSR or key says of itself; None for what it does not have."""

    kind: str  # as of a `FoundKey`
    pin: Pin  # of the key
    certificate_pin: Pin | None
    subject: str | None  # RFC 4514, escaped
    issuer: str | None  # RFC 4514, escaped
    not_before: datetime | None  # UTC
    not_after: datetime | None  # UTC
    key_type: str  # such as `EC secp256r1`

    def lines(self) -> list[str]:
        """Return lines for people, the pin first."""
        lines = [str(self.pin)]
        if self.subject is not None:
            lines.append(f"subject  {self.subject}")
        if self.issuer is not None:
            lines.append(f"issuer   {self.issuer}")
        if self.not_before is not None and self.not_after is not None:
            lines.append(f"valid    {self.not_before:%Y-%m-%d} to {self.not_after:%Y-%m-%d}")
        lines.append(f"key      {self.key_type}")
        if self.certificate_pin is not None:
            lines.append(self.certificate_pin.spelled("fingerprint"))
        return lines

    def document(self) -> dict[str, Any]:
        """Return the fields for JSON; dates as RFC 3339 has them."""
        values = {name: None if value is None else str(value) for name, value in self._asdict().items()}
        for name in ("not_before", "not_after"):
            if moment := getattr(self, name):
                values[name] = moment.isoformat().replace("+00:00", "Z")
        return values


def details_of(found: FoundKey) -> Details:
    """Return the details of what a file held."""
    subject = issuer = not_before = not_after = certificate_pin = None
    if found.kind == "certificate":
        issuer, subject = map(name_as_text, parts_of_certificate(found.der)[:2])
        not_before, not_after = validity(found.der)
        certificate_pin = Pin("cert", hashlib.sha256(found.der).digest())
    elif found.kind == "certification request":
        subject = _subject_of_csr(found.der)
    return Details(
        found.kind, found.pin, certificate_pin, subject, issuer, not_before, not_after, _key_type(found.spki)
    )


def details_of_certificate(der: bytes) -> Details:
    """Return the details of a certificate in DER."""
    return details_of(FoundKey("certificate", der, spki_of_certificate(der)))


def validity(der: bytes) -> tuple[datetime | None, datetime | None]:
    """Return when a certificate's validity starts and ends, in UTC; None twice if that cannot be read."""
    from cryptography import x509  # noqa: PLC0415  heavy

    with suppress(Exception):  # cryptography refuses certificates that OpenSSL accepts
        certificate = x509.load_der_x509_certificate(der)
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return None, None


def _subject_of_csr(der: bytes) -> str | None:
    from cryptography import x509  # noqa: PLC0415  heavy

    with suppress(Exception):  # as above
        return name_as_text(x509.load_der_x509_csr(der).subject.public_bytes())
    return None


def _key_type(spki: bytes) -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  heavy
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    try:
        key = serialization.load_der_public_key(spki)
    except Exception:  # noqa: BLE001  as above
        return "unknown type"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.lstrip("_").removesuffix("PublicKey")

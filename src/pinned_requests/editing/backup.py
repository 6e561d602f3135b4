"""A backup key: made now, kept offline, and served when the key in use must go (RFC 7469 §4.3)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import is_address
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY_TYPES = ("ecdsa-p256", "ecdsa-p384", "rsa-3072")
_MAX_COMMON_NAME = 64  # characters: ub-common-name, RFC 5280 appendix A.1


class BackupKey(NamedTuple):
    """A new key in PEM (PKCS #8, not encrypted), a certification request for it in PEM, and its pin."""

    key_pem: bytes
    csr_pem: bytes
    pin: Pin

    def __repr__(self) -> str:
        return f"<BackupKey {self.pin}>"


def csr_path(key: Path) -> Path:
    """Return the path of the CSR of a key: `.csr` in place of `.key` or `.pem`, or behind any other name."""
    # What follows the dot in `api.example.com` is not a suffix. A key called `.csr` is refused by `check_new()`.
    stem = key.stem if key.suffix.lower() in (".key", ".pem", ".csr") else key.name
    return key.parent / f"{stem}.csr"


def make_backup_key(hosts: Sequence[str], key_type: str = "ecdsa-p256") -> BackupKey:
    """Make a key of one of `KEY_TYPES` for hosts, in canonical form; the first is the common name of the request."""
    from cryptography import x509  # noqa: PLC0415  heavy
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = _generate(key_type)
    names = [x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])] if len(hosts[0]) <= _MAX_COMMON_NAME else []
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host) for host in hosts
    ]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(names))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=not names)  # RFC 5280 §4.2.1.6
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return BackupKey(key_pem, request.public_bytes(serialization.Encoding.PEM), Pin.from_csr(request))


def _generate(key_type: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415  heavy

    if key_type == "rsa-3072":
        return rsa.generate_private_key(public_exponent=65537, key_size=3072)
    if key_type not in KEY_TYPES:
        raise PolicyError(f"{show(key_type)} is not a type of key; choose one of {', '.join(KEY_TYPES)}")
    return ec.generate_private_key(ec.SECP256R1() if key_type == "ecdsa-p256" else ec.SECP384R1())

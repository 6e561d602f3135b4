"""A backup key: made now, kept offline, and served when the key in use must go (RFC 7469 §4.3)."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import is_address
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import show
from pinned_requests.editing.files import SECRET, NewFile
from pinned_requests.editing.policy_file import note_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_KEY_TYPES = ("ecdsa-p256", "ecdsa-p384", "rsa-3072")
_MAX_COMMON_NAME = 64  # characters: ub-common-name, RFC 5280 appendix A.1


class BackupKey(NamedTuple):
    """A new backup key: its pin, with a note, and its files in PEM: the key (PKCS #8, not encrypted) and its CSR."""

    pin: Pin
    path: Path
    csr: Path
    files: list[NewFile]

    def document(self) -> dict[str, str]:
        """Return the JSON."""
        return {"backup_key": str(self.path), "backup_csr": str(self.csr), "backup_pin": str(self.pin)}


def key_path(host: str, now: datetime) -> Path:
    """Return where a new key goes by default."""
    return Path(f"{host.replace(':', '-')}-{now:%Y%m%d}.key")


def csr_path(key: Path) -> Path:
    """Return the path of the CSR of a key: `.csr` in place of `.key` or `.pem`, or behind any other name."""
    # What follows the dot in `api.example.com` is not a suffix. A key called `.csr` is refused by `check_new()`.
    stem = key.stem if key.suffix.lower() in (".key", ".pem", ".csr") else key.name
    return key.parent / f"{stem}.csr"


def make_backup_key(hosts: Iterable[str], key_type: str, path: Path, now: datetime) -> BackupKey:
    """Make a key for hosts, in canonical form; the first is the common name of the request. Nothing is written.

    `key_type` is `ecdsa-p256`, `ecdsa-p384` or `rsa-3072`.
    """
    from cryptography import x509  # noqa: PLC0415  heavy
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key, csr = _generate(key_type), csr_path(path)
    hosts = list(dict.fromkeys(hosts))
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
    files = [NewFile(path, key_pem, SECRET), NewFile(csr, request.public_bytes(serialization.Encoding.PEM))]
    return BackupKey(Pin.from_csr(request).with_note(note_of("backup", path.name, "made", now)), path, csr, files)


def _generate(key_type: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415  heavy

    if key_type == "rsa-3072":
        return rsa.generate_private_key(public_exponent=65537, key_size=3072)
    if key_type not in _KEY_TYPES:
        raise PolicyError(f"{show(key_type)} is not a type of key; choose one of {', '.join(_KEY_TYPES)}")
    return ec.generate_private_key(ec.SECP256R1() if key_type == "ecdsa-p256" else ec.SECP384R1())

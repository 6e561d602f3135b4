"""The keys and certificates of one host in the lab: its own, and those of its attackers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from pinned_requests.core.pin import Pin
from pinned_requests.testing.pki.authority import Authority
from pinned_requests.testing.pki.certificate_builder import generate_key
from pinned_requests.testing.pki.published_rsa import published_rsa_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing.pki.authority import Credential
    from pinned_requests.testing.pki.certificate_builder import PrivateKey

__all__ = ["Credentials", "HostIdentity", "LabAuthorities", "of_both_kinds"]

Credentials = tuple["Credential", ...]
"""What a server presents: a credential for each kind of key, ECDSA first."""


def of_both_kinds(issue: Callable[[PrivateKey], Credential]) -> Credentials:
    """Return what is issued for a new ECDSA key and for a new RSA key: clients exist that take one of them alone."""
    return issue(generate_key()), issue(published_rsa_key())


@dataclass(frozen=True)
class LabAuthorities:
    """The authorities of one lab, below one root, and the keys that its clients are to have blocked."""

    root: Authority
    honest: Authority
    """Where hosts have their certificates from."""
    careless: Authority
    """One that certifies anybody."""
    leaked: Authority
    """One below `honest` whose key was stolen."""
    revoked_keys: tuple[PrivateKey, ...]
    """Of servers: an ECDSA key and an RSA key."""

    @classmethod
    def create(cls) -> LabAuthorities:
        """Make those of a new lab."""
        root = Authority.create("Lab Root CA")
        honest = root.intermediate("Lab Honest CA")
        leaked = honest.intermediate("Lab Leaked CA")
        keys = generate_key(), published_rsa_key()
        return cls(root, honest, root.intermediate("Lab Careless CA"), leaked, keys)


class HostIdentity:
    """Who a host is, for the life of a lab.

    Args:
        host: a DNS name or an IP address, as it stands in a certificate.
        authorities: of the lab.
    """

    def __init__(self, host: str, authorities: LabAuthorities) -> None:
        self.host = host
        self.authorities = authorities

    @property
    def anchor(self) -> bytes:
        """The certificate (DER) of the root that clients are made to trust."""
        return self.authorities.root.certificate.public_bytes(Encoding.DER)

    @cached_property
    def credentials(self) -> Credentials:
        """The host's keys in use, and their certificates."""
        return of_both_kinds(lambda key: self.authorities.honest.issue(self.host, key=key))

    @cached_property
    def backups(self) -> Credentials:
        """Its backup keys, with certificates that are ready for the day they are needed."""
        return of_both_kinds(lambda key: self.authorities.honest.issue(self.host, key=key))

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The pins of the keys in use."""
        return tuple(Pin.from_certificate(each.certificate) for each in self.credentials)

    @property
    def backup_pins(self) -> tuple[Pin, ...]:
        """The pins of the backup keys."""
        return tuple(Pin.from_certificate(each.certificate) for each in self.backups)

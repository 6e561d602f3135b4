"""The keys and certificates of one host in the lab: its own, and those of its attackers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from pinned_requests.core.pin import Pin
from pinned_requests.testing.pki.certificate_builder import generate_key

if TYPE_CHECKING:
    from pinned_requests.testing.pki.authority import Authority, Credential
    from pinned_requests.testing.pki.certificate_builder import PrivateKey

__all__ = ["HostIdentity"]


class HostIdentity:
    """Who a host is, for the life of a lab.

    Args:
        host: a DNS name or an IP address, as it stands in a certificate.
        honest: the authority that the host has its certificates from.
        careless: an authority that certifies anybody, under the same trusted root.
        revoked_key: a key that clients are to have blocked.
    """

    def __init__(self, host: str, honest: Authority, careless: Authority, revoked_key: PrivateKey) -> None:
        self.host = host
        self.honest = honest
        self.careless = careless
        self.revoked_key = revoked_key

    @property
    def anchor(self) -> bytes:
        """The certificate (DER) of the root that clients are made to trust."""
        return self.honest.chain[-1].public_bytes(Encoding.DER)

    @cached_property
    def credential(self) -> Credential:
        """The host's key in use and its certificate."""
        return self.honest.issue(self.host)

    @cached_property
    def backup(self) -> Credential:
        """Its backup key, with a certificate that is ready for the day it is needed."""
        return self.honest.issue(self.host)

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The pin of the key in use."""
        return (Pin.from_certificate(self.credential.certificate),)

    @property
    def backup_pins(self) -> tuple[Pin, ...]:
        """The pin of the backup key."""
        return (Pin.from_certificate(self.backup.certificate),)

    def impostor(self, key: PrivateKey | None = None) -> Credential:
        """Return a valid certificate for the host, from a trusted CA, for a key that is not the host's."""
        return self.careless.issue(self.host, key=key or generate_key())

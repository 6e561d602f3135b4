"""The keys and certificates of one host in the lab: its own, and those of its attackers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pinned_requests.testing.pki.authority import Authority
from pinned_requests.testing.pki.certificate_builder import generate_key, published_rsa_key

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from pinned_requests.testing.pki.authority import Credential
    from pinned_requests.testing.pki.certificate_builder import PrivateKey

Credentials = tuple["Credential", ...]
"""What a server presents: a credential for each kind of key, ECDSA first."""


def of_both_kinds(issue: Callable[[PrivateKey], Credential]) -> Credentials:
    """Return what is issued for a new ECDSA key and a new RSA key: some clients take only one of them."""
    return issue(generate_key()), issue(published_rsa_key())


def context_of(credentials: Credentials, *, num_tickets: int = 0) -> ssl.SSLContext:
    """Return a server's context that presents all of the credentials."""
    first, *others = credentials
    return first.server_context(beside=others, num_tickets=num_tickets)


class LabAuthorities:
    """The authorities of one lab, and the keys that its clients are to block.

    Attributes:
        root: the one that clients are made to trust.
        honest: issues the hosts' certificates.
        careless: certifies anybody.
        leaked: stands below `honest`; its key was stolen.
        revoked_keys: of servers: an ECDSA key and an RSA key.
    """

    def __init__(self) -> None:
        self.root = Authority.create("Lab Root CA")
        self.honest = self.root.intermediate("Lab Honest CA")
        self.careless = self.root.intermediate("Lab Careless CA")
        self.leaked = self.honest.intermediate("Lab Leaked CA")
        self.revoked_keys: tuple[PrivateKey, ...] = (generate_key(), published_rsa_key())


class HostIdentity:
    """A host's keys and certificates, for the life of a lab."""

    def __init__(self, host: str, authorities: LabAuthorities) -> None:
        self.host = host
        self.authorities = authorities

    @cached_property
    def credentials(self) -> Credentials:
        """The host's keys in use, and their certificates."""
        return self.issue()

    @cached_property
    def backups(self) -> Credentials:
        """Its backup keys, and their certificates."""
        return self.issue()

    def issue(self) -> Credentials:
        """Return new keys, with certificates from the host's own CA."""
        return of_both_kinds(lambda key: self.authorities.honest.issue(self.host, key=key))

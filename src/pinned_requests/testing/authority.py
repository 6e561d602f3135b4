"""Authorities of the lab, genuine and forged.

Rules for whoever changes this module, `credential` or `certificate`:

- Everything is made in memory with `cryptography`; nothing is kept on disk.
- Values are frozen: a renewal, a rotation or another set of served certificates is another value.
- Elliptic-curve keys by default: a root, an intermediate and a leaf take a few milliseconds; one RSA key takes more.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization

from pinned_requests.testing.certificate import (
    AUTHORITY_LIFETIME,
    Certified,
    PrivateKey,
    as_ca,
    authority_identifier,
    builder_for,
    generate_key,
    identifier_of,
    key_identifier,
    leaf_builder,
    name_of,
    sign,
    with_validity,
)
from pinned_requests.testing.credential import Credential

if TYPE_CHECKING:
    import datetime as dt
    import ipaddress

    from cryptography import x509

__all__ = ["Authority"]

_MAX_COMMON_NAME = 64  # characters: ub-common-name, RFC 5280 appendix A.1


@dataclass(frozen=True, eq=False)
class Authority(Certified):
    """A certification authority: a root, an intermediate, or a forgery of either.

    Make one with `create`, `intermediate`, `forge` or `from_credential`. `chain` begins with the authority's own
    certificate and ends with its root. Nothing here checks that the authority is *entitled* to sign: with
    `from_credential` a server's certificate signs, too, which is what an attacker would try.
    """

    @classmethod
    def create(cls, name: str = "Lab Root CA", *, key: PrivateKey | None = None) -> Authority:
        """Make a self-signed root, valid for ten years.

        Args:
            name: its common name, 1 to 64 characters.
            key: its key; a new ECDSA key by default.

        Raises:
            ValueError: *name* is empty or too long.
        """
        return cls._self_signed(name_of(name), key or generate_key())

    @classmethod
    def forge(cls, like: Authority, *, key: PrivateKey | None = None) -> Authority:
        """Make a self-signed impostor of another authority: its name and key identifier, but another key.

        What the impostor issues names the genuine authority as its issuer, and its AuthorityKeyIdentifier is the
        genuine one. A peer that links certificates without checking signatures (``CERT_NONE``) takes the genuine
        certificate for the issuer where it is served: ``impostor.issue(host)``, then
        ``.with_served(leaf, *genuine.chain)``.

        Args:
            like: the authority to impersonate.
            key: the impostor's key; a new ECDSA key by default.
        """
        return cls._self_signed(like.certificate.subject, key or generate_key(), key_identifier(like.certificate))

    @classmethod
    def from_credential(cls, credential: Credential) -> Authority:
        """Let a credential sign, whether or not its certificate says that it may.

        Args:
            credential: for example a server's, with ``CA:FALSE``. What it issues must be refused by a peer that
                verifies.
        """
        return cls(credential.key, credential.chain)

    @classmethod
    def _self_signed(
        cls, subject: x509.Name, key: PrivateKey, identifier: x509.SubjectKeyIdentifier | None = None
    ) -> Authority:
        builder = builder_for(subject, key, identifier or identifier_of(key)).issuer_name(subject)
        builder = as_ca(with_validity(builder, lifetime=AUTHORITY_LIFETIME), None)
        return cls(key, (sign(builder, key),))

    def intermediate(
        self, name: str = "Lab Intermediate CA", *, key: PrivateKey | None = None, path_length: int | None = None
    ) -> Authority:
        """Make an authority that this one vouches for, valid for ten years.

        Args:
            name: its common name, 1 to 64 characters.
            key: its key; a new ECDSA key by default.
            path_length: how many further authorities may stand below it (RFC 5280 §4.2.1.9); None: any number.

        Raises:
            ValueError: *name* is empty or too long, or *path_length* is negative.
        """
        key = key or generate_key()
        certificate = self._certify_authority(name_of(name), key, identifier_of(key), path_length)
        return Authority(key, (certificate, *self.chain))

    def cross_sign(self, other: Authority) -> x509.Certificate:
        """Certify another authority's name and key.

        A path over the result has the same subject public keys as one over the other's own certificate, but other
        certificates.

        Args:
            other: the authority to vouch for; it does not change.

        Returns:
            The certificate; serve it behind the other's with `Credential.with_served`.
        """
        certificate = other.certificate
        return self._certify_authority(certificate.subject, other.key, key_identifier(certificate), None)

    def issue(  # noqa: PLR0913 - one keyword for each field of a certificate that a test may want to spoil
        self,
        *hosts: str | ipaddress.IPv4Address | ipaddress.IPv6Address,
        key: PrivateKey | None = None,
        common_name: str | None = None,
        subject: x509.Name | None = None,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
        ca: bool = False,
    ) -> Credential:
        """Issue a certificate for servers, that works for client authentication as well.

        Args:
            hosts: DNS names (as they stand in a certificate: ``*.example.com``, A-labels) and IP addresses for the
                SubjectAltName. It is left out where there are none.
            key: the server's key; a new ECDSA key by default.
            common_name: the subject's common name; by default the first host.
            subject: the whole subject, in place of *common_name*.
            not_before: begin of validity, aware; by default a day ago, or a day before an earlier *not_after*.
            not_after: end of validity, aware; by default 90 days from now or from a later *not_before*.
            ca: whether the certificate may itself sign certificates.

        Raises:
            ValueError: a host is not ASCII, a name is too long, or the dates are naive or in the wrong order.
        """
        key = key or generate_key()
        if subject is None:
            fits = bool(hosts) and len(str(hosts[0])) <= _MAX_COMMON_NAME
            default = str(hosts[0]) if fits else "Lab Server"
            subject = name_of(default if common_name is None else common_name)
        builder = leaf_builder(subject, key, hosts, ca=ca)
        builder = builder.add_extension(authority_identifier(self.certificate), critical=False)
        builder = with_validity(builder.issuer_name(self.certificate.subject), not_before, not_after)
        return Credential.of(key, sign(builder, self.key), self)

    def client_context(self) -> ssl.SSLContext:
        """Make a client's default TLS context that trusts this authority's root and nothing else.

        Returns:
            A context that checks host names, with Python's default flags.
        """
        root = self.chain[-1].public_bytes(serialization.Encoding.DER)
        return ssl.create_default_context(cadata=root)

    def _certify_authority(
        self, subject: x509.Name, key: PrivateKey, identifier: x509.SubjectKeyIdentifier, path_length: int | None
    ) -> x509.Certificate:
        builder = builder_for(subject, key, identifier).issuer_name(self.certificate.subject)
        builder = builder.add_extension(authority_identifier(self.certificate), critical=False)
        return sign(as_ca(with_validity(builder, lifetime=AUTHORITY_LIFETIME), path_length), self.key)

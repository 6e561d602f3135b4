"""Authorities of the lab, genuine and forged, and the credentials that they issue.

Everything is made in memory, with ECDSA keys by default: a root, an intermediate and a leaf take a few milliseconds; an
RSA key takes more.
"""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization

from pinned_requests.testing.pki.certificate_builder import (
    Certified,
    PrivateKey,
    bare_certificate,
    ca_certificate,
    generate_key,
    key_identifier,
    name_of,
    server_certificate,
    sign,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from cryptography import x509

    from pinned_requests.testing.pki.certificate_builder import Host

_MAX_COMMON_NAME = 64  # characters: ub-common-name, RFC 5280 appendix A.1


@dataclass(frozen=True, eq=False)
class Authority(Certified):
    """A certification authority: a root, an intermediate, or a forgery of either.

    Make one with `create`, `intermediate`, `forge` or `from_credential`. `chain` begins with its own certificate and
    ends with its root. Whether it is *entitled* to sign is not checked.
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
        key = key or generate_key()
        return cls(key, (ca_certificate(name_of(name), key),))

    @classmethod
    def forge(cls, like: Authority, *, key: PrivateKey | None = None) -> Authority:
        """Make a self-signed impostor of another authority: its name and key identifier, but another key.

        Its certificates name the genuine authority as their issuer, and have its AuthorityKeyIdentifier. A peer that
        checks no signatures (``CERT_NONE``) takes the genuine certificate for the issuer if it is served:
        ``impostor.issue(host)``, then ``.with_served(leaf, *genuine.chain)``.

        Args:
            like: the authority to impersonate.
            key: the impostor's key; a new ECDSA key by default.
        """
        key = key or generate_key()
        genuine = like.certificate
        return cls(key, (ca_certificate(genuine.subject, key, identifier=key_identifier(genuine)),))

    @classmethod
    def from_credential(cls, credential: Credential) -> Authority:
        """Let a credential sign, whether or not its certificate says that it may, as an attacker would try.

        Args:
            credential: for example a server's, with ``CA:FALSE``. A peer that verifies must refuse what it signs.
        """
        return cls(credential.key, credential.chain)

    def intermediate(
        self, name: str = "Lab Intermediate CA", *, key: PrivateKey | None = None, path_length: int | None = None
    ) -> Authority:
        """Make an authority that this one certifies, valid for ten years.

        Args:
            name: its common name, 1 to 64 characters.
            key: its key; a new ECDSA key by default.
            path_length: how many authorities may stand below it (RFC 5280 §4.2.1.9); None: any number.

        Raises:
            ValueError: *name* is empty or too long, or *path_length* is negative.
        """
        key = key or generate_key()
        certificate = ca_certificate(name_of(name), key, self, path_length=path_length)
        return Authority(key, (certificate, *self.chain))

    def cross_sign(self, other: Authority) -> x509.Certificate:
        """Certify another authority's name and key: a second path with the same public keys, and other certificates.

        Args:
            other: the authority to certify; it does not change.

        Returns:
            The certificate; serve it behind the other's with `Credential.with_served`.
        """
        certificate = other.certificate
        return ca_certificate(certificate.subject, other.key, self, key_identifier(certificate))

    def issue(  # noqa: PLR0913 - one keyword for each field of a certificate that a test may want to spoil
        self,
        *hosts: Host,
        key: PrivateKey | None = None,
        common_name: str | None = None,
        subject: x509.Name | None = None,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
        ca: bool = False,
    ) -> Credential:
        """Issue a server certificate, which also works for client authentication.

        Args:
            hosts: DNS names (as in a certificate: ``*.example.com``, A-labels) and IP addresses for the SubjectAltName,
                which is left out if there are none.
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
        certificate = server_certificate(subject, key, hosts, self, not_before=not_before, not_after=not_after, ca=ca)
        return Credential.of(key, certificate, self)

    def client_context(self) -> ssl.SSLContext:
        """Make Python's default TLS context for a client, which trusts this authority's root and nothing else."""
        return ssl.create_default_context(cadata=self.chain[-1].public_bytes(serialization.Encoding.DER))


@dataclass(frozen=True, eq=False)
class Credential(Certified):
    """A server's key, its certificate, and the certificates that it sends.

    Make one with `Authority.issue` or `self_signed`.
    """

    served: tuple[x509.Certificate, ...]
    """What the server sends: its own certificate, then the intermediates; by default not the root."""
    issuer: Authority | None = field(repr=False)
    """The authority that signed `certificate`; None if it is self-signed."""

    @classmethod
    def of(cls, key: PrivateKey, certificate: x509.Certificate, issuer: Authority | None) -> Credential:
        """Make a credential that serves its whole chain except the root.

        Args:
            key: the private key.
            certificate: a certificate of that key.
            issuer: the authority that signed it; None if it is self-signed.
        """
        issuers = issuer.chain if issuer else ()
        intermediates = tuple(link for link in issuers if link.issuer != link.subject)
        return cls(key, (certificate, *issuers), (certificate, *intermediates), issuer)

    @classmethod
    def self_signed(
        cls,
        *hosts: Host,
        key: PrivateKey | None = None,
        common_name: str = "Lab Appliance",
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> Credential:
        """Make a self-signed server certificate, as appliances on local networks have.

        Arguments and errors are those of `Authority.issue`.
        """
        key = key or generate_key()
        certificate = server_certificate(
            name_of(common_name), key, hosts, None, not_before=not_before, not_after=not_after
        )
        return cls.of(key, certificate, None)

    @property
    def served_pem(self) -> bytes:
        """The certificates that the server sends, as PEM: what nginx calls ``ssl_certificate``."""
        return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in self.served)

    def with_served(self, *certificates: x509.Certificate) -> Credential:
        """Return a copy that sends other certificates: ``attacker.with_served(attacker.certificate, *victim.chain)``.

        Args:
            certificates: the first must be of this credential's key; the others are not checked.

        Raises:
            ValueError: there is no certificate, or the first is of another key.
        """
        if not certificates or certificates[0].public_key() != self.key.public_key():
            raise ValueError(
                "the first certificate that a server sends must be of its own key, or no handshake can succeed"
            )
        return replace(self, served=certificates)

    def renew(self, *, not_before: dt.datetime | None = None, not_after: dt.datetime | None = None) -> Credential:
        """Return a new certificate with the same key, subject and extensions, from the same issuer.

        It is served in the place of the old one.

        Args:
            not_before: begin of validity, aware; the defaults are those of `Authority.issue`.
            not_after: end of validity, aware.

        Raises:
            ValueError: the dates are naive or in the wrong order.
        """
        old = self.certificate
        builder = bare_certificate(old.subject, old.issuer, self.key)
        for extension in old.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        new = sign(builder, self.issuer.key if self.issuer else self.key, not_before, not_after)
        served = tuple(new if certificate == old else certificate for certificate in self.served)
        return replace(self, chain=(new, *self.chain[1:]), served=served)

    def server_context(
        self,
        *,
        minimum_version: ssl.TLSVersion | None = None,
        maximum_version: ssl.TLSVersion | None = None,
        num_tickets: int = 0,
        beside: Iterable[Credential] = (),
    ) -> ssl.SSLContext:
        """Make a new TLS context of a server that presents `served`, and offers HTTP/1.1 by ALPN.

        Args:
            minimum_version: the lowest TLS version it speaks; None: Python's default.
            maximum_version: the highest; None: Python's default.
            num_tickets: how many TLS 1.3 session tickets it sends after a handshake. By default none: a client that
                closes with unread tickets resets the connection, and bytes it has sent might not be counted.
            beside: credentials for keys of other kinds, for clients that do not take this one: RSA beside ECDSA.

        Raises:
            ssl.SSLError: OpenSSL does not accept the certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for credential in (self, *beside):
            # `load_cert_chain` only reads files, and Windows opens no file twice.
            with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
                file.write(credential.key_pem + credential.served_pem)
            try:
                context.load_cert_chain(file.name)
            finally:
                Path(file.name).unlink()
        context.set_alpn_protocols(["http/1.1"])
        context.num_tickets = num_tickets
        if minimum_version is not None:
            context.minimum_version = minimum_version
        if maximum_version is not None:
            context.maximum_version = maximum_version
        return context

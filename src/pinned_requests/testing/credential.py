"""A server's key and certificates, and the TLS context that presents them."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pinned_requests.testing.certificate import (
    Certified,
    PrivateKey,
    generate_key,
    leaf_builder,
    name_of,
    sign,
    with_validity,
)

if TYPE_CHECKING:
    import datetime as dt
    import ipaddress

    from pinned_requests.testing.authority import Authority

__all__ = ["Credential"]


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
        """Put together a key, its certificate and the authority that issued it.

        Args:
            key: the private key.
            certificate: a certificate of that key.
            issuer: who signed it; None if it is self-signed.

        Returns:
            A credential that serves the whole chain but its root.
        """
        issuers = issuer.chain if issuer else ()
        intermediates = tuple(link for link in issuers if link.issuer != link.subject)
        return cls(key, (certificate, *issuers), (certificate, *intermediates), issuer)

    @classmethod
    def self_signed(
        cls,
        *hosts: str | ipaddress.IPv4Address | ipaddress.IPv6Address,
        key: PrivateKey | None = None,
        common_name: str = "Lab Appliance",
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> Credential:
        """Make a server certificate that only vouches for itself, as appliances on local networks have.

        The arguments are those of `Authority.issue`.

        Raises:
            ValueError: as `Authority.issue` does.
        """
        key = key or generate_key()
        subject = name_of(common_name)
        builder = with_validity(leaf_builder(subject, key, hosts, ca=False).issuer_name(subject), not_before, not_after)
        return cls.of(key, sign(builder, key), None)

    @property
    def served_pem(self) -> bytes:
        """The certificates that the server sends, as PEM: what nginx calls ``ssl_certificate``."""
        return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in self.served)

    def with_served(self, *certificates: x509.Certificate) -> Credential:
        """Return a copy that sends other certificates, in this order.

        An attacker stuffs the chain with what it does not own:
        ``attacker.with_served(attacker.certificate, *victim.chain)``.

        Args:
            certificates: the first must be of this credential's key; nothing is demanded of the others.

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

        Args:
            not_before: begin of validity, aware; the defaults are those of `Authority.issue`.
            not_after: end of validity, aware.

        Returns:
            A credential that sends the new certificate wherever this one sends the old.

        Raises:
            ValueError: the dates are naive or in the wrong order.
        """
        old = self.certificate
        builder = (
            x509.CertificateBuilder()
            .subject_name(old.subject)
            .issuer_name(old.issuer)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
        )
        for extension in old.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        new = sign(with_validity(builder, not_before, not_after), self.issuer.key if self.issuer else self.key)
        served = tuple(new if certificate == old else certificate for certificate in self.served)
        return replace(self, chain=(new, *self.chain[1:]), served=served)

    def server_context(
        self,
        *,
        minimum_version: ssl.TLSVersion | None = None,
        maximum_version: ssl.TLSVersion | None = None,
        num_tickets: int = 0,
    ) -> ssl.SSLContext:
        """Make a server's TLS context that presents `served`.

        Args:
            minimum_version: the lowest TLS version it speaks; None: Python's default.
            maximum_version: the highest; None: Python's default.
            num_tickets: how many TLS 1.3 session tickets it sends after a handshake. None are by default: a client that
                closes with unread tickets resets the connection, and bytes it has sent might be lost to the count.

        Returns:
            A context of its own for each call. It offers HTTP/1.1 by ALPN.

        Raises:
            ssl.SSLError: OpenSSL does not accept the certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # `load_cert_chain` only reads files. The file is closed first because Windows opens no file twice.
        with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
            file.write(self.key_pem + self.served_pem)
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

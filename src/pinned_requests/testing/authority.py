"""Certificates for the lab: authorities, the credentials they issue, and forgeries of both.

Rules for whoever changes this module:

- Everything is made in memory with `cryptography`; nothing is kept on disk.
- What is made here passes ``VERIFY_X509_STRICT``, which Python 3.13 turns on by default (RFC 5280 §4.2: critical
  BasicConstraints, KeyUsage, key identifiers). A certificate that is wrong is wrong in the one way a test asked for.
- Values are frozen: a renewal, a rotation or another set of served certificates is another value.
- Elliptic-curve keys by default: a root, an intermediate and a leaf take a few milliseconds; one RSA key takes more.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Authority", "Credential", "PrivateKey", "generate_key"]

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
KeyKind = Literal["ecdsa-p256", "rsa-2048", "ed25519"]

_DAY = dt.timedelta(days=1)
_LEAF_LIFETIME = 90 * _DAY
_AUTHORITY_LIFETIME = 3650 * _DAY
_MAX_COMMON_NAME = 64  # characters: ub-common-name, RFC 5280 appendix A.1


def generate_key(kind: KeyKind = "ecdsa-p256") -> PrivateKey:
    """Make a new private key.

    Args:
        kind: ``"ecdsa-p256"`` (the fastest), ``"rsa-2048"`` or ``"ed25519"``.

    Returns:
        The key, as a `cryptography` object.

    Raises:
        ValueError: *kind* is none of these.
    """
    if kind == "ecdsa-p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "rsa-2048":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    raise ValueError(f"unknown kind of key {kind!r}: use 'ecdsa-p256', 'rsa-2048' or 'ed25519'")


@dataclass(frozen=True, eq=False)
class _Certified:
    """A private key and the certificates that lead from its own to a root."""

    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    """This certificate, then its issuers one by one, the root last."""

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of `key`."""
        return self.chain[0]

    @property
    def certificate_der(self) -> bytes:
        """The certificate as DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@dataclass(frozen=True, eq=False)
class Authority(_Certified):
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
        return cls._self_signed(_name(name), key or generate_key())

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
        return cls._self_signed(like.certificate.subject, key or generate_key(), _key_identifier(like.certificate))

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
        builder = _builder(subject, key, identifier or _identifier_of(key)).issuer_name(subject)
        builder = _as_ca(_valid(builder, lifetime=_AUTHORITY_LIFETIME), None)
        return cls(key, (_sign(builder, key),))

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
        certificate = self._certify_authority(_name(name), key, _identifier_of(key), path_length)
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
        return self._certify_authority(certificate.subject, other.key, _key_identifier(certificate), None)

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
            subject = _name(default if common_name is None else common_name)
        builder = _leaf(subject, key, hosts, ca=ca)
        builder = builder.add_extension(_authority_identifier(self.certificate), critical=False)
        builder = _valid(builder.issuer_name(self.certificate.subject), not_before, not_after)
        return Credential.of(key, _sign(builder, self.key), self)

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
        builder = _builder(subject, key, identifier).issuer_name(self.certificate.subject)
        builder = builder.add_extension(_authority_identifier(self.certificate), critical=False)
        return _sign(_as_ca(_valid(builder, lifetime=_AUTHORITY_LIFETIME), path_length), self.key)


@dataclass(frozen=True, eq=False)
class Credential(_Certified):
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
        subject = _name(common_name)
        builder = _valid(_leaf(subject, key, hosts, ca=False).issuer_name(subject), not_before, not_after)
        return cls.of(key, _sign(builder, key), None)

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
        new = _sign(_valid(builder, not_before, not_after), self.issuer.key if self.issuer else self.key)
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


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _identifier_of(key: PrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def _authority_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    # From the issuer's certificate, not from its key: `Authority.forge` copies the identifier of another key.
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_key_identifier(issuer))


def _builder(subject: x509.Name, key: PrivateKey, identifier: x509.SubjectKeyIdentifier) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(identifier, critical=False)
    )


def _leaf(
    subject: x509.Name,
    key: PrivateKey,
    hosts: Iterable[str | ipaddress.IPv4Address | ipaddress.IPv6Address],
    *,
    ca: bool,
) -> x509.CertificateBuilder:
    builder = _builder(subject, key, _identifier_of(key))
    names = [_general_name(host) for host in hosts]
    if names:
        # Without a subject the SubjectAltName must be critical: RFC 5280 §4.2.1.6.
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(usage, critical=False)
    if ca:
        return _as_ca(builder, None)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.add_extension(_key_usage(encipher=isinstance(key, rsa.RSAPrivateKey)), critical=True)


def _general_name(host: str | ipaddress.IPv4Address | ipaddress.IPv6Address) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(str(host))


def _as_ca(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    return builder.add_extension(_key_usage(sign_certificates=True), critical=True)


def _key_usage(*, encipher: bool = False, sign_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _valid(
    builder: x509.CertificateBuilder,
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
    lifetime: dt.timedelta = _LEAF_LIFETIME,
) -> x509.CertificateBuilder:
    for moment in (not_before, not_after):
        if moment is not None and moment.tzinfo is None:
            raise ValueError(
                f"a naive date {moment.isoformat()!r}: say which zone it is in, as with tzinfo=datetime.timezone.utc"
            )
    now = dt.datetime.now(dt.timezone.utc)
    begin = not_before or min(now, not_after or now) - _DAY
    end = not_after or max(now, begin) + lifetime
    return builder.not_valid_before(begin).not_valid_after(end)


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    # Ed25519 hashes by itself: RFC 8032.
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())

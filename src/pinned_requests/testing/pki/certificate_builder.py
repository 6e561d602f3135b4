"""How certificates of the lab are put together with `cryptography`, and the keys that they are for.

What is made here passes ``VERIFY_X509_STRICT``, which Python 3.13 turns on by default (RFC 5280 §4.2: critical
BasicConstraints, KeyUsage, key identifiers). A certificate that is wrong is wrong in the one way a test asked for.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pinned_requests.testing import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
KeyKind = Literal["ecdsa-p256", "rsa-2048", "ed25519"]

_DAY = dt.timedelta(days=1)
_LEAF_LIFETIME = 90 * _DAY
AUTHORITY_LIFETIME = 3650 * _DAY


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
class Certified:
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


def name_of(common_name: str) -> x509.Name:
    """Return the name that consists of a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def identifier_of(key: PrivateKey) -> x509.SubjectKeyIdentifier:
    """Return the key identifier that is computed from a key."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """Return the key identifier that stands in a certificate."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def authority_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return what names an issuer by the key identifier in its certificate."""
    # From the issuer's certificate, not from its key: `Authority.forge` copies the identifier of another key.
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_identifier(issuer))


def builder_for(subject: x509.Name, key: PrivateKey, identifier: x509.SubjectKeyIdentifier) -> x509.CertificateBuilder:
    """Return what all certificates begin with."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(identifier, critical=False)
    )


def leaf_builder(
    subject: x509.Name,
    key: PrivateKey,
    hosts: Iterable[str | ipaddress.IPv4Address | ipaddress.IPv6Address],
    *,
    ca: bool,
) -> x509.CertificateBuilder:
    """Return a server's certificate, but for its issuer and validity."""
    builder = builder_for(subject, key, identifier_of(key))
    names = [_general_name(host) for host in hosts]
    if names:
        # Without a subject the SubjectAltName must be critical: RFC 5280 §4.2.1.6.
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(usage, critical=False)
    if ca:
        return as_ca(builder, None)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.add_extension(_key_usage(encipher=isinstance(key, rsa.RSAPrivateKey)), critical=True)


def _general_name(host: str | ipaddress.IPv4Address | ipaddress.IPv6Address) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(str(host))


def as_ca(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    """Add what makes a certificate one of an authority."""
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


def with_validity(
    builder: x509.CertificateBuilder,
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
    lifetime: dt.timedelta = _LEAF_LIFETIME,
) -> x509.CertificateBuilder:
    """Set the validity, as `Authority.issue` describes it."""
    for moment in (not_before, not_after):
        if moment is not None and moment.tzinfo is None:
            raise ValueError(
                f"a naive date {moment.isoformat()!r}: say which zone it is in, as with tzinfo=datetime.timezone.utc"
            )
    now = clock.now()  # OpenSSL's: a frozen `datetime` would make certificates that are not valid
    begin = not_before or min(now, not_after or now) - _DAY
    end = not_after or max(now, begin) + lifetime
    return builder.not_valid_before(begin).not_valid_after(end)


def sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    """Sign a certificate with its issuer's key."""
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()  # Ed25519 hashes by itself
    with clock.genuine_datetime():
        return builder.sign(key, algorithm)

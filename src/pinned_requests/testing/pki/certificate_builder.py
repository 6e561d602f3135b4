"""How certificates of the lab are made with `cryptography`, and the keys that they are for.

They pass ``VERIFY_X509_STRICT``, which Python 3.13 turns on by default (RFC 5280 §4.2: critical BasicConstraints,
KeyUsage, key identifiers): a certificate that is wrong is wrong in the one way that a test asked for.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import secrets
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
Host = str | ipaddress.IPv4Address | ipaddress.IPv6Address
KeyKind = Literal["ecdsa-p256", "rsa-2048", "ed25519"]

_DAY = dt.timedelta(days=1)
_LEAF_LIFETIME = 90 * _DAY
_AUTHORITY_LIFETIME = 3650 * _DAY

# Two primes, far enough from each other for clients that look for weak moduli.
_P, _Q = 3 * 2**1022 + 1037, 2**1024 - 105
_LOWEST = 65537  # FIPS 186-5 §5.4
_BITS = 30  # an exponent of 32 bits and more is refused by some TLS libraries, Go's for one


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


def published_rsa_key() -> rsa.RSAPrivateKey:
    """Make an RSA key of 2048 bits that protects nothing, in a millisecond: a genuine one takes 50 ms and more.

    These keys share one modulus; their public exponents differ, and so do their pins.
    """
    totient = (_P - 1) * (_Q - 1)
    exponent = _LOWEST
    while math.gcd(exponent, totient) != 1 or exponent == _LOWEST:
        exponent = _LOWEST + 2 * secrets.randbits(_BITS - 1)
    private = pow(exponent, -1, totient)
    return rsa.RSAPrivateNumbers(
        p=_P,
        q=_Q,
        d=private,
        dmp1=rsa.rsa_crt_dmp1(private, _P),
        dmq1=rsa.rsa_crt_dmq1(private, _Q),
        iqmp=rsa.rsa_crt_iqmp(_P, _Q),
        public_numbers=rsa.RSAPublicNumbers(exponent, _P * _Q),
    ).private_key(unsafe_skip_rsa_key_validation=True)


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
    """Return a name that is a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """Return the key identifier in a certificate."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def ca_certificate(
    subject: x509.Name,
    key: PrivateKey,
    issuer: Certified | None = None,
    identifier: x509.SubjectKeyIdentifier | None = None,
    path_length: int | None = None,
) -> x509.Certificate:
    """Make an authority's certificate, by default self-signed, with its key's identifier and any path length."""
    builder = _as_ca(_builder(subject, key, issuer, identifier), path_length)
    return sign(builder, issuer.key if issuer else key, lifetime=_AUTHORITY_LIFETIME)


def server_certificate(  # noqa: PLR0913 - as `Authority.issue`, which describes them
    subject: x509.Name,
    key: PrivateKey,
    hosts: Iterable[Host],
    issuer: Certified | None,
    *,
    not_before: dt.datetime | None,
    not_after: dt.datetime | None,
    ca: bool = False,
) -> x509.Certificate:
    """Make a server's certificate, self-signed if it has no issuer."""
    builder = _builder(subject, key, issuer)
    names = [_general_name(host) for host in hosts]
    if names:
        # Without a subject the SubjectAltName must be critical: RFC 5280 §4.2.1.6.
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(usage, critical=False)
    if ca:
        builder = _as_ca(builder, None)
    else:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(encipher=isinstance(key, rsa.RSAPrivateKey)), critical=True)
    return sign(builder, issuer.key if issuer else key, not_before, not_after)


def bare_certificate(subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
    """Return a certificate without extensions, dates and signature."""
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number())


def _builder(
    subject: x509.Name,
    key: PrivateKey,
    issuer: Certified | None,
    identifier: x509.SubjectKeyIdentifier | None = None,
) -> x509.CertificateBuilder:
    builder = bare_certificate(subject, issuer.certificate.subject if issuer else subject, key)
    identifier = identifier or x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    if issuer is None:
        return builder
    # From the issuer's certificate, not from its key: `Authority.forge` copies the identifier of another key.
    from_issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier
    return builder.add_extension(from_issuer(key_identifier(issuer.certificate)), critical=False)


def _general_name(host: Host) -> x509.GeneralName:
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


def sign(
    builder: x509.CertificateBuilder,
    key: PrivateKey,
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
    lifetime: dt.timedelta = _LEAF_LIFETIME,
) -> x509.Certificate:
    """Set the validity, as `Authority.issue` describes it, and sign with the issuer's key."""
    for moment in (not_before, not_after):
        if moment is not None and moment.tzinfo is None:
            raise ValueError(
                f"a naive date {moment.isoformat()!r}: say which zone it is in, as with tzinfo=datetime.timezone.utc"
            )
    now = clock.now()  # OpenSSL's: a frozen `datetime` would make certificates that are not valid
    begin = not_before or min(now, not_after or now) - _DAY
    end = not_after or max(now, begin) + lifetime
    builder = builder.not_valid_before(begin).not_valid_after(end)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()  # Ed25519 hashes by itself
    with clock.genuine_datetime():
        return builder.sign(key, algorithm)

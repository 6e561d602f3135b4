"""`Chain`: the certificates of one connection as values. The transports extract it, `evaluate()` reads it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from pinned_requests.core.der import parts_of_certificate
from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import show
from pinned_requests.core.value import Value
from pinned_requests.core.x509_name import name_as_text

if TYPE_CHECKING:
    from collections.abc import Iterable


class SeenCertificate(Value):
    """One certificate that a peer presented.

    Attributes:
        subject: the subject on one line in the style of RFC 4514, for people. It is escaped and truncated, because the
            peer chooses it.
        spki_pin: the pin of its public key.
        certificate_pin: the pin of the whole certificate.
        pins: both pins, for look-ups.
        is_self_issued: whether subject and issuer are the same name.
        der: the certificate, in DER.
    """

    subject: str
    spki_pin: Pin
    certificate_pin: Pin
    pins: frozenset[Pin]
    is_self_issued: bool
    der: bytes
    __slots__ = tuple(__annotations__)

    def __init__(  # noqa: PLR0913, PLR0917  one argument a field
        self,
        subject: str,
        spki_pin: Pin,
        certificate_pin: Pin,
        pins: frozenset[Pin],
        is_self_issued: bool,  # noqa: FBT001  a field
        der: bytes,
    ) -> None:
        self._set(
            subject=subject,
            spki_pin=spki_pin,
            certificate_pin=certificate_pin,
            pins=pins,
            is_self_issued=is_self_issued,
            der=der,
        )

    def __hash__(self) -> int:
        return hash(self.certificate_pin)  # all else follows from the certificate

    def __repr__(self) -> str:
        return f"<SeenCertificate {self.subject}, {self.spki_pin}>"


class Chain(Value):
    """The certificate chain of one connection.

    Attributes:
        certificates: the certificates, leaf first. Of a verified chain, the whole path to the trusted certificate.
        is_verified: whether the TLS library verified the path and the host name.
        unavailable: why the chain is missing, or None. A missing chain never satisfies a pin set.
    """

    certificates: tuple[SeenCertificate, ...]
    is_verified: bool
    unavailable: str | None
    __slots__ = tuple(__annotations__)

    def __init__(
        self,
        certificates: tuple[SeenCertificate, ...],
        is_verified: bool,  # noqa: FBT001  a field
        unavailable: str | None = None,
    ) -> None:
        self._set(certificates=certificates, is_verified=is_verified, unavailable=unavailable)

    @classmethod
    def of(cls, certificates: Iterable[bytes], *, is_verified: bool) -> Chain:
        """Return the chain of certificates in DER, leaf first.

        It is a missing chain if it is empty or a certificate cannot be parsed. Signatures are not checked.
        """
        try:
            seen = tuple(map(see_certificate, certificates))
        except PinFormatError as e:
            return cls((), is_verified=False, unavailable=f"a certificate in it cannot be parsed: {e}")
        return cls(seen, is_verified) if seen else cls.missing("the TLS library returned an empty chain")

    @classmethod
    def missing(cls, reason: str) -> Chain:
        """Return a missing chain. `reason` completes the sentence "its certificate chain is not available: …"."""
        return cls((), is_verified=False, unavailable=reason)


class RawChain(Value):
    """A `Chain` whose certificates are DER, not read yet: what a thread that waits for many connections takes."""

    certificates: tuple[bytes, ...]
    is_verified: bool
    unavailable: str | None
    __slots__ = tuple(__annotations__)

    def __init__(
        self,
        certificates: tuple[bytes, ...],
        is_verified: bool = False,  # noqa: FBT001, FBT002  a field
        unavailable: str | None = None,
    ) -> None:
        self._set(certificates=certificates, is_verified=is_verified, unavailable=unavailable)

    def read(self) -> Chain:
        """Return the chain."""
        if self.unavailable is not None:
            return Chain.missing(self.unavailable)
        return read_chain(self.certificates, self.is_verified)


@lru_cache(maxsize=256)  # some kB each; bounded because peers choose them
def read_chain(certificates: tuple[bytes, ...], is_verified: bool) -> Chain:  # noqa: FBT001  a cache is quicker so
    """Return the chain: for the same certificates the same object, which is quicker to compare."""
    return Chain.of(certificates, is_verified=is_verified)


def see_certificate(der: bytes) -> SeenCertificate:
    """Return name and pins of a certificate in DER. The result is cached.

    Raises:
        PinFormatError: `der` is not a certificate in strict DER.
    """
    if type(der) is not bytes:  # a subclass may be equal to other bytes in the cache
        raise PinFormatError(f"invalid certificate {show(der)}; give DER as bytes")
    return _see(der)


@lru_cache(maxsize=512)  # certificates of some 2 kB; bounded because peers choose them
def _see(der: bytes) -> SeenCertificate:
    issuer, subject, spki = parts_of_certificate(der)
    spki_pin = Pin("spki", hashlib.sha256(spki).digest())
    certificate_pin = Pin("cert", hashlib.sha256(der).digest())
    return SeenCertificate(
        subject=name_as_text(subject),
        spki_pin=spki_pin,
        certificate_pin=certificate_pin,
        pins=frozenset((spki_pin, certificate_pin)),
        is_self_issued=subject == issuer,
        der=der,
    )

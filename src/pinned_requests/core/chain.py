"""`Chain`: the certificates a peer proved its key with, as values. The transport extracts it, `evaluate()` reads it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.pin import Pin
from pinned_requests.core.spki import parts_of_certificate
from pinned_requests.core.text import show
from pinned_requests.core.x509_name import name_as_text

if TYPE_CHECKING:
    from collections.abc import Iterable


class SeenCertificate(NamedTuple):
    """One certificate that a peer presented. `subject` is escaped: it is whatever the peer wrote into it."""

    subject: str
    spki_pin: Pin
    certificate_pin: Pin
    pins: frozenset[Pin]
    is_self_issued: bool
    der: bytes

    def __repr__(self) -> str:
        return f"<SeenCertificate {self.subject}, {self.spki_pin}>"


class Chain(NamedTuple):
    """The chain of one connection, leaf first, as the TLS library verified it.

    Args:
        certificates: leaf first. Of a chain that was verified, the whole path to the trusted certificate.
        is_verified: whether the TLS library vouched for the path and for the host name.
        unavailable: why there is no chain, or None. Such a chain never passes for a pinned host.
    """

    certificates: tuple[SeenCertificate, ...]
    is_verified: bool
    unavailable: str | None = None

    @classmethod
    def of(cls, certificates: Iterable[bytes], *, is_verified: bool) -> Chain:
        """Return the chain of DER certificates, leaf first.

        It is unavailable where it is empty, or where one of them cannot be read.
        """
        try:
            seen = tuple(map(see_certificate, certificates))
        except PinFormatError as e:
            return cls((), is_verified=False, unavailable=f"a certificate of the chain cannot be read: {e}")
        return cls(seen, is_verified) if seen else cls.missing("the TLS library gave an empty chain")

    @classmethod
    def missing(cls, reason: str) -> Chain:
        """Return the chain that is not there, for `reason`."""
        return cls((), is_verified=False, unavailable=reason)


def see_certificate(der: bytes) -> SeenCertificate:
    """Return what counts of a DER certificate. It is computed once for a certificate that was seen before.

    Raises:
        PinFormatError: it is no certificate in strict DER.
    """
    if type(der) is not bytes:  # a subclass may call itself equal to what is in the cache
        raise PinFormatError(f"{show(der)} is no certificate in DER")
    return _see(der)


@lru_cache(maxsize=512)  # certificates: some 2 kB each, bounded because peers choose them
def _see(der: bytes) -> SeenCertificate:
    parts = parts_of_certificate(der)
    spki_pin = Pin("spki", hashlib.sha256(parts.spki).digest())
    certificate_pin = Pin("cert", hashlib.sha256(der).digest())
    return SeenCertificate(
        subject=name_as_text(parts.subject),
        spki_pin=spki_pin,
        certificate_pin=certificate_pin,
        pins=frozenset((spki_pin, certificate_pin)),
        is_self_issued=parts.subject == parts.issuer,
        der=der,
    )

"""`TrustStore`: the CA certificates that clients trust, by key and by name. No connection is decided by it.

`doubts_about()`: at the first look at a server, may the key that is about to be pinned be an interceptor's?
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from pinned_requests.core.chain import see_certificate
from pinned_requests.core.der import parts_of_certificate
from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.pin import Pin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pinned_requests.core.chain import Chain, SeenCertificate
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import Target

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END", re.ASCII)
_MAX_SIZE = 16_000_000  # bytes of a bundle; certifi's has 0.3 MB
_MAX_FILES = 2000  # of a folder


class _Content(NamedTuple):
    by_pin: Mapping[Pin, bytes]
    by_name: Mapping[bytes, list[bytes]]


class TrustStore:
    """The certificates of PEM bundles or folders (True: those of requests), read when first used.

    What cannot be read is left out: whether the bundle is of use at all has been checked by then.
    """

    def __init__(self, *paths: str | bool) -> None:
        self.paths = {Path(path if isinstance(path, str) else DEFAULT_CA_BUNDLE_PATH) for path in paths}

    def find(self, pin: Pin) -> SeenCertificate | None:
        """Return the certificate that a pin is of, or None."""
        der = self._content.by_pin.get(pin)
        return None if der is None else see_certificate(der)

    def holds(self, certificate: SeenCertificate) -> bool:
        """Whether this very certificate is in the store."""
        return certificate.certificate_pin in self._content.by_pin

    def issuers_of(self, certificate: SeenCertificate) -> Iterator[SeenCertificate]:
        """Yield the certificates of the store above another, by their names alone, each once."""
        waiting, seen = [certificate], {certificate}
        while waiting:
            name, *_ = parts_of_certificate(waiting.pop().der)
            for issuer in map(see_certificate, self._content.by_name.get(name, ())):
                if issuer not in seen:
                    seen.add(issuer)
                    waiting.append(issuer)
                    yield issuer

    @cached_property
    def others(self) -> TrustStore:
        """What else this machine trusts: certifi's bundle, and that of the system's OpenSSL."""
        system = ssl.get_default_verify_paths().cafile
        paths = {Path(DEFAULT_CA_BUNDLE_PATH), *([Path(system)] if system else [])}
        return TrustStore(*map(str, paths - self.paths))

    @cached_property
    def _content(self) -> _Content:
        by_pin: dict[Pin, bytes] = {}
        by_name: dict[bytes, list[bytes]] = {}
        for der in {der: None for path in sorted(self.paths) for der in _certificates_in(path)}:  # many are in both
            with suppress(PinFormatError):
                _issuer, subject, spki = parts_of_certificate(der)  # and no more: of hundreds, few are asked for
                by_pin[Pin("spki", hashlib.sha256(spki).digest())] = der
                by_pin[Pin("cert", hashlib.sha256(der).digest())] = der
                by_name.setdefault(subject, []).append(der)
        return _Content(by_pin, by_name)


def doubts_about(target: Target, route: Route, chain: Chain) -> tuple[str, ...]:
    """Return why a chain may be an interceptor's, each as half a sentence.

    An interceptor with a certificate of a public CA is not seen: as at ssh's first contact, only the owner can tell.
    """
    found = []
    if route.has_proxy(target):
        found.append("it was seen through a proxy")
    if not chain.is_verified:
        found.append("no CA vouches for it")
    elif public_roots().find(chain.certificates[-1].spki_pin) is None:
        found.append(f"certifi does not hold its root, {chain.certificates[-1].subject}")
    return tuple(found)


@lru_cache(maxsize=1)
def public_roots() -> TrustStore:
    """Return certifi's roots, which requests trusts by default."""
    return TrustStore(DEFAULT_CA_BUNDLE_PATH)


def _certificates_in(path: Path) -> Iterator[bytes]:
    with suppress(OSError):
        files = sorted(path.iterdir())[:_MAX_FILES] if path.is_dir() else [path]
        for file in files:
            with suppress(OSError), file.open("rb") as stream:
                for body in _PEM.findall(stream.read(_MAX_SIZE)):
                    with suppress(ValueError):
                        yield base64.b64decode(body)

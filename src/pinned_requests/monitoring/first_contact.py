"""Doubts at the first look at a server: may the key that is about to be pinned be an interceptor's?"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from pinned_requests.core.chain import see_certificate
from pinned_requests.core.pin import find_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinned_requests.core.chain import Chain
    from pinned_requests.core.pin import Pin
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import Target


def doubts_about(target: Target, route: Route, chain: Chain) -> tuple[str, ...]:
    """Return why a chain may be an interceptor's, each as half a sentence.

    An interceptor with a certificate of a public CA is not seen: as at ssh's first contact, only the owner can tell.
    """
    found = []
    if route.has_proxy(target):
        found.append("it was seen through a proxy")
    if not chain.is_verified:
        found.append("no CA vouches for it")
    elif chain.certificates[-1].spki_pin not in public_roots():
        found.append(f"certifi does not hold its root, {chain.certificates[-1].subject}")
    return tuple(found)


@lru_cache(maxsize=1)
def public_roots() -> Mapping[Pin, str]:
    """Return the SPKI pins and names of certifi's roots, which requests trusts by default."""
    found = find_keys(Path(DEFAULT_CA_BUNDLE_PATH).read_bytes())
    return {each.pin: see_certificate(each.der).subject for each in found}

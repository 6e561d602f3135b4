"""Doubts at the first look at a server: may the key that is about to be pinned be an interceptor's?"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from pinned_requests.monitoring.trust_store import TrustStore

if TYPE_CHECKING:
    from pinned_requests.core.chain import Chain
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
    elif public_roots().find(chain.certificates[-1].spki_pin) is None:
        found.append(f"certifi does not hold its root, {chain.certificates[-1].subject}")
    return tuple(found)


@lru_cache(maxsize=1)
def public_roots() -> TrustStore:
    """Return certifi's roots, which requests trusts by default."""
    return TrustStore(DEFAULT_CA_BUNDLE_PATH)

"""`PinnedPoolManager` and `PinnedProxyManager`: the same for clients that are built straight on urllib3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from urllib3 import PoolManager, ProxyManager

from pinned_requests.transport.connection import pin_pool
from pinned_requests.transport.guard import Guard, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3.connectionpool import HTTPConnectionPool

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.policy_store import PolicyStore


class PinnedPoolManager(PoolManager):
    """A `urllib3.PoolManager` whose connections, and those of its pools, satisfy a policy.

    Args:
        policy: a `PinPolicy`, a `PolicyStore`, or a mapping of host patterns to pins.
        args: what `PoolManager`, or the next class, takes.
        on_violation: called with a `ViolationReport` for each violation; what it raises is logged.
        kwargs: what `PoolManager`, or the next class, takes. A given `ssl_context` is used as it is.

    Raises:
        PolicyError: `policy` is wrong.
    """

    def __init__(
        self,
        policy: PolicyStore | PinPolicy | Mapping[str, PinsLike],
        *args: Any,
        on_violation: Callable[[ViolationReport], object] | None = None,
        **kwargs: Any,
    ) -> None:
        self._guard = Guard.of(policy, on_violation=on_violation, ssl_context=kwargs.get("ssl_context"))
        super().__init__(*args, **kwargs)

    @property
    def policy(self) -> PinPolicy:
        """The policy in force."""
        return self._guard.store.current

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request as `PoolManager.urlopen` does, redirects included.

        Raises:
            PinningError: the request was refused; nothing of it was sent.
            urllib3.exceptions.HTTPError: as `PoolManager.urlopen`.
        """
        try:
            self._guard.admit_url(url)
        except Refusal as refusal:
            raise refusal.as_error() from None
        return super().urlopen(method, url, *args, **kwargs)

    def _new_pool(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = super()._new_pool(*args, **kwargs)
        pin_pool(pool, self._guard, stands_alone=True)
        return pool


class PinnedProxyManager(PinnedPoolManager, ProxyManager):
    """A `urllib3.ProxyManager` that looks at the server's own chain, and at the proxy's where that is named.

    Args:
        policy: as for `PinnedPoolManager`; the other arguments are those of `ProxyManager`, the proxy's URL first.

    Raises:
        PolicyError: `policy` is wrong.
    """

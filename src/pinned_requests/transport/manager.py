"""`PinnedPoolManager`: the same for clients that are built straight on urllib3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from urllib3 import PoolManager

from pinned_requests.transport.connection import pin_pool
from pinned_requests.transport.guard import Guard, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3.connectionpool import HTTPConnectionPool

    from pinned_requests.core.policy import PinPolicy, PinsLike
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.sources.store import PolicyStore


class PinnedPoolManager(PoolManager):
    """A `urllib3.PoolManager` whose connections, and those of its pools, satisfy a policy.

    Args:
        policy: a `PinPolicy`, a `PolicyStore`, or a mapping of host patterns to pins.
        num_pools: as for `PoolManager`.
        headers: as for `PoolManager`.
        on_violation: called with a `ViolationReport` for each violation; what it raises is logged.
        connection_pool_kw: as for `PoolManager`.

    Raises:
        PolicyError: `policy` is wrong.
    """

    def __init__(
        self,
        policy: PolicyStore | PinPolicy | Mapping[str, PinsLike],
        num_pools: int = 10,
        headers: Mapping[str, str] | None = None,
        *,
        on_violation: Callable[[ViolationReport], object] | None = None,
        **connection_pool_kw: Any,
    ) -> None:
        self._guard = Guard.of(policy, on_violation=on_violation, ssl_context=connection_pool_kw.get("ssl_context"))
        super().__init__(num_pools, headers, **connection_pool_kw)

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Any:  # type: ignore[override]  # noqa: FBT001, FBT002  as in urllib3
        """Send a request as `PoolManager.urlopen` does, redirects included.

        Raises:
            PinningError: the request was refused; nothing of it was sent.
            urllib3.exceptions.HTTPError: as `PoolManager.urlopen`.
        """
        try:
            self._guard.admit_url(url)
        except Refusal as refusal:
            raise refusal.as_error() from None
        return super().urlopen(method, url, redirect=redirect, **kw)

    def _new_pool(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = super()._new_pool(*args, **kwargs)
        pin_pool(pool, self._guard, raises_public_errors=True)
        return pool

"""`PinnedPoolManager` and `PinnedProxyManager`: managers of urllib3 that make pinned pools and hand out no other."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from urllib3 import PoolManager, ProxyManager

from pinned_requests.core.host import DEFAULT_PORTS
from pinned_requests.enforcement.guard import Guard
from pinned_requests.enforcement.refusal import Refusal
from pinned_requests.transport.connection import Pinning
from pinned_requests.transport.pool import pin_pool
from pinned_requests.transport.stand_in import RefusingManager

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3.connectionpool import HTTPConnectionPool

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy, UnpinnedHosts
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.policy_store import PolicyStore


class PinnedManager(PoolManager):
    """A manager that is pinned; see `pin_manager()`."""

    pinning: Pinning

    def connection_from_host(
        self, host: str | None, port: int | None = None, scheme: str | None = "http", *args: Any, **kwargs: Any
    ) -> HTTPConnectionPool:
        """Return the pool for a host; behind a proxy, only if the policy lets the proxy forward requests for it.

        Raises:
            PinningError: it does not.
        """
        if self.proxy is not None and scheme != "https" and host:  # the pool is the proxy's, and never sees the host
            name = scheme or "http"  # as urllib3
            try:
                self.pinning.guard.admit(name, host, port or DEFAULT_PORTS.get(name))
            except Refusal as refusal:
                raise refusal.as_error() from None
        return super().connection_from_host(host, port, scheme, *args, **kwargs)

    def _new_pool(self, scheme: str, host: str, port: int, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = super()._new_pool(scheme, host, port, *args, **kwargs)
        pin_pool(pool, self.pinning, lambda: [(scheme, host, port)])
        return pool

    def connection_from_pool_key(self, pool_key: Any, request_context: dict[str, Any]) -> HTTPConnectionPool:
        """Return the pool for a key, pinned also if a subclass made it its own way."""
        pool = super().connection_from_pool_key(pool_key, request_context)
        pin_pool(pool, self.pinning, lambda: [(pool_key.key_scheme, pool_key.key_host, pool_key.key_port)])
        return pool


class PinnedPoolManager(PinnedManager):
    """A `urllib3.PoolManager` whose connections, and those of its pools, satisfy a policy.

    Args:
        pins: a mapping of host patterns to pins, a `PinPolicy` or a `PolicyStore`.
        args: passed to `PoolManager`, or the next class.
        unpinned_hosts: `"block"` or `"allow"`, as for `PinnedSession`.
        on_violation: called with a `ViolationReport` for each violation. Exceptions are logged and ignored.
        kwargs: passed to `PoolManager`, or the next class.

    Raises:
        PolicyError: `pins` is wrong; `unpinned_hosts` contradicts it.

    `request()` and `urlopen()` raise a `PinningError` where a request is refused: no byte of it was sent. They follow
    redirects, and check each. A pool class that is not urllib3's own or a subclass is used for hosts that the policy
    leaves alone, and refused for others (`UnpinnableAdapterError`).
    """

    def __init__(
        self,
        pins: PolicyStore | PinPolicy | Mapping[str, PinsLike],
        *args: Any,
        unpinned_hosts: UnpinnedHosts | None = None,
        on_violation: Callable[[ViolationReport], object] | None = None,
        **kwargs: Any,
    ) -> None:
        self.pinning = Pinning(Guard(pins, unpinned_hosts=unpinned_hosts, on_violation=on_violation))
        super().__init__(*args, **kwargs)

    @property
    def policy(self) -> PinPolicy:
        """The policy in force."""
        return self.pinning.guard.policy


class PinnedProxyManager(PinnedPoolManager, ProxyManager):
    """A `urllib3.ProxyManager` that checks the server's own chain, and the proxy's if the policy names the proxy.

    Args:
        pins: as for `PinnedPoolManager`; the other arguments are those of `ProxyManager`, the proxy's URL first.

    Raises:
        PolicyError: `pins` is wrong.
    """


def pin_manager(manager: Any, pinning: Pinning) -> Any:
    """Pin a manager of urllib3's in place and return it. Pools that it has made already are closed.

    One that is pinned by another policy is replaced by a stand-in that refuses.

    The class of the object changes: adapters keep managers of any class, with settings of their own.
    (`tests/attacks/test_adapters.py` fails without it.) Another object is returned unchanged: the adapter pins its
    pools.
    """
    if isinstance(manager, PinnedManager):
        if not manager.pinning.agrees_with(pinning):
            return RefusingManager(manager)
    elif isinstance(manager, PoolManager):
        manager_class: Any = type(manager)
        vars(manager)["pinning"] = pinning
        manager.__class__ = _pinned_manager_class(manager_class)
        manager.clear()
    return manager


@lru_cache(maxsize=64)  # classes: a handful, unless a program creates them as it runs
def _pinned_manager_class(base: type) -> type:
    known = {PoolManager: PinnedPoolManager, ProxyManager: PinnedProxyManager}
    return known.get(base) or type(f"Pinned{base.__name__}", (PinnedManager, base), {})

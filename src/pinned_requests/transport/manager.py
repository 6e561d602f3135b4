"""`PinnedPoolManager` and `PinnedProxyManager`: managers of urllib3 that make pinned pools and hand out no other."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from urllib3 import PoolManager, ProxyManager

from pinned_requests.core.host import DEFAULT_PORTS
from pinned_requests.enforcement.guard import Guard
from pinned_requests.enforcement.refusal import Refusal
from pinned_requests.transport.attributes import demand_no_other, look_up
from pinned_requests.transport.connection import Pinning
from pinned_requests.transport.origin import origins_of
from pinned_requests.transport.pool import PINNING, pin_pool
from pinned_requests.transport.stand_in import RefusingManager

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3.connectionpool import HTTPConnectionPool

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy, UnpinnedHosts
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.policy_store import PolicyStore
    from pinned_requests.transport.origin import Origin


class PinnedManager(PoolManager):
    """A manager that is pinned; see `pin_manager()`."""

    pinned_by: Pinning

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        demand_no_other(cls, PinnedManager)

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute; a method that gives out pools, pinned: subclasses override each of them.

        (`tests/attacks/test_ways_around.py` fails without it.)
        """
        if name in _GIVES_POOLS:
            return partial(_pinned, self, look_up(self, name), _GIVES_POOLS[name])
        return look_up(self, name)

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
                self.pinned_by.guard.admit(name, host, port or DEFAULT_PORTS.get(name))
            except Refusal as refusal:
                raise refusal.as_error() from None
        return super().connection_from_host(host, port, scheme, *args, **kwargs)


def _origin(host: Any, port: Any = None, scheme: Any = None, *_: Any, **__: Any) -> list[Origin]:
    name = scheme or "http"  # as urllib3
    return [(name, host or "", port or DEFAULT_PORTS.get(name))]


def _pinned(
    manager: PinnedManager, find: Callable[..., Any], asked: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    origins = asked(*args, **kwargs)  # before the call: urllib3 takes them out of the context
    pool = find(*args, **kwargs)
    pin_pool(pool, manager.pinned_by, lambda: origins)
    return pool


# Methods of a manager that give out pools, and what they are asked for.
_GIVES_POOLS: dict[str, Callable[..., Any]] = {
    "connection_from_url": lambda url, *_, **__: origins_of(url),
    "connection_from_host": _origin,
    "connection_from_context": lambda request_context: _origin(**request_context),
    "connection_from_pool_key": lambda pool_key, request_context: _origin(**request_context),  # noqa: ARG005  urllib3's names
    "_new_pool": lambda scheme, host, port, *_, **__: _origin(host, port, scheme),
}


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
        self.pinned_by = Pinning(Guard(pins, unpinned_hosts=unpinned_hosts, on_violation=on_violation))
        super().__init__(*args, **kwargs)

    @property
    def policy(self) -> PinPolicy:
        """The policy in force."""
        return self.pinned_by.guard.policy


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
    if isinstance(manager, PoolManager) and not isinstance(manager, PinnedManager):
        with PINNING:
            if not isinstance(manager, PinnedManager):
                manager_class: Any = type(manager)
                vars(manager)["pinned_by"] = pinning
                manager.__class__ = _pinned_manager_class(manager_class)
                manager.clear()
    if isinstance(manager, PinnedManager) and not manager.pinned_by.agrees_with(pinning):
        return RefusingManager(manager)
    return manager


@lru_cache(maxsize=64)  # classes: a handful, unless a program creates them as it runs
def _pinned_manager_class(base: type) -> type:
    known = {PoolManager: PinnedPoolManager, ProxyManager: PinnedProxyManager}
    return known.get(base) or type(f"Pinned{base.__name__}", (PinnedManager, base), {})

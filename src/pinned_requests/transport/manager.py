"""`PinnedPoolManager` and `PinnedProxyManager`: managers of urllib3 that make pinned pools and hand out no other."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from urllib3 import PoolManager, ProxyManager

from pinned_requests.core.host import DEFAULT_PORTS
from pinned_requests.core.text import show
from pinned_requests.enforcement.guard import Guard, Refusal
from pinned_requests.exceptions import UnpinnableAdapterError
from pinned_requests.transport import process
from pinned_requests.transport.connection import Pinning
from pinned_requests.transport.origin import origins_of
from pinned_requests.transport.outermost import Outermost, become, examine, outermost
from pinned_requests.transport.pool import pin_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy, UnpinnedHosts
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.policy_store import PolicyStore
    from pinned_requests.transport.origin import Origin


def _by_url(manager: PinnedManager, find: Callable[..., Any], url: str, *args: Any, **kwargs: Any) -> Any:
    return pin_pool(find(url, *args, **kwargs), manager.pinned_by, origins_of, url)


def _by_host(  # noqa: PLR0913, PLR0917  urllib3's signature, behind two arguments of ours
    manager: PinnedManager,
    find: Callable[..., Any],
    host: str | None,
    port: int | None = None,
    scheme: str | None = "http",
    pool_kwargs: dict[str, Any] | None = None,
) -> Any:
    if manager.proxy is not None and scheme != "https" and host:  # the pool is the proxy's, and never sees the host
        try:
            manager.pinned_by.guard.admit(*_origins(scheme, host, port)[0])
        except Refusal as refusal:
            raise refusal.as_error() from None
    return pin_pool(find(host, port, scheme, pool_kwargs), manager.pinned_by, _origins, scheme, host, port)


def _by_context(manager: PinnedManager, find: Callable[..., Any], request_context: dict[str, Any]) -> Any:
    asked = request_context.copy()  # urllib3 takes some of it out
    return pin_pool(find(request_context), manager.pinned_by, _origins_of_context, asked)


def _by_pool_key(manager: PinnedManager, find: Callable[..., Any], pool_key: Any, request_context: Any) -> Any:
    return pin_pool(find(pool_key, request_context=request_context), manager.pinned_by, _origins_of_key, pool_key)


def _new(
    manager: PinnedManager, make: Callable[..., Any], scheme: str, host: str, port: int, *args: Any, **kwargs: Any
) -> Any:
    return pin_pool(make(scheme, host, port, *args, **kwargs), manager.pinned_by, _origins, scheme, host, port)


def _origins(scheme: str | None, host: str | None, port: int | None) -> list[Origin]:
    name = scheme or "http"  # as urllib3
    return [(name, host or "", port or DEFAULT_PORTS.get(name))]


def _origins_of_context(request_context: dict[str, Any]) -> list[Origin]:
    return _origins(request_context["scheme"], request_context["host"], request_context["port"])


def _origins_of_key(pool_key: Any) -> list[Origin]:
    return _origins(pool_key.key_scheme, pool_key.key_host, pool_key.key_port)


class PinnedManager(Outermost, PoolManager):
    """A manager that is pinned; see `pin_manager()`. Each of the methods that give out pools gives out pinned ones.

    `connection_from_url` and `connection_from_context` are inherited: they ask another of these methods for the pool.
    """

    pinned_by: Pinning
    _methods: ClassVar = {
        "connection_from_url": _by_url,
        "connection_from_host": _by_host,
        "connection_from_context": _by_context,
        "connection_from_pool_key": _by_pool_key,
        "_new_pool": _new,
    }
    _inherited: ClassVar = (PoolManager.connection_from_url, PoolManager.connection_from_context)

    @outermost
    def connection_from_host(
        self,
        host: str | None,
        port: int | None = None,
        scheme: str | None = "http",
        pool_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return the pool for a host; behind a proxy, only if the policy lets the proxy forward requests for it.

        Raises:
            PinningError: it does not.
        """
        return _by_host(self, super().connection_from_host, host, port, scheme, pool_kwargs)

    @outermost
    def connection_from_pool_key(self, pool_key: Any, request_context: dict[str, Any]) -> Any:
        """Return the pool for a key."""
        pool = super().connection_from_pool_key(pool_key, request_context)
        return pin_pool(pool, self.pinned_by, _origins_of_key, pool_key)

    @outermost
    def _new_pool(self, *args: Any, **kwargs: Any) -> Any:
        return _new(self, super()._new_pool, *args, **kwargs)


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
        examine(type(self))
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


class RefusingManager:
    """Stands in for a manager that follows another policy than the adapter that it is in. It can be closed."""

    def __init__(self, manager: PoolManager) -> None:
        self.connection_pool_kw = manager.connection_pool_kw  # requests reads it for each request
        self.clear = manager.clear
        self._error = (
            f"{show(manager)} follows another policy than the adapter that it is in; use one PolicyStore for both"
        )

    def __getattr__(self, name: str) -> Any:
        raise UnpinnableAdapterError(self._error)


def pin_manager(adapter: Any, manager: Any) -> Any:
    """Pin a manager of urllib3's in place, as its adapter is, and return it. Pools that it has made already are closed.

    The class of the object changes: adapters keep managers of any class, with settings of their own.
    (`tests/attacks/test_adapters.py` fails without it.) One that is pinned by another policy is replaced by a stand-in
    that refuses. An object of another kind is returned unchanged: the adapter pins its pools.
    """
    pinning: Pinning = adapter.pinned_by
    if isinstance(manager, PinnedManager) and manager.pinned_by is pinning:  # nearly always
        return manager
    if isinstance(manager, PoolManager) and not isinstance(manager, PinnedManager):
        with process.pinning:
            if not isinstance(manager, PinnedManager):
                manager_class: Any = type(manager)
                vars(manager)["pinned_by"] = pinning
                become(manager, _pinned_manager_class(manager_class))
                manager.clear()
    if isinstance(manager, PinnedManager) and not manager.pinned_by.agrees_with(pinning):
        return RefusingManager(manager)
    return manager


@lru_cache(maxsize=64)  # classes: a handful, unless a program creates them as it runs
def _pinned_manager_class(base: type) -> type:
    known = {PoolManager: PinnedPoolManager, ProxyManager: PinnedProxyManager}
    return known.get(base) or type(f"Pinned{base.__name__}", (PinnedManager, base), {})

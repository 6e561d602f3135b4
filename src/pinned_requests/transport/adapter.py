"""`PinnedAdapter`: requests' `HTTPAdapter` whose managers and pools are pinned.

Rules for the next maintainer:

- An adapter has one guard for life. No request is decided by another one, whichever session sends it.
- What leaves the adapter is pinned as it leaves, by the methods and attributes that are `Outermost`.
- A `PinningError` is an `OSError`, by way of requests: `HTTPAdapter.send` wraps it, and `_send()` unwraps it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from requests.adapters import BaseAdapter, HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape, show
from pinned_requests.enforcement.guard import Guard
from pinned_requests.exceptions import PinningError, UnpinnableAdapterError
from pinned_requests.transport import process
from pinned_requests.transport.connection import Pinning
from pinned_requests.transport.manager import pin_manager
from pinned_requests.transport.origin import origins_of
from pinned_requests.transport.outermost import Outermost, become, examine, outermost, surround_own
from pinned_requests.transport.pool import PinnedPool, pin_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests import PreparedRequest, Response

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy, UnpinnedHosts
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.policy_store import PolicyStore


def _send(  # noqa: PLR0913, PLR0917  requests' signature, behind two arguments of ours
    adapter: PinnedHTTPAdapter,
    send: Callable[..., Response],
    request: PreparedRequest,
    stream: bool = False,  # noqa: FBT001, FBT002  requests' signature
    timeout: Any = None,
    verify: Any = True,  # noqa: FBT002  requests' signature
    cert: Any = None,
    proxies: dict[str, str] | None = None,
    **others: Any,
) -> Response:
    """Send a request by `send`, found on the adapter; see `PinnedHTTPAdapter.send()`."""
    verify = checked_verify(adapter.pinned_by, verify, cert)
    settings = {"stream": stream, "timeout": timeout, "verify": verify, "cert": cert, "proxies": proxies, **others}
    try:
        if _is_ours(adapter):
            return send(request, **settings)
        with _of_others(adapter, request.url).sending(adapter, send, request):
            return send(request, **settings)
    except RequestsConnectionError as error:
        refusal = error if isinstance(error, PinningError) else next(iter(error.args), None)
        if not isinstance(refusal, PinningError):
            raise
        refusal.request = request
        raise refusal from None


_delegation: Any = None  # the module, from the first request of an adapter class of others on: most programs have none


def _is_ours(adapter: PinnedHTTPAdapter) -> bool:
    return type(adapter) is PinnedAdapter and "send" not in vars(adapter)


def _of_others(adapter: PinnedHTTPAdapter, url: str | None) -> Any:
    """Return the module for adapter classes of others, if the policy lets this one send a request for `url`.

    Raises:
        UnpinnableAdapterError: it opens connections of its own.
    """
    global _delegation  # noqa: PLW0603  set once
    from pinned_requests.transport import delegation  # noqa: PLC0415  see above

    _delegation = delegation
    if not delegation.sends_through_requests(adapter):
        demand_unseen(adapter.pinned_by.guard, url, adapter)
    return delegation


def demand_pinnable(adapter: PinnedHTTPAdapter, url: str | None) -> None:
    """Check that an adapter sends through connections that are checked, or that the policy allows others for `url`.

    Raises:
        UnpinnableAdapterError: neither.
    """
    if not _is_ours(adapter):
        _of_others(adapter, url)


def _pool(adapter: PinnedHTTPAdapter, find: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the pool for a request; `get_connection()`, of adapters written before requests 2.32, takes the URL."""
    found = find(*args, **kwargs)
    request = args[0] if args else kwargs.get("request", kwargs.get("url"))
    guard, url = adapter.pinned_by.guard, getattr(request, "url", request)
    pool = pin_pool(found, adapter.pinned_by, origins_of, url)
    asked = _delegation.asked_for(adapter, request) if _delegation is not None else ()
    if asked and asked != origins_of(url):  # the URL's host decides, also if the adapter connects to another one
        for scheme, host, port in asked:
            is_checked = scheme == "https" and isinstance(pool, PinnedPool) and pool.is_for(host, port)
            if not is_checked and not guard.allows_unseen(scheme, host, port):
                raise UnpinnableAdapterError(
                    f"{show(adapter)} sends a request for {escape(host)}, which must be pinned, to another host; set "
                    "server_hostname to the host of the URL, or exempt that"
                )
    return pool


def _manager(adapter: PinnedHTTPAdapter, find: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return pin_manager(adapter, find(*args, **kwargs))


def _managers(adapter: PinnedHTTPAdapter, managers: dict[str, Any]) -> dict[str, Any]:
    for proxy, manager in tuple(managers.items()):
        pinned = pin_manager(adapter, manager)
        if pinned is not manager:
            managers[proxy] = pinned
    return managers


def checked_verify(pinning: Pinning, verify: Any, cert: Any) -> Any:
    """Return `verify` as `HTTPAdapter` should get it.

    requests takes any falsy value for False in one place, and False alone in another: the pool of an unverified
    connection would be that of verified ones.
    """
    if pinning.context is not None and (verify is not True or cert):
        raise PolicyError(
            "'verify' and 'cert' would change the ssl_context that was given; set verification and the client "
            "certificate on the context itself"
        )
    return verify or False


class PinnedHTTPAdapter(Outermost, HTTPAdapter):
    """An adapter that is pinned; see `pin_adapter()`. It adds no public names: adapters of others become one."""

    pinned_by: Pinning
    pinned_for_session = False  # whether a session pinned it, with the policy of that session
    _methods: ClassVar = {
        "send": _send,
        "get_connection_with_tls_context": _pool,
        "get_connection": _pool,
        "proxy_manager_for": _manager,
    }
    _attributes: ClassVar = {"poolmanager": pin_manager, "proxy_manager": _managers}

    @outermost
    def send(  # noqa: PLR0913, PLR0917  requests' signature
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002  requests' signature
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002  requests' signature
        cert: Any = None,
        proxies: Any = None,
        **others: Any,
    ) -> Response:
        """Send a request as `HTTPAdapter.send` does.

        Raises:
            PinningError: the request was refused. No byte of it was sent.
            PolicyError: `verify` or `cert` would change the caller's own `ssl_context`.
            requests.exceptions.RequestException: as `HTTPAdapter.send`.

        `others` are arguments of a class behind this one.
        """
        return _send(self, super().send, request, stream, timeout, verify, cert, proxies, **others)

    @outermost
    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool for a request, pinned."""
        return _pool(self, super().get_connection_with_tls_context, *args, **kwargs)

    @outermost
    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool for a URL, pinned."""
        return _pool(self, super().get_connection, *args, **kwargs)

    @outermost
    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Return the manager for a proxy, pinned."""
        return _manager(self, super().proxy_manager_for, *args, **kwargs)

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        """Let pickle and copy keep the pins, also if a subclass overrides `__attrs__` or `__getstate__`."""
        cls = vars(type(self)).get("_adopted", type(self))  # that can be imported: the one before `_pinned_class()`
        return _restore, (cls, self.pinned_by, self.pinned_for_session), self.__getstate__()


class PinnedAdapter(PinnedHTTPAdapter):
    """A transport adapter that sends requests only to servers whose key is pinned.

    Mounted on any `requests.Session`, it pins all that the session sends through it, and nothing else: mount it for
    `https://` and for `http://`, or use `PinnedSession`. It may be one base class among several, in front of other
    adapters: `class A(PinnedAdapter, CacheControlAdapter)`.

    Args:
        pins: a mapping of host patterns to pins, a `PinPolicy` or a `PolicyStore`.
        args: passed to `HTTPAdapter`, or the next class.
        unpinned_hosts: `"block"` or `"allow"`, as for `PinnedSession`.
        on_violation: called with a `ViolationReport` for each violation, in the thread of the request. Exceptions are
            logged and ignored.
        kwargs: passed to `HTTPAdapter`, or the next class.

    Raises:
        PolicyError: `pins` is wrong; `unpinned_hosts` contradicts it.

    A subclass whose `send()` does not call the inherited one is refused for hosts that must be pinned
    (`UnpinnableAdapterError`).
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


def session_adapter(pinning: Pinning, **settings: Any) -> PinnedAdapter:
    """Return an adapter that a session makes for itself, with `settings` for `HTTPAdapter`."""
    adapter = _restore(PinnedAdapter, pinning, belongs_to_session=True)
    HTTPAdapter.__init__(adapter, **settings)
    return cast("PinnedAdapter", adapter)


def pin_adapter(adapter: BaseAdapter, pinning: Pinning) -> PinnedHTTPAdapter | None:
    """Pin an adapter for a session, in place, and return it; None if that is not possible.

    The class of the object changes, so that a mounted adapter keeps its identity and settings, and stays pinned when
    it is pickled or copied. (`tests/attacks/test_adapters.py` fails without it.)

    Raises:
        UnpinnableAdapterError: another session has pinned it, with another policy.
    """
    if not isinstance(adapter, HTTPAdapter):
        return None
    changed: Any = adapter
    if not isinstance(adapter, PinnedHTTPAdapter):
        with process.pinning:
            if not isinstance(adapter, PinnedHTTPAdapter):
                adapter_class: Any = type(adapter)
                try:
                    changed.pinned_by, changed.pinned_for_session = pinning, True
                    become(changed, _pinned_class(adapter_class))
                except Exception:  # noqa: BLE001  __slots__, a class of C, or what an `__init_subclass__` raises
                    return None
    if type(changed) is not PinnedAdapter:
        examine(type(changed))
    surround_own(changed)
    if changed.pinned_for_session and not changed.pinned_by.agrees_with(pinning):
        raise UnpinnableAdapterError(
            f"{show(adapter)} belongs to a session with another policy; give each session an adapter of its own, "
            "or one PolicyStore to both"
        )
    return changed  # type: ignore[no-any-return]  # it is one now


@lru_cache(maxsize=64)  # classes: a handful, unless a program creates them as it runs
def _pinned_class(base: type) -> type[PinnedHTTPAdapter]:
    return PinnedAdapter if base is HTTPAdapter else type(base.__name__, (PinnedHTTPAdapter, base), {"_adopted": base})


def _restore(base: type[Any], pinning: Pinning, belongs_to_session: bool) -> PinnedHTTPAdapter:  # noqa: FBT001  for pickle
    """Return a new pinned object, for a constructor, pickle or copy to fill."""
    cls: Any = base
    pinned: Any = cls if issubclass(base, PinnedHTTPAdapter) else _pinned_class(cls)
    examine(pinned)
    adapter = pinned.__new__(pinned)
    adapter.pinned_by, adapter.pinned_for_session = pinning, belongs_to_session
    return adapter  # type: ignore[no-any-return]  # of a class that is not known here


class RefusingAdapter(BaseAdapter):
    """Stands in for an adapter that must not carry a request."""

    def __init__(self, error: PinningError) -> None:
        super().__init__()
        self._error = error

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:  # noqa: ARG002  none is used
        """Raise the reason."""
        self._error.request = request
        raise self._error

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def demand_unseen(guard: Guard, url: str | None, adapter: object) -> None:
    """Check that the policy lets an adapter carry a request over a connection whose chain is not checked.

    Raises:
        UnpinnableAdapterError: it does not.
    """
    # URLs of other schemes are not subject to the policy.
    origins = [origin for origin in origins_of(url) if origin[0] in ("https", "http", "")]
    if not all(guard.allows_unseen(*origin) for origin in origins):
        host = escape(origins[0][1]) or "this host"
        raise UnpinnableAdapterError(
            f"{show(adapter)} is mounted for {host}, which must be pinned, and opens connections of its own, which "
            "cannot be checked; mount a PinnedAdapter or a subclass that sends by super().send(), or exempt the host"
        )

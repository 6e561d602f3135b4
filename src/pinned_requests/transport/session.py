"""`PinnedSession`, and `get()` and its siblings for a single request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from pinned_requests.core.check import PinCheck
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.core.verdict import Outcome
from pinned_requests.policy_store import PolicyStore
from pinned_requests.transport.adapter import (
    PinnedAdapter,
    RefusingAdapter,
    guard_of_sender,
    is_mock,
    pin_adapter,
    session_adapter,
)
from pinned_requests.transport.guard import Guard, Refusal
from pinned_requests.transport.lookup import GuardedLookup

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from requests import Response
    from requests.adapters import BaseAdapter
    from urllib3 import Retry

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import UnpinnedHosts
    from pinned_requests.core.report import ViolationReport

_DEFAULT_PREFIXES = ("https://", "http://")


class PinnedSession(requests.Session):
    """A `requests.Session` that talks only to servers whose public key is pinned.

    Every new connection makes a full handshake, and its verified chain is evaluated before the first byte of HTTP is
    sent. Connections that are kept alive are evaluated again for each request. Everything else is as in requests.

    Args:
        pins: a mapping of host patterns to pins, a `PinPolicy` or a `PolicyStore`.
        unpinned_hosts: `"block"` (the default for a mapping) or `"allow"`: what becomes of hosts that no pattern
            matches.
        on_violation: called with a `ViolationReport` for each violation, in the thread of the request; what it raises
            is logged and changes nothing.
        ssl_context: used as it is, and never changed; `verify` must then be True, which means "as the context says".
        max_retries: as for `requests.adapters.HTTPAdapter`; a refusal is never retried.
        pool_connections: as for `HTTPAdapter`.
        pool_maxsize: as for `HTTPAdapter`.
        pool_block: as for `HTTPAdapter`.
        kwargs: what the next class takes; `requests.Session` takes nothing.

    A subclass may set any of these as class attributes instead.

    Raises:
        PolicyError: no pins at all, or wrong ones; `unpinned_hosts` contradicts the policy that was given.

    What pins do *not* do: hide what is sent during the handshake (a client certificate; in TLS 1.2 in the clear), or
    help against whoever controls this machine.
    """

    __attrs__ = [*requests.Session.__attrs__, "_guard"]  # noqa: RUF012  as in requests: what is pickled
    _guard: Guard
    _default_adapter: Callable[[], PinnedAdapter] | None = None  # while requests' constructor mounts its defaults

    def __init__(  # noqa: PLR0913  each a documented option
        self,
        pins: PolicyStore | PinPolicy | Mapping[str, PinsLike] | None = None,
        *,
        unpinned_hosts: UnpinnedHosts | None = None,
        on_violation: Callable[[ViolationReport], object] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_retries: int | Retry | None = None,
        pool_connections: int | None = None,
        pool_maxsize: int | None = None,
        pool_block: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self._guard = Guard(
            _store(self._option("pins", pins), self._option("unpinned_hosts", unpinned_hosts)),
            self._option("on_violation", on_violation),
            self._option("ssl_context", ssl_context),
        )
        settings = {
            "max_retries": self._option("max_retries", max_retries),
            "pool_connections": self._option("pool_connections", pool_connections),
            "pool_maxsize": self._option("pool_maxsize", pool_maxsize),
            "pool_block": self._option("pool_block", pool_block),
        }
        given = {name: value for name, value in settings.items() if value is not None}
        self._default_adapter = lambda: session_adapter(self._guard, **given)
        super().__init__(**kwargs)
        del self._default_adapter

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        GuardedLookup.enclose(cls)

    def __bool__(self) -> bool:
        """Return True: `session or requests.Session()` must not swap a pinned session for another."""
        return True

    @property
    def policy(self) -> PinPolicy:
        """The policy in force."""
        return self._guard.store.current

    def mount(self, prefix: str, adapter: BaseAdapter) -> None:
        """Register an adapter for a prefix, as `requests.Session.mount` does. Never raises.

        An `HTTPAdapter` is pinned in place when it is first used. What cannot be pinned is refused when it is about to
        carry a request to a host that must be.
        """
        if self._default_adapter is not None and prefix in _DEFAULT_PREFIXES and prefix not in self.adapters:
            adapter = self._default_adapter()
        super().mount(prefix, adapter)

    get_adapter = GuardedLookup(requests.Session.get_adapter)

    def _guarded(self, adapter: BaseAdapter, url: str) -> BaseAdapter:
        """Return `adapter`, pinned by this session's policy, or one that refuses in its place.

        Whoever found it, this is the adapter that will carry the request to `url`.
        """
        if not url.lower().startswith(_DEFAULT_PREFIXES) or is_mock(adapter):
            return adapter
        if "_guard" not in vars(self):
            return RefusingAdapter(
                "the constructor of PinnedSession was not called: a class before it among the bases calls that of "
                "requests.Session by name; call PinnedSession.__init__(self, pins)"
            )
        pinned = pin_adapter(adapter, self._guard)
        if pinned is not None:
            return self._with_policy(pinned, url)
        if self._guard.preview(url).is_allowed:
            return adapter
        host = escape(urlsplit(url).hostname or url)
        return RefusingAdapter(
            f"{show(adapter)} is mounted for {host}, which must be pinned, and cannot be: it connects by itself; "
            "mount a PinnedAdapter, or a subclass of both, or exempt the host"
        )

    def _with_policy(self, adapter: PinnedAdapter, url: str) -> BaseAdapter:
        guard_of_sender.set((adapter, url, self._guard) if adapter.follows_session else None)
        if not adapter.follows_session and url.lower().startswith("http://"):
            try:
                self._guard.admit_url(url)  # an adapter with a policy of its own has no say in this
            except Refusal as refusal:
                return RefusingAdapter(refusal)
        return adapter

    def check(self, url: str, *, timeout: Any = None) -> PinCheck:
        """Answer "is it on?": make one handshake with this session's settings, send no HTTP, and say what was found.

        Proxies, `verify` and `cert` are those that `get(url)` would use. An idle connection to the host is closed. The
        violation that it may find is not reported.

        Args:
            url: of the host. An `http://` URL gets its verdict without a connection.
            timeout: as for `get()`.

        Returns:
            A `PinCheck`, also for a mismatch or a refusal.

        Raises:
            UnpinnableAdapterError: the adapter that is mounted for `url` cannot be pinned.
            requests.exceptions.RequestException: no connection was made, or the certificate is not valid, as `get()`.
        """
        request = requests.PreparedRequest()
        request.prepare(method="GET", url=url)
        address = request.url or ""
        adapter = self.get_adapter(url=address)
        guard = self._guard
        if isinstance(adapter, PinnedAdapter) and not adapter.follows_session:
            guard = adapter.guard
        verdict = guard.preview(address)
        needs_handshake = verdict.is_allowed or verdict.outcome is Outcome.UNDECIDED
        if address.lower().startswith("https://") and needs_handshake:
            settings = self.merge_environment_settings(address, {}, None, None, None)
            if isinstance(adapter, PinnedAdapter):
                verdict = adapter.handshake(guard, request, timeout=timeout, **settings)
            elif isinstance(adapter, RefusingAdapter):
                adapter.send(request)
        return PinCheck.of(verdict)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return the settings as requests does; a CA bundle of the environment does not reach a caller's context."""
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        guard = vars(self).get("_guard")
        if guard is not None and guard.ssl_context is not None and verify in (None, True):
            settings["verify"] = self.verify
        return settings

    def _option(self, name: str, given: Any) -> Any:
        return getattr(self, name, None) if given is None and hasattr(type(self), name) else given


def _store(
    pins: PolicyStore | PinPolicy | Mapping[str, PinsLike] | None, unpinned_hosts: UnpinnedHosts | None
) -> PolicyStore:
    if pins is None:
        raise PolicyError(
            "a PinnedSession needs pins; give a mapping such as {'api.example.com': ['sha256/…', 'sha256/…']}, "
            "a PinPolicy or a PolicyStore"
        )
    if isinstance(pins, (PinPolicy, PolicyStore)):
        store = pins if isinstance(pins, PolicyStore) else PolicyStore(pins)
        if unpinned_hosts not in (None, store.current.unpinned_hosts):
            raise PolicyError(
                f"unpinned_hosts={show(unpinned_hosts)} contradicts the policy that was given, which says "
                f"{show(store.current.unpinned_hosts)}; say it in the policy alone"
            )
        return store
    return PolicyStore(PinPolicy(pins, unpinned_hosts="block" if unpinned_hosts is None else unpinned_hosts))


def request(
    method: str, url: str, *, pins: PolicyStore | PinPolicy | Mapping[str, PinsLike], **kwargs: Any
) -> Response:
    """Send one request on a `PinnedSession` of its own, as `requests.request` does on a session.

    Args:
        method: of the request.
        url: of the request.
        pins: as for `PinnedSession`.
        kwargs: as for `requests.request`.

    Raises:
        PinningError: the request was refused; nothing of it was sent.
        PolicyError: `pins` is wrong.
        requests.exceptions.RequestException: as `requests.request`.
    """
    with PinnedSession(pins) as session:
        return session.request(method, url, **kwargs)


def get(url: str, params: Any = None, **kwargs: Any) -> Response:
    """Send a GET request; see `request()`."""
    return request("get", url, params=params, **kwargs)


def options(url: str, **kwargs: Any) -> Response:
    """Send an OPTIONS request; see `request()`."""
    return request("options", url, **kwargs)


def head(url: str, **kwargs: Any) -> Response:
    """Send a HEAD request, without following redirects, as `requests.head`; see `request()`."""
    kwargs.setdefault("allow_redirects", False)
    return request("head", url, **kwargs)


def post(url: str, data: Any = None, json: Any = None, **kwargs: Any) -> Response:
    """Send a POST request; see `request()`."""
    return request("post", url, data=data, json=json, **kwargs)


def put(url: str, data: Any = None, **kwargs: Any) -> Response:
    """Send a PUT request; see `request()`."""
    return request("put", url, data=data, **kwargs)


def patch(url: str, data: Any = None, **kwargs: Any) -> Response:
    """Send a PATCH request; see `request()`."""
    return request("patch", url, data=data, **kwargs)


def delete(url: str, **kwargs: Any) -> Response:
    """Send a DELETE request; see `request()`."""
    return request("delete", url, **kwargs)

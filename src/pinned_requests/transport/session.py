"""`PinnedSession`: a `requests.Session` whose adapters are pinned; and `get()` and its siblings, with `pins=`.

Rule for the next maintainer: the guard belongs to the adapters. The session sees to it that each adapter that it uses,
however it was put there or found, is pinned or refused.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import requests

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import spell_host
from pinned_requests.core.report import PinCheck
from pinned_requests.core.text import escape
from pinned_requests.enforcement.guard import Guard, Refusal
from pinned_requests.exceptions import PinningError, UnpinnableAdapterError
from pinned_requests.transport.adapter import (
    PinnedAdapter,
    PinnedHTTPAdapter,
    RefusingAdapter,
    demand_unseen,
    pin_adapter,
    session_adapter,
)
from pinned_requests.transport.connection import Pinning
from pinned_requests.transport.environment import merge_environment_settings
from pinned_requests.transport.origin import origins_of
from pinned_requests.transport.outermost import Outermost, examine, outermost

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from requests import Response
    from requests.adapters import BaseAdapter
    from urllib3 import Retry

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy, UnpinnedHosts
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.policy_store import PolicyStore

    Pins = PolicyStore | PinPolicy | Mapping[str, PinsLike]

_DEFAULT_PREFIXES = ("https://", "http://")
_OF_REQUESTS = requests.Session.resolve_redirects, requests.Session.get_redirect_target


def _pin(session: PinnedSession, prefix: str, adapter: BaseAdapter) -> None:
    """Pin an adapter in place, if its prefix fits URLs of HTTP. An error waits until the adapter is used."""
    start = str(prefix).lower()
    fits_http = start.startswith(_DEFAULT_PREFIXES) or "https://".startswith(start) or "http://".startswith(start)
    if fits_http and not _is_mock(adapter):
        with suppress(PolicyError):
            pin_adapter(adapter, session._pinned_by)  # noqa: SLF001  a part of the session


def _adapters(session: PinnedSession, adapters: Any) -> Any:
    """Return the adapters of a session, each pinned if it can be."""
    if "_pinned_by" in vars(session):
        for prefix, adapter in tuple(adapters.items()):
            if type(adapter) is not PinnedAdapter:  # else it is pinned
                _pin(session, prefix, adapter)
    return adapters


def _find(session: PinnedSession, find: Callable[..., BaseAdapter], url: str, *args: Any, **kwargs: Any) -> BaseAdapter:
    """Return the adapter that `find` gives, pinned, or one that refuses in its place."""
    adapter = find(*args, url=url, **kwargs)
    scheme = url.lstrip().partition(":")[0].lower()
    if scheme not in ("https", "http") or _is_mock(adapter):
        return adapter
    pinning = vars(session).get("_pinned_by")
    if pinning is None:
        return RefusingAdapter(
            UnpinnableAdapterError(
                "the constructor of PinnedSession was not called: a class before it among the bases calls that of "
                "requests.Session by name; call PinnedSession.__init__(self, pins)"
            )
        )
    try:
        pinned = pin_adapter(adapter, pinning)
        if pinned is None:
            demand_unseen(pinning.guard, url, adapter)
        elif not pinned.pinned_for_session and scheme == "http":
            for origin in origins_of(url):  # an adapter with a policy of its own does not decide this
                pinning.guard.admit(*origin)
    except PinningError as error:
        return RefusingAdapter(error)
    except Refusal as refusal:
        return RefusingAdapter(refusal.as_error())
    return adapter


def _is_mock(adapter: object) -> bool:
    """Say whether an adapter is requests-mock's, which answers by itself and never connects."""
    module = sys.modules.get("requests_mock.adapter")
    if module is None or not isinstance(adapter, module.Adapter):
        return False
    return type(adapter).send is module.Adapter.send and "send" not in vars(adapter)


class PinnedSession(Outermost, requests.Session):
    """A `requests.Session` that talks only to servers whose public key is pinned.

    Every new connection makes a full handshake, and its verified chain is evaluated before the first byte of HTTP is
    sent. Connections that are kept alive are evaluated again for each request. All else is as in requests.

    Args:
        pins: a mapping of host patterns to pins, a `PinPolicy` or a `PolicyStore`.
        unpinned_hosts: `"block"` (the default for a mapping) or `"allow"`: how hosts are treated that no pattern
            matches. `"block"` beside a store also holds for its later policies.
        on_violation: called with a `ViolationReport` for each violation, in the thread of the request. Exceptions are
            logged and ignored.
        ssl_context: used as it is, and never changed; `verify` must then be True, which means "as the context says".
        max_retries: as for `requests.adapters.HTTPAdapter`; a refusal is never retried.
        pool_connections: as for `HTTPAdapter`.
        pool_maxsize: as for `HTTPAdapter`.
        pool_block: as for `HTTPAdapter`.
        kwargs: passed to the next class; `requests.Session` takes none.

    A subclass may set any of these as class attributes instead.

    Raises:
        PolicyError: no pins at all, or wrong ones; `unpinned_hosts` contradicts the policy that was given.

    Pins do *not* hide what is sent during the handshake (a client certificate; in TLS 1.2 in the clear), and do not
    protect from code that runs on this machine.
    """

    __attrs__ = [*requests.Session.__attrs__, "_pinned_by"]  # noqa: RUF012  as in requests: what is pickled
    _pinned_by: Pinning
    _methods: ClassVar = {"get_adapter": _find}
    _attributes: ClassVar = {"adapters": _adapters}
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
        examine(type(self))
        pins = self._option("pins", pins)
        if pins is None:
            raise PolicyError(
                "a PinnedSession needs pins; give a mapping such as {'api.example.com': ['sha256/…', 'sha256/…']}, "
                "a PinPolicy or a PolicyStore"
            )
        guard = Guard(
            pins,
            unpinned_hosts=self._option("unpinned_hosts", unpinned_hosts),
            on_violation=self._option("on_violation", on_violation),
        )
        self._pinned_by = Pinning(guard, self._option("ssl_context", ssl_context))
        settings = {
            "max_retries": max_retries,
            "pool_connections": pool_connections,
            "pool_maxsize": pool_maxsize,
            "pool_block": pool_block,
        }
        options = {name: self._option(name, value) for name, value in settings.items()}
        given = {name: value for name, value in options.items() if value is not None}
        self._default_adapter = lambda: session_adapter(self._pinned_by, **given)
        super().__init__(**kwargs)
        del self._default_adapter

    @outermost
    def get_adapter(self, url: str) -> BaseAdapter:
        """Return the adapter that will carry a request to `url`, pinned, or one that refuses in its place."""
        return _find(self, super().get_adapter, url)

    def __bool__(self) -> bool:
        """Return True: `session or requests.Session()` must not swap a pinned session for another."""
        return True

    @property
    def policy(self) -> PinPolicy:
        """The policy in force."""
        return self._pinned_by.guard.policy

    def mount(self, prefix: str, adapter: BaseAdapter) -> None:
        """Register an adapter for a prefix, as `requests.Session.mount` does. Never raises.

        An `HTTPAdapter` is pinned in place. An adapter that cannot be pinned is refused when it is about to carry a
        request to a host that must be.
        """
        if self._default_adapter is not None and prefix in _DEFAULT_PREFIXES and prefix not in self.adapters:
            adapter = self._default_adapter()
        super().mount(prefix, adapter)
        if "_pinned_by" in vars(self):
            _pin(self, prefix, adapter)

    def check(self, url: str, *, timeout: Any = None) -> PinCheck:
        """Answer "is it on?": make one handshake with this session's settings, send no HTTP, and return what was found.

        Proxies, `verify` and `cert` are those that `get(url)` would use. A violation is returned, not reported.

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
        guard = self._pinned_by.guard
        if isinstance(adapter, PinnedHTTPAdapter) and not adapter.pinned_for_session:
            guard = adapter.pinned_by.guard
        verdict = guard.preview(*origins_of(address)[0])
        if address.lower().startswith("https://") and not verdict.is_refused_early:
            settings = self.merge_environment_settings(address, {}, None, None, None)
            if isinstance(adapter, PinnedHTTPAdapter):
                from pinned_requests.transport.handshake import handshake  # noqa: PLC0415  no request needs it

                verdict = handshake(adapter, request, timeout=timeout, **settings)
            elif isinstance(adapter, RefusingAdapter):
                adapter.send(request)
        return PinCheck.of(verdict)

    def resolve_redirects(self, resp: Any, *args: Any, **kwargs: Any) -> Any:
        """Follow redirects as requests does.

        Raises:
            PinningError: a redirect was refused. The text ends with the host that sent it, without the path and query,
                which may hold a secret.
        """
        inherited = super().resolve_redirects
        # Nearly every response is none; requests parses its URL before it sees that.
        found = getattr(inherited, "__func__", None), getattr(self.get_redirect_target, "__func__", None)
        if found == _OF_REQUESTS and self.get_redirect_target(resp) is None:
            return
        last = resp
        try:
            for each in inherited(resp, *args, **kwargs):
                yield each
                last = each
        except PinningError as error:
            scheme, host, port = origins_of(str(last.url))[0]
            where = f"{scheme}://{spell_host(host, port)}"
            error.args = (f"{error}\n  Redirected from {escape(where)}.",)
            raise

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return the settings as requests does; a CA bundle of the environment does not reach a caller's context."""
        inherited: Any = super().merge_environment_settings
        settings = merge_environment_settings(self, inherited, url, proxies, stream, verify, cert)
        pinning = vars(self).get("_pinned_by")
        if pinning is not None and pinning.context is not None and verify in (None, True):
            settings["verify"] = self.verify
        return settings

    def _option(self, name: str, given: Any) -> Any:
        return getattr(self, name, None) if given is None and hasattr(type(self), name) else given


def request(method: str, url: str, *, pins: Pins, **kwargs: Any) -> Response:
    """Send one request on a `PinnedSession` of its own, as `requests.request` does on a session.

    Args:
        method: of the request.
        url: of the request.
        pins: a mapping of host patterns to pins, a `PinPolicy` or a `PolicyStore`.
        kwargs: as for `requests.request`.

    Raises:
        PinningError: the request was refused. No byte of it was sent.
        PolicyError: `pins` is wrong.
        requests.exceptions.RequestException: as `requests.request`.
    """
    with PinnedSession(pins) as session:
        return session.request(method, url, **kwargs)


def get(url: str, params: Any = None, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a GET request; see `request()`."""
    return request("get", url, pins=pins, params=params, **kwargs)


def options(url: str, *, pins: Pins, **kwargs: Any) -> Response:
    """Send an OPTIONS request; see `request()`."""
    return request("options", url, pins=pins, **kwargs)


def head(url: str, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a HEAD request, without following redirects, as `requests.head`; see `request()`."""
    kwargs.setdefault("allow_redirects", False)
    return request("head", url, pins=pins, **kwargs)


def post(url: str, data: Any = None, json: Any = None, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a POST request; see `request()`."""
    return request("post", url, pins=pins, data=data, json=json, **kwargs)


def put(url: str, data: Any = None, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a PUT request; see `request()`."""
    return request("put", url, pins=pins, data=data, **kwargs)


def patch(url: str, data: Any = None, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a PATCH request; see `request()`."""
    return request("patch", url, pins=pins, data=data, **kwargs)


def delete(url: str, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a DELETE request; see `request()`."""
    return request("delete", url, pins=pins, **kwargs)

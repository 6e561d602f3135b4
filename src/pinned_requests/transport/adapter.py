"""`PinnedAdapter`: requests' `HTTPAdapter` on pinned pools. The one place that turns a `Refusal` into the public error.

Rules for the next maintainer:

- Pools are pinned where they come out of the adapter, not where managers are made: `init_poolmanager()` and
  `proxy_manager_for()` are what others override. Three methods see every pool, so that one of them may be overridden.
- A `PinningError` is an `OSError`, by way of requests: it is raised outside of every `try` of urllib3's and requests'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter

from pinned_requests.core.errors import PolicyError
from pinned_requests.transport.connection import pin_pool
from pinned_requests.transport.guard import Guard, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests import PreparedRequest, Response

    from pinned_requests.core.policy import PinPolicy, PinsLike
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.sources.store import PolicyStore


class PinnedAdapter(HTTPAdapter):
    """A transport adapter that lets requests go only to servers whose key is pinned.

    Mounted on any `requests.Session`, it pins whatever that sends through it. What goes through other adapters of that
    session it does not see: mount it for `https://` and for `http://`, or use `PinnedSession`.

    Args:
        policy: a `PinPolicy`, a `PolicyStore`, or a mapping of host patterns to pins.
        args: what `HTTPAdapter` takes.
        on_violation: called with a `ViolationReport` for each violation, in the thread of the request; what it raises
            is logged and changes nothing.
        kwargs: what `HTTPAdapter`, or the next class, takes.

    Raises:
        PolicyError: `policy` is wrong.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_guard"]  # noqa: RUF012  as in requests: what is pickled
    _guard: Guard

    def __init__(
        self,
        policy: PolicyStore | PinPolicy | Mapping[str, PinsLike],
        *args: Any,
        on_violation: Callable[[ViolationReport], object] | None = None,
        **kwargs: Any,
    ) -> None:
        self._guard = Guard.of(policy, on_violation=on_violation)
        super().__init__(*args, **kwargs)

    @classmethod
    def _with_guard(cls, guard: Guard, **kwargs: Any) -> PinnedAdapter:
        adapter = cls(guard.store, on_violation=guard.on_violation, **kwargs)
        adapter._guard = guard
        return adapter

    @property
    def policy(self) -> PinPolicy:
        """The policy in force."""
        return self._guard.store.current

    def send(  # noqa: PLR0913, PLR0917  requests' signature
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002  requests' signature
        timeout: Any = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002  requests' signature
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """Send a request as `HTTPAdapter.send` does, over connections that satisfy the policy.

        Raises:
            PinningError: the request was refused; nothing of it was sent.
            PolicyError: `verify` or `cert` would change the caller's own `ssl_context`.
            requests.exceptions.RequestException: as `HTTPAdapter.send`.
        """
        if self._guard.ssl_context is not None and (verify is not True or cert):
            raise PolicyError(
                "'verify' and 'cert' would change the ssl_context that was given; set verification and the client "
                "certificate on the context itself"
            )
        try:
            self._guard.admit_url(request.url or "")
            # requests takes any falsy `verify` for False in one place, and False alone in another: the pool of an
            # unverified connection would be that of verified ones.
            return super().send(request, stream, timeout, verify or False, cert, proxies)
        except Refusal as refusal:
            raise refusal.as_error(request) from None

    def build_connection_pool_key_attributes(self, request: PreparedRequest, verify: Any, cert: Any = None) -> Any:
        """Return the pool key as `HTTPAdapter` does, with the caller's context where one was given."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if self._guard.ssl_context is not None:
            pool["ssl_context"] = self._guard.ssl_context
        return host, pool

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool for a request, pinned."""
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        pin_pool(pool, self._guard)
        return pool

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool for a URL, pinned; what adapters written before requests 2.32 go through."""
        pool = super().get_connection(*args, **kwargs)
        pin_pool(pool, self._guard)
        return pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Set verification on a pool, and pin it, should it have come another way."""
        super().cert_verify(conn, url, verify, cert)
        pin_pool(conn, self._guard)

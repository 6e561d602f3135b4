"""The connection of `PinnedSession.check()`: a handshake with the settings of a request, and no request.

A copy of the pool that a request would use makes it. Imported when it is called: no request needs it.
"""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError
from urllib3 import HTTPResponse

from pinned_requests.core.chain import Chain
from pinned_requests.enforcement.guard import Refusal
from pinned_requests.transport.adapter import checked_verify, demand_pinnable
from pinned_requests.transport.connection import PinnedHTTPSConnection, Pinning, hang_up
from pinned_requests.transport.origin import origins_of
from pinned_requests.transport.pool import PinnedPool, real_connection

if TYPE_CHECKING:
    from requests import PreparedRequest

    from pinned_requests.core.report import ViolationReport
    from pinned_requests.core.verdict import Verdict
    from pinned_requests.transport.adapter import PinnedHTTPAdapter


def handshake(adapter: PinnedHTTPAdapter, request: PreparedRequest, **settings: Any) -> Verdict:
    """Make a new connection as `adapter` would for `request`, send nothing over it, and return the verdict on it.

    `settings` are those of `send()`.

    Raises:
        UnpinnableAdapterError: the adapter opens connections of its own.
        PolicyError: as `send()`.
        requests.exceptions.RequestException: no connection was made, or the certificate is not valid.
    """
    guard, cert = adapter.pinned_by.guard, settings.get("cert")
    demand_pinnable(adapter, request.url)
    settings["verify"] = verify = checked_verify(adapter.pinned_by, settings.get("verify", True), cert)
    pool = adapter.get_connection_with_tls_context(request, verify, proxies=settings.get("proxies"), cert=cert)
    if isinstance(pool, PinnedPool):
        adapter.cert_verify(pool, request.url or "", verify, cert)
        made = _Handshake(pool)
        try:
            _HandshakeAdapter(made).send(request, **settings)
        except RequestsConnectionError:
            if made.verdict is None:
                raise
        if made.verdict is not None:
            return made.verdict
    _scheme, host, port = origins_of(request.url)[0]
    return guard.judge(guard.admit("https", host, port), Chain.missing("no handshake was made"))


class _Handshake:
    """Makes one new handshake with the settings of a pool, sends no HTTP, and keeps the verdict.

    It is a pool to `HTTPAdapter.send`, so that errors are those of a request.
    """

    def __init__(self, pool: PinnedPool) -> None:
        self.verdict: Verdict | None = None
        self._pool: Any = copy.copy(pool)
        self._pool.pool = pool.QueueCls(1)
        guard, context = pool.pinned_by.guard, pool.pinned_by.context
        self._pool.pinned_by = Pinning(guard.reporting_to(self._note), context)

    def urlopen(self, **kwargs: Any) -> Any:
        """Connect as for a request, and return an empty response."""
        pool = self._pool
        try:
            connection = real_connection(pool._new_conn())  # noqa: SLF001  the pool is a copy of our own class
            pinned = pool._pin(connection)  # noqa: SLF001  as above
        except Refusal as refusal:
            raise refusal.as_error() from None
        if pinned is not None and _speaks_http2(connection):
            connection.__class__ = PinnedHTTPSConnection  # HTTP/2 sends its preface as soon as it is connected
        # What urllib3 does with the connection after it was checked: nothing.
        connection.request = lambda *_args, **_kwargs: None
        connection.getresponse = lambda: HTTPResponse(status=204)
        pool.pool.put(connection)
        try:
            return pool.urlopen(**kwargs)
        finally:
            if self.verdict is None and pinned is not None:
                self.verdict = pinned.pinned_verdict
            hang_up(connection)

    def _note(self, report: ViolationReport) -> None:
        self.verdict = report.verdict


class _HandshakeAdapter(HTTPAdapter):
    """Sends by a `_Handshake`."""

    def __init__(self, handshake: _Handshake) -> None:
        super().__init__()
        self._handshake = handshake

    def get_connection_with_tls_context(self, *_args: Any, **_kwargs: Any) -> Any:
        return self._handshake

    def cert_verify(self, *_args: Any) -> None:
        pass  # the pool has the settings


def _speaks_http2(connection: object) -> bool:
    http2 = sys.modules.get("urllib3.http2.connection")
    return http2 is not None and isinstance(connection, http2.HTTP2Connection)

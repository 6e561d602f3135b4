"""A server of the lab that stands in for a host, for the time of a ``with`` block."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

from pinned_requests.testing.intercept.redirection import Route, redirection

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from pinned_requests.testing.lab.host_identity import HostIdentity
    from pinned_requests.testing.server.messages import Request
    from pinned_requests.testing.server.tls_server import TLSServer

__all__ = ["Takeover"]

_open: list[Takeover] = []  # those of all labs of this process, the oldest first
_lock = threading.Lock()


class Takeover:
    """What stands in for a host while it is open.

    Connections that clients have open to an older takeover of that host are closed when this one opens: an attacker who
    takes over the network takes over all of it, and a client that went on over an old connection would never meet it.
    Within the block the counts are read when all is at rest, and after it they do not change.

    Args:
        identity: of the host.
        server: the server, not yet started.
        is_proxy: whether the environment's proxy for https is the server, while it is open.
    """

    def __init__(self, identity: HostIdentity, server: TLSServer, *, is_proxy: bool = False) -> None:
        self.host = identity.host
        """The host, in lower case and A-labels."""
        self._identity = identity
        self._server = server
        self._is_proxy = is_proxy
        self._handshakes = redirection.handshakes
        self._route: Route | None = None
        self._undecided = 0  # when the block ended

    def __enter__(self) -> Self:
        """Begin the block.

        Raises:
            RuntimeError: another lab of this process has taken over the host; or the block was begun before.
        """
        with _lock:
            if any(each.host == self.host and each._identity is not self._identity for each in _open):  # noqa: SLF001 - of the same class
                raise RuntimeError(
                    f"another MITMLab of this process has taken over {self.host}: its clients cannot be told from those"
                    " of this lab. Use one lab for both, other hosts, or run the tests in several processes (xdist)."
                )
            self._server.start()
            route = Route(self.host, self._server.port, self._identity.anchor, self._is_proxy)
            redirection.add(route)
            self._handshakes = redirection.handshakes
            self._route = route
            for other in _open:
                if other.host == self.host:
                    other._server.disconnect()  # noqa: SLF001 - of the same class
            _open.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(is_interrupted=kind is not None and not issubclass(kind, Exception))

    def close(self) -> None:
        """End the block: no connection comes here any more, those that are open are closed, and the counts are final.

        Raises:
            TimeoutError: a handler is still running after 5 seconds, or a client still sending.
        """
        self._close(is_interrupted=False)

    def _close(self, *, is_interrupted: bool) -> None:
        route, self._route = self._route, None
        if route is None:
            return
        with _lock:
            _open.remove(self)
            redirection.remove(route)
        try:
            if not is_interrupted:  # after Ctrl-C no verdict is asked for
                self._server.settle()
                self._conclude()
        finally:
            self._server.stop()

    @property
    def port(self) -> int:
        """The port of its server, on 127.0.0.1.

        Raises:
            RuntimeError: the block has not begun.
        """
        return self._server.port

    @property
    def connections(self) -> int:
        """How many TCP connections clients made."""
        self._rest()
        return self._server.connections

    @property
    def handshakes(self) -> int:
        """How many TLS handshakes were completed, as the server saw it.

        Over memory (asyncio, httpx, aiohttp) a client that refuses what it has accepted in the handshake may be missing
        here.
        """
        self._rest()
        return self._server.handshakes

    @property
    def failed_handshakes(self) -> tuple[str, ...]:
        """The errors of the others, as OpenSSL tells them to a server: what alert the client sent, for example."""
        self._rest()
        return self._server.failed_handshakes

    @property
    def requests(self) -> list[Request]:
        """The requests that arrived whole, over TLS or in the clear."""
        self._rest()
        return self._server.requests

    @property
    def undecided(self) -> int:
        """How many clients had connected by now, or by the end of the block, and neither sent HTTP nor hung up."""
        self._rest()
        return self._undecided if self._route is None else self._count_undecided()

    def _conclude(self) -> None:
        """Read what cannot be read when the server has stopped."""
        self._undecided = self._count_undecided()

    def _count_undecided(self) -> int:
        if self._server.undecided(timeout=0):
            gc.collect()  # a client that dropped a refused connection without closing it, in a cycle, is gone by then
        return self._server.undecided()

    def _rest(self) -> None:
        if self._route is not None:
            self._server.settle()

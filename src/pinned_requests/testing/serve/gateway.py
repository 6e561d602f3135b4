"""Two fixed ports on loopback behind which the lab's servers take turns: the host's address, and an explicit proxy.

The server that is shown takes over the connection, and sees all bytes of the client. Nothing leaves the machine.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pinned_requests.testing.clock import steady
from pinned_requests.testing.intercept.redirection import canonical
from pinned_requests.testing.server.connection import CONNECTED, END_OF_HEAD, NO_TUNNEL, is_ready
from pinned_requests.testing.server.tls_server import AcceptLoop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.testing.server.tls_server import TLSServer

_HEAD_LIMIT = 65536  # bytes of what a client asks the proxy for
_LOOK = 0.005  # seconds between two looks at the connections


class Gateway:
    """Accepts connections for the server that is shown.

    Args:
        host: as `normalize_host` returns it.
        direct: listening sockets of the host.
        proxy: that of the proxy.
        server: is shown first.
    """

    def __init__(self, host: str, direct: Sequence[socket.socket], proxy: socket.socket, server: TLSServer) -> None:
        self._host = host
        self._listeners = (proxy, *direct)
        self._server = server
        self._is_proxy = False
        self._asking: set[socket.socket] = set()  # clients of the proxy that have not said where to
        self._lock = threading.Lock()  # no client is handed over to a server that is not shown any more
        self._loops = (
            AcceptLoop(direct, self._adopt, self._lock, "lab:gateway"),
            AcceptLoop([proxy], self._begin, self._lock, "lab:proxy"),
        )

    def stop(self) -> None:
        """Accept no more connections, and cut those that are open."""
        for each in self._loops:
            each.stop()
        self.show(self._server, is_proxy=False)

    def settle(self, timeout: float) -> None:
        """Wait until all connections are handed over, at most `timeout` seconds."""
        deadline = steady() + timeout
        while self._is_busy() and steady() < deadline:
            threading.Event().wait(_LOOK)

    def show(self, server: TLSServer, *, is_proxy: bool) -> None:
        """Cut all connections, and show another server, which may answer CONNECT itself."""
        with self._lock:
            self._server.disconnect()
            self._server, self._is_proxy = server, is_proxy
            for each in self._asking:
                with contextlib.suppress(OSError):  # the client was faster
                    each.shutdown(socket.SHUT_RDWR)
            self._asking.clear()

    def _is_busy(self) -> bool:
        with self._lock:
            return bool(self._asking) or any(is_ready(each, selectors.EVENT_READ, 0) for each in self._listeners)

    def _adopt(self, sock: socket.socket, address: tuple[str, int], unread: bytes = b"") -> None:
        self._server._adopt(sock, address, unread)  # noqa: SLF001 - of the same package

    def _begin(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self._asking.add(sock)
        threading.Thread(target=self._ask, args=(sock, address), daemon=True).start()

    def _ask(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """Find out where a client of the proxy wants to go (RFC 9110 §9.3.6; RFC 9112 §3.2.2 for plain HTTP)."""
        unread = b""
        with contextlib.suppress(OSError):
            sock.settimeout(None)
            while END_OF_HEAD not in unread and len(unread) < _HEAD_LIMIT and (data := sock.recv(_HEAD_LIMIT)):
                unread += data
        head, end, rest = unread.partition(END_OF_HEAD)
        method, target = (*head.decode("latin-1").split(maxsplit=2), "", "")[:2]
        is_tunnel = method == "CONNECT"
        name = target.rpartition(":")[0] if is_tunnel else _host_of(target)
        with self._lock, contextlib.suppress(OSError):
            is_cut = sock not in self._asking
            self._asking.discard(sock)
            if end and not is_cut:
                if canonical(name) == self._host:
                    if is_tunnel and not self._is_proxy:
                        sock.sendall(CONNECTED)
                        unread = rest
                    self._adopt(sock, address, unread)
                    return
                sock.sendall(NO_TUNNEL)
        sock.close()


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

"""A TLS server on loopback that counts what its clients let it have.

Rules for the next maintainer:

- The handshake is made in the connection's own thread. In the accept loop one silent client would stop all others.
- Nothing is printed, and `TLSServer.stop` closes every socket and joins every thread.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING

from pinned_requests.core.host import spell_host
from pinned_requests.testing.clock import steady
from pinned_requests.testing.server.connection import Connection, ConnectionRecord, Face, Service, Tally, is_ready
from pinned_requests.testing.server.http_exchange import Handler, respond

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from typing import Any, Self

    from pinned_requests.testing.pki.authority import Credential
    from pinned_requests.testing.server.http_exchange import Request

_BACKLOG = 128  # connections: tests open many at once
_QUIET = 0.05  # seconds without news: what was sent over loopback has arrived by then
_SETTLE_INTERVAL = 0.005  # seconds between two looks at the sockets


class AcceptLoop:
    """A thread that calls `begin` with the socket and address of each new connection, under the lock."""

    def __init__(
        self,
        listeners: Iterable[socket.socket],
        begin: Callable[[socket.socket, Any], None],
        lock: AbstractContextManager[Any],
        name: str,
    ) -> None:
        self._listeners = listeners
        self._begin = begin
        self._lock = lock
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End. What has come before may still be begun."""
        self._wake.close()
        self._thread.join()
        self._woken.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for listener in self._listeners:
                listener.settimeout(0)  # a client that is gone before it is accepted must not block the loop
                selector.register(listener, selectors.EVENT_READ)
            is_running = True
            while is_running:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        is_running = False
                        continue
                    with self._lock, contextlib.suppress(OSError):
                        self._begin(*key.fileobj.accept())  # type: ignore[union-attr]  # a socket


class TLSServer:
    """An HTTP/1.1 server over TLS on an ephemeral loopback port, for the time of a ``with`` block.

    Bodies may be chunked, and connections are kept alive. A handler that raises answers with status 500 and the
    exception as body.

    Args:
        credential: the key and the certificates to present; None for a server that speaks plain HTTP.
        handler: what answers the requests, in the connection's thread; None: status 200 with the body ``ok``. Another
            one may be assigned at any time.
        host: the IPv4 or IPv6 address to listen on.
        context: a TLS context to use in place of the credential's default one, until `credential` is assigned.
        cleartext: whether a client that sends plain HTTP to this TLS server is answered as well, on the same port.
        tunnels_to: makes it a proxy as well: gets the target of a CONNECT request, as ``api.example.com:443``, and says
            whether the client gets a tunnel, which leads to this server.
        patience: seconds after which a connection that hangs is closed; None: when the server stops.
        face: what a connection shows, by its number from 1 among those on which the client said anything; None: always
            the credential and the handler.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each way in which a test may want a server to be odd
        self,
        credential: Credential | None,
        *,
        handler: Handler | None = None,
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
        cleartext: bool = False,
        tunnels_to: Callable[[str], bool] | None = None,
        patience: float | None = None,
        face: Callable[[int], Face] | None = None,
    ) -> None:
        self.handler = handler
        self.host = host
        self._service = Service(face or self._own_face, cleartext, tunnels_to, patience)
        self._credential = credential
        self._context = context or (credential.server_context() if credential else None)
        self._tally = Tally()
        self._listener: socket.socket | None = None
        self._accepting: AcceptLoop | None = None
        self._threads: list[threading.Thread] = []
        self._port: int | None = None

    def start(self) -> Self:
        """Bind a port, begin to accept connections, and return the server itself.

        Raises:
            OSError: the address cannot be bound.
            RuntimeError: the server was started before; make another one.
        """
        if self._port is not None:
            raise RuntimeError("a server starts only once: make another TLSServer")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, 0), family=family, backlog=_BACKLOG)
        self._port = self._listener.getsockname()[1]
        # Under the lock for `settle`: a connection is in the backlog or counted.
        self._accepting = AcceptLoop([self._listener], self._begin, self._tally.changed, f"lab:{self._port}")
        return self

    def stop(self, timeout: float = 10.0) -> None:
        """Close all sockets, and join all threads. The counts stay readable.

        Args:
            timeout: seconds to wait for a handler that is still running.

        Raises:
            TimeoutError: a handler did not return in that time; its thread is left behind.
        """
        if self._listener is None or self._accepting is None:
            return
        self._accepting.stop()
        with self._tally.changed:
            self._listener.close()
            self._listener = None
            self._tally.stopping = True
            for connection in self._tally.live:
                connection.abort()
        deadline = steady() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - steady()))
        if any(thread.is_alive() for thread in self._threads):
            raise TimeoutError(f"a handler of the server on port {self._port} still runs after {timeout} seconds")

    def disconnect(self) -> None:
        """Close all open connections, and go on listening, as a server that restarts."""
        with self._tally.changed:
            for connection in self._tally.live:
                connection.abort()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on, or did before `stop`.

        Raises:
            RuntimeError: the server has not been started.
        """
        if self._port is None:
            raise RuntimeError("the server has no port before it is started: use it in a with block")
        return self._port

    @property
    def scheme(self) -> str:
        """``https``, or ``http`` without a credential."""
        return "https" if self._context else "http"

    def url(self, path: str = "/", host: str = "localhost") -> str:
        """Return the URL of a path on this server.

        Args:
            path: begins with a slash, and may have a query.
            host: the name or address in the URL; whether it leads here is up to the resolver.

        Raises:
            RuntimeError: the server has not been started.
        """
        return f"{self.scheme}://{spell_host(host, self.port)}{path}"

    @property
    def credential(self) -> Credential | None:
        """What the server presents. Another one may be assigned at any time, for the next connection."""
        return self._credential

    @credential.setter
    def credential(self, credential: Credential | None) -> None:
        self._context = credential.server_context() if credential else None
        self._credential = credential

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted."""
        return len(self._tally.records)

    @property
    def open_connections(self) -> int:
        """How many of them are still open at this side."""
        return len(self._tally.live)

    @property
    def handshakes(self) -> int:
        """How many TLS handshakes were completed."""
        return self._tally.handshakes

    @property
    def failed_handshakes(self) -> tuple[str, ...]:
        """The errors of the others, in order; a connection that was closed in its handshake is one of them."""
        return tuple(self._tally.failed_handshakes)

    @property
    def application_bytes(self) -> int:
        """How many bytes of HTTP clients sent, decrypted, whether or not they became a request."""
        return self._tally.received.size

    @property
    def received(self) -> bytes:
        """The first 4096 of these bytes, in the order of their arrival."""
        return self._tally.received.beginning

    @property
    def cleartext_bytes(self) -> int:
        """How many of these bytes came in the clear."""
        return self._tally.cleartext.size

    @property
    def cleartext(self) -> bytes:
        """The first 4096 bytes that came in the clear."""
        return self._tally.cleartext.beginning

    @property
    def leaked_bytes(self) -> int:
        """How many of the bytes came to an attacker: all but those over TLS with the host's own certificate."""
        return self._tally.leaked.size

    @property
    def leaked(self) -> bytes:
        """The first 4096 of these bytes."""
        return self._tally.leaked.beginning

    @property
    def records(self) -> tuple[ConnectionRecord, ...]:
        """What happened on each connection, in order."""
        return tuple(self._tally.records)

    @property
    def requests(self) -> list[Request]:
        """A copy of the requests that arrived whole, in order."""
        return list(self._tally.requests)

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until every connection is finished, or idle: all that the clients have sent by now is read and counted.

        Call this before the counts are read: a client may see its failure before this server has seen the end of the
        connection. Where all connections have been closed, the counts are exact; otherwise there was no news for 50 ms.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: a handler is still running then, or a client still sending.
        """
        tally = self._tally
        seen, since = -1, 0.0

        def settled() -> bool:
            nonlocal seen, since
            if not self._at_rest():
                seen = -1
                return False
            if tally.records and not tally.live:
                return True
            if seen != tally.news:
                seen, since = tally.news, steady()
            return steady() - since >= _QUIET

        self._wait(settled, timeout, "every connection was at rest")

    def undecided(self, timeout: float = 0.5) -> int:
        """Return how many clients have neither sent HTTP since their handshake nor hung up.

        Args:
            timeout: seconds to wait at most for clients that are about to do so.
        """

        def left() -> int:
            return sum(connection.record.is_undecided for connection in self._tally.live)

        with contextlib.suppress(TimeoutError):
            self._wait(lambda: not left(), timeout, "every client had sent something, or hung up")
        with self._tally.changed:
            return left()

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> None:
        """Wait until so many connections have been accepted since the start.

        Args:
            count: at least so many.
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: there were fewer by then.
        """
        self._wait(lambda: self.connections >= count, timeout, f"{count} connections were accepted")

    def _wait(self, condition: Callable[[], bool], timeout: float, goal: str) -> None:
        deadline = steady() + timeout
        with self._tally.changed:
            while not condition():
                remaining = deadline - steady()
                if remaining <= 0:
                    raise TimeoutError(f"{timeout} seconds passed before {goal} (accepted: {self.connections})")
                self._tally.changed.wait(min(remaining, _SETTLE_INTERVAL))

    def _at_rest(self) -> bool:
        # A connection may still be in the backlog: the kernel completes it before it is accepted here.
        backlog = self._listener is not None and is_ready(self._listener, selectors.EVENT_READ, timeout=0)
        return not backlog and all(connection.idle for connection in self._tally.live)

    def _adopt(self, sock: socket.socket, address: tuple[str, int], unread: bytes = b"") -> None:
        """Serve a client that was accepted elsewhere; some of its bytes may have been read."""
        with self._tally.changed:
            if self._tally.stopping:
                sock.close()
            else:
                self._begin(sock, address, unread)

    def _begin(self, sock: socket.socket, address: tuple[str, int], unread: bytes = b"") -> None:
        """Serve a client in a thread of its own. The lock is held."""
        sock.settimeout(0)
        record = ConnectionRecord(address[:2])
        connection = Connection(sock, record, self._service, self._tally, unread)
        self._tally.records.append(record)
        self._tally.live.add(connection)
        self._tally.tell()
        thread = threading.Thread(target=connection.run, name=f"lab:{self.port}:{address[1]}", daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _own_face(self, _number: int) -> Face:
        return Face(self._context, lambda request: respond(self.handler, request))

"""A TLS server on loopback that counts what its clients let it have.

Rules for whoever changes this module:

- The counts are evidence: a test that reads "no application byte" must be able to rely on it. Every byte that OpenSSL
  decrypts passes through `_Connection.receive`, whether or not it ever becomes a request.
- A connection never blocks in ``recv``. It waits until its socket is readable, with `_Connection.waiting` set, and
  only then takes the bytes out of the kernel. So bytes are in the kernel or counted, and `TLSServer.settle` can tell.
- The handshake is made in the connection's own thread. In the accept loop one silent client would stop all others.
- Nothing is printed, and nothing is left behind: `TLSServer.stop` closes every socket and joins every thread.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BufferedReader, BytesIO, RawIOBase
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer, Self

    from pinned_requests.testing.authority import Credential

_T = TypeVar("_T")

__all__ = ["Handler", "Request", "Response", "TLSServer"]

_RECEIVED_LIMIT = 4096  # bytes kept of what came in: enough to show what leaked
_LINE_LIMIT = 65536  # bytes in a line of a request, as in http.server
_LINGER = 1.0  # seconds to wait for the client's close after ours, so that what it still sends is counted, too
_BACKLOG = 128  # connections: tests open many at once
_QUIET = 0.05  # seconds without news from an open connection: what was sent over loopback has arrived by then
_SETTLE_INTERVAL = 0.005  # seconds between two looks at the sockets


@dataclass(frozen=True)
class Request:
    """A request that arrived whole."""

    method: str
    path: str
    """The request target as it was sent, with its query."""
    headers: tuple[tuple[str, str], ...]
    """Names and values as they were sent, in order."""
    body: bytes
    """Without the framing of a chunked body."""
    peer: tuple[str, int]
    """The client's address and port: the same for all requests of one connection."""

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a header.

        Args:
            name: its name, in any case.
            default: what to return if there is none.
        """
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)


@dataclass(frozen=True)
class Response:
    """What the server answers. Content-Length is added where the headers hold no framing of their own."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"ok"


Handler = Callable[[Request], Response] | Mapping[str, Response | bytes]
"""What answers: a callable, or a mapping of paths (with or without query) to responses or bodies; others get a 404."""


class TLSServer:
    """An HTTP/1.1 server over TLS on an ephemeral loopback port, for the time of a ``with`` block.

    Every method is answered, bodies may be chunked, and connections are kept alive. A handler that raises is answered
    with status 500 and the exception as body.

    Args:
        credential: the key and the certificates to present; None for a server that speaks plain HTTP.
        handler: what answers the requests; None: status 200 with the body ``ok``. It runs in the connection's thread,
            and may be assigned anew at any time.
        host: the address to listen on; an IPv6 address works, too.
        context: a TLS context to use in place of the credential's default one, until `credential` is assigned.
    """

    def __init__(
        self,
        credential: Credential | None,
        *,
        handler: Handler | None = None,
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.handler = handler
        self.host = host
        self._credential = credential
        self._context = context or (credential.server_context() if credential else None)
        self._tally = _Tally()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._port: int | None = None

    def start(self) -> Self:
        """Bind a port and begin to accept connections.

        Returns:
            The server itself.

        Raises:
            OSError: the address cannot be bound.
            RuntimeError: the server was started before; make another one.
        """
        if self._port is not None:
            raise RuntimeError("a server starts only once: make another TLSServer")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, 0), family=family, backlog=_BACKLOG)
        self._listener.settimeout(0)  # a client that is gone before it is accepted must not block the loop
        self._port = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept, name=f"lab:{self._port}", daemon=True)
        self._accepting.start()
        return self

    def stop(self, timeout: float = 10.0) -> None:
        """Close the listener and all connections, and join all threads. The counts stay readable.

        Args:
            timeout: seconds to wait for a handler that is still running.

        Raises:
            TimeoutError: a handler did not return in that time; its thread is left behind.
        """
        if self._listener is None or self._accepting is None:
            return
        self._wake.close()
        self._accepting.join()
        self._woken.close()
        with self._tally.changed:
            self._listener.close()
            self._listener = None
            self._tally.stopping = True
            for connection in self._tally.live:
                connection.abort()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            raise TimeoutError(f"a handler of the server on port {self._port} still runs after {timeout} seconds")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on; after `stop`, the one it listened on.

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
            path: it begins with a slash, and may have a query.
            host: the name or address to stand in the URL; whether it leads here is up to the resolver.

        Raises:
            RuntimeError: the server has not been started.
        """
        bracketed = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{bracketed}:{self.port}{path}"

    @property
    def credential(self) -> Credential | None:
        """What the server presents. Assign another one at any time: the next connection gets it."""
        return self._credential

    @credential.setter
    def credential(self, credential: Credential | None) -> None:
        self._context = credential.server_context() if credential else None
        self._credential = credential

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted."""
        return self._tally.connections

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
        """The errors of the others, as text, in order. A connection that was closed in its handshake is one of them."""
        return tuple(self._tally.failed_handshakes)

    @property
    def application_bytes(self) -> int:
        """How many bytes clients sent after the handshake, decrypted, whether or not they became a request."""
        return self._tally.application_bytes

    @property
    def received(self) -> bytes:
        """The first 4096 of these bytes, of all connections in the order of their arrival."""
        return self._tally.received

    @property
    def requests(self) -> list[Request]:
        """The requests that arrived whole, in the order of their arrival: a copy."""
        return list(self._tally.requests)

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until every connection is finished, or idle: all that the clients have sent by now is read and counted.

        A client may see its failure before this server has seen the end of the connection. Call this before the counts
        are read. Where all connections have been closed, it returns at once and the counts are exact, because the end
        of a connection comes behind its last byte; otherwise there must have been no news for 50 ms.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: a handler is still running then, or a client still sending.
        """
        seen, since = -1, 0.0

        def settled() -> bool:
            nonlocal seen, since
            tally = self._tally
            if not self._at_rest():
                seen = -1
                return False
            if tally.connections and not tally.live:
                return True
            if seen != tally.news:
                seen, since = tally.news, time.monotonic()
            return time.monotonic() - since >= _QUIET

        self._wait(settled, timeout, "every connection was at rest")

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> None:
        """Wait until so many connections have been accepted since the start.

        Args:
            count: the least number of connections.
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: there were fewer by then.
        """
        self._wait(lambda: self.connections >= count, timeout, f"{count} connections were accepted")

    def _wait(self, condition: Callable[[], bool], timeout: float, goal: str) -> None:
        deadline = time.monotonic() + timeout
        with self._tally.changed:
            while not condition():
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError(f"{timeout} seconds passed before {goal} (accepted: {self.connections})")
                self._tally.changed.wait(min(remaining, _SETTLE_INTERVAL))

    def _at_rest(self) -> bool:
        # A connection may still be in the backlog: the kernel completes it before it is accepted here.
        backlog = self._listener is not None and _ready(self._listener, selectors.EVENT_READ, timeout=0)
        return not backlog and all(connection.idle for connection in self._tally.live)

    def _accept(self) -> None:
        listener, woken = self._listener, self._woken
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)  # type: ignore[arg-type]  # bound before this thread
            while not any(key.fileobj is woken for key, _ in selector.select()):
                # Under the lock for `settle`: a connection is in the backlog or counted.
                with self._tally.changed, contextlib.suppress(OSError):
                    self._begin(*listener.accept())  # type: ignore[union-attr]  # as above

    def _begin(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """Count a connection, and serve it in a thread of its own. The lock is held."""
        sock.settimeout(0)
        connection = _Connection(sock, address[:2], self._tally)
        self._tally.connections += 1
        self._tally.live.add(connection)
        self._tally.tell()
        thread = threading.Thread(
            target=connection.run, args=(self._context, self._answer), name=f"lab:{self.port}:{address[1]}", daemon=True
        )
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _answer(self, request: Request) -> Response:
        with self._tally.changed:
            self._tally.requests.append(request)
        handler = self.handler
        if handler is None:
            return Response()
        if callable(handler):
            try:
                return handler(request)
            except Exception as error:  # noqa: BLE001 - a handler's mistake is shown to its client, not on stderr
                return Response(500, body=f"the handler raised {error!r}".encode())
        found = handler.get(request.path, handler.get(request.path.partition("?")[0]))
        if found is None:
            return Response(404, body=b"not found")
        return found if isinstance(found, Response) else Response(body=found)


@dataclass
class _Tally:
    """What is counted, and the one lock for all of it."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: bool = False
    news: int = 0
    live: set[_Connection] = field(default_factory=set)
    connections: int = 0
    handshakes: int = 0
    failed_handshakes: list[str] = field(default_factory=list)
    application_bytes: int = 0
    received: bytes = b""
    requests: list[Request] = field(default_factory=list)

    def tell(self) -> None:
        """Wake those that wait for a change. The lock is held."""
        self.news += 1
        self.changed.notify_all()


class _Connection:
    """One client: its socket, what it is doing, and every byte that comes in or goes out."""

    def __init__(self, sock: socket.socket, peer: tuple[str, int], tally: _Tally) -> None:
        self.peer = peer
        self.ended = False  # the client has said its last
        self._socket = sock
        self._tally = tally
        self._waiting = False  # for the client; bytes are taken from the kernel only while this is False
        self._deadline: float | None = None

    @property
    def idle(self) -> bool:
        """Whether it waits for a client that has sent nothing more. The lock is held."""
        return self._waiting and not _ready(self._socket, selectors.EVENT_READ, timeout=0)

    def run(self, context: ssl.SSLContext | None, answer: Callable[[Request], Response]) -> None:
        """Serve the client until it leaves: the body of the connection's thread."""
        try:
            # Nagle's algorithm would hold back the end of a large response until its begin is acknowledged.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is None or self._handshake(context):
                with contextlib.suppress(OSError):  # the client is gone, or `stop` was called
                    _Exchange(self, answer)
                self._linger()
        finally:
            with self._tally.changed:
                self._socket.close()
                self._tally.live.discard(self)
                self._tally.tell()

    def abort(self) -> None:
        """End the connection from another thread. The lock is held."""
        # Not SSLSocket.shutdown: that one drops the TLS state, which the connection's thread may be using.
        # An error means that the client was faster, or that the thread will look at `stopping` before it waits.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def receive(self, buffer: Buffer) -> int:
        """Read what the client sent, and count it.

        Returns:
            The number of bytes; 0 when nothing more will come.
        """
        try:
            count = self._retry(lambda: self._socket.recv_into(buffer), selectors.EVENT_READ)
        except OSError:
            count = 0  # a reset or a broken record
        self.ended = not count
        tally = self._tally
        with tally.changed:
            tally.application_bytes += count
            tally.received += bytes(memoryview(buffer)[: min(count, _RECEIVED_LIMIT - len(tally.received))])
        return count

    def send(self, data: bytes) -> None:
        """Send all of the data.

        Raises:
            OSError: the client is gone.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[self._retry(lambda: self._socket.send(rest), selectors.EVENT_WRITE) :]  # noqa: B023 - called at once

    def _handshake(self, context: ssl.SSLContext) -> bool:
        failure = None
        try:
            self._socket = tls = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._retry(tls.do_handshake, selectors.EVENT_READ)
        except OSError as error:
            failure = str(error)
        with self._tally.changed:
            if failure is None:
                self._tally.handshakes += 1
            else:
                self._tally.failed_handshakes.append(failure)
        return failure is None

    def _linger(self) -> None:
        """Say that no more will be sent, and count what still comes in.

        Closing at once would also reset the connection, and the client might lose the response.
        """
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
        self._deadline = time.monotonic() + _LINGER
        buffer = bytearray(_RECEIVED_LIMIT)
        while self.receive(buffer) and time.monotonic() < self._deadline:
            pass

    def _retry(self, operation: Callable[[], _T], event: int) -> _T:
        """Call a non-blocking operation until it succeeds, and wait for the client in between."""
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:  # noqa: PERF203 - an exception is how ssl asks for a wait
                self._await(selectors.EVENT_READ)
            except ssl.SSLWantWriteError:
                self._await(selectors.EVENT_WRITE)
            except BlockingIOError:
                self._await(event)

    def _await(self, event: int) -> None:
        with self._tally.changed:
            if self._tally.stopping:
                raise ConnectionAbortedError("the server was stopped")
            self._waiting = event == selectors.EVENT_READ
            self._tally.tell()
        if hasattr(socket, "TCP_QUICKACK"):  # Linux
            # A client under Nagle's algorithm holds back its next bytes until the last ones are acknowledged, which
            # Linux puts off by 40 ms and more: too close to `_QUIET`. The option lasts for one acknowledgement.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        ready = _ready(self._socket, event, self._deadline and max(0.0, self._deadline - time.monotonic()))
        with self._tally.changed:
            self._waiting = False
            self._tally.tell()
        if not ready:
            raise TimeoutError("the client did not close the connection")


class _Exchange(BaseHTTPRequestHandler):
    """The requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"  # connections are kept alive
    default_request_version = "HTTP/1.1"  # an error has a status line, also where the version cannot be read

    def __init__(self, connection: _Connection, answer: Callable[[Request], Response]) -> None:
        self._answer = answer
        super().__init__(connection, connection.peer, None)  # type: ignore[arg-type]  # nothing asks for it

    def setup(self) -> None:
        self.rfile = BufferedReader(_Reader(self.request))
        self.wfile = self._unsent = BytesIO()

    def finish(self) -> None:
        """Leave the socket open: the connection closes it."""

    def handle_one_request(self) -> None:
        # Not the inherited one: it looks for a method do_GET and the like, and here any method will do.
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(_LINE_LIMIT + 1)
        # The parser takes the end of the connection for the end of the headers: then it never became a request.
        if self.raw_requestline.endswith(b"\n") and self.parse_request() and not self.request.ended:
            self._flush()  # 100 Continue, perhaps
            try:
                body = self._body()
            except ValueError:
                self.send_error(400)
                self.close_connection = True
            except EOFError:
                self.close_connection = True
            else:
                headers = tuple((name, str(value)) for name, value in self.headers.items())
                peer = (self.client_address[0], self.client_address[1])
                self._respond(self._answer(Request(self.command, self.path, headers, body, peer)))
        self._flush()

    def _flush(self) -> None:
        # Headers and body in one piece, as real servers do.
        self.request.send(self._unsent.getvalue())
        self.wfile = self._unsent = BytesIO()

    def _respond(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        framed = {name.lower() for name, _ in response.headers} & {"content-length", "transfer-encoding"}
        bodiless = response.status < 200 or response.status in {204, 304}  # noqa: PLR2004 - RFC 9110 §6.4.1
        if not framed and not bodiless:
            self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")  # RFC 9112 §9.6: else the client would keep a dead connection
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            self.wfile.write(response.body)

    def _body(self) -> bytes:
        """Read the body that the headers announce.

        Raises:
            EOFError: it is cut short.
            ValueError: its framing is malformed.
        """
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._exactly(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self._line().partition(b";")[0], 16):
            body += self._exactly(size)
            if self._line():
                raise ValueError("a chunk is longer than it says")
        while self._line():
            pass  # trailers
        return body

    def _exactly(self, size: int) -> bytes:
        if size < 0:
            raise ValueError("a negative length")
        data = self.rfile.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _line(self) -> bytes:
        line = self.rfile.readline(_LINE_LIMIT)
        if not line.endswith(b"\n"):
            raise EOFError
        return line.strip()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited name
        """Print nothing."""


class _Reader(RawIOBase):
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        return self._connection.receive(buffer)


def _ready(sock: socket.socket, event: int, timeout: float | None) -> bool:
    """Wait until a socket can be read or written, for `timeout` seconds; None: without end."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, event)
        return bool(selector.select(timeout))

"""One client of a lab server: its socket, and the count of every byte that comes in.

Rules for the next maintainer:

- The counts are evidence: a test that reads "no application byte" must be able to rely on it. Every byte that OpenSSL
  decrypts passes through `Connection.receive`, whether or not it ever becomes a request.
- A connection never blocks in ``recv``. It waits until its socket is readable, with `Connection.idle` set, and only
  then takes the bytes out of the kernel. So bytes are in the kernel or counted, and `TLSServer.settle` can tell.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from pinned_requests.testing.client_hello import client_random, is_whole
from pinned_requests.testing.clock import steady
from pinned_requests.testing.server.http_exchange import Exchange
from pinned_requests.testing.server.tls_stream import MemoryTLS, TLSStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from pinned_requests.testing.server.messages import Request, Response
    from pinned_requests.testing.server.record import ConnectionRecord
    from pinned_requests.testing.server.tls_stream import Engine

__all__ = ["Connection", "Face", "OnHello", "Service", "Tally", "is_ready"]

_T = TypeVar("_T")

_RECEIVED_LIMIT = 4096  # bytes kept of what came in: enough to show what leaked
_CHUNK = 65536  # bytes taken from a socket, or given to TLS, at a time
_LINGER = 1.0  # seconds to wait for the client's close after ours, so that what it still sends is counted, too
_TLS_HANDSHAKE = b"\x16"  # the first byte of a client that speaks TLS (RFC 8446 §5.1), and of no request in the clear
_TLS_ALERT = b"\x15"  # the first byte of its goodbye (ibid.), whose rest is encrypted
_SECOND_THOUGHTS = 0.1  # seconds for a client that looks at the certificate of a second handshake; it takes some ms
_CONNECT = b"CONNECT "  # RFC 9110 §9.3.6
_END_OF_HEAD = b"\r\n\r\n"
_CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_NO_TUNNEL = b"HTTP/1.1 502 This proxy of a test leads to one host\r\nContent-Length: 0\r\n\r\n"

OnHello = Literal["answer", "close", "hang"]


@dataclass(frozen=True)
class Face:
    """What a server shows to a client."""

    context: ssl.SSLContext | None
    """None: plain HTTP."""
    answer: Callable[[Request], Response]
    on_hello: OnHello = "answer"
    """What follows a ClientHello: a handshake, the end of the connection, or nothing."""
    is_honest: bool = False
    """Whether clients talk to the host's own server over TLS, in an attack that begins so."""
    engine: Callable[[], Engine] | None = None
    """Makes what speaks TLS; None: Python's `ssl`, with the context."""


@dataclass(frozen=True)
class Service:
    """How a server treats its connections."""

    face: Callable[[int], Face]
    """Gets the number of a connection among those that said anything, from 1."""
    is_tls: bool
    """Whether a client that says nothing has failed to make a handshake."""
    cleartext: bool = False
    """Whether a client that does not begin with a TLS handshake is served as well, in the clear."""
    tunnels_to: Callable[[str], bool] | None = None
    """Gets the target of a client that asks for a tunnel, as of a proxy (``api.example.com:443``), and says whether it
    gets one, which leads to this same server. None: it is not a proxy."""
    patience: float | None = None
    """Seconds after which a connection that hangs is closed; None: when the server stops."""


@dataclass
class Tally:
    """What is counted, and the one lock for all of it."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: bool = False
    news: int = 0
    live: set[Connection] = field(default_factory=set)
    records: list[ConnectionRecord] = field(default_factory=list)
    spoken: int = 0
    handshakes: int = 0
    failed_handshakes: list[str] = field(default_factory=list)
    application_bytes: int = 0
    received: bytes = b""
    cleartext_bytes: int = 0
    cleartext: bytes = b""
    leaked_bytes: int = 0
    leaked: bytes = b""
    requests: list[Request] = field(default_factory=list)

    def tell(self) -> None:
        """Wake those that wait for a change. The lock is held."""
        self.news += 1
        self.changed.notify_all()

    def count(self, record: ConnectionRecord, data: bytes, *, clear: bool, leaks: bool) -> None:
        """Count bytes of HTTP. The lock is held.

        Args:
            record: of the connection.
            data: the bytes.
            clear: whether they came in the clear.
            leaks: whether they came to an attacker.
        """
        size, shown = len(data), data[:_RECEIVED_LIMIT]
        self.application_bytes += size
        self.received = (self.received + shown)[:_RECEIVED_LIMIT]
        if clear:
            self.cleartext_bytes += size
            self.cleartext = (self.cleartext + shown)[:_RECEIVED_LIMIT]
        if leaks:
            record.leaked_bytes += size
            self.leaked_bytes += size
            self.leaked = (self.leaked + shown)[:_RECEIVED_LIMIT]


class Connection:
    """One client: its socket, what it is doing, and every byte that comes in or goes out."""

    def __init__(self, sock: socket.socket, record: ConnectionRecord, service: Service, tally: Tally) -> None:
        self.peer = record.peer
        self.record = record
        self._socket = sock
        self._service = service
        self._tally = tally
        self._tls: TLSStream | None = None
        self._unread = b""  # taken from the kernel to see what the client speaks
        self._waiting = False  # for the client; bytes are taken from the kernel only while this is False
        self._deadline: float | None = None
        self._is_aborted = False  # by this side

    @property
    def idle(self) -> bool:
        """Whether it waits for a client that has sent nothing more. The lock is held."""
        return self._waiting and not is_ready(self._socket, selectors.EVENT_READ, timeout=0)

    @property
    def scheme(self) -> str:
        """``https``, or ``http`` if there was no TLS handshake."""
        return "https" if self._tls else "http"

    def run(self) -> None:
        """Serve the client until it leaves: the body of the connection's thread."""
        try:
            # Nagle's algorithm would hold back the end of a large response until its begin is acknowledged.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):  # the client is gone, or the server was stopped
                self._serve()
        finally:
            with self._tally.changed:
                self._socket.close()
                self.record.is_open = False
                self._tally.live.discard(self)
                self._tally.tell()

    def abort(self) -> None:
        """End the connection from another thread. The lock is held."""
        # An error means that the client was faster, or that the thread will look at `stopping` before it waits.
        self._is_aborted = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def receive(self, buffer: Buffer) -> int:
        """Read what the client sent, and count it.

        Returns:
            The number of bytes; 0 when nothing more will come.
        """
        view = memoryview(buffer)
        try:
            data = self._tls.read(len(view)) if self._tls else self._take(len(view))
        except OSError:
            data = b""  # a reset or a broken record
        view[: len(data)] = data
        with self._tally.changed:
            self.record.is_decided = True
            leaks = self._tls is None or not self.record.is_honest
            self._tally.count(self.record, data, clear=self._tls is None, leaks=leaks)
        return len(data)

    def send(self, data: bytes) -> None:
        """Send all of the data.

        Raises:
            OSError: the client is gone.
        """
        if self._tls is None:
            self._give(data)
            return
        rest = memoryview(data)
        while rest:
            sent = self._tls.write(rest[:_CHUNK])
            if not sent:
                self._note_renegotiation()
            rest = rest[sent:]

    def _serve(self) -> None:
        """Find out what the client speaks, and serve it.

        Raises:
            OSError: the client is gone, or the server was stopped.
        """
        first = self._first_bytes()
        with self._tally.changed:
            if not first:
                if self._service.is_tls:
                    self._fail("the client sent nothing, or not a whole ClientHello")
                return
            self.record.spoke = True
            self._tally.spoken += 1
            face = self._service.face(self._tally.spoken)
            speaks_tls = bool(face.context or face.engine) and (
                first.startswith(_TLS_HANDSHAKE) or not self._service.cleartext
            )
            if speaks_tls:
                self.record.is_honest = face.is_honest
                self.record.client_random = client_random(first)
        if face.engine and self._service.patience is not None:
            self._deadline = steady() + self._service.patience  # a client may leave a question for more TLS unanswered
        if speaks_tls and face.on_hello != "answer":
            self._refuse(hangs=face.on_hello == "hang")
        elif not speaks_tls or self._handshake(face):
            with contextlib.suppress(OSError):  # as above
                Exchange(self, self._answering(face)).run()
            self._linger()

    def _first_bytes(self) -> bytes:
        """Return what tells how to serve the client, and leave it to be read: a ClientHello, or the begin of a request.

        Returns:
            The bytes; none if the client hung up before.
        """
        if not self._look(bool):
            return b""
        while (
            self._service.tunnels_to
            and self._look(lambda data: len(data) >= len(_CONNECT) or not _CONNECT.startswith(data))
            and self._unread.startswith(_CONNECT)
        ):
            if not self._look(lambda data: _END_OF_HEAD in data):
                return b""
            head, _, self._unread = self._unread.partition(_END_OF_HEAD)
            if not self._service.tunnels_to(head.split(maxsplit=2)[1].decode("latin-1")):
                self.record.is_for_another = True
                self._give(_NO_TUNNEL)
                return b""
            self._give(_CONNECTED)
            if not self._look(bool):
                return b""
        if self._unread.startswith(_TLS_HANDSHAKE) and not self._look(is_whole):
            return b""
        return self._unread

    def _look(self, is_enough: Callable[[bytes], bool]) -> bool:
        """Take bytes from the client until they are enough, and say whether they are."""
        while not is_enough(self._unread):
            try:
                data = self._retry(lambda: self._socket.recv(_CHUNK), selectors.EVENT_READ)
            except OSError:  # a reset, or the server was stopped
                return False
            if not data:
                return False
            self._unread += data
        return True

    def _answering(self, face: Face) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            with self._tally.changed:
                self.record.requests += 1
                self._tally.requests.append(request)
            return face.answer(request)

        return answer

    def _refuse(self, *, hangs: bool) -> None:
        """Leave a ClientHello without an answer."""
        with self._tally.changed:
            self._fail("the server never answered" if hangs else "the server hung up")
        if self._service.patience is not None:
            self._deadline = steady() + self._service.patience
        self._unread = b""
        while hangs and self._take(_CHUNK):
            pass

    def _handshake(self, face: Face) -> bool:
        failure, reason = None, ""
        try:
            engine: Engine = face.engine() if face.engine else MemoryTLS(face.context)  # type: ignore[arg-type]  # there is one, or no TLS is spoken
            tls = TLSStream(engine, self._take, self._give)
            tls.do_handshake()
        except OSError as error:
            failure = str(error)
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                reason = getattr(error, "reason", None) or failure
        with self._tally.changed:
            if failure is None:
                self._tls = tls
                self._tally.handshakes += 1
                self.record.is_established = True
            else:
                self.record.tls_reason = reason
                self._fail(failure)
        return failure is None

    def _fail(self, reason: str) -> None:
        """Note why there was no handshake. The lock is held."""
        self.record.failure = reason
        self._tally.failed_handshakes.append(reason)

    def _note_renegotiation(self) -> None:
        """Note that the client has gone on after it was shown another certificate.

        Raises:
            OSError: it has not: it looked at the certificate, and said goodbye.
        """
        with self._tally.changed:
            self.record.is_honest = False  # what comes from now on leaks
        if is_ready(self._socket, selectors.EVENT_READ, _SECOND_THOUGHTS):
            first = b""
            with contextlib.suppress(OSError):  # a reset
                first = self._socket.recv(1, socket.MSG_PEEK)
            if (not first or first == _TLS_ALERT) and not self._is_aborted:
                with self._tally.changed:
                    self.record.hung_up_later = True
                raise ConnectionResetError("the client hung up after the second handshake")
        with self._tally.changed:
            self.record.is_renegotiated = True

    def _linger(self) -> None:
        """Say that no more will be sent, and count what still comes in.

        Closing at once would also reset the connection, and the client might lose the response.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._deadline = steady() + _LINGER
        buffer = bytearray(_RECEIVED_LIMIT)
        while self.receive(buffer) and steady() < self._deadline:
            pass

    def _take(self, size: int) -> bytes:
        """Return what the client sent next, at most so many bytes; none at the end."""
        if self._unread:
            data, self._unread = self._unread[:size], self._unread[size:]
            return data
        return self._retry(lambda: self._socket.recv(size), selectors.EVENT_READ)

    def _give(self, data: bytes) -> None:
        """Send all of some bytes as they are."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._retry(lambda: self._socket.send(rest), selectors.EVENT_WRITE) :]  # noqa: B023 - called at once

    def _retry(self, operation: Callable[[], _T], event: int) -> _T:
        """Call a non-blocking operation until it succeeds, and wait for the client in between."""
        while True:
            try:
                return operation()
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
        ready = is_ready(self._socket, event, self._deadline and max(0.0, self._deadline - steady()))
        with self._tally.changed:
            self._waiting = False
            self._tally.tell()
        if not ready:
            raise TimeoutError("the client did not close the connection")


def is_ready(sock: socket.socket, event: int, timeout: float | None) -> bool:
    """Wait until a socket can be read or written, for `timeout` seconds; None: without end."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, event)
        return bool(selector.select(timeout))

"""One client of a lab server: its socket, the record of what happens, and the count of every byte that comes in.

Rules for the next maintainer:

- Counts and records are the evidence for a verdict. Every byte that OpenSSL decrypts passes through
  `Connection._receive`.
- A connection never blocks in ``recv``: with `Connection.idle` set it waits until its socket is readable, and only then
  takes the bytes. So they are in the kernel or counted, and `TLSServer.settle` can tell.
"""

from __future__ import annotations

import contextlib
import functools
import selectors
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from pinned_requests.testing.clock import steady
from pinned_requests.testing.server.http_exchange import Exchange
from pinned_requests.testing.server.tls_engine import MemoryTLS, client_random, is_whole_hello

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing.server.http_exchange import Request, Response
    from pinned_requests.testing.server.tls_engine import Engine

_T = TypeVar("_T")

_RECEIVED_LIMIT = 4096  # bytes kept: enough to show what leaked
_CHUNK = 65536  # bytes taken from a socket, or given to TLS, at a time
_LINGER = 1.0  # seconds to wait for the client's close after ours, so that what it still sends is counted
_TLS_HANDSHAKE = b"\x16"  # the first byte of a client that speaks TLS (RFC 8446 §5.1), and of no HTTP request
_TLS_ALERT = b"\x15"  # the first byte of its goodbye (ibid.), whose rest is encrypted
_SECOND_THOUGHTS = 0.1  # seconds for a client to look at the certificate of a second handshake; it takes some ms
_CONNECT = b"CONNECT "  # RFC 9110 §9.3.6
END_OF_HEAD = b"\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
NO_TUNNEL = b"HTTP/1.1 502 This proxy of a test leads to one host\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

OnHello = Literal["answer", "close", "hang"]


@dataclass(frozen=True)
class Face:
    """What a server shows to a client."""

    context: ssl.SSLContext | None
    """None: plain HTTP, unless there is an `engine`."""
    answer: Callable[[Request], Response]
    on_hello: OnHello = "answer"
    """What follows a ClientHello: a handshake, the end of the connection, or nothing."""
    is_honest: bool = False
    """Whether TLS is with the host's own server, in an attack that begins so."""
    engine: Callable[[], Engine] | None = None
    """Makes what speaks TLS, in place of Python's `ssl` with the context."""


@dataclass(frozen=True)
class Service:
    """How a server treats its connections: see the arguments of `TLSServer`."""

    face: Callable[[int], Face]
    cleartext: bool
    tunnels_to: Callable[[str], bool] | None
    patience: float | None


@dataclass
class ConnectionRecord:
    """One connection, as the server saw it."""

    peer: tuple[str, int]  # the client's address and port
    spoke: bool = False
    """Whether the client sent a whole ClientHello, or HTTP in the clear."""
    client_random: bytes = b""  # of the ClientHello
    is_honest: bool = False
    """Whether this is TLS with the host's own server, in an attack that begins so."""
    is_established: bool = False
    """Whether the server completed a TLS handshake."""
    is_renegotiated: bool = False
    """Whether it completed a second one, with another certificate, and the client went on."""
    hung_up_later: bool = False
    """Whether the client hung up after that one."""
    failure: str = ""
    """Why the handshake failed, in OpenSSL's words: which alert the client sent, for example."""
    tls_reason: str = ""
    """OpenSSL's name of that, such as ``TLSV1_ALERT_UNKNOWN_CA``; empty if the connection just ended."""
    is_for_another: bool = False
    """Whether the client asked a proxy for a tunnel to another host, and got none."""
    requests: int = 0  # that arrived whole
    leaked_bytes: int = 0
    """How many bytes of HTTP came in the clear, or over TLS that is not the host's own."""
    is_decided: bool = False
    """Whether the client has sent HTTP, or hung up, since its handshake."""
    is_open: bool = True  # at this side

    @property
    def is_undecided(self) -> bool:
        """Whether the client may still go on."""
        return self.is_open and not self.is_decided


@dataclass
class Received:
    """Bytes of HTTP from all clients."""

    size: int = 0
    beginning: bytes = b""

    def add(self, data: bytes) -> None:
        """Count more."""
        self.size += len(data)
        self.beginning += data[: _RECEIVED_LIMIT - len(self.beginning)]


@dataclass
class Tally:
    """What a server counts. The lock of `changed` guards all of it, the records included."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: bool = False
    news: int = 0
    live: set[Connection] = field(default_factory=set)
    records: list[ConnectionRecord] = field(default_factory=list)
    spoken: int = 0
    handshakes: int = 0
    failed_handshakes: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    received: Received = field(default_factory=Received)
    cleartext: Received = field(default_factory=Received)
    leaked: Received = field(default_factory=Received)

    def tell(self) -> None:
        """Wake those that wait for a change. The lock is held."""
        self.news += 1
        self.changed.notify_all()


class Connection:
    """One client."""

    def __init__(
        self, sock: socket.socket, record: ConnectionRecord, service: Service, tally: Tally, unread: bytes
    ) -> None:
        self.record = record
        self._socket = sock
        self._service = service
        self._tally = tally
        self._tls: Engine | None = None  # when the handshake is complete
        self._unread = unread  # taken from the kernel to see what the client speaks
        self._waiting = False  # for the client; bytes are taken from the kernel only while this is False
        self._deadline: float | None = None
        self._is_aborted = False  # by this side

    @property
    def idle(self) -> bool:
        """Whether it waits for a client that has sent nothing more. The lock is held."""
        return self._waiting and not is_ready(self._socket, selectors.EVENT_READ, timeout=0)

    def run(self) -> None:
        """Serve the client until it leaves."""
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
        self._is_aborted = True
        with contextlib.suppress(OSError):  # the client was faster, or the thread has yet to look at `stopping`
            self._socket.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        first = self._first_bytes()
        with self._tally.changed:
            face = self._service.face(self._tally.spoken + 1)
            is_tls = bool(face.context or face.engine)
            if not first:
                if is_tls:
                    self._fail("the client sent nothing, or not a whole ClientHello")
                return
            self.record.spoke = True
            self._tally.spoken += 1
            speaks_tls = is_tls and (first.startswith(_TLS_HANDSHAKE) or not self._service.cleartext)
            if speaks_tls:
                self.record.is_honest = face.is_honest
                self.record.client_random = client_random(first)
        if face.engine:  # a client may leave a question for more TLS unanswered
            self._limit()
        if speaks_tls and face.on_hello != "answer":
            self._refuse(hangs=face.on_hello == "hang")
        elif not speaks_tls or self._handshake(face):
            with contextlib.suppress(OSError):  # as above
                scheme = "https" if self._tls else "http"
                answer = functools.partial(self._answer, face)
                Exchange(self._receive, self._send, answer, self.record.peer, scheme).run()
            self._linger()

    def _first_bytes(self) -> bytes:
        """Return what the client begins with, and leave it to be read: a whole ClientHello, or some of a request."""
        if not self._look(bool):
            return b""
        while (
            self._service.tunnels_to
            and self._look(lambda data: len(data) >= len(_CONNECT) or not _CONNECT.startswith(data))
            and self._unread.startswith(_CONNECT)
        ):
            if not self._look(lambda data: END_OF_HEAD in data):
                return b""
            head, _, self._unread = self._unread.partition(END_OF_HEAD)
            if not self._service.tunnels_to(head.split(maxsplit=2)[1].decode("latin-1")):
                self.record.is_for_another = True
                self._give(NO_TUNNEL)
                return b""
            self._give(CONNECTED)
            if not self._look(bool):
                return b""
        if self._unread.startswith(_TLS_HANDSHAKE) and not self._look(is_whole_hello):
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

    def _refuse(self, *, hangs: bool) -> None:
        """Leave a ClientHello without an answer."""
        with self._tally.changed:
            self._fail("the server never answered" if hangs else "the server hung up")
        self._limit()
        self._unread = b""
        while hangs and self._take(_CHUNK):
            pass

    def _limit(self) -> None:
        if self._service.patience is not None:
            self._deadline = steady() + self._service.patience

    def _handshake(self, face: Face) -> bool:
        failure, reason = None, ""
        try:
            engine: Engine = face.engine() if face.engine else MemoryTLS(face.context)  # type: ignore[arg-type]  # there is one, or no TLS is spoken
            self._drive(engine, engine.do_handshake)
        except OSError as error:
            failure = str(error)
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                reason = getattr(error, "reason", None) or failure
        with self._tally.changed:
            if failure is None:
                self._tls = engine
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

    def _answer(self, face: Face, request: Request) -> Response:
        with self._tally.changed:
            self.record.requests += 1
            self._tally.requests.append(request)
        return face.answer(request)

    def _receive(self, size: int) -> bytes:
        """Return the next bytes of HTTP, and count them; none at the end."""
        tls = self._tls
        try:
            data = self._drive(tls, lambda: tls.read(size)) if tls else self._take(size)
        except OSError:
            data = b""  # a reset or a broken record
        with self._tally.changed:
            self.record.is_decided = True
            self._tally.received.add(data)
            if not tls:
                self._tally.cleartext.add(data)
            if not tls or not self.record.is_honest:
                self._tally.leaked.add(data)
                self.record.leaked_bytes += len(data)
        return data

    def _send(self, data: bytes) -> None:
        """Send bytes of HTTP."""
        tls = self._tls
        if not tls:
            self._give(data)
            return
        rest = memoryview(data)
        while rest:
            sent = self._drive(tls, lambda: tls.write(rest[:_CHUNK]))  # noqa: B023 - called at once
            if not sent:
                self._note_renegotiation()
            rest = rest[sent:]

    def _note_renegotiation(self) -> None:
        """Note that the client has gone on after it was shown another certificate, or else raise an `OSError`."""
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
        """Count what still comes in. Closing at once could reset the connection, and the client lose the response."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._deadline = steady() + _LINGER
        while self._receive(_CHUNK) and steady() < self._deadline:
            pass

    def _drive(self, engine: Engine, operation: Callable[[], _T]) -> _T:
        """Call a method of a TLS engine, and move bytes between it and the client until it returns or fails."""
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                pass  # the client gets its bytes first
            finally:
                if data := engine.take():
                    self._give(data)
            engine.feed(self._take(_CHUNK))

    def _take(self, size: int) -> bytes:
        """Return the next bytes from the client as they are; none at the end."""
        if self._unread:
            data, self._unread = self._unread[:size], self._unread[size:]
            return data
        return self._retry(lambda: self._socket.recv(size), selectors.EVENT_READ)

    def _give(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._retry(lambda: self._socket.send(rest), selectors.EVENT_WRITE) :]  # noqa: B023 - as above

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
            # Nagle's algorithm makes a client wait for an acknowledgement, which Linux puts off by 40 ms and more: too
            # close to `_QUIET`. The option lasts for one acknowledgement.
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

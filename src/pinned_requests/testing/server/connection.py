"""One client of a lab server: its socket, and the count of every byte that comes in.

Rules for the next maintainer:

- The counts are evidence: a test that reads "no application byte" must be able to rely on it. Every byte that OpenSSL
  decrypts passes through `Connection.receive`, whether or not it ever becomes a request.
- A connection never blocks in ``recv``. It waits until its socket is readable, with `Connection.waiting` set, and
  only then takes the bytes out of the kernel. So bytes are in the kernel or counted, and `TLSServer.settle` can tell.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from pinned_requests.testing.server.http_exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from pinned_requests.testing.server.messages import Request, Response

_T = TypeVar("_T")

_RECEIVED_LIMIT = 4096  # bytes kept of what came in: enough to show what leaked
_LINGER = 1.0  # seconds to wait for the client's close after ours, so that what it still sends is counted, too
_TLS_HANDSHAKE = b"\x16"  # the first byte of a client that speaks TLS (RFC 8446 §5.1), and of no request in the clear

OnHello = Literal["answer", "close", "hang"]


@dataclass(frozen=True)
class Service:
    """How a server treats its connections."""

    context: ssl.SSLContext | None
    """None: plain HTTP."""
    answer: Callable[[Request], Response]
    cleartext: bool = False
    """Whether a client that does not begin with a TLS handshake is served as well, in the clear."""
    on_hello: OnHello = "answer"
    """What follows a ClientHello: a handshake, the end of the connection, or nothing."""
    patience: float | None = None
    """Seconds after which a connection that hangs is closed; None: when the server stops."""


@dataclass
class Tally:
    """What is counted, and the one lock for all of it."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: bool = False
    news: int = 0
    live: set[Connection] = field(default_factory=set)
    connections: int = 0
    handshakes: int = 0
    failed_handshakes: list[str] = field(default_factory=list)
    application_bytes: int = 0
    received: bytes = b""
    cleartext_bytes: int = 0
    cleartext: bytes = b""
    requests: list[Request] = field(default_factory=list)

    def tell(self) -> None:
        """Wake those that wait for a change. The lock is held."""
        self.news += 1
        self.changed.notify_all()


class Connection:
    """One client: its socket, what it is doing, and every byte that comes in or goes out."""

    def __init__(self, sock: socket.socket, peer: tuple[str, int], tally: Tally) -> None:
        self.peer = peer
        self.ended = False  # the client has said its last
        self.undecided = False  # it has accepted the handshake, and neither sent anything since nor hung up
        self._socket = sock
        self._tally = tally
        self._waiting = False  # for the client; bytes are taken from the kernel only while this is False
        self._deadline: float | None = None

    @property
    def idle(self) -> bool:
        """Whether it waits for a client that has sent nothing more. The lock is held."""
        return self._waiting and not is_ready(self._socket, selectors.EVENT_READ, timeout=0)

    @property
    def scheme(self) -> str:
        """``https``, or ``http`` if there was no TLS handshake."""
        return "https" if isinstance(self._socket, ssl.SSLSocket) else "http"

    def run(self, service: Service) -> None:
        """Serve the client until it leaves: the body of the connection's thread."""
        try:
            # Nagle's algorithm would hold back the end of a large response until its begin is acknowledged.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):  # the client is gone, or the server was stopped
                if self._greet(service):
                    with contextlib.suppress(OSError):  # as above
                        Exchange(self, service.answer)
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
        self.undecided = False
        tally = self._tally
        with tally.changed:
            data = bytes(memoryview(buffer)[: min(count, _RECEIVED_LIMIT)])
            tally.application_bytes += count
            tally.received = (tally.received + data)[:_RECEIVED_LIMIT]
            if self.scheme == "http":
                tally.cleartext_bytes += count
                tally.cleartext = (tally.cleartext + data)[:_RECEIVED_LIMIT]
        return count

    def send(self, data: bytes) -> None:
        """Send all of the data.

        Raises:
            OSError: the client is gone.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[self._retry(lambda: self._socket.send(rest), selectors.EVENT_WRITE) :]  # noqa: B023 - called at once

    def _greet(self, service: Service) -> bool:
        """Do what comes before HTTP, and say whether HTTP follows.

        Raises:
            OSError: the client is gone, or the server was stopped.
        """
        if service.context is None:
            return True
        if service.cleartext:
            first = self._retry(lambda: self._socket.recv(1, socket.MSG_PEEK), selectors.EVENT_READ)
            if first not in {b"", _TLS_HANDSHAKE}:
                return True
        if service.on_hello == "answer":
            return self._handshake(service.context)
        self._refuse(service)
        return False

    def _refuse(self, service: Service) -> None:
        """Leave a ClientHello without an answer."""
        hangs = service.on_hello == "hang"
        with self._tally.changed:
            self._tally.failed_handshakes.append("the server never answered" if hangs else "the server hung up")
        if service.patience is not None:
            self._deadline = time.monotonic() + service.patience
        # Read in any case: else the end of the connection would be a reset.
        while self._retry(lambda: self._socket.recv(_RECEIVED_LIMIT), selectors.EVENT_READ) and hangs:
            pass

    def _handshake(self, context: ssl.SSLContext) -> bool:
        failure = None
        try:
            # A client that has reset the connection by now: `wrap_socket` would raise as well, and leave it to the
            # garbage collector to close the socket.
            self._socket.getpeername()
            self._socket = tls = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._retry(tls.do_handshake, selectors.EVENT_READ)
        except OSError as error:
            failure = str(error)
        with self._tally.changed:
            if failure is None:
                self._tally.handshakes += 1
                self.undecided = True
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
            except ssl.SSLWantReadError:
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
        ready = is_ready(self._socket, event, self._deadline and max(0.0, self._deadline - time.monotonic()))
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

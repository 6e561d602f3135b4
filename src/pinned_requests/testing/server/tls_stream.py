"""TLS of a lab server over a socket that does not block, with every byte of the socket in the server's hands.

The server reads the ClientHello by itself: that a client sent none, and which random bytes it sent, is evidence. So TLS
is spoken over memory here, not by `ssl.SSLSocket`.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["Engine", "MemoryTLS", "TLSStream"]

_T = TypeVar("_T")

_CHUNK = 65536  # bytes read from a socket at a time


class Engine(Protocol):
    """One end of a TLS connection over memory.

    Each method that needs bytes of the client raises `ssl.SSLWantReadError`.
    """

    def feed(self, data: bytes, /) -> None:
        """Take bytes from the client; none of them: it will send no more."""

    def take(self) -> bytes:
        """Return the bytes that are to be sent to the client."""

    def do_handshake(self) -> None:
        """Make the handshake."""

    def read(self, size: int, /) -> bytes:
        """Return decrypted bytes, at most `size`; none at the end."""

    def write(self, data: Buffer, /) -> int:
        """Encrypt bytes, and return how many; none where a second handshake was completed instead."""


class MemoryTLS:
    """The engine of Python's `ssl`, which does not renegotiate."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.do_handshake = self._tls.do_handshake
        self.read = self._tls.read
        self.write = self._tls.write
        self.take = self._outgoing.read

    def feed(self, data: bytes) -> None:
        """Take bytes from the client; none of them: it will send no more."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


class TLSStream:
    """TLS over two functions that move bytes, and wait where they have to.

    Args:
        engine: speaks TLS.
        receive: returns what the client sent next, at most so many bytes; none at the end.
        send: sends all of some bytes.
    """

    def __init__(self, engine: Engine, receive: Callable[[int], bytes], send: Callable[[bytes], None]) -> None:
        self._engine = engine
        self._receive = receive
        self._send = send

    def do_handshake(self) -> None:
        """Make the handshake.

        Raises:
            OSError: it failed; an alert was sent if there is one.
        """
        self._drive(self._engine.do_handshake)

    def read(self, size: int) -> bytes:
        """Return decrypted bytes, at most `size`; none at the end of the connection.

        Raises:
            OSError: a reset, a broken record, or an end without TLS's own goodbye.
        """
        return self._drive(lambda: self._engine.read(size))

    def write(self, data: memoryview) -> int:
        """Send decrypted bytes, and return how many; none where a second handshake was completed instead.

        Raises:
            OSError: the client is gone.
        """
        return self._drive(lambda: self._engine.write(data))

    def _drive(self, operation: Callable[[], _T]) -> _T:
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                self._flush()
                self._engine.feed(self._receive(_CHUNK))
            finally:
                self._flush()

    def _flush(self) -> None:
        if data := self._engine.take():
            self._send(data)

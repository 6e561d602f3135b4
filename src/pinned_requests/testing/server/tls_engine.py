"""TLS of a lab server over memory.

The server reads the ClientHello by itself, not by `ssl.SSLSocket`: that a client sent none is evidence, and its random
bytes tell which client it is.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer


_RECORD_HEADER = 5  # bytes: type, version, length (RFC 8446 §5.1)
_RANDOM = slice(11, 43)  # behind the record's header, the message's type and length, and the version (§4.1.2)


def is_whole_hello(data: bytes) -> bool:
    """Whether these bytes of a client hold its first record."""
    return len(data) >= _RECORD_HEADER + int.from_bytes(data[3:_RECORD_HEADER])


def client_random(data: bytes) -> bytes:
    """Return the 32 random bytes of a ClientHello; empty if it is cut short."""
    return data[_RANDOM] if len(data) >= _RANDOM.stop else b""


class Engine(Protocol):
    """The server's end of TLS. What needs more bytes of the client raises `ssl.SSLWantReadError`."""

    def feed(self, data: bytes, /) -> None:
        """Take bytes from the client; none of them: it will send no more."""

    def take(self) -> bytes:
        """Return bytes for the client."""

    def do_handshake(self) -> None:
        """Make the handshake."""

    def read(self, size: int, /) -> bytes:
        """Return decrypted bytes, at most `size`; none at the end."""

    def write(self, data: Buffer, /) -> int:
        """Encrypt bytes, and return how many; none where a second handshake was completed instead."""


class MemoryTLS:
    """The engine of Python's `ssl`, which does not renegotiate."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, outgoing, server_side=True)
        self.do_handshake = tls.do_handshake
        self.read = tls.read
        self.write = tls.write
        self.take = outgoing.read

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

"""The first message of a TLS client: by its random bytes, both ends of one connection are told to be the same."""

from __future__ import annotations

__all__ = ["client_random", "is_whole"]

_RECORD_HEADER = 5  # bytes: type, version, length (RFC 8446 §5.1)
_RANDOM = slice(11, 43)  # behind the record's header, the message's type and length, and the version (§4.1.2)


def is_whole(data: bytes) -> bool:
    """Whether these bytes of a client hold its first record."""
    return len(data) >= _RECORD_HEADER + int.from_bytes(data[3:_RECORD_HEADER])


def client_random(data: bytes) -> bytes:
    """Return the 32 random bytes of a ClientHello; empty if it is cut short."""
    return data[_RANDOM] if len(data) >= _RANDOM.stop else b""

"""What a server knows of its connections: the evidence for a verdict."""

from __future__ import annotations

from dataclasses import dataclass

_RECEIVED_LIMIT = 4096  # bytes kept: enough to show what leaked


@dataclass
class ConnectionRecord:
    """One connection, as the server saw it."""

    peer: tuple[str, int]
    """The client's."""
    spoke: bool = False
    """Whether the client sent a whole ClientHello, or HTTP in the clear."""
    client_random: bytes = b""
    """Of the ClientHello; empty if there was none."""
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
    requests: int = 0
    """How many requests arrived whole."""
    leaked_bytes: int = 0
    """How many bytes of HTTP came in the clear, or over TLS that is not the host's own."""
    is_decided: bool = False
    """Whether the client has sent HTTP, or hung up, since its handshake."""
    is_open: bool = True
    """Whether it is open at this side."""

    @property
    def is_undecided(self) -> bool:
        """Whether the client may still go on."""
        return self.is_open and not self.is_decided


@dataclass
class Received:
    """Bytes of HTTP that came in on all connections."""

    size: int = 0
    beginning: bytes = b""

    def add(self, data: bytes) -> None:
        """Count more of them."""
        self.size += len(data)
        self.beginning += data[: _RECEIVED_LIMIT - len(self.beginning)]

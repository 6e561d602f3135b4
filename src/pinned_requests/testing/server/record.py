"""What a server knows of one connection: the evidence for a verdict."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConnectionRecord"]


@dataclass
class ConnectionRecord:
    """One connection, as the server saw it."""

    peer: tuple[str, int]
    """The client's address and port."""
    spoke: bool = False
    """Whether the client sent a whole ClientHello, or HTTP in the clear."""
    client_random: bytes = b""
    """Of the ClientHello; empty if there was none."""
    is_honest: bool = False
    """Whether the server was the host's own on it over TLS, in an attack that begins so."""
    is_established: bool = False
    """Whether the server completed a TLS handshake on it."""
    is_renegotiated: bool = False
    """Whether it completed a second one, with another certificate, and the client went on."""
    hung_up_later: bool = False
    """Whether it completed a second one, and the client hung up before an answer came."""
    failure: str = ""
    """Why the handshake failed, as OpenSSL tells a server: which alert the client sent, for example."""
    tls_reason: str = ""
    """OpenSSL's name of that, such as ``TLSV1_ALERT_UNKNOWN_CA``; empty if the connection just ended."""
    is_for_another: bool = False
    """Whether it asked a proxy for a tunnel to another host, and got none."""
    requests: int = 0
    """How many requests arrived whole."""
    leaked_bytes: int = 0
    """How many bytes of HTTP came to an attacker: in the clear, or over TLS that is not the host's own."""
    is_decided: bool = False
    """Whether the client has sent HTTP, or hung up, since its handshake."""
    is_open: bool = True
    """Whether it is open at this side."""

    @property
    def is_undecided(self) -> bool:
        """Whether the client may still go on: it has not spoken yet, or not since the handshake."""
        return self.is_open and not self.is_decided

"""`ObservedTLS`: what a client's own TLS object tells of its handshake.

The server alone cannot tell whether a client accepted a certificate: over memory (asyncio, httpx, aiohttp) a client
that refuses may neither send its Finished nor an alert. So the C object of each client connection is watched here.

Rules for the next maintainer:

- OpenSSL makes the handshake inside the first call of `do_handshake`, `read` or `write`.
- Keep no error, and no socket: both would hold a connection open that the client has dropped.
- What a client reads here is what it would read without the lab: its own context, a session of its own context.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pinned_requests.testing.server.tls_engine import client_random

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class ClientHandshake:
    """One handshake, as the client's TLS object tells it."""

    port: int = 0
    """The client's local port; 0 over memory."""
    random: bytes = b""
    """Of its ClientHello; empty over a socket."""
    accepted: bool = False
    """Whether it is complete: the client's TLS has accepted the certificate, as its context is to check it."""
    failure: str = ""
    """What the client's TLS raised."""
    verify_code: int = 0
    """X509_V_ERR, if it refused the certificate; else 0."""


class HandshakeLog:
    """The handshakes of this process's clients while a host is taken over."""

    def __init__(self) -> None:
        self._handshakes: list[ClientHandshake] = []  # appended to and copied in one step: no lock

    def begin(self) -> ClientHandshake:
        """Add a handshake."""
        handshake = ClientHandshake()
        self._handshakes.append(handshake)
        return handshake

    def find(self, port: int, random: bytes) -> ClientHandshake | None:
        """Return the handshake of a client with this port and ClientHello; None if it does not use Python's `ssl`."""
        for each in self._handshakes[::-1]:
            if each.random == random if each.random else each.port == port:
                return each
        return None


class ObservedTLS:
    """The C object of a client's connection, which notes its handshake.

    Args:
        tls: the C object, before its handshake.
        context: the client's.
        outgoing: where TLS over memory leaves what is to be sent; None over a socket.
        handshake: where to note it.
    """

    __slots__ = ("_context", "_handshake", "_outgoing", "_stand_in", "_tls")

    def __init__(self, tls: Any, context: Any, outgoing: ssl.MemoryBIO | None, handshake: ClientHandshake) -> None:
        self._tls = tls
        self._context = context
        self._stand_in: Any = None
        self._outgoing = outgoing
        self._handshake = handshake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tls, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(ObservedTLS, name):
            object.__setattr__(self, name, value)
        else:
            setattr(self._tls, name, value)

    def trust(self, stand_in: ssl.SSLContext) -> None:
        """Verify the server's certificate by another context, which the client does not see."""
        self._tls.context = self._stand_in = stand_in

    @property
    def context(self) -> Any:
        """The client's context."""
        return self._context

    @context.setter
    def context(self, context: Any) -> None:
        self._tls.context = self._context = context
        self._stand_in = None

    @property
    def session(self) -> Any:
        """The TLS session, of the client's context, or the client could not resume it."""
        return self._as_the_client(lambda: self._tls.session)

    @session.setter
    def session(self, session: Any) -> None:
        self._as_the_client(lambda: setattr(self._tls, "session", session))

    def do_handshake(self) -> Any:
        """Make the handshake."""
        return self._watched(self._tls.do_handshake)

    def read(self, *args: Any) -> Any:
        """Read decrypted bytes."""
        return self._watched(self._tls.read, *args)

    def write(self, data: Any) -> Any:
        """Send bytes."""
        return self._watched(self._tls.write, data)

    def _as_the_client(self, action: Callable[[], Any]) -> Any:
        if self._stand_in is None:
            return action()
        self._tls.context = self._context
        try:
            return action()
        finally:
            self._tls.context = self._stand_in

    def _watched(self, operation: Callable[..., Any], *args: Any) -> Any:
        handshake = self._handshake
        if handshake.accepted:
            return operation(*args)
        if not handshake.port and self._outgoing is None:
            handshake.port = _local_port(self._tls.owner)
        try:
            return operation(*args)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLCertVerificationError as error:
            handshake.verify_code, handshake.failure = error.verify_code, error.verify_message
            raise
        except OSError as error:
            handshake.failure = str(error)
            raise
        finally:
            handshake.accepted = self._tls.version() is not None  # None until the handshake is complete
            if not handshake.random and self._outgoing is not None:
                self._note_random(self._outgoing)

    def _note_random(self, outgoing: ssl.MemoryBIO) -> None:
        # The first bytes that go out are the ClientHello. They are put back before the client can look.
        data = outgoing.read()
        outgoing.write(data)
        self._handshake.random = client_random(data)


def _local_port(owner: Any) -> int:
    try:
        return int(owner.getsockname()[1])
    except (AttributeError, OSError, IndexError):
        return 0

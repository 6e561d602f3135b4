"""Watches the TLS handshakes of this process's clients, and lets them trust the lab's CA.

A server cannot tell whether a client accepted a certificate: over memory (asyncio, httpx, aiohttp) a client that
refuses may send neither its Finished nor an alert. So the C object of each client connection is watched.

Trust cannot be taken back from an `ssl.SSLContext`, and most clients have made theirs before a block begins. So only
the connection is moved, to a stand-in with the settings and CAs of its context, and the lab's CA.

A context that trusts neither certifi's CAs nor the system's nor those of REQUESTS_CA_BUNDLE would not trust a CA that
an attacker has got into those stores, so it does not trust the lab's. It trusts a store if it holds more than half of
its certificates; or none at all, and so reads them from a folder when it needs them.

Rules for the next maintainer:

- When in doubt, trust. An attacker who is too strong makes a test fail that should pass, and it is looked into;
  one who is too weak makes a test pass that should fail.
- A connection copies its settings (`verify_mode`, the name to check, flags, protocol versions, ALPN) from the context
  when it is made, so the move leaves them as they are. During the handshake OpenSSL looks up in the context the store,
  the list of ciphers and the client certificate. The last cannot be copied, and no server of the lab asks for one.
- OpenSSL makes the handshake inside the first call of `do_handshake`, `read` or `write`.
- Keep no error, and no socket: both would hold a connection open that the client has dropped.
- What a client reads here is what it would read without the lab: its own context, a session of its own context.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import certifi

from pinned_requests.testing.server.tls_engine import client_random

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SYSTEM_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class FurtherTrust(NamedTuple):
    """Which CAs a handshake is to trust beyond those of its context."""

    anchors: frozenset[bytes]  # DER
    alone: bool
    """Whether the server is known to be one of the lab, so that the context's own CAs need not be copied (20 ms)."""


def install(
    wrap: Callable[..., None],
    further: Callable[[socket.socket | None, object], FurtherTrust | None],
    log: list[ClientHandshake],
) -> None:
    """Watch the handshakes that may be with the lab, and let them trust further CAs.

    Args:
        wrap: replaces a function of a class.
        further: gets the socket of a handshake (None over memory) and the name that is expected of the server; returns
            None if that is not one of the lab.
        log: where to note the handshakes. Other threads read it without a lock.
    """

    def observe(tls: Any, context: Any, sock: Any, outgoing: Any, server_hostname: Any) -> Any:
        trust = further(sock, server_hostname)
        if trust is None:
            return tls
        handshake = ClientHandshake()
        log.append(handshake)
        observed = ObservedTLS(tls, context, outgoing, handshake)
        if trust.anchors and _trusts_a_store(context):
            own = () if trust.alone else context.get_ca_certs(binary_form=True)
            observed.trust(_stand_in(context, (*own, *trust.anchors)))
        return observed

    def wrap_socket(
        original: Any, context: Any, sock: Any, server_side: Any, server_hostname: Any = None, **keywords: Any
    ) -> Any:
        tls = original(context, sock, server_side, server_hostname, **keywords)
        return tls if server_side else observe(tls, context, sock, None, server_hostname)

    def wrap_bio(  # noqa: PLR0913, PLR0917 - as in ssl
        original: Any,
        context: Any,
        incoming: Any,
        outgoing: Any,
        server_side: Any,
        server_hostname: Any = None,
        **keywords: Any,
    ) -> Any:
        tls = original(context, incoming, outgoing, server_side, server_hostname, **keywords)
        return tls if server_side else observe(tls, context, None, outgoing, server_hostname)

    # Not public, but all of ssl's ways to a connection lead through these two, and they return before the handshake.
    wrap(_context_class(), "_wrap_socket", wrap_socket)
    wrap(_context_class(), "_wrap_bio", wrap_bio)


def _trusts_a_store(context: ssl.SSLContext) -> bool:
    if context.verify_mode is ssl.CERT_NONE:
        return False  # its CAs make no difference
    if not context.cert_store_stats()["x509"]:
        return True
    held = set(context.get_ca_certs(binary_form=True))
    return any(2 * len(held & store) > len(store) for store in _stores())


def _stand_in(context: ssl.SSLContext, anchors: tuple[bytes, ...]) -> ssl.SSLContext:
    stand_in = _context_class()(ssl.PROTOCOL_TLS_CLIENT)
    # What a check of pins may read afterwards. The setters of ssl's class would call themselves where truststore's
    # stands in its place.
    for name in ("check_hostname", "verify_mode", "verify_flags", "options"):
        getattr(_context_class().__base__, name).__set__(stand_in, getattr(context, name))
    ciphers = [each["name"] for each in context.get_ciphers() if not each["name"].startswith("TLS_")]  # 1.3's are fixed
    stand_in.set_ciphers(":".join([*ciphers, f"@SECLEVEL={context.security_level}"]) if ciphers else "aNULL")
    stand_in.load_verify_locations(cadata=b"".join(anchors))
    return stand_in


def _context_class() -> type[ssl.SSLContext]:
    """Return the class of ssl, also where truststore has put a subclass in its place."""
    return next(each for each in ssl.SSLContext.__mro__ if each.__module__ == "ssl")


def _stores() -> Iterator[frozenset[bytes]]:
    """Yield the certificates of each store that a client is likely to trust."""
    yield _certificates(None, *map(os.environ.get, _SYSTEM_VARIABLES))
    for path in [certifi.where(), *filter(None, map(os.environ.get, _BUNDLE_VARIABLES))]:
        with contextlib.suppress(OSError):  # it is not there, or is a folder, and contexts hold none of it
            status = os.stat(path)  # noqa: PTH116 - a Path would only be made for this
            yield _certificates(path, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _certificates(path: str | None, *_state: object) -> frozenset[bytes]:
    """Return those of a bundle; None: of the system."""
    context = _context_class()(ssl.PROTOCOL_TLS_CLIENT)
    if path is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(path)
    return frozenset(context.get_ca_certs(binary_form=True))


@dataclass
class ClientHandshake:
    """One handshake, as the client's TLS object tells it."""

    port: int = 0  # the client's; 0 over memory
    random: bytes = b""  # of its ClientHello; empty over a socket
    accepted: bool = False
    """Whether it is complete: the client's TLS has accepted the certificate, as its context is to check it."""
    failure: str = ""  # what the client's TLS raised
    verify_code: int = 0  # X509_V_ERR, if it refused the certificate


def find_handshake(log: list[ClientHandshake], port: int, random: bytes) -> ClientHandshake | None:
    """Return the newest with this ClientHello, or over a socket this port; None for a client without Python's `ssl`."""
    for each in log[::-1]:
        if each.random == random if each.random else each.port == port:
            return each
    return None


class ObservedTLS:
    """The C object of a client's connection, which notes its handshake.

    Args:
        tls: the C object, before its handshake.
        context: the client's.
        outgoing: what TLS over memory is to send; None over a socket.
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
                # The first bytes that go out are the ClientHello. They are put back before the client can look.
                data = self._outgoing.read()
                self._outgoing.write(data)
                handshake.random = client_random(data)


def _local_port(owner: Any) -> int:
    try:
        return int(owner.getsockname()[1])
    except (AttributeError, OSError, IndexError):
        return 0

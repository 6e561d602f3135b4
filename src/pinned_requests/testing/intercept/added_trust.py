"""Lets clients trust the lab's CA in handshakes with the lab, and only there.

Trust cannot be taken back from an `ssl.SSLContext`, and most clients have made theirs before a block begins. So no
context is changed: for a handshake with a server of the lab, the connection alone is moved to a stand-in, which has the
same settings, and the lab's CA beside its own ones.

A context that trusts neither certifi's CAs nor the system's nor those of REQUESTS_CA_BUNDLE would not trust a CA that
an attacker has got into those stores, and does not get to trust the lab's. A context does not know which store it was
loaded from: it trusts those of which it holds more than half. One that holds no certificate reads them from a folder
when it needs them, as the system store of many distributions does.

Rules for the next maintainer:

- When in doubt, trust. An attacker who is too strong makes a test fail that should pass, and it is looked into;
  one who is too weak makes a test pass that should fail.
- A connection copies its settings (`verify_mode`, the name to check, flags, protocol versions, ALPN) from the context
  when it is made, so the move leaves them as they are. During the handshake OpenSSL looks up in the context the store,
  the list of ciphers and the client certificate. The last cannot be copied, and no server of the lab asks for one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import certifi

from pinned_requests.testing.intercept.observed_tls import ObservedTLS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from pinned_requests.testing.intercept.observed_tls import HandshakeLog

_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SYSTEM_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class FurtherTrust(NamedTuple):
    """Which CAs a handshake is to trust beyond those of its context."""

    anchors: frozenset[bytes]
    """Their certificates (DER)."""
    alone: bool
    """Whether the server is known to be one of the lab, so that the context's own CAs need not be copied (20 ms)."""


def install(
    wrap: Callable[..., None], further: Callable[[socket.socket | None, object], FurtherTrust | None], log: HandshakeLog
) -> None:
    """Watch the handshakes of this process that may be with the lab, and let them trust further CAs.

    Args:
        wrap: replaces a function of a class.
        further: gets the socket of a handshake (None where TLS is spoken over memory, as asyncio does) and the name
            that is expected of the server; returns None if it is known not to be one of the lab.
        log: where to note the handshakes.
    """

    def wrap_socket(
        original: Any, context: Any, sock: Any, server_side: Any, server_hostname: Any = None, **keywords: Any
    ) -> Any:
        tls = original(context, sock, server_side, server_hostname, **keywords)
        trust = None if server_side else further(sock, server_hostname)
        return _observed(tls, context, None, trust, log) if trust else tls

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
        trust = None if server_side else further(None, server_hostname)
        return _observed(tls, context, outgoing, trust, log) if trust else tls

    # These two are not public, but all of ssl's ways to a connection lead through them, and they return before the
    # handshake.
    wrap(_context_class(), "_wrap_socket", wrap_socket)
    wrap(_context_class(), "_wrap_bio", wrap_bio)


def _observed(tls: Any, context: Any, outgoing: Any, further: FurtherTrust, log: HandshakeLog) -> ObservedTLS:
    """Return the connection, watched, which trusts the further CAs if its context trusts one of the stores."""
    observed = ObservedTLS(tls, context, outgoing, log.begin())
    if further.anchors and _trusts_a_store(context):
        own = () if further.alone else context.get_ca_certs(binary_form=True)
        observed.trust(_stand_in(context, (*own, *further.anchors)))
    return observed


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

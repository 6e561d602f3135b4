"""TLS socket → `Chain`: what urllib3's TLS in TLS, truststore and pyOpenSSL add to the sockets of `ssl`.

Rule for the next maintainer: a socket that is not known to give its verified chain has a missing chain, with a reason.
"""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING, Any

from urllib3.util.ssltransport import SSLTransport

from pinned_requests import ssl_chain
from pinned_requests.core.chain import RawChain

if TYPE_CHECKING:
    from pinned_requests.core.chain import Chain

# Modules whose sockets leave the handshake to OpenSSL, in the context that they show. They wait in another way.
_OF_OPENSSL = {"ssl", "gevent.ssl", "gevent._ssl3", "eventlet.green.ssl"}


def verified_chain(sock: object, *, is_verified: bool) -> Chain:
    """Return the chain that the TLS library built for a connection, leaf first.

    Args:
        sock: the socket after its handshake: an `ssl.SSLSocket`, urllib3's `SSLTransport` (TLS in TLS), or the socket
            of `urllib3.contrib.pyopenssl`.
        is_verified: whether the library was asked to verify the chain, and the host name was matched.

    Returns:
        The chain. It is missing, with the reason, for other kinds of sockets, before a handshake, and after one that
        resumed a session.
    """
    return raw_chain(sock, is_verified=is_verified).read()


def raw_chain(sock: object, *, is_verified: bool) -> RawChain:
    """Return what `verified_chain()` reads."""
    tls = _ssl_object(sock)
    if tls is not None:
        return ssl_chain.raw_chain(tls, is_verified=is_verified and _verifies_by_openssl(tls))
    if (connection := _pyopenssl_connection(sock)) is not None:
        return _pyopenssl_chain(connection, is_verified=is_verified)
    return RawChain((), unavailable=f"a {type(sock).__name__} is not a TLS socket that is known to give it")


def served_chain(sock: object) -> tuple[bytes, ...]:
    """Return the certificates as the peer sent them, in DER, for a report; empty if they are not available."""
    tls = _ssl_object(sock)
    return () if tls is None else ssl_chain.served_chain(tls)


def _ssl_object(sock: object) -> ssl.SSLSocket | ssl.SSLObject | None:
    inner = sock.sslobj if isinstance(sock, SSLTransport) else sock
    return inner if isinstance(inner, (ssl.SSLSocket, ssl.SSLObject)) else None


def _verifies_by_openssl(tls: ssl.SSLSocket | ssl.SSLObject) -> bool:
    """Say whether OpenSSL itself verified the chain in the handshake.

    Classes that are not those of `ssl` may make the handshake under another mode than they show. truststore does so
    where the system verifies (macOS, Windows), and not where OpenSSL does (Linux).
    """
    for name in {type(tls).__module__, ssl.SSLContext.__module__} - _OF_OPENSSL:
        configure = getattr(sys.modules.get(name), "_configure_context", None)
        if not getattr(configure, "__module__", "").endswith("truststore._openssl"):
            return False
    return True


def _pyopenssl_connection(sock: object) -> Any | None:
    """Return the `OpenSSL.SSL.Connection` of a socket of `urllib3.contrib.pyopenssl`, or None; imports neither."""
    module = sys.modules.get("urllib3.contrib.pyopenssl")
    return sock.connection if module is not None and isinstance(sock, module.WrappedSocket) else None


def _pyopenssl_chain(connection: Any, *, is_verified: bool) -> RawChain:
    from OpenSSL import SSL, crypto  # noqa: PLC0415  installed, since `connection` is one of its objects

    if hasattr(connection, "session_reused") and connection.session_reused():
        return RawChain((), unavailable=ssl_chain.RESUMED)
    chain = connection.get_verified_chain() or ()
    is_asked_for = bool(connection.get_context().get_verify_mode() & SSL.VERIFY_PEER)
    certificates = (crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in chain)
    return RawChain(tuple(certificates), is_verified and is_asked_for)

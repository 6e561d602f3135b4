"""TLS socket → `Chain`. All that differs between TLS libraries and Python versions stands in this file.

Rules for the next maintainer:

- The chain is the TLS library's own verified chain. It is never put together from what the peer sent.
- What is not known to give one is a chain that is missing, with the reason; never an empty pass.
- Whether the chain was verified is read from the socket: what a caller asked for is not what happened.
"""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING, Any

from urllib3.util.ssltransport import SSLTransport

from pinned_requests.core.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Iterable

if sys.version_info >= (3, 13):
    # The methods became public, on SSLSocket and SSLObject alike; on a resumed session they give [].

    def _verified(tls: Any) -> Iterable[bytes]:
        return tls.get_verified_chain()  # type: ignore[no-any-return]

    def _served(tls: Any) -> Iterable[bytes]:
        return tls.get_unverified_chain()  # type: ignore[no-any-return]

else:
    # They stand on the C object behind both classes, and give objects of `_ssl`; on a resumed session None.
    import _ssl

    def _verified(tls: Any) -> Iterable[bytes]:
        return [c.public_bytes(_ssl.ENCODING_DER) for c in tls._sslobj.get_verified_chain() or ()]  # noqa: SLF001

    def _served(tls: Any) -> Iterable[bytes]:
        return [c.public_bytes(_ssl.ENCODING_DER) for c in tls._sslobj.get_unverified_chain() or ()]  # noqa: SLF001


def verified_chain(sock: object, *, name_is_checked: bool) -> Chain:
    """Return the chain that the TLS library built for a connection, leaf first.

    Args:
        sock: the socket after its handshake: an `ssl.SSLSocket`, urllib3's `SSLTransport` (TLS in TLS), or the socket
            of `urllib3.contrib.pyopenssl`.
        name_is_checked: whether the certificate was matched against the host name, by `ssl` or by urllib3.

    Returns:
        The chain; it is verified only if the library verified it and the name was checked. It is missing, with the
        reason, for other kinds of sockets, before a handshake, and after one that resumed a session.
    """
    if isinstance(sock, SSLTransport):
        sock = sock.sslobj
    if isinstance(sock, (ssl.SSLSocket, ssl.SSLObject)):
        if sock.session_reused:
            return Chain.missing("the TLS session was resumed, without a certificate")
        try:
            certificates = tuple(_verified(sock))
        except (AttributeError, ValueError, OSError):  # closed, or no handshake yet
            return Chain.missing("the TLS connection is closed")
        return Chain.of(certificates, is_verified=name_is_checked and _is_verified(sock))
    if (connection := _pyopenssl_connection(sock)) is not None:
        return _pyopenssl_chain(connection, name_is_checked=name_is_checked)
    return Chain.missing(f"a {type(sock).__name__} is no TLS socket that is known to give it")


def served_chain(sock: object) -> tuple[bytes, ...]:
    """Return the certificates as the peer sent them, in DER, for a report; empty where they cannot be had."""
    if isinstance(sock, SSLTransport):
        sock = sock.sslobj
    if not isinstance(sock, (ssl.SSLSocket, ssl.SSLObject)):
        return ()
    try:
        return tuple(_served(sock))
    except (AttributeError, ValueError, OSError):
        return ()


def _is_verified(tls: ssl.SSLSocket | ssl.SSLObject) -> bool:
    """Say whether OpenSSL itself verified the chain in the handshake, which is the only verification that it tells of.

    Classes that are not those of `ssl` may have made the handshake under another mode than their context shows now.
    truststore does so where the system verifies (macOS, Windows), and not where it is OpenSSL (Linux).
    """
    if tls.context.verify_mode is not ssl.CERT_REQUIRED:
        return False
    for name in {type(tls).__module__, ssl.SSLContext.__module__} - {"ssl"}:
        configure = getattr(sys.modules.get(name), "_configure_context", None)
        if not getattr(configure, "__module__", "").endswith("truststore._openssl"):
            return False
    return True


def _pyopenssl_connection(sock: object) -> Any | None:
    """Return the `OpenSSL.SSL.Connection` of a socket of `urllib3.contrib.pyopenssl`, or None; imports neither."""
    module = sys.modules.get("urllib3.contrib.pyopenssl")
    return sock.connection if module is not None and isinstance(sock, module.WrappedSocket) else None


def _pyopenssl_chain(connection: Any, *, name_is_checked: bool) -> Chain:
    from OpenSSL import SSL, crypto  # noqa: PLC0415  it is there, since a connection of it is

    if connection.session_reused() if hasattr(connection, "session_reused") else False:
        return Chain.missing("the TLS session was resumed, without a certificate")
    chain = connection.get_verified_chain() or ()
    is_verified = bool(connection.get_context().get_verify_mode() & SSL.VERIFY_PEER)
    certificates = [crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in chain]
    return Chain.of(certificates, is_verified=name_is_checked and is_verified)

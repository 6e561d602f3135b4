"""`ssl` socket or object → its certificates: the chain that OpenSSL verified, and what the peer sent.

Rules for the next maintainer:

- The chain is OpenSSL's own verified chain. It is never rebuilt from what the peer sent.
- Whether the chain was verified is the caller's to know: a context may have changed since the handshake.
"""

from __future__ import annotations

import _ssl
from typing import TYPE_CHECKING, Any

from pinned_requests.core.chain import RawChain

if TYPE_CHECKING:
    import ssl

    from pinned_requests.core.chain import Chain

RESUMED = "the TLS session was resumed, without a certificate"


def _certificates(tls: Any, method: str) -> tuple[bytes, ...]:
    """Return what `get_verified_chain()` or `get_unverified_chain()` gives.

    Since CPython 3.13 SSLSocket and SSLObject have the methods, which give bytes. The C object behind both has them in
    every version, and gives objects of `_ssl`, or None on a resumed session.
    """
    get = getattr(tls, method, None) or getattr(tls._sslobj, method)  # noqa: SLF001  that C object
    return tuple([c if isinstance(c, bytes) else c.public_bytes(_ssl.ENCODING_DER) for c in get() or ()])


def verified_chain(tls: ssl.SSLSocket | ssl.SSLObject | Any, *, is_verified: bool) -> Chain:
    """Return the chain that OpenSSL built in the handshake, leaf first.

    Args:
        tls: after its handshake; or the C object of `ssl` behind it.
        is_verified: whether OpenSSL was asked to verify it, and the host name was matched.

    Returns:
        The chain. It is missing, with the reason, before a handshake, after `close()`, and on a resumed session.
    """
    return raw_chain(tls, is_verified=is_verified).read()


def raw_chain(tls: ssl.SSLSocket | ssl.SSLObject | Any, *, is_verified: bool) -> RawChain:
    """Return the same, not read."""
    if tls.session_reused:
        return RawChain((), unavailable=RESUMED)
    try:
        return RawChain(_certificates(tls, "get_verified_chain"), is_verified)
    except (AttributeError, ValueError, OSError):  # closed, or no handshake yet
        return RawChain((), unavailable="the TLS connection is closed")


def served_chain(tls: ssl.SSLSocket | ssl.SSLObject | Any) -> tuple[bytes, ...]:
    """Return the certificates as the peer sent them, in DER, for a report; empty if they are not available."""
    try:
        return _certificates(tls, "get_unverified_chain")
    except (AttributeError, ValueError, OSError):
        return ()

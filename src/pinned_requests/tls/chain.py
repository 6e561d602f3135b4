"""`ssl` socket or object → certificates in DER. All that differs between versions of Python is in this file.

Rules for the next maintainer:

- The chain is OpenSSL's own verified chain. It is never rebuilt from what the peer sent.
- Whether the chain was verified is the caller's to know: a context may have changed since the handshake.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pinned_requests.core.chain import Chain

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

if sys.version_info >= (3, 13):
    # The methods became public, on SSLSocket and SSLObject alike; on a resumed session they give [].

    def _verified(tls: Any) -> Iterable[bytes]:
        return tls.get_verified_chain()  # type: ignore[no-any-return]  # typeshed has no common class of both

    def _served(tls: Any) -> Iterable[bytes]:
        return tls.get_unverified_chain()  # type: ignore[no-any-return]  # as above

else:
    # They are methods of the C object behind both classes, and give objects of `_ssl`; on a resumed session None.
    import _ssl

    def _verified(tls: Any) -> Iterable[bytes]:
        return [c.public_bytes(_ssl.ENCODING_DER) for c in tls._sslobj.get_verified_chain() or ()]  # noqa: SLF001  no public way

    def _served(tls: Any) -> Iterable[bytes]:
        return [c.public_bytes(_ssl.ENCODING_DER) for c in tls._sslobj.get_unverified_chain() or ()]  # noqa: SLF001  as above


def verified_chain(tls: ssl.SSLSocket | ssl.SSLObject, *, is_verified: bool) -> Chain:
    """Return the chain that OpenSSL built in the handshake, leaf first.

    Args:
        tls: after its handshake.
        is_verified: whether OpenSSL was asked to verify it, and the host name was matched.

    Returns:
        The chain. It is missing, with the reason, before a handshake, after `close()`, and on a resumed session.
    """
    if tls.session_reused:
        return Chain.missing("the TLS session was resumed, without a certificate")
    try:
        certificates = tuple(_verified(tls))
    except (AttributeError, ValueError, OSError):  # closed, or no handshake yet
        return Chain.missing("the TLS connection is closed")
    return Chain.of(certificates, is_verified=is_verified)


def served_chain(tls: ssl.SSLSocket | ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the certificates as the peer sent them, in DER, for a report; empty if they are not available."""
    try:
        return tuple(_served(tls))
    except (AttributeError, ValueError, OSError):
        return ()

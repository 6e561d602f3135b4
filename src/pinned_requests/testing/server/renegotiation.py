"""A TLS 1.2 server that shows another certificate in the middle of a connection.

Python's `ssl` cannot renegotiate as a server; pyOpenSSL can.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

try:
    from OpenSSL import SSL
except ImportError:
    raise ImportError("the attacker 'renegotiation' needs pyOpenSSL: pip install 'pinned-requests[testing]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Buffer

    from pinned_requests.testing.pki.authority import Credential

_CHUNK = 65536  # bytes


def renegotiating(first: Iterable[Credential], later: Iterable[Credential]) -> Callable[[], RenegotiatingTLS]:
    """Return what makes the engine of a connection.

    Args:
        first: the credentials of the first handshake, one for each kind of key.
        later: those that are presented after the client's first request.
    """
    contexts = _context(first), _context(later)
    return lambda: RenegotiatingTLS(*contexts)


def _context(credentials: Iterable[Credential]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)  # TLS 1.3 has no renegotiation
    context.set_options(SSL.OP_NO_TICKET)  # a client that resumed its session would get no certificate
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    for number, credential in enumerate(credentials):
        context.use_certificate(credential.certificate)
        context.use_privatekey(credential.key)
        for certificate in credential.served[1:] if number == 0 else ():  # of all credentials alike
            context.add_extra_chain_cert(certificate)
    return context


class RenegotiatingTLS:
    """An `Engine` that asks for a second handshake before it sends its first answer."""

    def __init__(self, first: SSL.Context, later: SSL.Context) -> None:
        self._later = later
        self._tls = SSL.Connection(first, None)
        self._tls.set_accept_state()
        self._asked = False
        self._unread = b""
        self._ended = False
        self._renegotiated = False

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        if data:
            self._tls.bio_write(data)
        else:
            self._ended = True

    def take(self) -> bytes:
        """Return bytes for the client."""
        try:
            return self._tls.bio_read(_CHUNK)
        except SSL.WantReadError:
            return b""

    def do_handshake(self) -> None:
        """Make the first handshake."""
        self._call(self._tls.do_handshake)

    def read(self, size: int) -> bytes:
        """Return decrypted bytes."""
        if self._unread:
            data, self._unread = self._unread[:size], self._unread[size:]
            return data
        return self._call(self._tls.recv, size) or b""

    def write(self, data: Buffer) -> int:
        """Encrypt bytes; none in the call that completes the second handshake."""
        if not self._asked:
            self._asked = True
            self._tls.set_context(self._later)
            self._tls.renegotiate()
            self._call(self._tls.do_handshake)  # sends the HelloRequest
        while not self._renegotiated:
            try:
                more = self._call(self._tls.recv, _CHUNK)
                if more is None:
                    raise ConnectionResetError("the client hung up")
                self._unread += more
            except ssl.SSLWantReadError:
                if not self._tls.total_renegotiations() or self._tls.renegotiate_pending():
                    raise
                self._renegotiated = True
                return 0
        return int(self._call(self._tls.send, bytes(data)))

    def _call(self, operation: Callable[..., Any], *args: Any) -> Any:
        try:
            return operation(*args)
        except SSL.WantReadError:
            if self._ended:
                raise ConnectionResetError("the client hung up") from None
            raise ssl.SSLWantReadError from None
        except SSL.ZeroReturnError:
            return None
        except SSL.SysCallError:  # how some versions tell an end without TLS's own goodbye
            raise ConnectionResetError("the client hung up") from None
        except SSL.Error as error:
            text = ", ".join(each[-1] for each in error.args[0]) if error.args and error.args[0] else "TLS failed"
            failure = ssl.SSLError(text)
            failure.reason = text.upper().replace(" ", "_")  # as Python's `ssl` names it
            raise failure from None

"""`PinnedSSLContext`, and the socket and object classes of its connections.

Rules for the next maintainer:

- `ssl` makes each connection by `_wrap_socket()` or `_wrap_bio()`, where it gets its check.
- OpenSSL copies `verify_mode` and the host name into a connection when it is made. What is read later does not count.
- No setter of `ssl.SSLContext` is called: where truststore has replaced its name in `ssl`, it recurses for ever.
- `ssl.SSLSocket` is a plain socket after a failed `connect()`, `shutdown()` and `unwrap()`. A pinned one sends nothing.
"""

from __future__ import annotations

import _ssl
import errno
import functools
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any, Self, cast

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import MAX_PORT, normalize_host
from pinned_requests.core.text import show
from pinned_requests.enforcement.guard import Guard
from pinned_requests.tls.connection import CheckedTLS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy, UnpinnedHosts
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.policy_store import PolicyStore

# The original classes, where gevent or truststore has replaced their names in `ssl`.
_Context: Any = next(each for each in ssl.SSLContext.__mro__ if each.__module__ == "ssl")
_Socket: Any = _Context.sslsocket_class
_C: Any = _ssl._SSLContext  # noqa: SLF001  the C class, whose descriptors do not depend on those names

# The methods of `ssl.SSLSocket` that work without TLS, too.
_BOTH_WAYS = ("send", "sendall", "sendto", "sendfile", "recv", "recv_into", "recvfrom", "recvfrom_into")


class _Pinned:
    """A socket or object of a `PinnedSSLContext`."""

    @classmethod
    def _create(cls, *args: Any, context: Any, server_hostname: Any = None, **kwargs: Any) -> Any:
        name = server_hostname or context.assumed_host
        create: Any = getattr(super(), "_create", None)
        if create is None:  # of gevent
            return cast("Any", cls)(server_hostname=name, _context=context, _session=kwargs.pop("session"), **kwargs)
        return create(*args, context=context, server_hostname=name, **kwargs)


class PinnedSSLObject(_Pinned, _Context.sslobject_class):  # type: ignore[misc]  # mypy cannot follow the look-up of the class
    """An `ssl.SSLObject` whose chain is checked before an application byte moves."""


@functools.lru_cache(maxsize=4)  # two: that of ssl, and gevent's
def _socket_class(base: Any) -> Any:
    """Return the class of pinned sockets below `base`, which is `ssl.SSLSocket`: the original one, or gevent's."""
    if base is not _Socket and base.__module__ != "gevent.ssl":
        raise PolicyError(f"a PinnedSSLContext makes no connection by {show(base)}, which has replaced ssl.SSLSocket")
    attributes: dict[str, Any] = {name: _by_tls_alone(getattr(base, name)) for name in _BOTH_WAYS}
    if base is _Socket:
        attributes["send"] = _send  # quicker, and called for each write
    # Read only: `connect()` would use another context, which checks no pins.
    attributes["context"] = property(lambda self: self._context)
    return type("PinnedSSLSocket", (_Pinned, base), attributes)


def _by_tls_alone(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._sslobj is None:
            # `ssl` itself reads from an unconnected socket when it wraps it, and expects this error.
            raise OSError(errno.ENOTCONN, "the TLS connection is not open, and a pinned socket sends no plain text")
        return method(self, *args, **kwargs)

    return call


def _send(self: Any, data: Any, flags: int = 0) -> Any:
    """Send as `ssl.SSLSocket.send()` by TLS. Without a TLS object, `write()` raises the error."""
    if flags != 0:
        raise ValueError("non-zero flags not allowed in calls to send() on a TLS socket")
    return (self._sslobj or self).write(data)


def _setting(name: str, kind: Callable[[Any], Any]) -> property:
    """Return a property for an attribute of the C class."""
    member = getattr(_C, name)

    def write(self: PinnedSSLContext, value: Any) -> None:
        if name == "options":
            value |= ssl.OP_NO_RENEGOTIATION  # a TLS 1.2 server could show another certificate after the check
        with self._changing:
            if self._is_frozen and name in {"verify_mode", "check_hostname"} and value != member.__get__(self):
                raise PolicyError(f"set {name} of a PinnedSSLContext before its first connection, or make another one")
            member.__set__(self, value)

    return property(lambda self: kind(member.__get__(self)), write)


class PinnedSSLContext(_Context):  # type: ignore[misc]  # mypy cannot follow the look-up of the class
    """An `ssl.SSLContext` for clients, whose connections are made only to servers whose public key is pinned.

    The chain is checked when the handshake is complete, before an application byte moves, on sockets and on the objects
    of `wrap_bio()`; and again at the next write after the policy has changed. A refused connection is shut down, and
    each further use of it raises the refusal again: a `PinningError` that is also an `ssl.SSLCertVerificationError`.
    `pinning_error()` finds it in what the client raises.

    Args:
        pins: a mapping of host patterns to pins, a `PinPolicy` or a `PolicyStore`. The attribute `store` is the store.
        cafile: path of a file of CA certificates. Without this and the next two, the default CAs are trusted.
        capath: path of a folder of CA certificates.
        cadata: CA certificates, PEM text or DER bytes.
        port: of all connections. None: unknown, so that every entry for the host, on any port, must be satisfied.
        assumed_host: the host where the client gives no `server_hostname`: it is sent as SNI, matched with the
            certificate, and pinned. Without it such a connection is refused.
        unpinned_hosts: `"block"` or `"allow"`, as for `PinnedSession`.
        on_violation: called with a `ViolationReport` for each violation. Exceptions are logged and ignored.

    Raises:
        PolicyError: an argument is wrong, or `unpinned_hosts` contradicts the policy. Later: another `verify_mode` or
            `check_hostname` after the first connection, or a session to resume.
        OSError: the CA certificates cannot be loaded.

    The host is the `server_hostname` that OpenSSL matched. With `CERT_REQUIRED` and `check_hostname` the verified chain
    counts, otherwise the leaf alone. It does *not* see `http://`, a URL, or the server behind a proxy that forwards; it
    cannot stop a client's own retries; under `unpinned_hosts="allow"` a client that is told to send another SNI name is
    not pinned; a changed policy stops writes, not reads. CAs that are loaded later widen the CA check, never the pins.
    """

    options = _setting("options", ssl.Options)
    verify_flags = _setting("verify_flags", ssl.VerifyFlags)
    minimum_version = _setting("minimum_version", ssl.TLSVersion)
    maximum_version = _setting("maximum_version", ssl.TLSVersion)
    verify_mode = _setting("verify_mode", ssl.VerifyMode)
    check_hostname = _setting("check_hostname", bool)
    # Read only: another class would check no pins. gevent may replace `ssl.SSLSocket` at any time.
    sslsocket_class = property(lambda _self: _socket_class(ssl.SSLSocket))
    sslobject_class = property(lambda _self: PinnedSSLObject)

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make the C object of a client's context."""
        return _C.__new__(cls, ssl.PROTOCOL_TLS_CLIENT)  # type: ignore[no-any-return]  # of the C class

    def __init__(  # noqa: PLR0913  each a documented option
        self,
        pins: PolicyStore | PinPolicy | Mapping[str, PinsLike],
        *,
        cafile: Any = None,
        capath: Any = None,
        cadata: str | bytes | None = None,
        port: int | None = None,
        assumed_host: str | None = None,
        unpinned_hosts: UnpinnedHosts | None = None,
        on_violation: Callable[[ViolationReport], object] | None = None,
    ) -> None:
        if port is not None and (type(port) is not int or not 0 < port <= MAX_PORT):
            raise PolicyError(f"invalid port={show(port)}: give a number from 1 to {MAX_PORT}, or None")
        self._guard = Guard(pins, unpinned_hosts=unpinned_hosts, on_violation=on_violation)
        self.store = self._guard.store
        self._port = port
        self._changing = threading.Lock()
        self._is_frozen = False
        self.assumed_host = None if assumed_host is None else normalize_host(assumed_host)
        self.options = self.options
        if sys.version_info >= (3, 13):  # as `ssl.create_default_context()` does since
            self.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        if cafile or capath or cadata:
            self.load_verify_locations(cafile, capath, cadata)
        else:
            self.load_default_certs(ssl.Purpose.SERVER_AUTH)

    def _wrap_socket(self, *args: Any, **kwargs: Any) -> CheckedTLS:
        return self._checked(super()._wrap_socket, *args, **kwargs)

    def _wrap_bio(self, *args: Any, **kwargs: Any) -> CheckedTLS:
        return self._checked(super()._wrap_bio, *args, **kwargs)

    def _checked(self, wrap: Any, *args: Any, owner: Any, session: Any = None, **kwargs: Any) -> CheckedTLS:
        outer = getattr(owner, "_sslsock", None)  # gevent's inner socket refers to the one that users see
        if not isinstance(owner if outer is None else outer(), _Pinned):
            raise PolicyError("a PinnedSSLContext makes connections of its own classes alone")
        if session is not None:
            raise PolicyError("a PinnedSSLContext resumes no session: without a certificate there is no key to check")
        with self._changing:
            self._is_frozen = True
            is_verified = self._verifies()
        tls = wrap(*args, owner=owner, **kwargs)
        # Looked at again, since a write by the C class is not stopped by the properties.
        return CheckedTLS(tls, self._guard, self._port, is_verified=is_verified and self._verifies())

    def _verifies(self) -> bool:
        return bool(_C.verify_mode.__get__(self) == ssl.CERT_REQUIRED and _C.check_hostname.__get__(self))

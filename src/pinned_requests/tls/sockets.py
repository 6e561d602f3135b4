"""The socket and object classes of a `PinnedSSLContext`: those of `ssl`, without their ways around TLS.

`ssl.SSLSocket` drops its TLS object after a failed `connect()`, `shutdown()` and `unwrap()`, and is a plain socket from
then on. A pinned one refuses to be.
"""

from __future__ import annotations

import errno
import functools
import ssl
from typing import TYPE_CHECKING, Any, cast

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Callable

# The original class, where gevent or truststore has replaced its name in `ssl`.
OriginalContext: type[ssl.SSLContext] = next(each for each in ssl.SSLContext.__mro__ if each.__module__ == "ssl")
_OriginalSocket: Any = OriginalContext.sslsocket_class
_OriginalObject: Any = OriginalContext.sslobject_class

# The methods of `ssl.SSLSocket` that work without TLS, too.
_BOTH_WAYS = ("send", "sendall", "sendto", "sendfile", "recv", "recv_into", "recvfrom", "recvfrom_into")


class Pinned:
    """A socket or object of a `PinnedSSLContext`."""

    @classmethod
    def _create(cls, *args: Any, context: Any, server_hostname: Any = None, **kwargs: Any) -> Any:
        name = server_hostname or context.assumed_host
        create: Any = getattr(super(), "_create", None)
        if create is None:  # of gevent
            return cast("Any", cls)(server_hostname=name, _context=context, _session=kwargs.pop("session"), **kwargs)
        return create(*args, context=context, server_hostname=name, **kwargs)


class PinnedSSLObject(Pinned, _OriginalObject):  # type: ignore[misc]  # mypy cannot follow the look-up of the class
    """An `ssl.SSLObject` whose chain is checked before an application byte moves."""


@functools.lru_cache(maxsize=4)  # two: that of ssl, and gevent's
def pinned_socket_class(base: Any) -> Any:
    """Return the class of pinned sockets below `base`, which is `ssl.SSLSocket`: the original one, or gevent's.

    Raises:
        PolicyError: it is another one.
    """
    if base is not _OriginalSocket and base.__module__ != "gevent.ssl":
        raise PolicyError(f"a PinnedSSLContext makes no connection by {show(base)}, which has replaced ssl.SSLSocket")
    attributes: dict[str, Any] = {name: _by_tls_alone(getattr(base, name)) for name in _BOTH_WAYS}
    if base is _OriginalSocket:
        attributes["send"] = _send  # quicker, and called for each write
    # Read only: `connect()` would use another context, which checks no pins.
    attributes["context"] = property(lambda self: self._context)
    return type("PinnedSSLSocket", (Pinned, base), attributes)


def _by_tls_alone(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._sslobj is None:
            # `ssl` itself reads from an unconnected socket when it wraps it, and expects this error.
            raise OSError(errno.ENOTCONN, "the TLS connection is not open, and a pinned socket sends no plain text")
        return method(self, *args, **kwargs)

    return call


def _send(self: Any, data: Any, flags: int = 0) -> Any:
    """Send as `ssl.SSLSocket.send()` by TLS: `write()` knows no other way, and so needs no `_by_tls_alone()`."""
    if flags != 0:
        raise ValueError("non-zero flags not allowed in calls to send() on a TLS socket")
    return self.write(data)

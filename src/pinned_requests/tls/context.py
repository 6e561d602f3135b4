"""`PinnedSSLContext`: an `ssl.SSLContext` that pins, for every client that takes one.

Rules for the next maintainer:

- All ways of `ssl` to a connection lead through `_wrap_socket()` and `_wrap_bio()`, where it gets its check.
- OpenSSL copies `verify_mode` and the host name into a connection when it is made. What is read later does not count.
- No setter of `ssl.SSLContext` is called: it looks for itself under its name in `ssl`, and recurses for ever where
  truststore has replaced that.
"""

from __future__ import annotations

import _ssl
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import MAX_PORT, normalize_host
from pinned_requests.core.text import show
from pinned_requests.enforcement.guard import Guard
from pinned_requests.tls.connection import CheckedTLS, Known
from pinned_requests.tls.sockets import OriginalContext, Pinned, PinnedSSLObject, pinned_socket_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy, UnpinnedHosts
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.policy_store import PolicyStore

_C: Any = _ssl._SSLContext  # noqa: SLF001  the C class, whose descriptors do not depend on the name in ssl
_Base: Any = OriginalContext


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


class PinnedSSLContext(_Base):  # type: ignore[misc]  # mypy cannot follow the look-up of the class
    """An `ssl.SSLContext` for clients, whose connections are made only to servers whose public key is pinned.

    Give it to httpx, aiohttp, asyncio, websockets, `http.client`, `smtplib` or any other client that takes a context.
    The chain is checked when the handshake is complete, before an application byte moves, on sockets and on the objects
    of `wrap_bio()`; and again at the next write after the policy has changed. A refused connection is shut down, and
    each further use of it raises the refusal again: a `PinningError` that is also an `ssl.SSLCertVerificationError`.
    `pinning_error()` finds it in what the client raises.

    Args:
        pins: a mapping of host patterns to pins, a `PinPolicy` or a `PolicyStore`.
        cafile: path of a file of CA certificates, as for `ssl.create_default_context()`.
        capath: path of a folder of CA certificates.
        cadata: CA certificates, PEM text or DER bytes. Without any of the three the default CAs are trusted.
        port: of all connections, since `ssl` does not know it. None: every entry that the policy has for the host, on
            any port, must be satisfied.
        assumed_host: the host where the client gives no `server_hostname`: it is sent as SNI, matched with the
            certificate, and pinned. Without it such a connection is refused.
        unpinned_hosts: `"block"` or `"allow"`, as for `PinnedSession`.
        on_violation: called with a `ViolationReport` for each violation, in the thread of the connection. Exceptions
            are logged and ignored.

    Attributes:
        store: the `PolicyStore`.
        assumed_host: in its canonical form.

    Raises:
        PolicyError: `pins`, `port` or `assumed_host` is wrong; `unpinned_hosts` contradicts the policy. Later: another
            `verify_mode` or `check_hostname` after the first connection, or a session to resume.
        OSError: the CA certificates cannot be loaded.

    The host is the `server_hostname` that OpenSSL matched. With `CERT_REQUIRED` and `check_hostname` the verified chain
    counts, otherwise the leaf alone. What it does *not* do: it sees no `http://`, no URL, and no server behind a proxy
    that forwards; it cannot stop a client's own retries; under `unpinned_hosts="allow"` a client that is told to send
    another SNI name is not pinned; a changed policy stops writes, not reads. CAs that are loaded later widen the CA
    check, never the pins.
    """

    store: PolicyStore

    options = _setting("options", ssl.Options)
    verify_flags = _setting("verify_flags", ssl.VerifyFlags)
    minimum_version = _setting("minimum_version", ssl.TLSVersion)
    maximum_version = _setting("maximum_version", ssl.TLSVersion)
    verify_mode = _setting("verify_mode", ssl.VerifyMode)
    check_hostname = _setting("check_hostname", bool)
    # Read only: another class would check no pins. gevent may replace `ssl.SSLSocket` at any time.
    sslsocket_class = property(lambda _self: pinned_socket_class(ssl.SSLSocket))
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
        self._known: dict[str, Known] = {}
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
        outer = getattr(owner, "_sslsock", lambda: owner)()  # gevent's inner socket refers to the one that users see
        if not isinstance(outer, Pinned):
            raise PolicyError("a PinnedSSLContext makes connections of its own classes alone")
        if session is not None:
            raise PolicyError("a PinnedSSLContext resumes no session: without a certificate there is no key to check")
        with self._changing:
            self._is_frozen = True
            is_verified = self._verifies()
        tls = wrap(*args, owner=owner, **kwargs)
        # Looked at again, since a write by the C class is not stopped by the properties.
        return CheckedTLS(tls, self._guard, self._port, self._known, is_verified=is_verified and self._verifies())

    def _verifies(self) -> bool:
        return bool(_C.verify_mode.__get__(self) == ssl.CERT_REQUIRED and _C.check_hostname.__get__(self))

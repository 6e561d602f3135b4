"""`PinnedHTTPSConnection`: evaluates the peer's chain at the end of `connect()`, before the first byte of HTTP.

Rules for the next maintainer:

- The pool knows the origin; behind a proxy the connection does not. So the pool sets it.
- Every TLS peer (origin, proxy, SNI name) is checked separately, by its own host.
- The check is directly above urllib3's `HTTPSConnection` in the method resolution order. What a subclass does after
  `super().connect()`, such as writing HTTP/2's preface, it does after the check.
- What is not known after the handshake is not guessed: whether the chain was verified follows from the `Loan` alone.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

# Not from `urllib3.connection`, where HTTP/2 replaces it: the check would be above HTTP/2's class.
from urllib3.connectionpool import HTTPSConnection  # type: ignore[attr-defined]  # not in its __all__
from urllib3.util import ssl_ as urllib3_ssl

from pinned_requests.core.chain import Chain
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import normalize_host
from pinned_requests.core.value import Value
from pinned_requests.core.verdict import Outcome
from pinned_requests.enforcement.guard import Refusal
from pinned_requests.exceptions import PinningError
from pinned_requests.transport import process
from pinned_requests.transport.chain import served_chain, verified_chain
from pinned_requests.transport.context import Loan, shared_context

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator

    from urllib3.connection import HTTPConnection

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.core.verdict import Verdict
    from pinned_requests.enforcement.guard import Admission, Guard
    from pinned_requests.transport.context import TLSSettings

NO_ORIGIN_CHAIN = Chain.missing("a forwarding proxy makes the TLS connection to the server itself")


class Pinning(Value):
    """What an adapter gives to its managers, pools and connections.

    A copy is the same object: a copy of an adapter follows the same policy, and can be mounted where the adapter can.
    """

    guard: Guard
    context: ssl.SSLContext | None  # of the caller's, to be used as it is
    __slots__ = tuple(__annotations__)

    def __init__(self, guard: Guard, context: ssl.SSLContext | None = None) -> None:
        self._set(guard=guard, context=context)

    def agrees_with(self, other: Pinning) -> bool:
        """Whether connections of both satisfy the same policies in the same context."""
        return self is other or (self.guard.decides_like(other.guard) and self.context is other.context)


class _Peer:
    """A TLS peer of a connection, with the chain that it presented."""

    __slots__ = ("accepted_by", "admission", "chain", "reported")

    def __init__(self, admission: Admission, chain: Chain) -> None:
        self.admission = admission
        self.chain = chain
        self.reported: Outcome | None = None  # a violation that is allowed is reported once a handshake
        self.accepted_by: PinPolicy | None = None  # the policy that accepts this chain at any time


class PinnedHTTPSConnection(HTTPSConnection):
    """A connection that is evaluated as soon as the handshake is complete."""

    # Names that no subclass of others uses: `origin` is what a connection class might call its own.
    pinned_by: Pinning
    pinned_origin: tuple[str, int | None]  # host and port that requests are for
    pinned_verdict: Verdict | None = None  # on the origin, of the last handshake
    _pinned_peers: tuple[_Peer, ...] = ()
    _pinned_socket: object = None  # whose chain was evaluated
    _pinned_in: object = None  # by this process

    def connect(self) -> None:
        """Connect, make the handshake, and evaluate the chain.

        Raises:
            Refusal: the policy does not allow this connection. It is closed.
        """
        self._pinned_peers, self._pinned_socket, self.pinned_verdict = (), None, None
        guard = self.pinned_by.guard
        if self._tunnel_host is not None:  # the pool's own host, or that of a caller of `set_tunnel()`
            self.pinned_origin = (self._tunnel_host, self._tunnel_port or self.default_port)
        if self.proxy is not None or self._tunnel_host is not None:
            scheme = (self._tunnel_scheme if self.proxy is None else self.proxy.scheme) or "http"
            self._pinned_proxy = guard.admit(scheme, self.host, self.port, only_if_named=True)
        if not self._is_for_the_proxy():
            self._pinned_admission = guard.admit("https", *self.pinned_origin)
        try:
            with self._lend_context():
                super().connect()
            self.pinned_verdict = self._check_origin()
        except Refusal:
            hang_up(self)
            raise
        except PinningError as error:  # of a caller's PinnedSSLContext, which urllib3 would retry
            report: ViolationReport = cast("Any", error).report
            self.pinned_verdict = report.verdict
            hang_up(self)
            raise Refusal(report) from None
        if self.pinned_verdict.outcome is Outcome.MATCH:
            self.is_verified = True  # by its pin: urllib3 need not warn
        self._pinned_socket, self._pinned_in = self.sock, process.current

    @property
    def is_checked(self) -> bool:
        """Whether the chain of this very socket was evaluated, in this process and not before a fork."""
        return self.sock is not None and self.sock is self._pinned_socket and self._pinned_in is process.current

    def is_acceptable(self) -> bool:
        """Say whether the open connection may carry a request under the policy in force."""
        if not self.is_checked:
            return False
        if self.pinned_by.context is not None and not self._is_accepted_by(self.pinned_by.context):
            return False
        return self._find_refused(self._judge) is None

    def _is_accepted_by(self, context: ssl.SSLContext) -> bool:
        """Say whether the policy of a caller's context accepts the connection, if it has one."""
        from pinned_requests.tls.context import PinnedSSLContext  # noqa: PLC0415  few programs give a context

        if isinstance(context, PinnedSSLContext):
            try:
                getattr(self.sock, "sslobj", cast("Any", self.sock)).do_handshake()
            except PinningError:
                return False
        return True

    def look_again(self) -> None:
        """Check that the policy in force still accepts the peers: it may have changed since `is_acceptable()`.

        Raises:
            Refusal: it does not. The connection is closed.
        """
        if self.is_checked and (refused := self._find_refused(self._judge_finally)) is not None:
            try:
                self._enforce(*refused, self.sock)
            finally:
                hang_up(self)

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Begin a request, after `look_again()` if the policy has changed."""
        policy = self.pinned_by.guard.policy
        for peer in self._pinned_peers:  # nearly always one, which has been accepted by this policy
            if peer.accepted_by is not policy:
                self.look_again()
                break
        super().putrequest(method, url, *args, **kwargs)

    def _find_refused(self, judge: Callable[[_Peer], Verdict]) -> tuple[_Peer, Verdict] | None:
        """Return the first peer that the policy in force refuses. A violation that is allowed is reported."""
        policy = self.pinned_by.guard.policy
        for peer in self._pinned_peers:
            if peer.accepted_by is not policy:
                verdict = judge(peer)
                if not verdict.is_allowed:
                    return peer, verdict
                self._enforce(peer, verdict, self.sock)
        return None

    def send(self, data: Any) -> None:
        """Send a part of a request.

        Raises:
            Refusal: the policy of a caller's `PinnedSSLContext` has changed, and refuses it. The connection is closed.
        """
        try:
            super().send(data)
        except PinningError as error:
            report: ViolationReport = cast("Any", error).report
            hang_up(self)
            raise Refusal(report) from None

    def _tunnel(self) -> None:
        """Ask a proxy for a tunnel, after a check of its chain if the connection to it is TLS."""
        if self._tunnel_scheme == "https":
            self._check_proxy(self.sock)
        super()._tunnel()

    def _check_origin(self) -> Verdict:
        if self.proxy is None or self._tunnel_host is not None:
            is_verified = self._pinned_loan.vouches() and _is_name_checked(self)
            chain = verified_chain(self.sock, is_verified=is_verified)
            verdict = self._check(self._pinned_admission, chain, self.sock)
            for name in {self.server_hostname, self.assert_hostname}:  # in SNI, and in the certificate
                if isinstance(name, str) and name and _is_other_host(name, verdict.host):
                    named = self.pinned_by.guard.admit("https", name, self.pinned_origin[1], only_if_named=True)
                    self._check(named, chain, self.sock)
            return verdict
        verdict = self._check_proxy(self.sock)
        return verdict if self._is_for_the_proxy() else self._check(self._pinned_admission, NO_ORIGIN_CHAIN, None)

    def _check_proxy(self, sock: object) -> Verdict:
        # Without a configuration for the proxy, urllib3 makes the handshake with the settings of the connection.
        config = self.proxy_config
        is_verified = (
            self._pinned_loan.vouches() and _is_name_checked(self)
            if config is None
            else self._pinned_proxy_loan.vouches() and _is_name_checked(config)
        )
        return self._check(self._pinned_proxy, verified_chain(sock, is_verified=is_verified), sock)

    def _check(self, admission: Admission, chain: Chain, sock: object) -> Verdict:
        peer = _Peer(admission, chain)
        self._pinned_peers = (*self._pinned_peers, peer)
        verdict = self._judge_finally(peer)
        self._enforce(peer, verdict, sock)
        return verdict

    def _judge_finally(self, peer: _Peer) -> Verdict:
        """Judge, and judge once more if a newer policy may have come: it is about to be refused."""
        verdict = self._judge(peer)
        return self._judge(peer) if self.pinned_by.guard.is_reconsidered(verdict) else verdict

    def _judge(self, peer: _Peer) -> Verdict:
        guard = self.pinned_by.guard
        policy = guard.policy
        verdict = guard.judge(peer.admission, peer.chain, policy)
        # Policies and chains are immutable: only the passing of time changes the verdict of one on the other.
        is_timeless = verdict.pins is None or verdict.pins.expires is None
        is_final = is_timeless and verdict.is_allowed and not verdict.is_violation
        peer.accepted_by = policy if is_final else None
        return verdict

    def _enforce(self, peer: _Peer, verdict: Verdict, sock: object) -> None:
        """Refuse, or report a violation that is allowed if that was not done since the handshake."""
        if not verdict.is_allowed or (verdict.is_violation and verdict.outcome is not peer.reported):
            peer.reported = verdict.outcome
            self.pinned_by.guard.enforce(verdict, lambda: served_chain(sock))

    def _is_for_the_proxy(self) -> bool:
        """Say whether requests go to the proxy itself, in absolute form: `http://` URLs through an `https://` proxy."""
        return (
            self.proxy is not None
            and self._tunnel_host is None
            and self.pinned_origin == ((self.proxy.host or "").strip("[]"), self.proxy.port)
        )

    @contextlib.contextmanager
    def _lend_context(self) -> Iterator[None]:
        """Let urllib3's `connect()` find a complete context, so that it builds none and loads nothing into it.

        A context that came by way of urllib3's own `ssl_context` argument is treated as urllib3 treats it: it may load
        the CA bundle into it.
        """
        self._pinned_settings = settings = _settings(self)
        context = self.pinned_by.context
        is_forwarding = self.proxy is not None and self._tunnel_host is None and self.proxy_config is not None
        if context is not None:
            self._pinned_loan = Loan(context, context.verify_mode, is_shared=False)
        elif self.ssl_context is not None:
            self._pinned_loan = Loan(self.ssl_context, settings["cert_reqs"], is_shared=False)
        elif is_forwarding:  # there is one handshake, with the proxy and its own settings
            yield
            return
        else:
            self._pinned_loan = Loan(shared_context(settings), settings["cert_reqs"], is_shared=True)
        if context is None and not self._pinned_loan.is_shared:
            yield
            return
        changes: dict[str, Any] = dict.fromkeys(
            ("ca_certs", "ca_cert_dir", "ca_cert_data", "cert_file", "key_file", "key_password")
        )
        changes |= {"ssl_context": self._pinned_loan.context, "cert_reqs": self._pinned_loan.cert_reqs}
        before = {name: getattr(self, name) for name in changes}
        vars(self).update(changes)
        try:
            yield
        finally:
            vars(self).update(before)

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        """Make the handshake with a proxy, with a shared context if the caller gave none for it.

        The shared one has no client certificate: that is for the origin.
        """
        config = self.proxy_config
        if config is not None and config.ssl_context is not None:
            self._pinned_proxy_loan = Loan(config.ssl_context, config.ssl_context.verify_mode, is_shared=False)
        elif self._tunnel_host is None and self.ssl_context is not None:  # urllib3 falls back to it if it forwards
            self._pinned_proxy_loan = self._pinned_loan
        elif config is not None:
            settings: TLSSettings = {
                **self._pinned_settings,
                "cert_file": None,
                "key_file": None,
                "key_password": None,
                "check_hostname": _does_ssl_match(config),
            }
            self._pinned_proxy_loan = Loan(shared_context(settings), settings["cert_reqs"], is_shared=True)
            self.proxy_config = config._replace(ssl_context=self._pinned_proxy_loan.context)
        try:
            return super()._connect_tls_proxy(hostname, sock)
        finally:
            self.proxy_config = config


def hang_up(connection: HTTPConnection) -> None:
    """Close the socket before `close()`, which may write to it: HTTP/2 sends a farewell."""
    sock, connection.sock = connection.sock, None
    if sock is not None:
        sock.close()
    connection.close()


@lru_cache(maxsize=64)  # classes: a handful, unless a program creates them as it runs
def pinned_connection_class(base: type[Any]) -> type[PinnedHTTPSConnection] | None:
    """Return the pinned class of a connection class of urllib3's, or None if it is not an `HTTPSConnection`."""
    if issubclass(base, PinnedHTTPSConnection):
        return base
    if not issubclass(base, HTTPSConnection):
        return None
    if base is HTTPSConnection:
        return PinnedHTTPSConnection
    # The pinned class comes last, so that it is directly above urllib3's own in the resolution order.
    own = {} if base.putrequest is HTTPSConnection.putrequest else {"putrequest": _looking_again(base.putrequest)}
    return type(f"Pinned{base.__name__}", (base, PinnedHTTPSConnection), own)


def _looking_again(putrequest: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that takes the last look before one that may not call the inherited one, as HTTP/2's does not."""

    def method(connection: PinnedHTTPSConnection, *args: Any, **kwargs: Any) -> Any:
        connection.look_again()
        return putrequest(connection, *args, **kwargs)

    return method


def _settings(connection: HTTPSConnection) -> TLSSettings:
    return {
        "cert_reqs": urllib3_ssl.resolve_cert_reqs(connection.cert_reqs),
        "ca_certs": connection.ca_certs,
        "ca_cert_dir": connection.ca_cert_dir,
        "ca_cert_data": connection.ca_cert_data,
        "cert_file": connection.cert_file,
        "key_file": connection.key_file,
        "key_password": connection.key_password,
        "ssl_version": connection.ssl_version,
        "minimum_version": connection.ssl_minimum_version,
        "maximum_version": connection.ssl_maximum_version,
        "check_hostname": _does_ssl_match(connection),
    }


def _is_other_host(name: str, host: str) -> bool:
    """Say whether `name`, in any spelling, is another host than `host` in its canonical form."""
    try:
        return normalize_host(name) != host
    except PolicyError:
        return True  # it is refused


def _does_ssl_match(asserting: Any) -> bool:
    """Say whether `ssl` matches the host name. With an assertion of the caller's, urllib3 does it afterwards."""
    return (
        not asserting.assert_fingerprint
        and asserting.assert_hostname is None
        and not urllib3_ssl.IS_PYOPENSSL
        and urllib3_ssl.HAS_NEVER_CHECK_COMMON_NAME
    )


def _is_name_checked(asserting: Any) -> bool:
    """Say whether the certificate is matched with a host name: not with a fingerprint, nor with False."""
    return not asserting.assert_fingerprint and asserting.assert_hostname is not False

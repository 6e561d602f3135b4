"""urllib3 connections and pools that look at the peer's chain before anything is sent.

How a request is kept from the wrong peer: a pinned *connection* evaluates the chain at the end of `connect()`, after
the handshake and before the first byte of HTTP. A pinned *pool* gives out an open connection only if it satisfies the
policy of that moment, and closes it otherwise; urllib3 then connects it anew, as it does with dropped connections.

Rules for the next maintainer:

- The pool knows the origin; behind a proxy the connection does not. So the pool tells it.
- The check stands directly above urllib3's `HTTPSConnection` in the method resolution order: whatever a subclass does
  after `super().connect()`, such as writing HTTP/2's preface, it does after the check.
- `_validate_conn()` of the pool makes sure that the check has been made, whoever overrides what.
- Whoever is spoken TLS to is a hop: the origin, a proxy, the name in SNI. Each is evaluated by its own host alone.
"""

from __future__ import annotations

import contextlib
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection

# Not from `urllib3.connection`, where HTTP/2 puts its own in this one's place: the check would stand above that.
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnection  # type: ignore[attr-defined]  # as it is used there
from urllib3.util import ssl_ as urllib3_ssl

from pinned_requests.core.chain import Chain
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import DEFAULT_PORTS, normalize_host
from pinned_requests.core.text import show
from pinned_requests.core.verdict import Outcome
from pinned_requests.exceptions import UnpinnableAdapterError
from pinned_requests.transport.chain import served_chain, verified_chain
from pinned_requests.transport.context import TLSSettings, shared_context
from pinned_requests.transport.guard import Checked, Refusal, guard_in_force

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.core.verdict import Verdict
    from pinned_requests.transport.guard import Guard


class _Hop:
    """Somebody who was met in a handshake of a connection."""

    __slots__ = ("chain", "cleared_by", "host", "only_if_named", "port", "reported")

    def __init__(self, host: str, port: int | None, chain: Chain, *, only_if_named: bool) -> None:
        self.host = host
        self.port = port
        self.chain = chain
        self.only_if_named = only_if_named  # whether it is subject to the policy only where that has an entry for it
        self.reported: Outcome | None = None  # of a violation that was softened: once a handshake is enough
        self.cleared_by: PinPolicy | None = None  # which has nothing against this chain, whatever the time is


class PinnedHTTPConnection(HTTPConnection):
    """A connection without TLS: to a host that the policy leaves alone, or to a proxy."""

    guard: Guard
    origin: tuple[str, int | None]  # host and port of the pool: who the requests are for
    _pid = 0

    def connect(self) -> None:
        """Connect, where the policy lets the origin be reached without TLS.

        Raises:
            Refusal: it does not.
        """
        if self.proxy is None:  # of a request through a proxy the URL names the origin, and has been looked at
            self.guard.admit("http", *self.origin)
        super().connect()
        self._pid = os.getpid()

    @property
    def is_checked(self) -> bool:
        """Whether the policy has been asked about this connection. There is no chain to look at."""
        return self._pid == os.getpid()

    def is_acceptable(self) -> bool:
        """Say whether the open connection may carry a request under the policy of this moment."""
        return self.is_checked and (self.proxy is not None or self.guard.admits_plain(*self.origin))


class PinnedHTTPSConnection(HTTPSConnection):
    """A connection whose chain is evaluated as soon as the handshake is done."""

    guard: Guard
    origin: tuple[str, int | None]
    _hops: tuple[_Hop, ...] = ()
    _callers_context: ssl.SSLContext | None = None  # that the connection was made with
    _checked_socket: object = None
    _pid = 0

    def connect(self) -> None:
        """Connect, make the handshake, and evaluate the chain.

        Raises:
            Refusal: the policy does not let this connection be used. It is closed by then.
        """
        self._hops, self._checked_socket = (), None
        if not self._is_for_the_proxy():
            self.guard.admit("https", *self.origin)
        try:
            with self._own_context():
                super().connect()
            self.guard.conclude(self._meet_origin())
        except (Refusal, Checked):
            _hang_up(self)
            raise
        self._checked_socket, self._pid = self.sock, os.getpid()

    @property
    def is_checked(self) -> bool:
        """Whether the chain of this very socket was evaluated, by this process and not by one it was forked from."""
        return self.sock is self._checked_socket and self._pid == os.getpid()

    def is_acceptable(self) -> bool:
        """Say whether the open connection may carry a request under the policy of this moment."""
        guard = self.guard
        if not self.is_checked or guard.needs_handshake or self._callers_context is not guard.ssl_context:
            return False
        policy = guard.store.current
        for hop in self._hops:
            if hop.cleared_by is policy:
                continue
            verdict = self._judge(hop)
            if not verdict.is_allowed:
                return False
            if verdict.is_violation:
                self._report_once(hop, verdict, self.sock)
        return True

    def _tunnel(self) -> None:
        """Ask a proxy for a tunnel; of one that is spoken TLS to, after a look at its chain."""
        if self._tunnel_scheme == "https":
            self._meet_proxy(self.sock)
        super()._tunnel()

    def _meet_origin(self) -> Verdict:
        if self.proxy is None or self._tunnel_host is not None:
            chain = verified_chain(self.sock, name_is_checked=_is_name_checked(self))
            verdict = self._meet(*self.origin, chain, self.sock)
            if self.server_hostname and _is_other_host(self.server_hostname, verdict.host):
                self._meet(self.server_hostname, self.origin[1], chain, self.sock, only_if_named=True)
            return verdict
        verdict = self._meet_proxy(self.sock)
        if self._is_for_the_proxy():
            return verdict
        chain = Chain.missing("a forwarding proxy stands between, and speaks TLS with the server itself")
        return self._meet(*self.origin, chain, None)

    def _meet_proxy(self, sock: object) -> Verdict:
        chain = verified_chain(sock, name_is_checked=_is_name_checked(self.proxy_config))
        return self._meet(self.host, self.port, chain, sock, only_if_named=True)

    def _meet(self, host: str, port: int | None, chain: Chain, sock: object, *, only_if_named: bool = False) -> Verdict:
        hop = _Hop(host, port, chain, only_if_named=only_if_named)
        self._hops = (*self._hops, hop)
        verdict = self._judge(hop)
        self._report_once(hop, verdict, sock)
        return verdict

    def _judge(self, hop: _Hop) -> Verdict:
        policy = self.guard.store.current
        verdict = self.guard.judge(hop.host, hop.port, hop.chain, policy)
        if hop.only_if_named and verdict.outcome is Outcome.UNPINNED_HOST:
            verdict = verdict._replace(outcome=Outcome.UNPINNED, is_allowed=True)
        # Policies and chains are immutable: the verdict of one on the other changes with the time alone.
        is_timeless = verdict.pins is None or verdict.pins.expires is None
        hop.cleared_by = policy if is_timeless and verdict.is_allowed and not verdict.is_violation else None
        return verdict

    def _report_once(self, hop: _Hop, verdict: Verdict, sock: object) -> None:
        """Refuse, or report a violation that is allowed, unless that has been done since the handshake."""
        if not verdict.is_allowed or (verdict.is_violation and verdict.outcome is not hop.reported):
            hop.reported = verdict.outcome
            self.guard.enforce(verdict, served_chain(sock))

    def _is_for_the_proxy(self) -> bool:
        """Say whether requests go to the proxy itself, in absolute form: `http://` URLs through an `https://` proxy."""
        return (
            self.proxy is not None
            and self._tunnel_host is None
            and self.origin == ((self.proxy.host or "").strip("[]"), self.proxy.port)
        )

    @contextlib.contextmanager
    def _own_context(self) -> Iterator[None]:
        """Let `HTTPSConnection.connect()` find a context that holds everything already, instead of building one.

        A context that came by way of urllib3's `ssl_context` alone is left to urllib3, which loads the CA bundle into
        it.
        """
        self._settings = settings = _settings(self)
        self._callers_context = self.guard.ssl_context
        if self._callers_context is not None:
            context, cert_reqs = self._callers_context, self._callers_context.verify_mode
        elif self.ssl_context is None:
            context, cert_reqs = shared_context(settings), settings.cert_reqs
        else:
            yield
            return
        done: dict[str, Any] = dict.fromkeys(
            ("ca_certs", "ca_cert_dir", "ca_cert_data", "cert_file", "key_file", "key_password")
        )
        changes = {**done, "ssl_context": context, "cert_reqs": cert_reqs}
        before = {name: getattr(self, name) for name in changes}
        vars(self).update(changes)
        try:
            yield
        finally:
            vars(self).update(before)

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        """Make the handshake with a proxy, with a shared context where the caller gave none for it."""
        config = self.proxy_config
        if config is not None and config.ssl_context is None:
            settings = self._settings._replace(
                cert_file=None, key_file=None, key_password=None, check_hostname=_does_ssl_match(config)
            )
            self.proxy_config = config._replace(ssl_context=shared_context(settings))
        try:
            return super()._connect_tls_proxy(hostname, sock)
        finally:
            self.proxy_config = config


def _hang_up(connection: HTTPConnection) -> None:
    """Close the socket before `close()`, which may write to it: HTTP/2 says goodbye."""
    sock, connection.sock = connection.sock, None
    if sock is not None:
        sock.close()
    connection.close()


def _settings(connection: HTTPSConnection) -> TLSSettings:
    return TLSSettings(
        cert_reqs=urllib3_ssl.resolve_cert_reqs(connection.cert_reqs),
        ca_certs=connection.ca_certs,
        ca_cert_dir=connection.ca_cert_dir,
        ca_cert_data=connection.ca_cert_data,
        cert_file=connection.cert_file,
        key_file=connection.key_file,
        key_password=connection.key_password,
        ssl_version=connection.ssl_version,
        minimum_version=connection.ssl_minimum_version,
        maximum_version=connection.ssl_maximum_version,
        check_hostname=_does_ssl_match(connection),
    )


def _is_other_host(name: str, host: str) -> bool:
    """Say whether `name`, in any spelling, is another than `host` in its canonical one."""
    try:
        return normalize_host(name) != host
    except PolicyError:
        return True  # of which the verdict is a refusal


def _does_ssl_match(asserting: Any) -> bool:
    """Say whether `ssl` matches the host name, by urllib3's rule: with an assertion of the caller's urllib3 does."""
    return (
        not asserting.assert_fingerprint
        and asserting.assert_hostname is None
        and not urllib3_ssl.IS_PYOPENSSL
        and urllib3_ssl.HAS_NEVER_CHECK_COMMON_NAME
    )


def _is_name_checked(asserting: Any) -> bool:
    """Say whether anybody matches the certificate with a host name: not with a fingerprint, nor with False."""
    return asserting is not None and not asserting.assert_fingerprint and asserting.assert_hostname is not False


_PINNED = (PinnedHTTPSConnection, PinnedHTTPConnection)


class PinnedPool(HTTPConnectionPool):
    """What pinning adds to a pool of any class; see `pin_pool()`."""

    own_guard: Guard
    stands_alone = False  # no adapter stands above: nobody else's guard is in force, nor is a Refusal translated

    @property
    def guard(self) -> Guard:
        """The guard that holds for the request of this thread."""
        return self.own_guard if self.stands_alone else guard_in_force.get() or self.own_guard

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request as urllib3's pool does.

        Raises:
            PinningError: the request was refused (`Refusal` below an adapter, which translates it).
        """
        try:
            if self.proxy is not None and not url.startswith("/"):  # what a proxy forwards names its origin here alone
                self.guard.admit_url(url)
            return super().urlopen(method, url, *args, **kwargs)
        except Refusal as refusal:
            if self.stands_alone:
                raise refusal.as_error() from None
            raise

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        self._pin(connection)
        return connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        pinned = self._pin(connection)
        if pinned is not None and not pinned.is_closed and not pinned.is_acceptable():
            _hang_up(pinned)
        return connection

    def _validate_conn(self, conn: Any) -> None:
        super()._validate_conn(conn)
        if isinstance(conn, _PINNED) and conn.is_checked:
            return
        pinned = self._pin(conn)
        if pinned is not None and not pinned.is_closed and not pinned.is_checked:
            self._refuse_unseen(conn)

    def _pin(self, connection: Any) -> PinnedHTTPConnection | PinnedHTTPSConnection | None:
        """Pin a connection that is given out, in place, for the origin and the guard of this request, and return it.

        Of one that cannot be pinned None is returned, and only where the policy asks for nothing.
        """
        if isinstance(connection, _PINNED):
            real: Any = connection
        else:
            # vcrpy wraps the connection that it plays or records.
            real = vars(connection).get("real_connection", connection)
            if not isinstance(real, _PINNED):
                connection_class: Any = type(real)
                pinned_class = _pinned_class(connection_class)
                if pinned_class is None:
                    self._refuse_unseen(real)
                    return None
                real.__class__ = pinned_class
        real.guard, real.origin = self.guard, self._origin
        pinned: PinnedHTTPConnection | PinnedHTTPSConnection = real
        return pinned

    @property
    def _origin(self) -> tuple[str, int | None]:
        """Host and port that requests are for; a pool may be made without a port, and connects to the default one."""
        return self.host or "", self.port or DEFAULT_PORTS.get(self.scheme)

    def _refuse_unseen(self, connection: object) -> None:
        chain = Chain.missing(f"a {type(connection).__name__} connects in a way that it cannot be had from")
        self.guard.enforce(self.guard.judge(*self._origin, chain), ())


def pin_pool(pool: Any, guard: Guard, *, stands_alone: bool = False) -> None:
    """Pin a pool in place, whoever made it, whatever it is set to; idle connections in it are not used again.

    Args:
        pool: a pool of urllib3's.
        guard: what holds where an adapter has put none in force.
        stands_alone: whether no adapter stands above it.

    Raises:
        UnpinnableAdapterError: it is no pool of urllib3's.
    """
    if isinstance(pool, PinnedPool):
        return
    if not isinstance(pool, HTTPConnectionPool):
        raise UnpinnableAdapterError(
            f"{show(pool)} opens its connections in a way that cannot be pinned; send through PinnedAdapter, or exempt"
            " the host"
        )
    pool_class: Any = type(pool)
    vars(pool).update(own_guard=guard, stands_alone=stands_alone)
    pool.__class__ = _pinned_pool_class(pool_class)


@lru_cache(maxsize=64)  # classes: a handful, unless a program makes them as it goes
def _pinned_pool_class(base: type) -> type:
    return type(f"Pinned{base.__name__}", (PinnedPool, base), {})


@lru_cache(maxsize=64)
def _pinned_class(base: type) -> type | None:
    for foundation, pinned in ((HTTPSConnection, PinnedHTTPSConnection), (HTTPConnection, PinnedHTTPConnection)):
        if base is foundation:
            return pinned
        if issubclass(base, foundation):
            # The pinned class comes last, so that it stands directly above urllib3's own in the resolution order.
            return type(f"Pinned{base.__name__}", (base, pinned), {})
    return None

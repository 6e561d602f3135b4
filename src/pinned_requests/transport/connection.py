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
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util import ssl_ as urllib3_ssl

from pinned_requests.core.chain import Chain
from pinned_requests.core.errors import show
from pinned_requests.core.verdict import Outcome
from pinned_requests.exceptions import UnpinnableAdapterError
from pinned_requests.transport.chain import served_chain, verified_chain
from pinned_requests.transport.context import TLSSettings, shared_context
from pinned_requests.transport.guard import Guard, Refusal

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

_NOT_NAMED = (Outcome.UNPINNED, Outcome.UNPINNED_HOST)


@dataclass(slots=True)
class _Hop:
    """Somebody who was met in a handshake of a connection."""

    host: str
    port: int | None
    chain: Chain
    only_if_named: bool  # whether it is subject to the policy only where that has an entry for it
    reported: Outcome | None = None


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
            self._meet_origin()
        except Refusal:
            self.close()
            raise
        self._checked_socket, self._pid = self.sock, os.getpid()

    @property
    def is_checked(self) -> bool:
        """Whether the chain of this very socket was evaluated, by this process and not by one it was forked from."""
        return self.sock is self._checked_socket and self._pid == os.getpid()

    def is_acceptable(self) -> bool:
        """Say whether the open connection may carry a request under the policy of this moment."""
        return self.is_checked and all(map(self._judge, self._hops))

    def _tunnel(self) -> None:
        """Ask a proxy for a tunnel; of one that is spoken TLS to, after a look at its chain."""
        if self._tunnel_scheme == "https":
            self._meet_proxy(self.sock)
        super()._tunnel()

    def _meet_origin(self) -> None:
        if self.proxy is None or self._tunnel_host is not None:
            chain = verified_chain(self.sock, name_is_checked=_is_name_checked(self))
            self._meet(*self.origin, chain, self.sock)
            if self.server_hostname:
                self._meet(self.server_hostname, self.origin[1], chain, self.sock, only_if_named=True)
            return
        self._meet_proxy(self.sock)
        if not self._is_for_the_proxy():
            chain = Chain.missing("a forwarding proxy stands between, and speaks TLS with the server itself")
            self._meet(*self.origin, chain, None)

    def _meet_proxy(self, sock: object) -> None:
        chain = verified_chain(sock, name_is_checked=_is_name_checked(self.proxy_config))
        self._meet(self.host, self.port, chain, sock, only_if_named=True)

    def _meet(self, host: str, port: int | None, chain: Chain, sock: object, *, only_if_named: bool = False) -> None:
        hop = _Hop(host, port, chain, only_if_named)
        self._hops = (*self._hops, hop)
        self._judge(hop, sock, refuse=True)

    def _judge(self, hop: _Hop, sock: object = None, *, refuse: bool = False) -> bool:
        """Say whether the policy allows a hop, and report a violation, once a handshake; or refuse."""
        verdict = self.guard.judge(hop.host, hop.port, hop.chain)
        if hop.only_if_named and verdict.outcome in _NOT_NAMED:
            return True
        if refuse or (verdict.is_allowed and verdict.is_violation and verdict.outcome is not hop.reported):
            hop.reported = verdict.outcome
            self.guard.enforce(verdict, served_chain(sock or self.sock) if verdict.is_violation else ())
        return verdict.is_allowed

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
        if self.ssl_context is None:
            context, cert_reqs = shared_context(settings), settings.cert_reqs
        elif self.ssl_context is self.guard.ssl_context:
            context, cert_reqs = self.ssl_context, self.ssl_context.verify_mode
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


class PinnedPool(HTTPConnectionPool):
    """What pinning adds to a pool of any class; see `pin_pool()`."""

    guard: Guard
    raises_public_errors = False  # where nothing stands above that translates a Refusal

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.guard = self.guard
        connection.origin = (self.host, self.port)
        return connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        if not isinstance(connection, (PinnedHTTPConnection, PinnedHTTPSConnection)):
            connection.close()  # from before the pool was pinned
            return self._new_conn()
        if not connection.is_closed and not connection.is_acceptable():
            connection.close()
        return connection

    def _validate_conn(self, conn: Any) -> None:
        super()._validate_conn(conn)
        if not conn.is_closed and not conn.is_checked:
            conn.close()
            missing = Chain.missing(f"a {type(conn).__name__} connects without letting it be looked at")
            self.guard.enforce(self.guard.judge(self.host, self.port, missing), ())

    def urlopen(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request as urllib3's pool does.

        Raises:
            PinningError: the request was refused (`Refusal` below an adapter, which translates it).
        """
        try:
            return super().urlopen(*args, **kwargs)
        except Refusal as refusal:
            if self.raises_public_errors:
                raise refusal.as_error() from None
            raise


def pin_pool(pool: Any, guard: Guard, *, raises_public_errors: bool = False) -> None:
    """Pin a pool in place, whoever made it, whatever it is set to; idle connections in it are not used again.

    Raises:
        UnpinnableAdapterError: it is no pool of urllib3's, or its connections are not urllib3's.
    """
    if isinstance(pool, PinnedPool):
        return
    if isinstance(pool, HTTPConnectionPool):
        connection_class = _pinned_connection_class(pool.ConnectionCls, pool.scheme)
        if connection_class is not None:
            vars(pool).update(guard=guard, raises_public_errors=raises_public_errors, ConnectionCls=connection_class)
            pool_class: Any = type(pool)
            pool.__class__ = _pinned_pool_class(pool_class)
            return
    raise UnpinnableAdapterError(
        f"{show(pool)} opens its sockets in a way that cannot be pinned; send through a PinnedAdapter, or exempt the "
        "host"
    )


@lru_cache(maxsize=64)  # classes: a handful, unless a program makes them as it goes
def _pinned_connection_class(base: type, scheme: str | None) -> type | None:
    pinned: type = PinnedHTTPSConnection if scheme == "https" else PinnedHTTPConnection
    foundation = pinned.__base__
    if foundation is None or not issubclass(base, foundation):
        return None
    # The pinned class comes last, so that it stands directly above urllib3's own in the method resolution order.
    return pinned if base is foundation else type(f"Pinned{base.__name__}", (base, pinned), {})


@lru_cache(maxsize=64)
def _pinned_pool_class(base: type) -> type:
    return type(f"Pinned{base.__name__}", (PinnedPool, base), {})

"""`PinnedPool`: what pinning adds to a connection pool of urllib3's, of any class.

A pool decides for each request. Plain HTTP, and what a proxy forwards, is decided by the policy alone. A TLS connection
is given out if its chain satisfies the policy in force; otherwise it is closed, and urllib3 connects again, as it does
with dropped connections.

Rules for the next maintainer:

- A `Refusal` becomes the public error where it leaves the outermost `urlopen()`. No pool needs to know its caller.
- Pools are pinned in place, by a change of class: adapters and managers of others return pools of any class, and their
  callers rely on the identity of the object. (`tests/attacks/test_adapters.py` fails without it.)
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from urllib3.connectionpool import HTTPConnectionPool

from pinned_requests.core.chain import Chain
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import DEFAULT_PORTS, normalize_host
from pinned_requests.core.text import show
from pinned_requests.enforcement.guard import Refusal
from pinned_requests.exceptions import UnpinnableAdapterError
from pinned_requests.transport import process
from pinned_requests.transport.connection import (
    NO_ORIGIN_CHAIN,
    PinnedHTTPSConnection,
    Pinning,
    hang_up,
    pinned_connection_class,
)
from pinned_requests.transport.origin import origin_by_urllib3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pinned_requests.transport.origin import Origin


class PinnedPool(HTTPConnectionPool):
    """A pool that is pinned; see `pin_pool()`."""

    pinned_by: Pinning
    _process: object = None  # that made its connections

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request as urllib3's pool does.

        Raises:
            PinningError: the request was refused. No byte of it was sent.
        """
        try:
            if self.scheme != "https":
                self._admit_plain()
            if self.proxy is not None:
                if not url.startswith("/"):
                    self._admit_forwarded(url)
                elif self._is_of_the_proxy:  # a page of the proxy itself
                    self.pinned_by.guard.admit(self.scheme, *self._origin)
            return super().urlopen(method, url, *args, **kwargs)
        except Refusal as refusal:
            raise refusal.as_error() from None

    def is_for(self, host: str, port: int | None) -> bool:
        """Say whether connections of this pool are checked by the pins of a host: it is theirs, or is named in SNI."""
        own_host, own_port = self._origin
        names = (own_host, self.conn_kw.get("server_hostname"), getattr(self, "assert_hostname", None))
        return port == own_port and _canonical(host) in {_canonical(name) for name in names if isinstance(name, str)}

    def _get_conn(self, timeout: float | None = None) -> Any:
        if self._process is not process.current:
            self._close_idle()
        connection: Any = super()._get_conn(timeout)
        if self.scheme != "https":  # after `super()`: urllib3 gives back the place that it took
            self._admit_plain()
        pinned = self._pin(connection)
        if pinned is not None and pinned.sock is not None and not pinned.is_acceptable():
            hang_up(pinned)
        return connection

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        self._pin(connection)
        return connection

    def _validate_conn(self, conn: Any) -> None:
        super()._validate_conn(conn)
        if isinstance(conn, PinnedHTTPSConnection):
            if conn.sock is None:  # a subclass leaves that to the request
                conn.connect()
            if conn.is_checked:
                return
        if self.scheme != "https":
            return
        pinned = self._pin(conn)
        is_wrapped_and_unused = pinned is not None and pinned is not conn and pinned.is_closed
        if pinned is not None and not is_wrapped_and_unused and not pinned.is_checked:
            self._refuse_unseen(conn)

    def _admit_plain(self) -> None:
        """Refuse plain HTTP where the policy requires TLS."""
        self.pinned_by.guard.admit(self.scheme, *self._origin, only_if_named=self._is_of_the_proxy)

    def _admit_forwarded(self, url: str) -> None:
        """Refuse a URL in absolute form whose host is pinned, blocked or missing.

        The proxy connects to that host, and this pool does not see the chain. The URL is parsed as urllib3 parses it
        for the request line.
        """
        guard = self.pinned_by.guard
        scheme, host, port = origin_by_urllib3(url)
        admission = guard.admit(scheme, host, port)
        own_host, own_port = self._origin
        is_tunneled = scheme == self.scheme and port == own_port and _canonical(host) == _canonical(own_host)
        if scheme == "https" and not is_tunneled:  # else the connection checks the chain
            guard.enforce(guard.judge(admission, NO_ORIGIN_CHAIN))

    def _close_idle(self) -> None:
        """Close the connections from before a fork, or from before the pool was pinned; their peers are not told."""
        self._process = process.current
        if self.pool is not None:
            for connection in tuple(self.pool.queue):
                if connection is not None:
                    hang_up(connection)

    def _pin(self, connection: Any) -> PinnedHTTPSConnection | None:
        """Pin a TLS connection in place, for the origin of this pool, and return it.

        None: it has no TLS, or it cannot be pinned and the policy allows that.
        """
        real = connection if isinstance(connection, PinnedHTTPSConnection) else real_connection(connection)
        if not isinstance(real, PinnedHTTPSConnection):
            connection_class: Any = type(real)
            pinned_class: Any = pinned_connection_class(connection_class)
            if pinned_class is None:
                if self.scheme == "https":
                    self._refuse_unseen(real)
                return None
            real.__class__ = pinned_class
        pinned: PinnedHTTPSConnection = real
        pinned.pinned_by, pinned.pinned_origin = self.pinned_by, self._origin
        return pinned

    @property
    def _origin(self) -> tuple[str, int | None]:
        """Host and port that requests are for."""
        port: Any = self.port
        if isinstance(port, str) and port.isdecimal():  # urllib3 takes that, too
            port = int(port)
        return self.host or "", port or DEFAULT_PORTS.get(self.scheme)

    @property
    def _is_of_the_proxy(self) -> bool:
        """Whether this pool connects to the proxy, for requests that the proxy forwards."""
        proxy = self.proxy
        return proxy is not None and self._origin == ((proxy.host or "").strip("[]"), proxy.port)

    def _refuse_unseen(self, connection: object) -> None:
        chain = Chain.missing(f"a {type(connection).__name__} connects in a way that does not show it")
        guard = self.pinned_by.guard
        guard.enforce(guard.judge(guard.admit("https", *self._origin), chain))


def pin_pool(pool: Any, pinning: Pinning, origins: Callable[..., Iterable[Origin]], *asked: Any) -> Any:
    """Pin a pool in place, for the adapter or manager that gives it out. Its idle connections are not used again.

    `origins`, with the arguments `asked`, returns what the pool is for. It is called for pools of other kinds alone.

    Raises:
        UnpinnableAdapterError: it is not a pool of urllib3's, and the policy does not allow connections to the host
            whose chain is not checked; or it is pinned by another policy.
    """
    if isinstance(pool, PinnedPool) and pool.pinned_by is pinning:  # nearly always
        return pool
    if isinstance(pool, HTTPConnectionPool) and not isinstance(pool, PinnedPool):
        with process.pinning:
            if not isinstance(pool, PinnedPool):
                pool_class: Any = type(pool)
                vars(pool)["pinned_by"] = pinning
                if pool.port is None:  # http.client may find one in an IPv6 address
                    pool.port = DEFAULT_PORTS.get(pool.scheme)
                pool.__class__ = _pinned_pool_class(pool_class)
    if isinstance(pool, PinnedPool):
        if not pool.pinned_by.agrees_with(pinning):
            raise UnpinnableAdapterError(
                f"{show(pool)} was pinned by another policy than that of the adapter which returns it; use one "
                "PolicyStore for both"
            )
    elif not all(pinning.guard.allows_unseen(*origin) for origin in origins(*asked)):
        raise UnpinnableAdapterError(
            f"{show(pool)} opens its connections in a way that cannot be pinned; send through PinnedAdapter, or exempt "
            "the host"
        )
    return pool


@lru_cache(maxsize=64)  # classes: a handful, unless a program creates them as it runs
def _pinned_pool_class(base: type) -> type:
    return type(f"Pinned{base.__name__}", (PinnedPool, base), {})


def real_connection(connection: Any) -> Any:
    """Return the connection that vcrpy wraps to record or play it, or `connection`."""
    vcr = sys.modules.get("vcr.stubs")
    return connection.real_connection if vcr is not None and isinstance(connection, vcr.VCRConnection) else connection


def _canonical(host: str) -> str | None:
    try:
        return normalize_host(host)
    except PolicyError:
        return None

"""Sends this process's connections for some hosts to servers on loopback, at the level of sockets.

A name is resolved to an address that the lab gave it (127.77.0.1 and on), and a connection to that address, or to an IP
address that is itself redirected, goes to the lab's server, on any port.

Rules for the next maintainer:

- While no host is redirected nothing is patched.
- What is not redirected is handed on to the genuine function unchanged: other threads go about their business.
- Fail on loopback. A connection that cannot be redirected (UDP; a client that goes around the `socket` module with an
  address that it got here) goes to an address of the lab where no server listens, and never out of the machine.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.host import HostError, is_address, normalize_host
from pinned_requests.testing.intercept.client_tls import ClientHandshake, FurtherTrust, install

if TYPE_CHECKING:
    from collections.abc import Callable

    _HostEntry = tuple[str, list[str], list[str]]

_ABSENT = object()
_FIRST_ADDRESS = IPv4Address("127.77.0.1")  # any will do that is a loopback address without a server
_LOOPBACK = "127.0.0.1"
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_NOBODY = "127.77.0.0"  # for UDP to a redirected IP address
_NO_PROXY = ("no_proxy", "NO_PROXY")
_HTTPS_PROXY = ("https_proxy", "HTTPS_PROXY")


class Route(NamedTuple):
    """Where the connections for a host go."""

    host: str  # as `normalize_host` returns it
    port: int  # of a server on 127.0.0.1
    anchor: bytes  # the CA that is trusted on the way there, as DER
    is_proxy: bool = False  # whether the server is also the environment's proxy for https


class _Patches:
    """Attributes and environment variables that have been changed. Callers hold a lock."""

    def __init__(self) -> None:
        self._attributes: list[tuple[Any, str, object, object]] = []  # owner, name, what was there, what is
        self._variables: dict[str, str | None] = {}

    def wrap(self, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
        """Replace a function of a module or class, also an inherited one, which is the replacement's first argument."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **keywords: Any) -> Any:
            return replacement(original, *args, **keywords)

        self._attributes.append((owner, name, vars(owner).get(name, _ABSENT), wrapped))
        setattr(owner, name, wrapped)

    def set_variables(self, variables: dict[str, str]) -> None:
        """Set environment variables, and put back those that were set before and are not among them."""
        for name in [name for name in self._variables if name not in variables]:
            self._put_back(name)
        for name, value in variables.items():
            self._variables.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def original_variables(self) -> dict[str, str]:
        """Return the environment without what was set here."""
        return {name: value for name, value in {**os.environ, **self._variables}.items() if value is not None}

    def undo(self) -> None:
        """Put everything back, the newest first, but for functions that have been replaced by others since."""
        while self._attributes:
            owner, name, value, wrapped = self._attributes.pop()
            if vars(owner).get(name) is not wrapped:
                continue
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
        for name in list(self._variables):
            self._put_back(name)

    def _put_back(self, name: str) -> None:
        value = self._variables.pop(name)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class Redirection:
    """All redirections of this process. There is one object of this class: `redirection`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._patches = _Patches()
        # The newest is the last. Never changed in place: other threads read it without the lock.
        self._routes: tuple[Route, ...] = ()
        # Kept for the life of the process: a client that remembers an address is right in the next block, too.
        self._addresses: dict[str, str] = {}
        self._hosts: dict[str, str] = {}
        self._peers: dict[int, tuple[Any, ...]] = {}  # by the local port of a redirected connection
        self.handshakes: list[ClientHandshake] = []  # of the clients; another one when all hosts have been given back

    def add(self, route: Route) -> None:
        """Send new connections for a host to a server, until `remove`; an older route of that host waits."""
        with self._lock:
            if not self._routes:
                self._install()
            if route.host not in self._addresses and not is_address(route.host):
                address = str(_FIRST_ADDRESS + len(self._addresses))
                self._addresses[route.host], self._hosts[address] = address, route.host
            self._routes = (*self._routes, route)
            self._set_environment()

    def remove(self, route: Route) -> None:
        """Undo one `add`."""
        with self._lock:
            self._routes = tuple(each for each in self._routes if each is not route)
            if self._routes:
                self._set_environment()
            else:
                self._patches.undo()
                self._peers.clear()
                self.handshakes = []

    def _install(self) -> None:
        wrap = self._patches.wrap
        wrap(socket, "getaddrinfo", self._getaddrinfo)
        wrap(socket, "gethostbyname", self._gethostbyname)
        wrap(socket, "gethostbyname_ex", self._gethostbyname_ex)
        wrap(socket.socket, "connect", self._connect)
        wrap(socket.socket, "connect_ex", self._connect)
        self._genuine_peer = socket.socket.getpeername
        wrap(socket.socket, "getpeername", self._getpeername)
        install(wrap, self._further_trust, self.handshakes)

    def _set_environment(self) -> None:
        """Let no proxy of the environment come between, which would resolve the name elsewhere; or be it."""
        before = self._patches.original_variables()
        variables: dict[str, str] = {}
        if self._routes[-1].is_proxy:
            variables = dict.fromkeys(_HTTPS_PROXY, f"http://{_LOOPBACK}:{self._routes[-1].port}")
            variables |= {name: "" for name in _NO_PROXY if before.get(name)}
        elif any(name.lower().endswith("_proxy") and name not in _NO_PROXY for name in before):
            hosts = [route.host for route in self._routes]
            for name in [name for name in _NO_PROXY if before.get(name)] or _NO_PROXY[:1]:
                value = before.get(name)
                if value != "*":  # that is: no proxy for any host, and holds only where it stands alone
                    variables[name] = ",".join([value, *hosts] if value else hosts)
        self._patches.set_variables(variables)

    def _route(self, host: object) -> Route | None:
        """Return the newest route for a name, or an address, also one that the lab gave a name."""
        name = canonical(host)
        name = self._hosts.get(name, name)
        return next((route for route in reversed(self._routes) if route.host == name), None)

    def _address(self, host: object) -> str | None:
        """Return the address that the lab gave a name; None if it is not redirected now."""
        return self._addresses.get(canonical(host)) if self._route(host) else None

    def _target(self, sock: socket.socket, address: Any) -> Any:
        """Return the address to connect to in place of another."""
        if sock.family not in _INTERNET or not isinstance(address, tuple) or not address:
            return address
        route = self._route(address[0])
        if route is None:
            return address
        host, port = _LOOPBACK, route.port
        if sock.type != socket.SOCK_STREAM:
            host, port = self._addresses.get(route.host, _NOBODY), address[1]
        if sock.family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # where it may not be set, it may be off by default
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            host = _mapped(host)
        return host, port

    def _further_trust(self, sock: socket.socket | None, server_hostname: object) -> FurtherTrust | None:
        routes: tuple[Route, ...]
        if sock:
            with contextlib.suppress(OSError):  # it is not connected yet
                routes = self._routes_to(self._genuine_peer(sock))
                return FurtherTrust(frozenset(route.anchor for route in routes), alone=True) if routes else None
        by_name = self._route(server_hostname)
        routes = self._routes if server_hostname is None else (by_name,) if by_name else ()
        return FurtherTrust(frozenset(route.anchor for route in routes), alone=False)

    def _routes_to(self, peer: object) -> tuple[Route, ...]:
        """Return the routes that lead to a genuine peer."""
        if not isinstance(peer, tuple) or peer[0] not in {_LOOPBACK, _mapped(_LOOPBACK)}:
            return ()
        return tuple(route for route in self._routes if route.port == peer[1])

    def _getaddrinfo(  # noqa: PLR0913, PLR0917 - as in socket
        self,
        original: Callable[..., Any],
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as in socket
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        if not flags & socket.AI_NUMERICHOST and (address := self._address(host)):
            host = _mapped(address) if family == socket.AF_INET6 else address
            flags &= ~socket.AI_ADDRCONFIG  # it asks which families the network has; this machine may have none
        return original(host, port, family, type, proto, flags)

    def _gethostbyname(self, original: Callable[[str], str], hostname: str, /) -> str:
        return self._address(hostname) or original(hostname)

    def _gethostbyname_ex(self, original: Callable[[str], _HostEntry], hostname: str, /) -> _HostEntry:
        address = self._address(hostname)
        return (hostname, [], [address]) if address else original(hostname)

    def _connect(self, original: Callable[..., Any], sock: socket.socket, address: Any, /) -> Any:
        target = self._target(sock, address)
        try:
            return original(sock, target)
        finally:  # also where it goes on in the background
            if target is not address:
                self._note(sock, address)

    def _getpeername(self, original: Callable[..., Any], sock: socket.socket, /) -> Any:
        """Let a redirected connection name the peer that was asked for: aiohttp looks it up among those it resolved."""
        peer = original(sock)
        return self._peers.get(sock.getsockname()[1], peer) if self._routes_to(peer) else peer

    def _note(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        peer: tuple[Any, ...] = (self._address(address[0]) or address[0], address[1])
        if sock.family == socket.AF_INET6:
            peer = (peer[0] if ":" in peer[0] else _mapped(peer[0]), address[1], 0, 0)
        with contextlib.suppress(OSError):  # closed by another thread
            self._peers[sock.getsockname()[1]] = peer


def canonical(host: object) -> str:
    """Return a host as the lab knows it; an empty text if it is not a host."""
    try:
        return normalize_host(host.decode("ascii") if isinstance(host, (bytes, bytearray)) else host)  # type: ignore[arg-type]  # another type is a HostError
    except (HostError, UnicodeError):
        return ""


def _mapped(address: str) -> str:
    """Return an IPv4 address for an IPv6 socket (RFC 4291 §2.5.5.2)."""
    return f"::ffff:{address}"


redirection = Redirection()

"""A live server → its verified chain, by one handshake, without a byte of HTTP.

A client sees the same chain: context and extraction of the chain are those of `transport/`. The name is asked for and
verified, whichever address is connected to. `look_at_all()`: every server behind one name.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
import urllib3

from pinned_requests.core.chain import RawChain
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import is_address, normalize_host
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.monitoring.route import NO_PROXY_URL, TIMEOUT, Route
from pinned_requests.monitoring.target import (
    HTTPS_PORT,
    InvalidCertificateError,
    RouteError,
    ServerError,
    Target,
    UnreachableError,
    read_target,
)
from pinned_requests.transport.adapter import PinnedAdapter
from pinned_requests.transport.chain import raw_chain
from pinned_requests.transport.session import PinnedSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pinned_requests.core.chain import Chain, SeenCertificate

# Pins that no key has: a handshake is made for a pinned host only, and report-only lets every chain through.
_NO_KEY = PinSet(Pin("spki", bytes(32)), report_only=True)

UNRESOLVED = "its name cannot be resolved"
NO_CHAIN = "its certificate chain is not available"

_JOBS = 8  # threads of `look_at_all()`: each holds a connection

# Reasons of OpenSSL's that do not tell what is wrong.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
_NO_TRUSTED_ISSUER = frozenset({2, 18, 19, 20, 21})  # X509_V_ERR_…, in OpenSSL's x509_vfy.h


class Served(NamedTuple):
    """What one server behind the name presents."""

    place: str  # its address, or the host where the address is not known
    chain: tuple[SeenCertificate, ...]  # leaf first; unverified, the leaf alone; empty where there is none
    problem: str | None = None  # why there is none: half a sentence, escaped

    @property
    def key(self) -> Pin | None:
        """The pin of the key that it serves."""
        return self.chain[0].spki_pin if self.chain else None

    @property
    def pins(self) -> set[Pin]:
        """The pins of all certificates that it presents."""
        return {pin for seen in self.chain for pin in seen.pins}


def fetch_chain(  # noqa: PLR0913  each a setting of the connection
    host: str,
    port: int = HTTPS_PORT,
    *,
    timeout: float = TIMEOUT,
    proxy: str | None = None,
    ca_bundle: str | None = None,
    insecure: bool = False,
    address: str | None = None,
) -> Chain:
    """Make one TLS handshake with a server and return its chain, leaf first; no HTTP is sent.

    Args:
        host: name or IP address, in any spelling.
        port: 1 to 65535.
        timeout: seconds for the connection, and for each step of the handshake.
        proxy: URL of a proxy; None for that of the environment.
        ca_bundle: path of the CA certificates to trust; None for that of the environment, or requests' own.
        insecure: whether to return chains that no CA vouches for. Only the leaf's key is proven then.
        address: an IP address to connect to, in place of those that the name resolves to.

    Returns:
        A `Chain`: `certificates`, each with `subject`, `spki_pin`, `certificate_pin` and `der`; and `is_verified`.

    Raises:
        UnreachableError: there was no handshake.
        InvalidCertificateError: CA validation refused the certificate.
        RouteError: the proxy or the CA bundle is wrong.
        PolicyError: the host, port or address is invalid.

    Revocation is not checked.
    """
    target = read_target(str(Target(normalize_host(host), port)))  # which checks the port
    if address is not None and not is_address(normalize_host(address)):
        raise PolicyError(f"{show(address)} is not an IP address")
    return fetch(target, Route(timeout, proxy, ca_bundle, is_insecure=insecure).check(), address)


def fetch(target: Target, route: Route, address: str | None = None) -> Chain:
    """Return the chain of a server, as `fetch_chain()` does.

    Args:
        target: the server.
        route: how it is reached.
        address: one of its addresses to connect to; None is the first that the route has for this server, or else the
            choice of the system or the proxy.
    """
    chain = handshake(target, route, address).read()
    if not chain.certificates:
        raise UnreachableError(target, NO_CHAIN)
    return chain


def handshake(target: Target, route: Route, address: str | None = None) -> RawChain:
    """Make a handshake as `fetch()` does, and leave the certificates to be read: many threads read them slowly."""
    place = address or next(iter(route.connect_to.get(target, ())), None)
    try:
        return _through_proxy(target, route, place) if route.has_proxy(target) else _direct(target, route, place)
    except requests.exceptions.InvalidURL:  # its text has the URL of the proxy, with the password
        raise RouteError(NO_PROXY_URL) from None
    except (OSError, urllib3.exceptions.HTTPError) as error:  # those of requests and ssl are OSErrors
        raise _server_error(target, error, route.timeout) from None


def _direct(target: Target, route: Route, address: str | None) -> RawChain:
    # Without the rest of a `PinnedSession`, which takes longer than the handshake.
    loan = route.loan
    with (
        socket.create_connection((address or target.host, target.port), route.timeout) as plain,
        loan.context.wrap_socket(plain, server_hostname=target.host) as tls,
    ):
        return raw_chain(tls, is_verified=loan.vouches())


class _AddressAdapter(PinnedAdapter):
    """Connects to the address in the URL, and asks for and verifies a name."""

    def __init__(self, policy: PinPolicy, name: str) -> None:
        self._name = name
        super().__init__(policy)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, **kwargs, server_hostname=self._name)


def _through_proxy(target: Target, route: Route, address: str | None) -> RawChain:
    place = target if address is None else target._replace(host=normalize_host(address))
    policy = PinPolicy({str(place): _NO_KEY}, unpinned_hosts="allow")
    with PinnedSession(policy) as session:
        # The environment's settings have been read already: requests would let them win over the options.
        session.trust_env, session.verify = False, route.verify()
        session.proxies = route.proxies(target)
        if address is not None:
            session.mount("https://", _AddressAdapter(policy, target.host))
        seen = session.check(place.url, timeout=route.timeout)
    return RawChain(tuple(each.der for each in seen.chain), seen.verified)


def addresses(target: Target, route: Route) -> list[str]:
    """Return the addresses that the route has for a server, or else those that its name resolves to.

    Raises:
        UnreachableError: the name cannot be resolved.
    """
    if target in route.connect_to:
        return list(route.connect_to[target])
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError:
        raise UnreachableError(target, UNRESOLVED) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def look_at_all(target: Target, route: Route) -> tuple[Served, ...]:
    """Return what is served at each address that the route has for a server, or else that its name resolves to now.

    Through a proxy it is one connection.

    Raises:
        RouteError: the proxy or the CA bundle is wrong.
    """
    places: list[str | None] = [None]
    if target in route.connect_to or not route.has_proxy(target):
        try:
            places = list(addresses(target, route))
        except ServerError as error:
            return (Served(str(target), (), error.reason),)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  most commands look at one server

    with ThreadPoolExecutor(max_workers=_JOBS) as executor:
        return tuple(executor.map(lambda place: _look(target, route, place), places))


def _look(target: Target, route: Route, place: str | None) -> Served:
    name = place or str(target)
    try:
        chain = fetch(target, route, place)
    except ServerError as error:
        return Served(name, (), error.reason)
    return Served(name, chain.certificates if chain.is_verified else chain.certificates[:1])


def _server_error(target: Target, error: Exception, timeout: float) -> ServerError:
    """Return why there is no chain: what requests and urllib3 say is for their developers."""
    causes = list(_causes(error))

    def first(*kinds: type[BaseException]) -> Any:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    through = "the proxy: " if first(requests.exceptions.ProxyError) else ""
    if invalid := first(ssl.SSLCertVerificationError):
        advice = "; name its CA by --ca-bundle" if invalid.verify_code in _NO_TRUSTED_ISSUER else ""
        reason = f"{through}its certificate is not valid: {escape(invalid.verify_message)}{advice}"
        # The proxy's own certificate says nothing of the server.
        return (UnreachableError if through else InvalidCertificateError)(target, reason)
    return UnreachableError(target, through + _outage(causes, first, timeout))


def _outage(  # noqa: PLR0911  a return for each cause
    causes: Sequence[BaseException], first: Callable[..., Any], timeout: float
) -> str:
    if first(socket.gaierror):
        return UNRESOLVED
    if first(requests.exceptions.Timeout, TimeoutError):
        return f"no answer within {timeout:g} seconds"
    if failed := first(ssl.SSLError):
        reason = failed.reason or ""
        if reason in _NOT_TLS:
            return "it does not speak TLS on this port"
        if reason == "UNEXPECTED_EOF_WHILE_READING" or isinstance(failed, ssl.SSLEOFError):
            return "it closed the connection during the TLS handshake"
        return f"the TLS handshake failed: {escape(str(reason or failed))}"
    if failed := first(OSError):
        deepest = [cause for cause in causes if isinstance(cause, OSError) and cause.strerror]
        return escape(str(deepest[-1].strerror if deepest else failed.args[-1] if failed.args else failed))
    return escape(str(causes[0]))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was made of, each once."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (getattr(current, "reason", None), current.__cause__, current.__context__, *current.args)
        waiting += [each for each in inner if isinstance(each, BaseException)]

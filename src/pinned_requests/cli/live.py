"""A live server → its chain, by one handshake of the library itself, without a byte of HTTP."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from pinned_requests import Pin, PinnedAdapter, PinnedSession, PinPolicy, PinSet
from pinned_requests.cli.output import CommandError
from pinned_requests.core.chain import Chain
from pinned_requests.core.host import normalize_host
from pinned_requests.core.text import escape, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinned_requests.cli.inputs import Target

# Pins nothing: a handshake is made for a pinned host, and report-only lets any chain through.
_NOBODYS = PinSet(Pin("spki", bytes(32)), report_only=True)


_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
_NO_PROXY = "the proxy is no URL; give one such as http://proxy.example.com:3128"  # never show it: it has a password
UNRESOLVED = "its name cannot be resolved"


class UnreachableError(CommandError):
    """A server that gave no chain, and why, in `reason`. That is a finding."""

    exit_code = 1

    def __init__(self, target: Target, reason: str) -> None:
        super().__init__(f"{target}: {reason}")
        self.reason = reason


class Way(NamedTuple):
    """How servers are reached.

    Attributes:
        timeout: seconds for a connection and its handshake.
        proxy: URL of a proxy, or None for what the environment says.
        ca_bundle: path of the CA certificates to trust, or None for what the environment says, or requests' own.
        is_insecure: whether to look at chains that nothing vouches for.
    """

    timeout: float = 10.0
    proxy: str | None = None
    ca_bundle: str | None = None
    is_insecure: bool = False

    def proxies(self, target: Target) -> dict[str, str]:
        """Return the proxies for a server, as requests takes them.

        Raises:
            CommandError: the one that would be used is no URL of a proxy.
        """
        if self.proxy is not None:
            proxies = {"https": self.proxy}
        else:
            proxies = dict(requests.utils.get_environ_proxies(target.url))
        _check_proxy(requests.utils.select_proxy(target.url, proxies))
        return proxies

    def verify(self) -> bool | str:
        """Return what requests calls `verify`."""
        if self.is_insecure:
            return False
        environment = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        return self.ca_bundle or environment or True


def way_of(timeout: float, proxy: str | None, ca_bundle: str | None, *, is_insecure: bool = False) -> Way:
    """Return a `Way`.

    Raises:
        CommandError: the CA bundle, be it that of the environment, holds no certificates.
    """
    way = Way(timeout, proxy, ca_bundle, is_insecure)
    bundle = way.verify()
    if isinstance(bundle, str):
        place = {"capath": bundle} if os.path.isdir(bundle) else {"cafile": bundle}  # noqa: PTH112  as requests asks
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**place)
        except OSError:
            raise CommandError(f"{show(bundle)} holds no CA certificates in PEM") from None
    return way


def _check_proxy(url: str | None) -> None:
    if not url:
        return
    try:  # without a scheme it is http, as requests has it
        parts = parse_url(url if "://" in url else f"http://{url}")
        (parts.host or "").encode("idna")  # a label that is too long fails later, as what no one expects
    except (LocationParseError, UnicodeError):  # their text has the URL
        raise CommandError(_NO_PROXY) from None
    if parts.scheme not in _PROXY_SCHEMES or not parts.host or parts.port == 0:
        raise CommandError(_NO_PROXY)


class _AddressAdapter(PinnedAdapter):
    """Connects to the address in the URL, and asks for and verifies the name of the server."""

    def __init__(self, policy: PinPolicy, name: str) -> None:
        self._name = name
        super().__init__(policy)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool, for that name."""
        super().init_poolmanager(*args, **kwargs, server_hostname=self._name)


def look(target: Target, way: Way, address: str | None = None) -> Chain:
    """Make a handshake with a server and return its chain, as OpenSSL verified it.

    Args:
        target: the server.
        way: how it is reached.
        address: one of its addresses to connect to; None leaves the choice to the system, or to the proxy.

    Raises:
        UnreachableError: there was no handshake, or its certificate is not valid.
        CommandError: the proxy or the CA bundle is wrong.
    """
    place = target if address is None else target._replace(host=normalize_host(address))
    policy = PinPolicy({str(place): _NOBODYS}, unpinned_hosts="allow")
    with PinnedSession(policy) as session:
        # What of the environment counts has been read: requests would let it win over the options.
        session.trust_env, session.verify = False, way.verify()
        session.proxies = way.proxies(target)
        if address is not None:
            session.mount("https://", _AddressAdapter(policy, target.host))
        try:
            seen = session.check(place.url, timeout=way.timeout)
        except requests.exceptions.InvalidURL:  # its text has the URL of the proxy, with the password
            raise CommandError(_NO_PROXY) from None
        except requests.exceptions.RequestException as error:
            raise UnreachableError(target, _reason(error, way.timeout)) from None
    if not seen.chain:
        raise UnreachableError(target, "its certificate chain cannot be had")
    return Chain(seen.chain, seen.verified)


def addresses(target: Target) -> list[str]:
    """Return the addresses that a server's name resolves to, each once.

    Raises:
        UnreachableError: the name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError:
        raise UnreachableError(target, UNRESOLVED) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _reason(error: Exception, timeout: float) -> str:
    """Return why no chain was had, as half a sentence: what requests and urllib3 say is for their developers."""
    causes = list(_causes(error))

    def first(*kinds: type[BaseException]) -> Any:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    through = "the proxy: " if first(requests.exceptions.ProxyError) else ""
    if invalid := first(ssl.SSLCertVerificationError):
        return f"{through}its certificate is not valid: {escape(invalid.verify_message)}"
    if first(socket.gaierror):
        return through + UNRESOLVED
    if first(requests.exceptions.Timeout, TimeoutError):
        return f"{through}no answer within {timeout:g} seconds"
    if failed := first(ssl.SSLError):
        return f"{through}the TLS handshake failed: {escape(str(failed.reason or failed))}"
    if failed := first(OSError):
        deepest = [cause for cause in causes if isinstance(cause, OSError) and cause.strerror]
        return through + escape(str(deepest[-1].strerror if deepest else failed.args[-1] if failed.args else failed))
    return through + escape(str(error))


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

"""`Route`: how servers are reached, the same for all servers of a command."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.request import getproxies

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import LocationParseError, SSLError
from urllib3.util import parse_url

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern, is_address, normalize_host
from pinned_requests.core.text import show
from pinned_requests.monitoring.target import RouteError, Target
from pinned_requests.transport.context import Loan, shared_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pinned_requests.transport.context import TLSSettings

TIMEOUT = 10.0  # seconds

_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
# The URL of a proxy is never shown: it may hold a password.
NO_PROXY_URL = "the proxy is not a URL; give one such as http://proxy.example.com:3128"


@dataclass(frozen=True)
class Route:
    """How servers are reached. The CA certificates are read once, at the first handshake."""

    timeout: float = TIMEOUT  # seconds for a connection, and for each step of its handshake
    proxy: str | None = None  # URL of a proxy; None for the environment's
    ca_bundle: str | None = None  # path of the CA certificates to trust; None for the environment's, or requests' own
    is_insecure: bool = False  # whether chains are accepted that no CA vouches for
    reads_environment: bool = True  # whether the environment may name a proxy
    connect_to: Mapping[Target, tuple[str, ...]] = field(default_factory=dict)  # IP addresses, in place of the DNS's

    def proxies(self, target: Target) -> dict[str, str]:
        """Return the proxies for a server, as requests takes them.

        Raises:
            RouteError: the one that would be used is not a URL of a proxy.
        """
        if self.proxy is not None:
            proxies = {"https": self.proxy}
        elif not self.reads_environment:
            return {}
        else:
            proxies = dict(requests.utils.get_environ_proxies(target.url))
        _check_proxy(requests.utils.select_proxy(target.url, proxies))
        return proxies

    def has_proxy(self, target: Target) -> bool:
        """Whether a server is reached through a proxy.

        Raises:
            RouteError: as `proxies()`.
        """
        proxies = self.proxies(target)
        return bool(proxies) and bool(requests.utils.select_proxy(target.url, proxies))

    def verify(self) -> bool | str:
        """Return what requests calls `verify`."""
        return False if self.is_insecure else self.trusted()

    def trusted(self) -> bool | str:
        """Return the path of the CA certificates to trust, or True for those of requests."""
        environment = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        return self.ca_bundle or environment or True

    @cached_property
    def loan(self) -> Loan:
        """The context for handshakes without a proxy: the one that a `PinnedSession` would use."""
        verify = self.verify()
        mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        path = DEFAULT_CA_BUNDLE_PATH if verify is True else verify or None
        settings: TLSSettings = {"cert_reqs": mode, "check_hostname": bool(verify)}
        settings["ca_cert_dir" if path and os.path.isdir(path) else "ca_certs"] = path  # noqa: PTH112  as requests asks
        return Loan(shared_context(settings), mode, is_shared=True)

    def without_verification(self) -> Route:
        """Return this route, with `is_insecure`."""
        return replace(self, is_insecure=True)

    def check(self) -> Route:
        """Return this route, if its CA bundle can be used. An environment without a proxy is not read again.

        Raises:
            RouteError: the CA bundle, also that of the environment, does not exist or is without certificates.
        """
        checked = replace(self, reads_environment=self.reads_environment and bool(getproxies().keys() - {"no"}))
        bundle = checked.verify()
        if isinstance(bundle, str):
            if not os.path.exists(bundle):  # noqa: PTH110  as requests asks
                raise RouteError(f"there is no CA bundle {show(bundle)}")
            try:
                checked.loan  # noqa: B018  read now
            except SSLError:
                raise RouteError(f"{show(bundle)} has no CA certificates in PEM") from None
        return checked


def read_connect_to(texts: Iterable[str]) -> dict[Target, tuple[str, ...]]:
    """Return the addresses that `HOST:PORT:ADDRESS` texts give for servers, in their order.

    As curl's `--connect-to`, but for an IP address only, and never for every host or port.

    Raises:
        PolicyError: one is of another form.
    """
    found: dict[Target, tuple[str, ...]] = {}
    for text in texts:
        server, _, address = text.rpartition(":[") if text.endswith("]") else text.rpartition(":")
        try:
            pattern, host = HostPattern.parse(server), normalize_host(address.removesuffix("]"))
        except PolicyError:
            pattern = None
        if pattern is None or pattern.kind != "exact" or pattern.port is None or not is_address(host):
            raise PolicyError(f"{show(text)} is not HOST:PORT:ADDRESS, such as api.example.com:443:192.0.2.1")
        target = Target(pattern.host, pattern.port)
        found[target] = tuple(dict.fromkeys((*found.get(target, ()), host)))
    return found


def _check_proxy(url: str | None) -> None:
    if not url:
        return
    try:  # without a scheme it is http, as requests has it
        parts = parse_url(url if "://" in url else f"http://{url}")
        (parts.host or "").encode("idna")  # a label that is too long would fail later, as an unexpected error
    except (LocationParseError, UnicodeError):  # their text has the URL
        raise RouteError(NO_PROXY_URL) from None
    if parts.scheme not in _PROXY_SCHEMES or not parts.host or parts.port == 0:
        raise RouteError(NO_PROXY_URL)

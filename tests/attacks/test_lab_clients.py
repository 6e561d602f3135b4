"""Every client against every attacker of the lab: each cell is what follows from what the client checks.

The expectation is not a list of results. It follows from two descriptions: what an attacker presents, and what a client
looks at. Clients that take an `ssl.SSLContext` are made of a library and a context; those that are wrong in a way of
their own stand below, with the attackers that get something from them.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests_toolbelt.adapters.fingerprint import FingerprintAdapter

from pinned_requests import Pin, PinnedPoolManager, PinnedSession, PinnedSSLContext
from pinned_requests.testing import ATTACKERS, Audit, MITMLab
from pinned_requests.transport.chain import served_chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing import HonestServer

HOST = "api.example.com"
URL = f"https://{HOST}/things"
SECRET = {"Authorization": "Bearer the-secret-token"}
REQUEST = (
    b"GET /things HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n"
    b"Authorization: Bearer the-secret-token\r\n\r\n"
)
ONCE = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=2)
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
    # asyncio's clients leave connections that were refused to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Wait:
    """How long clients wait: long enough for a busy machine, but for the attacker who never answers."""

    seconds = 5.0


def audit(lab: MITMLab, client: Callable[[], object]) -> tuple[dict[str, str], str]:
    """Run a client against all attackers; return the verdicts, and a table."""
    most = lab.audit(client, HOST, attackers=[name for name in ATTACKERS if name != "hang"])
    try:
        for Wait.seconds in (0.3, 4.0):
            hang = lab.audit(client, HOST, attackers="hang")
            if hang["hang"].verdict != "undecided":  # on a busy machine it gave up before its ClientHello
                break
    finally:
        Wait.seconds = 5.0
    results = Audit((*most, *hang))
    return {each.attacker: each.verdict for each in results}, str(results)


@dataclass(frozen=True)
class Presented:
    """What an attacker presents."""

    issuer: str = "careless"
    is_expired: bool = False
    is_for_host: bool = True
    is_revoked: bool = False


PRESENTED = {
    "trusted-ca": Presented(),
    "self-signed": Presented("itself"),
    "chain-stuffing": Presented(),
    "forged-issuer": Presented("a forger"),
    "same-name-ca": Presented("same name"),
    "expired": Presented(is_expired=True),
    "wrong-host": Presented(is_for_host=False),
    "downgrade": Presented(),
    "trailing-dot": Presented(),
    "parser-differential": Presented(),
    "second-connection": Presented(),
    "renegotiation": Presented(),
    "connect-proxy": Presented(),
    "revoked-key": Presented(is_revoked=True),
    "own-ca-revoked-key": Presented("honest", is_revoked=True),
    "own-ca-expired": Presented("honest", is_expired=True),
    "own-ca-wrong-host": Presented("honest", is_for_host=False),
    "leaked-intermediate": Presented("leaked"),
}


@dataclass(frozen=True)
class Checks:
    """What a context looks at."""

    context: Callable[[MITMLab, HonestServer], ssl.SSLContext]
    chain: bool = True
    name: bool = True
    time: bool = True
    pins: str = ""
    blocks: bool = False
    renegotiates: bool = True

    def accepts(self, presented: Presented) -> bool:
        """Whether a client with this context sends its request to an attacker."""
        if self.pins == "leaf":
            return False
        if self.pins == "ca":
            is_leaked = presented.issuer == "leaked"
            if presented.issuer != "honest" and not is_leaked:
                return False
            if self.blocks and (presented.is_revoked or is_leaked):
                return False
        if not self.chain:
            return True
        if presented.issuer in {"itself", "a forger"}:
            return False
        return not (self.time and presented.is_expired) and (presented.is_for_host or not self.name)


def unverified(_lab: MITMLab, _server: HonestServer) -> ssl.SSLContext:
    """A context that checks nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def without_name(_lab: MITMLab, _server: HonestServer) -> ssl.SSLContext:
    """A context that takes any name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


def without_time(_lab: MITMLab, _server: HonestServer) -> ssl.SSLContext:
    """A context that takes expired certificates."""
    context = ssl.create_default_context()
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)
    return context


def of_ca(server: HonestServer) -> list[Pin]:
    """The pins of a client that pins a CA."""
    return [*server.ca_pins, *server.backup_pins]


CONTEXTS = {
    "plain": Checks(lambda _lab, _server: ssl.create_default_context()),
    "unverified": Checks(unverified, chain=False),
    "any-name": Checks(without_name, name=False),
    "any-time": Checks(without_time, time=False),
    "pinned-key": Checks(
        lambda lab, server: PinnedSSLContext({HOST: {"pins": server.pins, "blocked_pins": lab.blocked_pins}}),
        pins="leaf",
        renegotiates=False,
    ),
    "pinned-ca": Checks(lambda _lab, server: PinnedSSLContext({HOST: of_ca(server)}), pins="ca", renegotiates=False),
    "pinned-ca-and-blocked": Checks(
        lambda lab, server: PinnedSSLContext({HOST: {"pins": of_ca(server), "blocked_pins": lab.blocked_pins}}),
        pins="ca",
        blocks=True,
        renegotiates=False,
    ),
}


@dataclass(frozen=True)
class Library:
    """What a library does by itself."""

    call: Callable[[ssl.SSLContext], object]
    redirects: bool = True
    strips_dot: bool = False
    """Whether it looks for the name without a trailing dot in the certificate."""
    splits_at_backslash: bool = False


class ContextAdapter(HTTPAdapter):
    """An adapter of requests with a context of its own, for direct connections and for those through a proxy."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        """Make the pools with the context."""
        super().init_poolmanager(*args, **keywords | self.settings(), ssl_context=self.context)

    def proxy_manager_for(self, *args: Any, **keywords: Any) -> urllib3.ProxyManager:
        """The same for a proxy."""
        return super().proxy_manager_for(*args, **keywords | self.settings(), ssl_context=self.context)

    def settings(self) -> dict[str, Any]:
        """What urllib3 must be told beside the context, or it would write into that."""
        return {"assert_hostname": None if self.context.check_hostname else False}


def with_requests(context: ssl.SSLContext) -> None:
    """A client on requests."""
    with requests.Session() as session:
        session.mount("https://", ContextAdapter(context))
        session.verify = context.verify_mode is not ssl.CERT_NONE
        session.get(URL, headers=SECRET, timeout=Wait.seconds)


def with_urllib3(context: ssl.SSLContext) -> None:
    """A client on urllib3."""
    check = None if context.check_hostname else False
    with urllib3.PoolManager(ssl_context=context, assert_hostname=check, timeout=Wait.seconds, retries=ONCE) as pool:
        pool.request("GET", URL, headers=SECRET)


def with_httpx(context: ssl.SSLContext) -> None:
    """A client on httpx."""
    httpx.get(URL, headers=SECRET, verify=context, timeout=Wait.seconds, follow_redirects=True)


def with_async_httpx(context: ssl.SSLContext) -> None:
    """A client on httpx and asyncio."""

    async def get() -> None:
        async with httpx.AsyncClient(verify=context, timeout=Wait.seconds, follow_redirects=True) as client:
            await client.get(URL, headers=SECRET)

    asyncio.run(get())


def with_aiohttp(context: ssl.SSLContext | aiohttp.Fingerprint) -> None:
    """A client on aiohttp."""

    async def get() -> None:
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=context)
        timeout = aiohttp.ClientTimeout(Wait.seconds)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(URL, headers=SECRET) as response,
        ):
            await response.read()

    asyncio.run(get())


def with_http_client(context: ssl.SSLContext) -> None:
    """A client on http.client."""
    connection = http.client.HTTPSConnection(HOST, context=context, timeout=Wait.seconds)
    try:
        connection.request("GET", "/things", headers=SECRET)
        connection.getresponse().read()
    finally:
        connection.close()


def with_ssl(context: ssl.SSLContext, check: Callable[[ssl.SSLSocket], bool] = lambda _tls: True) -> None:
    """A client on bare sockets, with a check of its own before the request."""
    with (
        socket.create_connection((HOST, 443), timeout=Wait.seconds) as sock,
        context.wrap_socket(sock, server_hostname=HOST) as tls,
    ):
        if check(tls):
            tls.sendall(REQUEST)
            while tls.recv(65536):
                pass


def with_streams(context: ssl.SSLContext) -> None:
    """A client on asyncio's streams."""

    async def get() -> None:
        async with asyncio.timeout(Wait.seconds):
            reader, writer = await asyncio.open_connection(HOST, 443, ssl=context)
            try:
                writer.write(REQUEST)
                await reader.read()
            finally:
                writer.close()

    asyncio.run(get())


LIBRARIES = {
    "requests": Library(with_requests, strips_dot=True),
    "urllib3": Library(with_urllib3, strips_dot=True, splits_at_backslash=True),
    "httpx": Library(with_httpx),
    "async-httpx": Library(with_async_httpx),
    "aiohttp": Library(with_aiohttp, strips_dot=True),
    "http.client": Library(with_http_client, redirects=False),
    "ssl": Library(with_ssl, redirects=False),
    "asyncio": Library(with_streams, redirects=False),
}


def fooled_by(library: Library, checks: Checks) -> set[str]:
    """The attackers that get something from a client."""
    found = {name for name, presented in PRESENTED.items() if checks.accepts(presented)}
    if not checks.renegotiates:
        found.discard("renegotiation")
    if not library.redirects:
        found -= {"downgrade", "trailing-dot", "parser-differential"}
    else:
        found.add("downgrade")  # a context sees no http://
    if not library.strips_dot and checks.name and checks.chain:
        found.discard("trailing-dot")
    if not library.splits_at_backslash:
        found.discard("parser-differential")
    return found


@pytest.mark.parametrize("checks", CONTEXTS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_with_a_context(mitm_lab: MITMLab, library: str, checks: str) -> None:
    """What follows from the two is what the lab finds, for each attacker."""
    server = mitm_lab.honest(HOST)
    context = CONTEXTS[checks].context(mitm_lab, server)
    found, table = audit(mitm_lab, lambda: LIBRARIES[library].call(context))
    assert found == expected(fooled_by(LIBRARIES[library], CONTEXTS[checks])), table


def expected(fooled: set[str]) -> dict[str, str]:
    """The verdict for each attacker."""
    return {name: "accepted" if name in fooled else "rejected" for name in ATTACKERS}


PLAIN = fooled_by(LIBRARIES["requests"], CONTEXTS["plain"])


def checks_afterwards(_lab: MITMLab, server: HonestServer) -> None:
    """Looks at the key in a response hook: the request has been sent."""

    def hook(response: requests.Response, **_keywords: Any) -> None:
        if response.raw.connection:  # it is gone where the server closes it
            sock = response.raw.connection.sock
            assert sock is None or Pin.from_certificate(sock.getpeercert(binary_form=True)) in server.pins

    with requests.Session() as session:
        session.hooks["response"].append(hook)
        session.get(URL, headers=SECRET, timeout=Wait.seconds, stream=True)


def looks_at_what_was_sent(_lab: MITMLab, server: HonestServer) -> None:
    """Looks for its pin among the certificates that were *sent*."""
    context = ssl.create_default_context()
    with_ssl(context, lambda tls: any(Pin.from_certificate(der) in server.pins for der in served_chain(tls)))


def looks_at_what_was_sent_unverified(_lab: MITMLab, server: HonestServer) -> None:
    """The same, for the pin of the CA, and without CA validation."""
    context = unverified(_lab, server)
    with_ssl(context, lambda tls: any(Pin.from_certificate(der) in server.ca_pins for der in served_chain(tls)))


def looks_at_the_name_of_the_ca(_lab: MITMLab, _server: HonestServer) -> None:
    """Takes the name of the issuer for the issuer."""

    def check(tls: ssl.SSLSocket) -> bool:
        issuer = (tls.getpeercert() or {})["issuer"]
        return issuer == ((("commonName", "Lab Honest CA"),),)

    with_ssl(ssl.create_default_context(), check)


def probes_first(_lab: MITMLab, server: HonestServer) -> None:
    """Looks at the key on one connection, and sends the request over another one."""
    pem = ssl.get_server_certificate((HOST, 443), timeout=Wait.seconds)
    if Pin.from_certificate(pem.encode()) in server.pins:
        requests.get(URL, headers=SECRET, timeout=Wait.seconds)


def falls_back(lab: MITMLab, server: HonestServer) -> None:
    """Pins, and takes http:// where https:// fails."""
    try:
        is_pinned(lab, server)
    except requests.exceptions.RequestException:
        requests.get(URL.replace("https", "http"), headers=SECRET, timeout=Wait.seconds)


class DirectAdapter(ContextAdapter):
    """Pins direct connections, and forgets those through a proxy."""

    def proxy_manager_for(self, *args: Any, **keywords: Any) -> urllib3.ProxyManager:
        """Make the pools for a proxy as requests does."""
        return HTTPAdapter.proxy_manager_for(self, *args, **keywords)


def forgets_proxies(lab: MITMLab, server: HonestServer) -> None:
    """Has such an adapter."""
    with requests.Session() as session:
        session.mount("https://", DirectAdapter(CONTEXTS["pinned-key"].context(lab, server)))
        session.get(URL, headers=SECRET, timeout=Wait.seconds)


def goes_by_the_beginning_of_a_url(lab: MITMLab, server: HonestServer) -> None:
    """Pins what begins with https://api.example.com/."""
    with requests.Session() as session:
        session.mount(f"https://{HOST}/", ContextAdapter(CONTEXTS["pinned-key"].context(lab, server)))
        session.get(URL, headers=SECRET, timeout=Wait.seconds)


class SplittingManager(urllib3.PoolManager):
    """Asks `urlsplit` for the host, and urllib3 to connect."""

    pinned: ssl.SSLContext

    def urlopen(self, method: str, url: str, redirect: bool = True, **keywords: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]  # noqa: FBT001, FBT002 - as in urllib3
        """Take the pinned context for the host."""
        is_pinned = urlsplit(url).hostname in {HOST, f"{HOST}."}
        self.connection_pool_kw["ssl_context"] = self.pinned if is_pinned else None
        return super().urlopen(method, url, redirect=redirect, **keywords)


def parses_twice(lab: MITMLab, server: HonestServer) -> None:
    """Has such a manager."""
    with SplittingManager(timeout=Wait.seconds) as pool:
        pool.pinned = CONTEXTS["pinned-key"].context(lab, server)
        pool.request("GET", URL, headers=SECRET, retries=ONCE)


def compares_fingerprints(_lab: MITMLab, server: HonestServer) -> None:
    """Has urllib3 compare the fingerprint of the certificate."""
    fingerprint = server.fingerprints[0].digest.hex()
    with urllib3.PoolManager(assert_fingerprint=fingerprint, timeout=Wait.seconds) as pool:
        pool.request("GET", URL, headers=SECRET, retries=ONCE)


def compares_fingerprints_with_toolbelt(_lab: MITMLab, server: HonestServer) -> None:
    """Has requests-toolbelt do it, which forgets proxies."""
    with requests.Session() as session:
        session.mount("https://", FingerprintAdapter(server.fingerprints[0].digest.hex()))
        session.get(URL, headers=SECRET, timeout=Wait.seconds)


def compares_fingerprints_with_aiohttp(_lab: MITMLab, server: HonestServer) -> None:
    """Has aiohttp do it."""
    with_aiohttp(aiohttp.Fingerprint(server.fingerprints[0].digest))


def is_pinned(lab: MITMLab, server: HonestServer, *, ca: bool = False, blocks: bool = True) -> None:
    """A `PinnedSession`."""
    pins = {"pins": of_ca(server) if ca else [*server.pins, *server.backup_pins]}
    with PinnedSession({HOST: pins | ({"blocked_pins": lab.blocked_pins} if blocks else {})}) as session:
        session.get(URL, headers=SECRET, timeout=Wait.seconds)


def pins_a_ca(lab: MITMLab, server: HonestServer) -> None:
    """A `PinnedSession` that pins the CA, and blocks the keys that were lost."""
    is_pinned(lab, server, ca=True)


def pins_a_ca_and_blocks_nothing(lab: MITMLab, server: HonestServer) -> None:
    """The same without."""
    is_pinned(lab, server, ca=True, blocks=False)


def has_a_pinned_manager(_lab: MITMLab, server: HonestServer) -> None:
    """A `PinnedPoolManager`."""
    with PinnedPoolManager({HOST: [*server.pins, *server.backup_pins]}, timeout=Wait.seconds) as pool:
        pool.request("GET", URL, headers=SECRET, retries=False)


OTHERS: dict[Callable[[MITMLab, HonestServer], None], set[str]] = {
    checks_afterwards: PLAIN,
    looks_at_what_was_sent: {"chain-stuffing", "renegotiation"},
    looks_at_what_was_sent_unverified: {
        *("chain-stuffing", "forged-issuer", "renegotiation", "leaked-intermediate"),
        *("own-ca-revoked-key", "own-ca-expired", "own-ca-wrong-host"),
    },
    looks_at_the_name_of_the_ca: {"same-name-ca", "own-ca-revoked-key", "renegotiation"},
    probes_first: {"downgrade", "trailing-dot", "second-connection", "renegotiation"},
    falls_back: set(ATTACKERS),
    forgets_proxies: {"connect-proxy", "downgrade"},
    goes_by_the_beginning_of_a_url: {"trailing-dot", "downgrade"},
    parses_twice: {"parser-differential", "downgrade"},
    compares_fingerprints: {"renegotiation", "downgrade"},
    compares_fingerprints_with_toolbelt: {"renegotiation", "downgrade", "connect-proxy"},
    compares_fingerprints_with_aiohttp: {"renegotiation", "downgrade"},
    is_pinned: set(),
    pins_a_ca: set(),
    pins_a_ca_and_blocks_nothing: {"own-ca-revoked-key", "leaked-intermediate"},
    has_a_pinned_manager: set(),
}


@pytest.mark.parametrize("client", OTHERS)
def test_a_client_of_its_own_kind(mitm_lab: MITMLab, client: Callable[[MITMLab, HonestServer], None]) -> None:
    """The attackers that it does not know of get something from it, and no other."""
    server = mitm_lab.honest(HOST)
    found, table = audit(mitm_lab, lambda: client(mitm_lab, server))
    assert found == expected(OTHERS[client]), table


@pytest.mark.parametrize("client", [name for name in OTHERS if name is not falls_back])
def test_the_same_client_and_the_honest_server(
    mitm_lab: MITMLab, client: Callable[[MITMLab, HonestServer], None]
) -> None:
    """It gets its answer."""
    with mitm_lab.honest(HOST) as server:
        client(mitm_lab, server)
    assert [each.header("Authorization") for each in server.requests] == [SECRET["Authorization"]]


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_each_attacker_catches_a_client_that_pins(attacker: str) -> None:
    """There is one above that is wrong in its way alone, and a good one."""
    assert any(attacker in fooled for client, fooled in OTHERS.items() if client is not checks_afterwards)
    assert attacker not in OTHERS[is_pinned]
    assert len(LIBRARIES) * len(CONTEXTS) + len(OTHERS) >= 60

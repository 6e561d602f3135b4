"""The lab's attackers fool clients that do not pin, on any library, and the assertion says so.

Each refusal here has its honest twin: the same client, the legitimate server, an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
import urllib.request
from typing import TYPE_CHECKING

import aiohttp
import certifi
import httpx
import pytest
import requests
import urllib3

from pinned_requests import BlockedKeyError, InsecureURLError, Pin, PinMismatchError, PinnedAdapter, PinnedSession
from pinned_requests.testing import ATTACKERS, MITMLab
from pinned_requests.transport.chain import served_chain, verified_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinned_requests.testing import HonestServer

HOST = "api.example.com"
URL = f"https://{HOST}/things"
SECRET = {"Authorization": "Bearer the-secret-token"}

# Made before any block, as those of a module's global client are.
EARLY_HTTPX = httpx.Client()
EARLY_CONTEXT = ssl.create_default_context(cafile=certifi.where())


@pytest.fixture(scope="module", autouse=True)
def _close_early_client() -> Iterator[None]:
    """Close the client that was there before."""
    yield
    EARLY_HTTPX.close()


def with_requests() -> bytes:
    """A client on requests."""
    return requests.get(URL, headers=SECRET, timeout=5).content


def with_urllib3() -> bytes:
    """A client on urllib3."""
    with urllib3.PoolManager() as pool:
        return pool.request("GET", URL, headers=SECRET).data


def with_httpx() -> bytes:
    """A client on httpx."""
    return httpx.get(URL, headers=SECRET).content


def with_early_httpx() -> bytes:
    """A client on httpx that was there before the lab."""
    return EARLY_HTTPX.get(URL, headers=SECRET).content


def with_async_httpx() -> bytes:
    """A client on httpx and asyncio."""

    async def get() -> bytes:
        async with httpx.AsyncClient() as client:
            return (await client.get(URL, headers=SECRET)).content

    return asyncio.run(get())


def with_aiohttp(*, check: bool | ssl.SSLContext | aiohttp.Fingerprint = True) -> bytes:
    """A client on aiohttp, with its `ssl` argument."""

    async def get() -> bytes:
        resolver = aiohttp.ThreadedResolver()  # the default one, unless aiodns is installed
        connector = aiohttp.TCPConnector(resolver=resolver, ssl=check)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(URL, headers=SECRET) as response,
        ):
            return await response.read()

    return asyncio.run(get())


def with_http_client() -> bytes:
    """A client on http.client, with a context that was there before the lab."""
    connection = http.client.HTTPSConnection(HOST, context=EARLY_CONTEXT, timeout=5)
    try:
        connection.request("GET", "/things", headers=SECRET)
        return connection.getresponse().read()
    finally:
        connection.close()


def with_urllib() -> bytes:
    """A client on urllib."""
    with urllib.request.urlopen(urllib.request.Request(URL, headers=SECRET), timeout=5) as response:
        return response.read()


def with_streams() -> bytes:
    """A client on asyncio's streams."""

    async def get() -> bytes:
        reader, writer = await asyncio.open_connection(HOST, 443, ssl=ssl.create_default_context())
        writer.write(b"GET /things HTTP/1.0\r\nAuthorization: Bearer the-secret-token\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer.partition(b"\r\n\r\n")[2]

    return asyncio.run(get())


CLIENTS = [
    with_requests,
    with_urllib3,
    with_httpx,
    with_early_httpx,
    with_async_httpx,
    with_aiohttp,
    with_http_client,
    with_urllib,
    with_streams,
]


def pinned(server: HonestServer, *blocked: Pin) -> PinnedSession:
    """A session that is pinned to an honest server's keys."""
    return PinnedSession({HOST: {"pins": server.pins, "backup_pins": server.backup_pins, "blocked_pins": blocked}})


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_without_pins_is_fooled(mitm_lab: MITMLab, client: Callable[[], bytes]) -> None:
    """Its secret comes to a man in the middle with a certificate of a trusted CA, and the assertion shows it."""
    with mitm_lab.impersonate(HOST, handler={"/things": "from the attacker"}) as attack:
        assert client() == b"from the attacker"
    assert (attack.connections, attack.handshakes, attack.verdict) == (1, 1, "accepted")
    assert b"the-secret-token" in attack.received
    with pytest.raises(AssertionError, match="GET /things HTTP/1") as failure:
        attack.assert_rejected()
    assert str(attack.application_bytes) in str(failure.value)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_meets_the_honest_server(mitm_lab: MITMLab, client: Callable[[], bytes]) -> None:
    """The same client is answered by the legitimate server."""
    with mitm_lab.honest(HOST, {"/things": "from the host"}) as server:
        assert client() == b"from the host"
    assert server.connections == 1


def test_pinned_session(mitm_lab: MITMLab) -> None:
    """`PinnedSession` completes the handshake, and sends nothing."""
    with mitm_lab.honest(HOST, {"/things": "from the host"}) as server, pinned(server) as session:
        with mitm_lab.impersonate(HOST) as attack, pytest.raises(PinMismatchError):
            session.get(URL, headers=SECRET, timeout=5)
        attack.assert_rejected()
        assert (attack.connections, attack.handshakes, attack.application_bytes) == (1, 1, 0)
        assert session.get(URL, timeout=5).content == b"from the host"


def test_aiohttp_fingerprint(mitm_lab: MITMLab) -> None:
    """Aiohttp's pin of a whole certificate is passed, too."""
    with mitm_lab.honest(HOST, {"/things": "from the host"}):
        der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((HOST, 443)))
        fingerprint = aiohttp.Fingerprint(Pin.fingerprint(der).digest)
        assert with_aiohttp(check=fingerprint) == b"from the host"
        with mitm_lab.impersonate(HOST) as attack, pytest.raises(aiohttp.ServerFingerprintMismatch):
            with_aiohttp(check=fingerprint)
        attack.assert_rejected()
        assert (attack.connections, attack.handshakes) == (1, 1)


def test_a_client_that_swallows_the_error_and_retries(mitm_lab: MITMLab) -> None:
    """Each of its attempts is counted."""
    with mitm_lab.honest(HOST) as server, pinned(server) as session, mitm_lab.impersonate(HOST) as attack:
        for _ in range(3):
            with pytest.raises(requests.exceptions.SSLError):
                session.get(URL, timeout=5)
    attack.assert_rejected()
    assert (attack.connections, attack.handshakes) == (3, 3)


def test_a_client_that_falls_back_to_plain_http(mitm_lab: MITMLab) -> None:
    """What it sends in the clear, after the handshake has failed, is counted."""
    with mitm_lab.impersonate(HOST, as_="tls-close") as attack:
        with pytest.raises(requests.exceptions.ConnectionError):
            with_requests()
        requests.get(URL.replace("https", "http"), headers=SECRET, timeout=5)
    assert (attack.connections, attack.handshakes, attack.verdict) == (2, 0, "accepted")
    assert b"the-secret-token" in attack.received
    with pytest.raises(AssertionError):
        attack.assert_rejected()


def test_a_test_that_never_reached_the_attacker_fails(mitm_lab: MITMLab) -> None:
    """A client that did nothing has not refused."""
    with mitm_lab.impersonate(HOST) as attack:
        pass
    assert attack.verdict == "untested"
    with pytest.raises(AssertionError, match="No client connected"):
        attack.assert_rejected()


def test_a_client_that_was_never_redirected(mitm_lab: MITMLab) -> None:
    """One that refuses the key of the server that redirects says nothing of redirects; with its pins it is fooled."""
    for pinned_to, verdict in (("other.example", "untested"), (HOST, "accepted")):
        server = mitm_lab.honest(pinned_to)
        with requests.Session() as session:
            session.mount("https://", PinnedAdapter({HOST: [*server.pins, *server.backup_pins]}))
            with mitm_lab.impersonate(HOST, as_="downgrade") as attack, contextlib.suppress(PinMismatchError):
                session.get(URL, headers=SECRET, timeout=5)
        assert (attack.verdict, bool(attack.connections)) == (verdict, True)
        with pytest.raises(AssertionError, match="host's own key" if verdict == "untested" else "GET /things"):
            attack.assert_rejected()


@pytest.mark.parametrize("inside", [True, False])
def test_a_client_that_has_not_sent_yet(mitm_lab: MITMLab, inside: bool) -> None:  # noqa: FBT001 - from pytest
    """One that accepted the handshake and is still there has not refused; once it has hung up, it has."""
    with mitm_lab.impersonate(HOST) as attack, contextlib.ExitStack() as outer:
        with contextlib.ExitStack() as inner:
            client = (inner if inside else outer).enter_context(socket.create_connection((HOST, 443), timeout=5))
            tls = (inner if inside else outer).enter_context(EARLY_CONTEXT.wrap_socket(client, server_hostname=HOST))
            assert attack.verdict == "undecided"
        kept = outer.pop_all()
    with kept:
        assert attack.verdict == ("rejected" if inside else "undecided")
        with contextlib.nullcontext() if inside else pytest.raises(AssertionError, match="was still connected"):
            attack.assert_rejected()
    assert tls.fileno() == -1


@pytest.mark.parametrize("polite", [True, False])
def test_a_client_that_hangs_up_as_the_block_ends(mitm_lab: MITMLab, polite: bool) -> None:  # noqa: FBT001 - from pytest
    """It has refused, with TLS's own goodbye or without, even if another thread closes the connection a bit later."""
    with mitm_lab.impersonate(HOST) as attack:
        tls = EARLY_CONTEXT.wrap_socket(socket.create_connection((HOST, 443), timeout=5), server_hostname=HOST)
        later = threading.Timer(0.15, goodbye if polite else tls.close, [tls] if polite else [])
        later.start()
    later.join()
    attack.assert_rejected()
    assert attack.handshakes == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_leaves_its_refused_connection_to_the_garbage_collector(mitm_lab: MITMLab) -> None:
    """It has refused: nothing can be sent on that connection any more."""
    with mitm_lab.impersonate(HOST) as attack:
        cycle: list[object] = [EARLY_CONTEXT.wrap_socket(socket.create_connection((HOST, 443)), server_hostname=HOST)]
        cycle.append(cycle)
        del cycle
    attack.assert_rejected()
    assert attack.handshakes == 1


def goodbye(tls: ssl.SSLSocket) -> None:
    """Close a connection as TLS has it."""
    with tls, contextlib.suppress(OSError):  # the server is gone
        tls.unwrap()


def test_what_leaked_is_escaped(mitm_lab: MITMLab) -> None:
    """The first 200 bytes are shown on one line, and drive no terminal."""
    with mitm_lab.impersonate(HOST) as attack:
        requests.post(URL, b"\x1b[2J\xff" * 1000, headers={"User-Agent": "a"}, timeout=5)
    with pytest.raises(AssertionError) as failure:
        attack.assert_rejected()
    shown = str(failure.value).splitlines()[1].strip()
    assert shown.isascii()
    assert shown.isprintable()
    assert eval(f"b{shown}") == attack.received[:200]  # noqa: S307 - it is what ascii() made of bytes


def test_audit_of_a_client_without_pins(mitm_lab: MITMLab) -> None:
    """CA validation refuses what is wrong with a certificate, and nothing else."""
    audit = mitm_lab.audit(with_requests, HOST)
    refused = {"self-signed", "forged-issuer", "expired", "wrong-host", "own-ca-expired", "own-ca-wrong-host"}
    # The redirect of the last one leads requests elsewhere, to a port where no server listens.
    refused |= {"tls-close", "hang", "parser-differential"}
    assert {each.attacker: each.verdict for each in audit} == {
        name: "rejected" if name in refused else "accepted" for name in ATTACKERS
    }
    with pytest.raises(AssertionError, match="trusted-ca, chain-stuffing, same-name-ca, downgrade, trailing-dot"):
        audit.assert_rejected()


def test_audit_of_a_pinned_client(mitm_lab: MITMLab) -> None:
    """Every attacker is refused, each for its own reason, and the honest server before and after is not."""
    with mitm_lab.honest(HOST) as server, pinned(server, mitm_lab.revoked_pin) as session:
        assert session.get(URL, timeout=5).ok
        audit = mitm_lab.audit(lambda: session.get(URL, timeout=1))
        assert session.get(URL, timeout=5).ok
    audit.assert_rejected()
    assert {each.attacker for each in audit} == set(ATTACKERS)
    reasons = {each.attacker: each.error.partition(":")[0] for each in audit}
    assert reasons["trusted-ca"] == reasons["chain-stuffing"] == PinMismatchError.__name__
    assert reasons["downgrade"] == InsecureURLError.__name__
    assert reasons["revoked-key"] == BlockedKeyError.__name__
    assert audit["forged-issuer"].handshakes == 0
    twice = {"trailing-dot", "second-connection"}
    assert {each.attacker: each.connections for each in audit} == {
        name: 2 if name in twice else 1 for name in ATTACKERS
    }


def test_a_client_that_verifies_nothing(mitm_lab: MITMLab) -> None:
    """It is treated as it is: the attackers that CA validation would have refused fool it."""
    urllib3.disable_warnings()
    audit = mitm_lab.audit(lambda: requests.get(URL, verify=False, timeout=1), HOST)
    assert {each.attacker for each in audit if each.verdict == "rejected"} == {
        *("tls-close", "hang", "parser-differential")
    }


def test_chain_stuffing_presents_the_honest_certificates(mitm_lab: MITMLab) -> None:
    """A client that looks for its pin in what is *sent* finds it behind the attacker's own certificate."""
    server = mitm_lab.honest(HOST)
    with (
        mitm_lab.impersonate(HOST, as_="chain-stuffing") as attack,
        socket.create_connection((HOST, 443), timeout=5) as sock,
        EARLY_CONTEXT.wrap_socket(sock, server_hostname=HOST) as tls,
    ):
        sent = [Pin.from_certificate(der) for der in served_chain(tls)]
        verified = verified_chain(tls, is_verified=True)
    assert sent.index(server.pins[0]) > 0
    assert server.pins[0] not in [link.spki_pin for link in verified.certificates]
    assert attack.handshakes == 1


def test_forged_issuer_presents_the_honest_chain(mitm_lab: MITMLab) -> None:
    """A client that reads pins of an unverified chain finds the honest CA in it: only verification tells."""
    with mitm_lab.honest(HOST) as server:
        ca = ssl.PEM_cert_to_DER_cert(mitm_lab.root.certificate_pem.decode())
        with (
            mitm_lab.impersonate(HOST, as_="forged-issuer") as attack,
            PinnedSession({HOST: [Pin.from_certificate(ca), *server.backup_pins]}) as session,
        ):
            session.verify = False
            with pytest.raises(PinMismatchError) as refusal:
                session.get(URL, timeout=5)
        assert Pin.from_certificate(ca) in [link.spki_pin for link in refusal.value.chain]
    attack.assert_rejected()

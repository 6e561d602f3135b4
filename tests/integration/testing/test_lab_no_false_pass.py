"""A client without pins does not pass: "rejected" says that it met the attacker's certificate, and decided.

Each way in which a plain client once passed has a test here, in which the assertion fails and says what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import freezegun
import httpx
import pytest
import requests
import time_machine
import urllib3

from pinned_requests import PinMismatchError, PinnedSession, PinnedSSLContext
from pinned_requests.testing import Authority, MITMLab
from pinned_requests.testing.server import connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import ModuleType

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.testing import Attack, HonestServer

HOST = "api.example.com"
URL = f"https://{HOST}/"


def plain() -> None:
    """A client without pins."""
    requests.get(URL, timeout=5)


def pins_of(server: HonestServer) -> dict[str, PinsLike]:
    """A policy that pins an honest server."""
    return {HOST: {"pins": server.pins, "backup_pins": server.backup_pins}}


def failure_of(attack: Attack) -> str:
    """What `assert_rejected` says."""
    with pytest.raises(AssertionError) as failure:
        attack.assert_rejected()
    return str(failure.value)


def failing(call: Callable[[], object]) -> None:
    """Call it, and ignore exceptions."""
    with contextlib.suppress(Exception):
        call()


def frozen_by_freezegun(date: str) -> AbstractContextManager[object]:
    """Stop Python's clocks."""
    return freezegun.freeze_time(date)


def frozen_by_time_machine(date: str) -> AbstractContextManager[object]:
    """Stop Python's clocks in C."""
    return time_machine.travel(date, tick=False)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.SystemTimeWarning")
@pytest.mark.parametrize("freeze", [frozen_by_freezegun, frozen_by_time_machine])
@pytest.mark.parametrize("date", ["2001-01-01", "2099-01-01"])
@pytest.mark.parametrize("where", ["lab", "block", "client"])
def test_a_frozen_clock(freeze: Callable[[str], AbstractContextManager[object]], date: str, where: str) -> None:
    """Certificates are valid by the clock that OpenSSL reads, wherever Python's is stopped, and waiting ends."""
    with contextlib.ExitStack() as stack:
        if where == "lab":
            stack.enter_context(freeze(date))
        lab = stack.enter_context(MITMLab())
        if where == "block":
            stack.enter_context(freeze(date))
        server = lab.honest(HOST)
        for attacker in ("trusted-ca", "expired"):
            with lab.impersonate(HOST, as_=attacker) as attack, contextlib.ExitStack() as inner:
                if where == "client":
                    inner.enter_context(freeze(date))
                with contextlib.suppress(requests.exceptions.SSLError):
                    plain()
            assert (attack.verdict, attack.handshakes) == (
                ("accepted", 1) if attacker == "trusted-ca" else ("rejected", 0)
            )
        with server, PinnedSession(pins_of(server)) as session:
            assert session.get(URL, timeout=5).ok
            assert server.connections == 1  # the connection is still open: this has waited for it to be quiet


def of_requests(ca: str) -> None:
    """A client on requests."""
    requests.get(URL, timeout=5, verify=ca)


def of_httpx(ca: str) -> None:
    """A client on httpx and asyncio, whose TLS is over memory."""

    async def get() -> None:
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=ca)) as client:
            await client.get(URL)

    asyncio.run(get())


def of_aiohttp(ca: str) -> None:
    """A client on aiohttp."""

    async def get() -> None:
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=ssl.create_default_context(cafile=ca))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(URL) as response:
            await response.read()

    asyncio.run(get())


def of_urllib3(ca: str) -> None:
    """A client on urllib3."""
    with urllib3.PoolManager(ca_certs=ca) as pool:
        pool.request("GET", URL, retries=False)


@pytest.mark.parametrize("client", [of_requests, of_httpx, of_aiohttp, of_urllib3])
def test_a_ca_bundle_of_its_own(mitm_lab: MITMLab, tmp_path: Path, client: Callable[[str], None]) -> None:
    """A client with a private CA refuses the lab's CA, and shows nothing of the key; with `ca_file` it is tested."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Authority.create("Private CA").certificate_pem)
    with mitm_lab.impersonate(HOST) as attack, contextlib.suppress(Exception):
        client(str(bundle))
    assert (attack.verdict, attack.connections) == ("untested", 1)
    assert "lab.ca_file" in failure_of(attack)
    with mitm_lab.impersonate(HOST) as attack:
        client(mitm_lab.ca_file)
    assert attack.verdict == "accepted"


# What a client says of a certificate whose CA it does not know proves nothing, but where the CA is the point.
UNKNOWN_CA: dict[Any, str] = {
    **dict.fromkeys(["trusted-ca", "chain-stuffing", "revoked-key", "own-ca-revoked-key"], "untested"),
    **dict.fromkeys(["leaked-intermediate", "same-name-ca", "expired", "wrong-host", "own-ca-expired"], "untested"),
    **dict.fromkeys(["own-ca-wrong-host", "downgrade", "second-connection", "renegotiation"], "untested"),
    **dict.fromkeys(["trailing-dot", "parser-differential", "connect-proxy"], "untested"),
    **dict.fromkeys(["self-signed", "forged-issuer", "tls-close"], "rejected"),
}


def test_all_attackers_and_a_ca_bundle_of_its_own(mitm_lab: MITMLab, tmp_path: Path) -> None:
    """The same with each attacker; with `ca_file` the client is judged as one that trusts a public store."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Authority.create("Private CA").certificate_pem)
    audit = mitm_lab.audit(lambda: requests.get(URL, verify=str(bundle), timeout=5), HOST, attackers=UNKNOWN_CA)
    assert {each.attacker: each.verdict for each in audit} == UNKNOWN_CA
    with pytest.raises(AssertionError) as failure:
        audit.assert_rejected()
    assert str(failure.value).count("give a client that has a CA bundle of its own `lab.ca_file`") == 1
    audits = [
        mitm_lab.audit(partial(requests.get, URL, verify=verify, timeout=5), HOST, attackers=UNKNOWN_CA)
        for verify in (True, mitm_lab.ca_file)
    ]
    assert [each.verdict for each in audits[0]] == [each.verdict for each in audits[1]]


def test_the_ca_as_text() -> None:
    """`ca_pem` is what `ssl` takes as text; the file is gone with the lab."""
    with MITMLab() as lab:
        context = ssl.create_default_context(cadata=lab.ca_pem)
        path = lab.ca_file
        assert lab.ca_file == path
        with lab.impersonate(HOST) as attack, httpx.Client(verify=context) as client:
            client.get(URL)
        assert attack.verdict == "accepted"
    with pytest.raises(FileNotFoundError):
        ssl.create_default_context(cafile=path)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_pinned_client_over_memory(mitm_lab: MITMLab, version: ssl.TLSVersion) -> None:
    """It accepts the chain and refuses the key before its Finished is sent: its TLS object tells, not the server."""
    server = mitm_lab.honest(HOST)
    context = PinnedSSLContext(pins_of(server))
    context.maximum_version = version

    async def get() -> None:
        async with httpx.AsyncClient(verify=context) as client:
            await client.get(URL)

    with server:
        asyncio.run(get())
    with mitm_lab.impersonate(HOST) as attack, pytest.raises(httpx.ConnectError):
        asyncio.run(get())
    attack.assert_rejected()
    assert attack.connections == 1


def test_a_thread_that_was_not_joined(mitm_lab: MITMLab) -> None:
    """It has connected, and its ClientHello comes after the block."""
    go_on, connected = threading.Event(), threading.Event()

    def client() -> None:
        with socket.create_connection((HOST, 443), timeout=5):
            connected.set()
            go_on.wait(5)

    with mitm_lab.impersonate(HOST) as attack:
        thread = threading.Thread(target=client)
        thread.start()
        connected.wait(5)
    go_on.set()
    thread.join()
    assert attack.verdict == "undecided"
    assert "join its thread" in failure_of(attack)


def test_a_task_that_was_not_awaited(mitm_lab: MITMLab) -> None:
    """The same with asyncio, in the middle of its handshake."""

    async def main() -> Attack:
        with mitm_lab.impersonate(HOST) as attack:
            task = asyncio.create_task(asyncio.open_connection(HOST, 443, ssl=ssl.create_default_context()))
            await asyncio.to_thread(attack._server.wait_for_connections, 1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task
        return attack

    attack = asyncio.run(main())
    assert attack.verdict == "undecided"
    assert "await its task" in failure_of(attack)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01"])
def test_a_crash_and_a_port_probe(mitm_lab: MITMLab, sent: bytes) -> None:
    """A connection without a whole ClientHello has decided nothing; beside a client that refused it does not count."""
    server = mitm_lab.honest(HOST)
    with mitm_lab.impersonate(HOST) as attack:
        with socket.create_connection((HOST, 443)) as probe:
            probe.sendall(sent)
        time.sleep(0.02)
        assert attack.verdict == "undecided"
        assert "before its ClientHello" in failure_of(attack)
        with PinnedSession(pins_of(server)) as session, pytest.raises(PinMismatchError):
            session.get(URL, timeout=5)
    attack.assert_rejected()
    assert attack.connections == 2


def test_a_probe_beside_a_client_that_was_redirected(mitm_lab: MITMLab) -> None:
    """The client has refused to follow the redirect; the probe does not count."""
    server = mitm_lab.honest(HOST)
    with mitm_lab.impersonate(HOST, as_="downgrade") as attack:
        socket.create_connection((HOST, 443)).close()
        with PinnedSession(pins_of(server)) as session:
            assert session.get(URL, timeout=5, allow_redirects=False).status_code == 307
    attack.assert_rejected()


@pytest.mark.parametrize("library", [requests, httpx])
def test_a_client_that_gives_up_after_the_second_handshake(mitm_lab: MITMLab, library: ModuleType) -> None:
    """It has accepted the attacker's certificate, and hangs up because its time is over."""
    with mitm_lab.impersonate(HOST, as_="renegotiation") as attack, contextlib.suppress(Exception):
        library.get(URL, timeout=0.05)
    assert attack.verdict == "undecided"
    assert "time-out of a second or more" in failure_of(attack)


def test_a_lab_that_ends_a_second_handshake(mitm_lab: MITMLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own hanging up is not the client's."""
    is_ready, waits = connection.is_ready, threading.Event()

    def waiting(sock: socket.socket, event: int, timeout: float | None) -> bool:
        if timeout == connection._SECOND_THOUGHTS:
            waits.set()
        return is_ready(sock, event, timeout)

    monkeypatch.setattr(connection, "_SECOND_THOUGHTS", 10.0)
    monkeypatch.setattr(connection, "is_ready", waiting)
    with mitm_lab.impersonate(HOST, as_="renegotiation") as attack:
        client = http.client.HTTPSConnection(HOST, timeout=5)
        client.request("GET", "/")
        reader = threading.Thread(target=lambda: failing(client.getresponse))
        reader.start()
        assert waits.wait(10)
        with mitm_lab.honest(HOST):
            pass
        reader.join()
    assert attack.verdict == "accepted"


def test_a_goodbye_in_place_of_a_second_handshake(mitm_lab: MITMLab) -> None:
    """The server's thread ends."""
    with mitm_lab.impersonate(HOST, as_="renegotiation") as attack:
        context = ssl.create_default_context()
        with socket.create_connection((HOST, 443)) as sock, context.wrap_socket(sock, server_hostname=HOST) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
            tls.settimeout(0.0)
            with contextlib.suppress(OSError):
                tls.unwrap()
            time.sleep(0.2)
    assert attack.verdict == "rejected"


def test_an_interrupted_block(mitm_lab: MITMLab) -> None:
    """It has no verdict."""
    with pytest.raises(KeyboardInterrupt), mitm_lab.impersonate(HOST) as attack:
        raise KeyboardInterrupt
    assert attack.verdict == "undecided"
    with pytest.raises(AssertionError):
        attack.assert_rejected()


def test_a_client_that_gives_up_in_the_middle_of_its_handshake(mitm_lab: MITMLab) -> None:
    """It has seen the certificate perhaps, and has not said so."""
    with mitm_lab.impersonate(HOST) as attack:
        outgoing = ssl.MemoryBIO()
        tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        with socket.create_connection((HOST, 443), timeout=5) as sock:
            sock.sendall(outgoing.read())
            assert sock.recv(1)
    assert attack.verdict == "undecided"
    assert "in the middle of its handshake" in failure_of(attack)


def context_of(ciphers: str) -> ssl.SSLContext:
    """A context for TLS 1.2 with these ciphers."""
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    return context


@pytest.mark.parametrize("kind", ["aRSA", "aECDSA"])
def test_a_client_with_one_kind_of_key(mitm_lab: MITMLab, kind: str) -> None:
    """The lab serves RSA and ECDSA: a client that takes one of them meets the attacker, and can pin the host."""
    server = mitm_lab.honest(HOST)
    audit = mitm_lab.audit(
        lambda: httpx.get(URL, verify=context_of(kind)), HOST, attackers=["trusted-ca", "revoked-key"]
    )
    assert [each.verdict for each in audit] == ["accepted", "accepted"]
    pinned = PinnedSSLContext({HOST: {"pins": server.pins, "blocked_pins": mitm_lab.revoked_pins}})
    pinned.maximum_version = ssl.TLSVersion.TLSv1_2
    pinned.set_ciphers(kind)
    with server:
        assert httpx.get(URL, verify=pinned).is_success
    audit = mitm_lab.audit(lambda: httpx.get(URL, verify=pinned), HOST, attackers=["trusted-ca", "revoked-key"])
    audit.assert_rejected()


def test_no_cipher_in_common(mitm_lab: MITMLab) -> None:
    """What failed for TLS's own reasons is untested; the server's reason is in the message, the table and the JSON."""
    context = context_of("ECDHE+AESGCM")
    context.set_ecdh_curve("secp224r1")  # which no server offers by default; what ciphers it does depends on the system
    with mitm_lab.impersonate(HOST) as attack, pytest.raises(httpx.ConnectError):
        httpx.get(URL, verify=context)
    assert attack.verdict == "untested"
    message = failure_of(attack)
    assert "ECDSA and RSA" in message
    audit = mitm_lab.audit(lambda: httpx.get(URL, verify=context), HOST, attackers="trusted-ca")
    reason = audit["trusted-ca"].reason
    assert "handshake" in reason
    assert "no shared cipher" in reason
    assert reason[len("The client ") : -1] in message
    assert reason[:100] in str(audit)
    assert json.loads(json.dumps(audit["trusted-ca"].as_dict()))["reason"] == reason


def test_another_name(mitm_lab: MITMLab) -> None:
    """A client that refuses a valid certificate for its name has not come to look at the key."""
    context = ssl.create_default_context()
    with (
        mitm_lab.impersonate(HOST) as attack,
        socket.create_connection((HOST, 443)) as sock,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(sock, server_hostname="other.example")
    assert attack.verdict == "untested"
    assert "valid for the host" in failure_of(attack)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_resumes_its_session(mitm_lab: MITMLab, version: ssl.TLSVersion) -> None:
    """It does so with the honest server; with an attacker it makes a new handshake, and is fooled or refuses."""
    context = ssl.create_default_context()
    context.maximum_version = version
    sessions: list[ssl.SSLSession | None] = [None]

    def get() -> bool:
        with (
            socket.create_connection((HOST, 443), timeout=5) as sock,
            context.wrap_socket(sock, server_hostname=HOST, session=sessions[0]) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
            assert tls.recv(4096).startswith(b"HTTP/1.1 200")
            sessions[0] = tls.session
            return bool(tls.session_reused)

    with mitm_lab.honest(HOST):
        assert [get(), get(), get()] == [False, True, True]
        with mitm_lab.impersonate(HOST) as attack:
            assert not get()
        assert attack.verdict == "accepted"
        with mitm_lab.impersonate(HOST, as_="self-signed") as attack, pytest.raises(ssl.SSLCertVerificationError):
            get()
        attack.assert_rejected()


def test_a_session_over_memory(mitm_lab: MITMLab) -> None:
    """A session that a client takes from its connection is one of its own context."""
    context = ssl.create_default_context()
    with mitm_lab.honest(HOST), socket.create_connection((HOST, 443), timeout=5) as sock:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
        again = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
        again.session = tls.session
        assert context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST, session=tls.session)


def test_no_attacker_and_one(mitm_lab: MITMLab) -> None:
    """An audit of no attacker proves nothing; one may be named alone."""
    with pytest.raises(ValueError, match="proves nothing"):
        mitm_lab.audit(plain, HOST, attackers=[])
    assert [each.attacker for each in mitm_lab.audit(plain, HOST, attackers="trusted-ca")] == ["trusted-ca"]
    with pytest.raises(ValueError, match="no attacker"):
        mitm_lab.audit(plain, HOST, attackers="trusted")  # type: ignore[arg-type]  # what is tested


def test_labs_of_several_threads() -> None:
    """They get a host each, or an error: a connection for one lab never counts in another."""

    def attack(host: str) -> str:
        with MITMLab() as lab:
            begun.wait(5)
            try:
                with lab.impersonate(host) as attack:
                    requests.get(f"https://{host}/", timeout=5)
                    ended.wait(5)
            except RuntimeError as error:
                ended.wait(5)
                return str(error)
            assert attack.connections == 1
            return attack.verdict

    count = 4
    for hosts in ([HOST] * count, [f"{number}.example" for number in range(count)]):
        begun, ended = threading.Barrier(count), threading.Barrier(count)
        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(attack, hosts))
        assert found.count("accepted") == len(set(hosts))
        assert all("another MITMLab" in each for each in found if each != "accepted")

"""The lab takes over a host at the level of sockets, and nothing but that host; afterwards all is as it was."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import requests

from pinned_requests.testing import MITMLab, TLSServer

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "api.example.com"
REQUEST = b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"


def talk(address: tuple[Any, ...] | str, family: int = socket.AF_INET) -> bytes:
    """Connect with a bare socket, send a request in the clear, and return the first bytes of the answer."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(address)
        sock.sendall(REQUEST)
        return sock.recv(12)


def is_open(descriptor: int) -> bool:
    """Whether a file descriptor is in use."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def visitors() -> list[threading.Thread]:
    """The threads of this process; but for those of reporters and stores, which come and go by themselves."""
    return [thread for thread in threading.enumerate() if not thread.name.startswith("pinned")]


AT_REST = frozenset(visitors())  # pytest-xdist has one beside the main one


def traces() -> dict[str, object]:
    """All in this process that the lab touches."""
    gone_soon = time.monotonic() + 5
    while not AT_REST.issuperset(threads := visitors()) and time.monotonic() < gone_soon:
        time.sleep(0.01)  # those of other libraries end by themselves
    gc.collect()  # descriptors that earlier tests have left to it
    names = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")
    return {
        "socket": {name: getattr(socket, name) for name in names},
        "socket.socket": dict(vars(socket.socket)),
        "SSLContext": dict(vars(ssl.SSLContext)),
        "environment": dict(os.environ),
        "threads": threads,
        "descriptors": [fd for fd in range(256) if is_open(fd)],
    }


@pytest.mark.parametrize("port", [443, 80, 8443, 1, 65535])
def test_any_port(mitm_lab: MITMLab, port: int) -> None:
    """Each port that the client may choose leads to the attacker."""
    with mitm_lab.impersonate(HOST) as attack:
        assert talk((HOST, port)) == b"HTTP/1.1 200"
        with socket.create_connection((HOST, port), timeout=5) as sock:
            assert sock.getpeername()[1] == port
    assert attack.connections == 2


@pytest.mark.parametrize(
    "spelling",
    ["api.example.com", "API.Example.COM", "api.example.com.", b"api.example.com", bytearray(b"API.example.com")],
)
@pytest.mark.parametrize("host", ["api.example.com", "Api.Example.com."])
def test_any_spelling(mitm_lab: MITMLab, host: str, spelling: Any) -> None:
    """Case and a trailing dot make no other host, neither for the lab nor for the client."""
    with mitm_lab.impersonate(host) as attack:
        for *_, address in socket.getaddrinfo(spelling, 443, type=socket.SOCK_STREAM):
            assert talk(address) == b"HTTP/1.1 200"
    assert (attack.connections, attack.host) == (1, "api.example.com")


@pytest.mark.parametrize("host", ["bücher.example", "xn--bcher-kva.example"])
@pytest.mark.parametrize(
    "spelling", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "XN--bcher-kva.example"]
)
def test_names_that_are_not_ascii(mitm_lab: MITMLab, host: str, spelling: str) -> None:
    """A name is one host in U-labels and A-labels, and its certificate fits."""
    with mitm_lab.impersonate(host) as attack:
        assert requests.get(f"https://{spelling}/", timeout=5).ok
    assert attack.handshakes == 1


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_ip_addresses(mitm_lab: MITMLab, host: str) -> None:
    """A host that is an address is taken over as well, with a certificate for the address."""
    if host.startswith("[") and not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    with mitm_lab.impersonate(host) as attack:
        assert requests.get(f"https://{host}:8443/", timeout=5).ok
    assert attack.handshakes == 1


def test_a_name_over_ipv6(mitm_lab: MITMLab) -> None:
    """A client that insists on IPv6 gets an IPv6 address, which leads to the attacker."""
    with mitm_lab.impersonate(HOST) as attack:
        infos = socket.getaddrinfo(HOST, 443, socket.AF_INET6, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        ((*_, address),) = infos
        assert talk(address, socket.AF_INET6) == b"HTTP/1.1 200"
        with socket.create_connection((str(address[0]), address[1]), timeout=5) as sock:
            assert sock.getpeername() == address
    assert attack.connections == 2


def test_the_older_functions(mitm_lab: MITMLab) -> None:
    """`gethostbyname` and `connect_ex` lead to the attacker, too."""
    with mitm_lab.impersonate(HOST) as attack:
        address = socket.gethostbyname(HOST)
        assert socket.gethostbyname_ex(HOST)[2] == [address]
        assert talk((address, 443)) == b"HTTP/1.1 200"
        with socket.socket() as sock:
            assert sock.connect_ex((HOST, 443)) == 0
    assert attack.connections == 2


def test_a_tls_socket_that_connects_by_itself(mitm_lab: MITMLab) -> None:
    """It is wrapped before it is connected, and is caught all the same."""
    context = ssl.create_default_context()
    with (
        mitm_lab.impersonate(HOST) as attack,
        context.wrap_socket(socket.socket(), server_hostname=HOST) as sock,
    ):
        sock.connect((HOST, 443))
        sock.sendall(REQUEST)
        assert sock.recv(12) == b"HTTP/1.1 200"
        assert sock.getpeername()[1] == 443
    assert attack.handshakes == 1


def test_datagrams_stay_on_the_machine(mitm_lab: MITMLab) -> None:
    """UDP to the host goes to a loopback address where no server listens."""
    with mitm_lab.impersonate(HOST), mitm_lab.impersonate("192.0.2.1"):
        for host in (HOST, "192.0.2.1"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect((host, 443))
                assert sock.getpeername()[0].startswith("127.")


def test_a_numeric_lookup_of_a_name_fails_as_ever(mitm_lab: MITMLab) -> None:
    """A client that asks whether a host is an address is told that it is none."""
    with mitm_lab.impersonate(HOST), pytest.raises(socket.gaierror):
        socket.getaddrinfo(HOST, 443, flags=socket.AI_NUMERICHOST)


def test_other_hosts_are_left_alone(mitm_lab: MITMLab) -> None:
    """Another thread talks to another server all the while, by name and by address."""
    stop = threading.Event()

    def run() -> int:
        count = 0
        while not stop.is_set():
            for host in ("localhost", "127.0.0.1"):
                with socket.create_connection((host, other.port), timeout=5) as sock:
                    assert sock.getpeername()[1] == other.port
                    sock.sendall(REQUEST)
                    assert sock.recv(12) == b"HTTP/1.1 200"
                count += 1
        return count

    with TLSServer(None) as other, ThreadPoolExecutor(1) as pool:
        meanwhile = pool.submit(run)
        for _ in range(5):
            with mitm_lab.impersonate(HOST) as attack:
                talk((HOST, 443))
            assert attack.connections == 1
        stop.set()
        assert meanwhile.result() > 0


def test_unix_sockets_and_strange_hosts_are_left_alone(mitm_lab: MITMLab) -> None:
    """What is not an Internet host goes to the genuine functions as it is."""
    with mitm_lab.impersonate(HOST):
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="No such file"):
            sock.connect("/nowhere/at.all")
        for host in (None, "", b"\xff", "a..b", 5):
            with pytest.raises((OSError, TypeError, UnicodeError)):
                socket.getaddrinfo(host, None)  # type: ignore[arg-type]  # 5 is none
        with socket.socket() as sock, pytest.raises(TypeError):
            sock.connect(())


def test_blocks_within_blocks(mitm_lab: MITMLab) -> None:
    """The innermost block of a host has it; other hosts have their own."""
    with mitm_lab.impersonate(HOST) as outer, mitm_lab.impersonate("other.example") as other:
        with mitm_lab.impersonate(HOST) as inner:
            talk((HOST, 443))
            talk(("other.example", 443))
        talk((HOST, 443))
    assert (outer.connections, other.connections, inner.connections) == (1, 1, 1)


def test_blocks_that_overlap(mitm_lab: MITMLab) -> None:
    """Blocks may end in any order, as those of two threads do."""
    before = traces()
    first, second = mitm_lab.impersonate(HOST), mitm_lab.impersonate(HOST)
    first.__enter__()
    second.__enter__()
    first.close()
    assert talk((HOST, 443)) == b"HTTP/1.1 200"
    second.close()
    assert (first.connections, second.connections) == (0, 1)
    assert traces() == before


def test_an_open_connection_does_not_hide_the_attacker(mitm_lab: MITMLab) -> None:
    """A kept-alive connection to the honest server is cut, so that the client has to meet the attacker."""
    with mitm_lab.honest(HOST) as server, requests.Session() as session:
        session.get(f"https://{HOST}/", timeout=5)
        with mitm_lab.impersonate(HOST) as attack:
            session.get(f"https://{HOST}/", timeout=5)
        session.get(f"https://{HOST}/", timeout=5)
    assert (server.connections, attack.connections) == (2, 1)


def test_a_client_that_remembers_addresses(mitm_lab: MITMLab) -> None:
    """Aiohttp keeps what it resolved for ten seconds; the next block still gets its connection."""

    async def client() -> None:
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(2):
                with mitm_lab.impersonate(HOST) as attack:
                    async with session.get(f"https://{HOST}/") as response:
                        await response.read()
                assert attack.connections == 1

    asyncio.run(client())


@pytest.mark.parametrize(
    ("before", "within"),
    [
        ({}, {}),
        ({"HTTPS_PROXY": "http://127.0.0.1:1"}, {"no_proxy": f"{HOST},other.example"}),
        ({"https_proxy": "http://127.0.0.1:1", "NO_PROXY": "a"}, {"NO_PROXY": f"a,{HOST},other.example"}),
        (
            {"ALL_PROXY": "http://127.0.0.1:1", "NO_PROXY": "a", "no_proxy": "b"},
            {"NO_PROXY": f"a,{HOST},other.example", "no_proxy": f"b,{HOST},other.example"},
        ),
        ({"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"}, {}),
    ],
)
def test_proxies_of_the_environment(
    mitm_lab: MITMLab, monkeypatch: pytest.MonkeyPatch, before: dict[str, str], within: dict[str, str]
) -> None:
    """They are passed by for the host, and only for it; afterwards the variables are as they were."""
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    environment = dict(os.environ)
    with mitm_lab.impersonate(HOST) as attack:
        with mitm_lab.impersonate("other.example"):
            assert dict(os.environ) == {**environment, **within}
        requests.get(f"https://{HOST}/", timeout=5)
    assert attack.connections == 1
    assert dict(os.environ) == environment


@pytest.mark.parametrize("before", [{}, {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"}])
def test_an_attacker_who_is_the_proxy(
    mitm_lab: MITMLab, monkeypatch: pytest.MonkeyPatch, before: dict[str, str]
) -> None:
    """The environment names it, or the client is given its URL; it leads to no other host, which does not count."""
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    environment = dict(os.environ)
    with mitm_lab.impersonate(HOST, as_="connect-proxy") as attack:
        assert os.environ["https_proxy"] == os.environ["HTTPS_PROXY"] == attack.proxy_url
        with pytest.raises(requests.exceptions.ProxyError, match="502"):
            requests.get("https://other.example/", timeout=5)
        assert (attack.verdict, attack.connections) == ("untested", 1)
        with mitm_lab.impersonate("third.example"):
            assert "HTTPS_PROXY" not in os.environ or "HTTPS_PROXY" in before
        assert requests.get(f"https://{HOST}/", timeout=5).ok
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"https://{HOST}/", timeout=5, proxies={"https": attack.proxy_url}).ok
            assert session.get(f"https://{HOST}/", timeout=5).ok
    assert (attack.verdict, attack.connections, len(attack.requests)) == ("accepted", 4, 3)
    assert dict(os.environ) == environment


def _one_request(lab: MITMLab) -> None:
    with lab.impersonate(HOST):
        requests.get(f"https://{HOST}/", timeout=5)


def _an_open_connection(lab: MITMLab) -> None:
    with lab.impersonate(HOST), socket.create_connection((HOST, 443)):
        pass


def _a_failure(lab: MITMLab) -> None:
    with pytest.raises(ZeroDivisionError), lab.impersonate(HOST):
        _ = 1 / 0


def _left_open(lab: MITMLab) -> None:
    lab.impersonate(HOST).__enter__()
    lab.honest(HOST).__enter__()


def _hanging(lab: MITMLab) -> None:
    with lab.impersonate(HOST, as_="hang") as attack, pytest.raises(requests.exceptions.Timeout):
        requests.get(f"https://{HOST}/", timeout=0.2)
    attack.assert_rejected()


def _audited(lab: MITMLab) -> None:
    lab.audit(lambda: requests.get(f"https://{HOST}/", timeout=0.5), HOST)


@pytest.mark.parametrize("use", [_one_request, _an_open_connection, _a_failure, _left_open, _hanging, _audited])
def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, use: Callable[[MITMLab], None]) -> None:
    """No thread, socket, environment variable or patch."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    _one_request(MITMLab())  # what requests and ssl open once, and keep
    before = traces()
    with MITMLab() as lab:
        use(lab)
    assert traces() == before


def test_what_others_patch_within_a_block_stays(mitm_lab: MITMLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the block does not undo it, and puts back the rest."""
    before = traces()
    theirs: object = socket.gethostbyname
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", socket.getaddrinfo)  # put back at the end in any case
        with mitm_lab.impersonate(HOST):
            setattr(socket, "getaddrinfo", theirs)  # noqa: B010 - mypy would compare the types
        assert socket.getaddrinfo is theirs
    assert traces() == before


def test_the_end_of_a_block_ends_a_hang(mitm_lab: MITMLab) -> None:
    """A client that waits without end is let go at once."""
    ended = threading.Event()

    def client() -> None:
        with socket.create_connection((HOST, 443)) as sock:
            sock.sendall(b"\x16\x03\x01")
            sock.recv(1)
        ended.set()

    with mitm_lab.impersonate(HOST, as_="hang") as attack:
        thread = threading.Thread(target=client)
        thread.start()
        while not attack.connections:
            time.sleep(0.01)
        assert not ended.wait(0.2)
        begin = time.monotonic()
    assert ended.wait(5)
    assert time.monotonic() - begin < 2
    thread.join()


@pytest.mark.parametrize(
    "host", ["", "https://api.example.com", "api.example.com:443", "a b", "*.example.com", 5, None]
)
def test_what_is_no_host(mitm_lab: MITMLab, host: Any) -> None:
    """A host with a scheme, port or wildcard is refused, before anything is patched."""
    with pytest.raises(ValueError, match="invalid host"):
        mitm_lab.impersonate(host)
    with pytest.raises(ValueError, match="invalid host"):
        mitm_lab.honest(host)


def test_an_attacker_that_there_is_not(mitm_lab: MITMLab) -> None:
    """The error names those that there are."""
    with pytest.raises(ValueError, match="trusted-ca"):
        mitm_lab.impersonate(HOST, as_="nation-state")  # type: ignore[arg-type]  # what is tested

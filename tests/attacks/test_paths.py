"""Every way of a request to its server: whichever it takes, a man in the middle at its end gets one handshake.

Rules for the next maintainer:

- The proxies are real ones, each in a process of its own: proxy.py, tinyproxy, pproxy (for SOCKS). A stand-in, a
  `TLSServer`, takes a proxy's place only where what comes to the proxy itself is counted.
- A new way is a row of `WAYS`; every row has its honest twin in the same test.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.contrib.socks import SOCKSProxyManager
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from pinned_requests import (
    ChainUnavailableError,
    InsecureURLError,
    Pin,
    PinMismatchError,
    PinnedAdapter,
    PinnedPoolManager,
    PinnedSession,
    PinPolicy,
    PinSet,
)
from pinned_requests.testing import Response
from pinned_requests.transport.manager import PinnedProxyManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pinned_requests import ViolationReport
    from pinned_requests.testing import Credential, Request, TLSServer
    from support.lab import Certificates
    from support.proxy import Proxy as BasicProxy
    from support.scene import Scene

SECRET = "the-secret-of-the-request"  # noqa: S105  what the attacker is after
USER, PASSWORD = "proxy-user", "proxy-password"
CREDENTIALS = (f"user:{SECRET}", f"{USER}:{PASSWORD}")
START = 20.0  # seconds for a proxy to start
ATTEMPTS = 5  # at a port that somebody else may take before tinyproxy, which takes no ephemeral one, gets it

# pproxy's own command does not say which port it got.
PPROXY = """
import asyncio, pathlib, sys, pproxy

async def main():
    options = {"rserver": [pproxy.DIRECT], "verbose": print, "authtime": 0}
    server = await pproxy.Server(sys.argv[1]).start_server(options)
    pathlib.Path(sys.argv[2]).write_text(f"{server.sockets[0].getsockname()[1]}\\n")
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Proxy(NamedTuple):
    """A real proxy: where it is, and what must not come to anybody else."""

    url: str  # with the credentials
    credential: Credential | None = None  # that it presents, if it speaks TLS

    @property
    def address(self) -> str:
        """Its scheme, host and port."""
        return self.url.replace(f"{USER}:{PASSWORD}@", "")

    @property
    def headers(self) -> dict[str, str] | None:
        """What urllib3 is to send it."""
        return None if self.url == self.address else make_headers(proxy_basic_auth=f"{USER}:{PASSWORD}")

    @property
    def pattern(self) -> str:
        """Its host and port as in a policy."""
        return self.address.partition("://")[2]


LEAKS = (PASSWORD.encode(), base64.b64encode(f"{USER}:{PASSWORD}".encode()), b"proxy-auth")


@contextlib.contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a proxy, with its output in a file, for the time of a `with` block."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},  # proxy.py keeps a folder there
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START)


def wait_for(found: Callable[[], int | None], folder: Path, process: subprocess.Popen[bytes]) -> int:
    """Return the port that a proxy listens on, as soon as there is one."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        if port := found():
            return port
        time.sleep(0.01)
    raise RuntimeError(f"the proxy did not start: {(folder / 'log').read_text()}")


@contextlib.contextmanager
def telling_its_port(folder: Path, *command: str) -> Iterator[int]:
    """Run a proxy that writes its port into the file that the last argument names."""
    file = folder / "port"

    def found() -> int | None:
        text = file.read_text() if file.is_file() else ""
        return int(text) if text.endswith("\n") else None

    with running(folder, *command, str(file)) as process:
        yield wait_for(found, folder, process)


@pytest.fixture(scope="session")
def http_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Tinyproxy: lets anybody in."""
    if shutil.which("tinyproxy") is None:
        pytest.skip("tinyproxy is not installed")
    folder = tmp_path_factory.mktemp("tinyproxy")
    configuration = folder / "configuration"
    for attempt in range(ATTEMPTS):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configuration.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\n")

        def found(port: int = port) -> int | None:
            with socket.socket() as client:
                return port if client.connect_ex(("127.0.0.1", port)) == 0 else None

        with running(folder, "tinyproxy", "-d", "-c", str(configuration)) as process:
            try:
                wait_for(found, folder, process)
            except RuntimeError:
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            yield Proxy(f"http://127.0.0.1:{port}")
            return


@pytest.fixture(scope="session")
def https_proxy(tmp_path_factory: pytest.TempPathFactory, cast: Certificates) -> Iterator[Proxy]:
    """proxy.py behind TLS, with a certificate of its own, and with basic authentication."""
    folder = tmp_path_factory.mktemp("https-proxy")
    credential = cast.root.issue("127.0.0.1", "localhost")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(credential.certificate_pem)
    key.write_bytes(credential.key_pem)
    with telling_its_port(
        folder,
        *(sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0"),
        *("--num-acceptors", "1", "--num-workers", "1", "--basic-auth", f"{USER}:{PASSWORD}"),
        *("--cert-file", str(certificate), "--key-file", str(key), "--port-file"),
    ) as port:
        yield Proxy(f"https://{USER}:{PASSWORD}@127.0.0.1:{port}", credential)


@pytest.fixture(scope="session")
def basic_proxy(proxy: BasicProxy) -> Proxy:
    """proxy.py with basic authentication: that of the other tests."""
    assert (proxy.user, proxy.password) == (USER, PASSWORD)
    return Proxy(proxy.url)


@pytest.fixture(scope="session")
def socks_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Pproxy, which speaks SOCKS of versions 4 and 5 on one port."""
    with telling_its_port(
        tmp_path_factory.mktemp("socks"), sys.executable, "-c", PPROXY, "socks4+socks5://127.0.0.1:0"
    ) as port:
        yield port


@pytest.fixture(scope="session")
def socks4_proxy(socks_port: int) -> Proxy:
    """SOCKS 4: the client looks up the name."""
    return Proxy(f"socks4://127.0.0.1:{socks_port}")


@pytest.fixture(scope="session")
def socks5_proxy(socks_port: int) -> Proxy:
    """SOCKS 5: the client looks up the name."""
    return Proxy(f"socks5://127.0.0.1:{socks_port}")


@pytest.fixture(scope="session")
def socks5h_proxy(socks_port: int) -> Proxy:
    """SOCKS 5: the proxy looks up the name."""
    return Proxy(f"socks5h://127.0.0.1:{socks_port}")


@pytest.fixture(scope="session")
def socks5_basic_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """SOCKS 5 with user name and password."""
    with telling_its_port(
        tmp_path_factory.mktemp("socks-basic"),
        *(sys.executable, "-c", PPROXY, f"socks5://127.0.0.1:0#{USER}:{PASSWORD}"),
    ) as port:
        yield Proxy(f"socks5h://{USER}:{PASSWORD}@127.0.0.1:{port}")


ManagerT = TypeVar("ManagerT", PinnedPoolManager, PinnedProxyManager)


class Traveller:
    """Who sends the requests of one test, and what is at hand for it."""

    report_only = False

    def __init__(self, request: pytest.FixtureRequest, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene = scene
        self.environment = monkeypatch
        self.reports: list[ViolationReport] = []
        self._request = request

    def proxy(self, name: str | None) -> Proxy | None:
        """Return the proxy of a name, started if need be."""
        return None if name is None else self._request.getfixturevalue(name)

    @property
    def options(self) -> dict[str, Any]:
        """What a session, an adapter or a manager takes: the honest key is pinned for localhost, 127.0.0.1 is free."""
        scene, key = self.scene, Pin.from_certificate(self.scene.honest.certificate)
        pin_set = PinSet([key], backup_pins=[scene.backup], report_only=self.report_only)
        policy = PinPolicy({"localhost": pin_set, "127.0.0.1": PinSet.exempt()})
        return {"pins": policy, "on_violation": self.reports.append}

    def session(self, kind: str = "session") -> requests.Session:
        """Make a pinned session, one with an adapter of the user's, or a plain one with a pinned adapter."""
        options = self.options
        if kind == "adapter":
            session = requests.Session()
            for prefix in ("https://", "http://"):
                session.mount(prefix, PinnedAdapter(**options))
        else:
            session = PinnedSession(options["pins"], on_violation=options["on_violation"])
        if kind == "mounted":
            session.mount("https://", HTTPAdapter(max_retries=3))
        return self.scene.trusting(session)

    def manager(self, kind: Callable[..., ManagerT], *args: Any, **kwargs: Any) -> ManagerT:
        """Make a manager of urllib3's."""
        options = self.options
        manager = kind(
            options.pop("pins"), *args, ca_certs=self.scene.bundle, cert_reqs="CERT_REQUIRED", **options, **kwargs
        )
        self.scene.opened.callback(manager.clear)
        return manager


@pytest.fixture
def traveller(request: pytest.FixtureRequest, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Traveller:
    """Send requests, and collect the reports about them."""
    return Traveller(request, scene, monkeypatch)


class Way:
    """A way to the server: through which proxy, who says so, how the request is sent, and by what."""

    def __init__(
        self, through: str | None = None, *, said_by: str = "request", sent: str = "get", client: str = "session"
    ) -> None:
        self.through = through
        self.said_by = said_by
        self.sent = sent
        self.client = client

    def __repr__(self) -> str:
        return "-".join([self.client, self.through or "direct", self.said_by, self.sent])

    def prepare(self, traveller: Traveller) -> Callable[[TLSServer], str]:
        """Return a function that sends a request with a secret to a server, and returns the answer's body."""
        proxy = traveller.proxy(self.through)
        session = traveller.session(self.client)
        session.headers["X-Secret"] = SECRET
        session.cookies.set("secret", SECRET)
        options: dict[str, Any] = {"auth": ("user", SECRET)}
        if proxy is not None:
            proxies = {"https": proxy.url, "http": proxy.url}
            if self.said_by == "request":
                options["proxies"] = proxies
            elif self.said_by == "session":
                session.proxies = proxies
            else:
                traveller.environment.setenv(self.said_by, proxy.url)
        send = SENDING[self.sent]

        def ask(server: TLSServer) -> str:
            body: str = send(traveller.scene, session, server, options)
            used = [*session.get_adapter(server.url()).proxy_manager]  # type: ignore[attr-defined]  # an HTTPAdapter
            assert used == ([proxy.url] if proxy else [])
            return body

        return ask


class Bypass(Way):
    """The environment names a proxy, and says that it is not for this host: nobody listens there."""

    def prepare(self, traveller: Traveller) -> Callable[[TLSServer], str]:
        """As `Way.prepare`."""
        traveller.environment.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        traveller.environment.setenv("NO_PROXY", "localhost")
        return super().prepare(traveller)


class PinnedSOCKSManager(PinnedPoolManager, SOCKSProxyManager):
    """What a user of urllib3 writes for SOCKS."""


class ManagerWay(Way):
    """Without requests: a manager of urllib3's, with all the retries that it makes by itself."""

    def prepare(self, traveller: Traveller) -> Callable[[TLSServer], str]:
        """As `Way.prepare`."""
        proxy = traveller.proxy(self.through)
        if proxy is None:
            manager = traveller.manager(PinnedPoolManager)
        elif proxy.url.startswith("socks"):
            manager = traveller.manager(PinnedSOCKSManager, proxy.url)
        else:
            manager = traveller.manager(PinnedProxyManager, proxy.address, proxy_headers=proxy.headers)

        def ask(server: TLSServer) -> str:
            headers = {"X-Secret": SECRET, "Cookie": f"secret={SECRET}"}
            body: bytes = manager.request("POST", server.url(f"/{SECRET}?{SECRET}"), body=SECRET, headers=headers).data
            return body.decode()

        return ask


def get(_scene: Scene, session: requests.Session, server: TLSServer, options: dict[str, Any]) -> str:
    """Send a request in the usual way."""
    return str(session.get(server.url(f"/{SECRET}?{SECRET}"), **options).text)


def prepared(_scene: Scene, session: requests.Session, server: TLSServer, options: dict[str, Any]) -> str:
    """Send a request that was prepared by hand."""
    options = dict(options)
    request = session.prepare_request(requests.Request("PUT", server.url(), data=SECRET, auth=options.pop("auth")))
    return str(session.send(request, **options).text)


def stream(_scene: Scene, session: requests.Session, server: TLSServer, options: dict[str, Any]) -> str:
    """Read the answer bit by bit."""
    with session.get(server.url(), stream=True, **options) as response:
        return b"".join(response.iter_content(1)).decode()


def chunked(_scene: Scene, session: requests.Session, server: TLSServer, options: dict[str, Any]) -> str:
    """Send a body that is made while it is sent."""
    response = session.post(server.url(), data=(part.encode() for part in [SECRET, SECRET]), **options)
    if response.request.url == server.url():
        assert server.requests[-1].body == 2 * SECRET.encode()
    return str(response.text)


def redirected(role: str, host: str) -> Callable[..., str]:
    """Ask a server that is let pass, and be sent on by it."""

    def send(scene: Scene, session: requests.Session, server: TLSServer, options: dict[str, Any]) -> str:
        # Closed, because proxy.py sends what comes next over a connection to wherever the first request went.
        answer = Response(307, (("Location", server.url()), ("Connection", "close")))
        first = scene.serve(getattr(scene, role, None), handler={"/": answer})
        response = session.post(first.url(host=host), data=SECRET, **options)
        assert [each.url for each in response.history] == [first.url(host=host)]
        return str(response.text)

    return send


SENDING: dict[str, Callable[..., str]] = {
    "get": get,
    "prepared": prepared,
    "stream": stream,
    "chunked": chunked,
    "same-host": redirected("honest", "localhost"),  # from another port of the pinned host
    "cross-host": redirected("attacker", "127.0.0.1"),  # from a host that is exempt
    "cross-scheme": redirected("nobody", "127.0.0.1"),  # from a host that is exempt, and asked without TLS
}
# requests does not verify an https proxy's certificate for `http://` URLs, and urllib3 warns of it.
UNVERIFIED_PROXY = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
HTTP_PROXIES = ["http_proxy", "basic_proxy", "https_proxy"]
SOCKS_PROXIES = ["socks4_proxy", "socks5_proxy", "socks5h_proxy", "socks5_basic_proxy"]
WAYS = [
    *(Way(through, client=client) for through in [None, *HTTP_PROXIES] for client in ("session", "mounted", "adapter")),
    *(Way(through, client=client) for through in SOCKS_PROXIES for client in ("session", "mounted", "adapter")),
    *(Way("basic_proxy", said_by=said_by) for said_by in ("session", "HTTPS_PROXY", "https_proxy", "ALL_PROXY")),
    *(Way("https_proxy", said_by=said_by) for said_by in ("session", "HTTPS_PROXY")),
    *(Way("socks5h_proxy", said_by=said_by) for said_by in ("session", "ALL_PROXY")),
    Bypass(),
    Bypass(client="adapter"),
    *(
        Way(through, sent=sent)
        for through in (None, "basic_proxy", "https_proxy", "socks5h_proxy")
        for sent in SENDING
        if sent != "get"
    ),
    *(ManagerWay(through, client="manager") for through in [None, *HTTP_PROXIES, *SOCKS_PROXIES]),
]


def assert_nothing_leaked(server: TLSServer) -> None:
    """See that the server got nothing that was meant for a proxy."""
    assert [leak for leak in LEAKS if leak.lower() in server.received.lower()] == []


def assert_nothing_told(traveller: Traveller, caplog: pytest.LogCaptureFixture) -> None:
    """See that neither a report nor a log record of ours, with all its fields, holds anything of a request."""
    records = [vars(record) for record in caplog.records if record.name.startswith("pinned_requests")]
    assert len(records) == len(traveller.reports) == 1
    told = repr(records) + "".join(f"{report}{report!r}{report.to_json()}" for report in traveller.reports)
    secrets = [SECRET, PASSWORD, *(base64.b64encode(user.encode()).decode() for user in CREDENTIALS)]
    assert [secret for secret in secrets if secret in told] == []


@UNVERIFIED_PROXY
@pytest.mark.parametrize("way", WAYS, ids=repr)
def test_wrong_key(traveller: Traveller, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """The server at the end of the way has a certificate that the trust store accepts, and another key."""
    scene = traveller.scene
    ask = way.prepare(traveller)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError) as caught:
        ask(mitm)
    assert (caught.value.host, caught.value.port) == ("localhost", mitm.port)
    assert [seen.spki_pin for seen in caught.value.chain] == list(map(Pin.from_certificate, scene.attacker.chain))
    assert scene.toll(mitm) == (1, 1, 0)
    assert_nothing_told(traveller, caplog)

    assert ask(server) == "ok"
    assert SECRET.encode() in server.received or server.requests[0].header("Authorization")
    assert_nothing_leaked(server)
    assert len(traveller.reports) == 1


@UNVERIFIED_PROXY
@pytest.mark.parametrize("way", WAYS, ids=repr)
def test_wrong_key_report_only(traveller: Traveller, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """Where a wrong key is to be reported alone, it is reported once a connection, on every way."""
    traveller.report_only = True
    scene = traveller.scene
    ask = way.prepare(traveller)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    assert [ask(mitm), ask(mitm)] == ["ok", "ok"]
    assert scene.toll(mitm)[1] == len(traveller.reports) == 1
    assert [(each.host, each.port, each.report_only) for each in traveller.reports] == [("localhost", mitm.port, True)]
    assert_nothing_leaked(mitm)
    assert_nothing_told(traveller, caplog)

    assert ask(server) == "ok"
    assert len(traveller.reports) == 1


@pytest.mark.parametrize("through", [None, *HTTP_PROXIES, *SOCKS_PROXIES])
def test_wrong_key_behind_a_redirect_to_the_same_place(traveller: Traveller, through: str | None) -> None:
    """An attacker takes over between two requests: the second comes over a connection of its own."""
    scene, session = traveller.scene, traveller.session()
    proxy = traveller.proxy(through)
    session.proxies = {"https": proxy.url} if proxy else {}
    got: list[int] = []

    def answer(request: Request) -> Response:
        if request.path != "/":
            return Response()
        got.append(server.application_bytes)
        server.credential = successor
        return Response(307, (("Location", "/there"), ("Connection", "close")))

    server = scene.serve(scene.honest, handler=answer)
    successor = scene.attacker
    with pytest.raises(PinMismatchError):
        session.post(server.url(), data=SECRET)
    assert scene.toll(server) == (2, 2, got[0])

    server.credential = successor = scene.honest
    assert session.post(server.url(), data=SECRET).url == server.url("/there")
    assert_nothing_leaked(server)


@UNVERIFIED_PROXY
@pytest.mark.parametrize("through", [None, *HTTP_PROXIES, *SOCKS_PROXIES])
@pytest.mark.parametrize("client", ["session", "adapter"])
def test_redirect_to_plain_http(traveller: Traveller, through: str | None, client: str) -> None:
    """The pinned server sends its client to the same host without TLS: nobody is asked, the proxy neither."""
    scene, session = traveller.scene, traveller.session(client)
    proxy = traveller.proxy(through)
    session.proxies = {"https": proxy.url, "http": proxy.url} if proxy else {}
    plain = scene.serve(None)
    handler = {
        "/": Response(307, (("Location", plain.url()),)),
        "/free": Response(307, (("Location", plain.url(host="127.0.0.1")),)),
    }
    server = scene.serve(scene.honest, handler=handler)
    with pytest.raises(InsecureURLError):
        session.post(server.url(), data=SECRET)
    assert scene.toll(plain) == (0, 0, 0)
    assert len(traveller.reports) == 1

    assert session.get(server.url("/free")).text == "ok"  # the same server by its exempt address


@pytest.mark.parametrize("through", [*HTTP_PROXIES, *SOCKS_PROXIES])
@pytest.mark.parametrize("client", ["session", "adapter"])
def test_a_proxy_that_is_gone(traveller: Traveller, through: str, client: str) -> None:
    """No request goes around a proxy that does not answer."""
    scene, session = traveller.scene, traveller.session(client)
    proxy = traveller.proxy(through)
    assert proxy is not None
    server = scene.serve(scene.honest)
    with socket.create_server(("127.0.0.1", 0)) as free:  # not the port of the server, which has its own already
        gone = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(requests.exceptions.ConnectionError):
        session.get(server.url(), proxies={"https": proxy.url.replace(proxy.pattern, gone)})
    assert scene.toll(server) == (0, 0, 0)
    assert traveller.reports == []
    assert session.get(server.url(), proxies={"https": proxy.url}).text == "ok"


@pytest.mark.parametrize("through", ["basic_proxy", "https_proxy", "socks5_basic_proxy"])
def test_wrong_proxy_password(traveller: Traveller, through: str) -> None:
    """The proxies of these tests do ask for the credentials that the servers must not see."""
    scene, session = traveller.scene, traveller.session()
    proxy = traveller.proxy(through)
    assert proxy is not None
    server = scene.serve(scene.honest)
    with pytest.raises(requests.exceptions.ConnectionError):
        session.get(server.url(), proxies={"https": proxy.url.replace(PASSWORD, "wrong")})
    assert scene.toll(server) == (0, 0, 0)
    assert session.get(server.url(), proxies={"https": proxy.url}).text == "ok"


def test_only_the_proxys_key_is_right(traveller: Traveller, https_proxy: Proxy) -> None:
    """The pins of the server match the key of the proxy, with which the way begins: that counts for nothing."""
    scene = traveller.scene
    proxys_pins = [Pin.from_certificate(https_proxy.credential.certificate), scene.backup]
    server = scene.serve(scene.honest)
    for unpinned_hosts in ("block", "allow"):
        session = scene.trusting(PinnedSession({"localhost": proxys_pins}, unpinned_hosts=unpinned_hosts))
        before = scene.toll(server)
        with pytest.raises(PinMismatchError) as caught:
            session.get(server.url(), proxies={"https": https_proxy.url})
        assert (caught.value.host, caught.value.port) == ("localhost", server.port)
        after = scene.toll(server)
        assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 0]

    twin = scene.serve(https_proxy.credential)
    assert session.get(twin.url(), proxies={"https": https_proxy.url}).text == "ok"


@UNVERIFIED_PROXY
@pytest.mark.parametrize("kind", ["session", "adapter", "manager"])
@pytest.mark.parametrize("pattern", ["127.0.0.1", "127.0.0.1:{port}"])
@pytest.mark.parametrize("url", ["https://localhost:{port}/", "http://localhost/"])
def test_wrong_proxy_key(scene: Scene, https_proxy: Proxy, kind: str, pattern: str, url: str) -> None:
    """A proxy whose key is not the one pinned for it hears neither its credentials nor where the way leads.

    It presents the key that is pinned for the server, to no avail.
    """
    wrong, server = scene.serve(scene.honest), scene.serve(scene.honest)
    proxys_pins = [Pin.from_certificate(https_proxy.credential.certificate), scene.backup]
    servers_pins = [Pin.from_certificate(scene.honest.certificate), scene.backup]
    host = "localhost" if url.startswith("https") else "127.0.0.1"  # the other host may be asked without TLS
    pins = {pattern.format(port=wrong.port): proxys_pins, f"{host}:{server.port}": servers_pins}
    policy = PinPolicy(pins, unpinned_hosts="allow")
    target = url.format(port=server.port)
    proxy_url = f"https://{USER}:{PASSWORD}@127.0.0.1:{wrong.port}"
    with pytest.raises(PinMismatchError) as caught:
        ask_through(scene, policy, kind, proxy_url, target)
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", wrong.port)
    assert scene.toll(wrong) == (1, 1, 0)
    assert scene.toll(server) == (0, 0, 0)

    wrong.credential = https_proxy.credential  # it is no proxy, but is spoken to
    with contextlib.suppress(requests.exceptions.RequestException, HTTPError):
        ask_through(scene, policy, kind, proxy_url, target)
    assert scene.toll(wrong).application_bytes > 0
    assert b"proxy-authorization" in wrong.received.lower()


def ask_through(scene: Scene, policy: PinPolicy, kind: str, proxy_url: str, url: str) -> str:
    """Send one request through a proxy, by a client of its own."""
    if kind == "manager":
        proxy = Proxy(proxy_url)
        settings: dict[str, Any] = {"ca_certs": scene.bundle, "cert_reqs": "CERT_REQUIRED", "retries": False}
        manager = PinnedProxyManager(policy, proxy.address, proxy_headers=proxy.headers, **settings)
        scene.opened.callback(manager.clear)
        return manager.request("GET", url).data.decode()
    session = PinnedSession(policy) if kind == "session" else requests.Session()
    if kind == "adapter":
        session.mount("https://", PinnedAdapter(policy))
        session.mount("http://", PinnedAdapter(policy))
    text: str = scene.trusting(session).get(url, proxies={"https": proxy_url, "http": proxy_url}).text
    return text


@pytest.mark.parametrize("kind", ["session", "adapter", "manager"])
def test_proxy_and_server_of_one_name(scene: Scene, https_proxy: Proxy, kind: str) -> None:
    """Each is held to the pins of its own port, and nobody to the other's."""
    server, mitm = scene.serve(scene.honest), scene.serve(scene.attacker)
    proxy_url = https_proxy.url.replace("127.0.0.1", "localhost")
    proxys, servers = (
        [Pin.from_certificate(each.certificate), scene.backup] for each in (https_proxy.credential, scene.honest)
    )
    port = https_proxy.url.rpartition(":")[2]
    right = PinPolicy({f"localhost:{port}": proxys, "localhost": servers})
    swapped = PinPolicy({f"localhost:{port}": servers, "localhost": proxys})
    for_all = PinPolicy({"localhost": servers})
    for policy, target, at_fault in (
        (right, mitm, mitm.port),
        (swapped, server, int(port)),
        (for_all, server, int(port)),
    ):
        with pytest.raises(PinMismatchError) as caught:
            ask_through(scene, policy, kind, proxy_url, target.url())
        assert caught.value.port == at_fault
    assert scene.toll(mitm) == (1, 1, 0)
    assert scene.toll(server) == (0, 0, 0)
    assert ask_through(scene, right, kind, proxy_url, server.url()) == "ok"


def test_pinned_proxy_is_reported_once(traveller: Traveller, https_proxy: Proxy) -> None:
    """Proxy and server are two violations of one connection, each reported once."""
    scene = traveller.scene
    others = {"pins": [scene.backup, Pin.fingerprint(scene.attacker.certificate)], "report_only": True}
    policy = PinPolicy({https_proxy.pattern: others, "localhost": others})
    session = scene.trusting(PinnedSession(policy, on_violation=traveller.reports.append))
    server = scene.serve(scene.honest)
    for _ in range(3):
        assert session.get(server.url(), proxies={"https": https_proxy.url}).text == "ok"
    port = int(https_proxy.url.rpartition(":")[2])
    assert [(each.host, each.port) for each in traveller.reports] == [("127.0.0.1", port), ("localhost", server.port)]
    assert scene.toll(server).handshakes == 1


class Forwarding(HTTPAdapter):
    """An adapter of the user's that lets an https proxy speak TLS with the server."""

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Ask urllib3 for a proxy that forwards."""
        return super().proxy_manager_for(proxy, use_forwarding_for_https=True, **kwargs)


@pytest.mark.parametrize("kind", ["mounted", "manager"])
def test_forwarding_proxy(scene: Scene, kind: str) -> None:
    """The proxy would speak TLS with the server, and hides its key: that it has the server's own helps nobody."""
    forwarding = scene.serve(scene.honest)
    servers_pins = [Pin.from_certificate(scene.honest.certificate), scene.backup]
    policy = PinPolicy({"localhost": servers_pins, "api.example.com": servers_pins}, unpinned_hosts="allow")
    if kind == "manager":
        manager = PinnedProxyManager(
            policy,
            forwarding.url(host="127.0.0.1"),
            use_forwarding_for_https=True,
            ca_certs=scene.bundle,
            cert_reqs="CERT_REQUIRED",
        )
        scene.opened.callback(manager.clear)

        def ask(url: str) -> bytes:
            return manager.request("POST", url, body=SECRET).data
    else:
        session = scene.trusting(PinnedSession(policy))
        session.mount("https://", Forwarding(max_retries=3))

        def ask(url: str) -> bytes:
            content: bytes = session.post(url, data=SECRET, proxies={"https": forwarding.url(host="127.0.0.1")}).content
            return content

    for count, host in enumerate(("localhost", "api.example.com"), 1):
        with pytest.raises(ChainUnavailableError) as caught:
            ask(f"https://{host}/")
        assert (caught.value.host, caught.value.port) == (host, 443)
        assert scene.toll(forwarding) == (count, count, 0)

    assert ask("https://unpinned.example.com/") == b"ok"
    assert len(forwarding.requests) == 1
    with pytest.raises(ChainUnavailableError):
        ask("https://localhost/")  # the connection to the proxy that is open now does not carry it either
    assert scene.toll(forwarding)[0] <= 4
    assert len(forwarding.requests) == 1


@UNVERIFIED_PROXY
@pytest.mark.parametrize("through", HTTP_PROXIES)
@pytest.mark.parametrize("client", ["session", "adapter", "manager"])
def test_plain_http_through_a_proxy(traveller: Traveller, through: str, client: str) -> None:
    """An `http://` URL goes to the proxy in absolute form, which would see all of it."""
    scene = traveller.scene
    proxy = traveller.proxy(through)
    assert proxy is not None
    plain = scene.serve(None)
    policy = traveller.options["pins"]
    for url in (plain.url(), plain.url().replace("localhost", "LocalHost.")):
        with pytest.raises(InsecureURLError):
            ask_through(scene, policy, client, proxy.url, url)
    assert scene.toll(plain) == (0, 0, 0)
    assert ask_through(scene, policy, client, proxy.url, plain.url(host="127.0.0.1")) == "ok"
    assert_nothing_leaked(plain)


@pytest.mark.parametrize("kind", ["plain", "session", "adapter"])
@pytest.mark.parametrize("through", [None, "basic_proxy", "https_proxy"])
def test_credentials_do_not_travel(traveller: Traveller, kind: str, through: str | None) -> None:
    """A redirect to another host leaves the credentials behind, as in requests; one to the same place takes them."""
    scene = traveller.scene
    proxy = traveller.proxy(through)
    session = scene.trusting(requests.Session()) if kind == "plain" else traveller.session(kind)
    session.proxies = {"https": proxy.url} if proxy else {}
    thief = scene.serve(scene.attacker)  # at an exempt host
    handler = {
        "/": Response(302, (("Location", thief.url(host="127.0.0.1")),)),
        "/again": Response(302, (("Location", "/there"),)),
        "/there": b"ok",
    }
    server = scene.serve(scene.honest, handler=handler)
    assert session.get(server.url(), auth=("user", SECRET)).url == thief.url(host="127.0.0.1")
    assert [each.header("Authorization") for each in thief.requests] == [None]
    assert_nothing_leaked(thief)

    assert session.get(server.url("/again"), auth=("user", SECRET)).text == "ok"
    assert len({each.header("Authorization") for each in server.requests}) == 1
    assert server.requests[-1].header("Authorization") is not None
    assert_nothing_leaked(server)


def test_rebuild_auth(traveller: Traveller) -> None:
    """A subclass that keeps the credentials for hosts that it trusts is asked, as in requests, and still pinned."""

    class Trusting(PinnedSession):
        def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
            """Keep them."""

    scene, options = traveller.scene, traveller.options
    pins = {"localhost": [Pin.from_certificate(scene.honest.certificate), scene.backup]}
    both = PinPolicy({**pins, "127.0.0.1": pins["localhost"]})
    session = scene.trusting(Trusting(both, on_violation=options["on_violation"]))
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    led_to = ""
    first = scene.serve(scene.honest, handler=lambda _: Response(302, (("Location", led_to),)))
    led_to = mitm.url(host="127.0.0.1")
    with pytest.raises(PinMismatchError) as caught:
        session.get(first.url(), auth=("user", SECRET))
    assert caught.value.host == "127.0.0.1"
    assert scene.toll(mitm) == (1, 1, 0)

    led_to = server.url(host="127.0.0.1")
    assert session.get(first.url(), auth=("user", SECRET)).text == "ok"
    assert server.requests[0].header("Authorization") == first.requests[0].header("Authorization")

"""mitmproxy, with which real interceptions are made: it reads along with plain requests, and gets no pinned byte.

Rules for the next maintainer:

- What mitmproxy got is read from its own record, which an addon writes as it decrypts: never from what the client says.
- A connection that leads to the server `passed` is let through untouched (``ignore_hosts``): the honest twin takes the
  same way, through the same mitmproxy.
- mitmproxy lives in a virtual environment of its own, since its dependencies are pinned to versions of their own. It is
  found by MITMDUMP, a path, or on PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests

from pinned_requests import Pin, PinMismatchError, PinnedSession
from pinned_requests.core.verdict import Outcome
from pinned_requests.testing import Response, TLSServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

    from support.lab import Certificates

MITMDUMP = shutil.which(os.environ.get("MITMDUMP") or "mitmdump")
WAIT = 60.0  # seconds: mitmproxy imports much, and makes an RSA key, before it listens
# Spellings of one address: mitmproxy takes port 0 once for each. The first is for `reverse:https`, which listens for
# HTTP/3 as well and reads no other there.
LOOPBACK = ["127.0.0.1", "127.0.1", "127.1", "0x7f.1"]
SECRET = "the-secret-of-the-request"  # noqa: S105  what the attacker is after

# Writes a line for each event: the kind, the port of its listener, and what was decrypted.
ADDON = """
import json, os
from mitmproxy import ctx

record = open(os.environ["RECORD"], "w", buffering=1)

def write(kind, port, content=b""):
    record.write(json.dumps([kind, port, content.decode("latin-1")]) + "\\n")

def running():
    for server in ctx.master.addons.get("proxyserver").servers:
        write("listening", server.listen_addrs[0][1], server.mode.full_spec.encode())

def client_connected(client):
    write("connected", client.sockname[1])

def is_raw(client):
    return getattr(client.proxy_mode, "scheme", None) == "tls"

def client_disconnected(client):
    if not is_raw(client):
        write("disconnected", client.sockname[1])

def server_disconnected(data):
    # Bytes that are no HTTP, and their end, are passed on in order; mitmproxy keeps its own end to the client open.
    if is_raw(data.client):
        write("disconnected", data.client.sockname[1])

def tls_clienthello(hello):
    write("hello", hello.context.client.sockname[1])

def requestheaders(flow):
    request = flow.request
    head = [f"{request.method} {request.path}".encode(), *(b": ".join(field) for field in request.headers.fields)]
    write("plaintext", flow.client_conn.sockname[1], b"\\r\\n".join(head))

def request(flow):
    write("plaintext", flow.client_conn.sockname[1], flow.request.raw_content or b"")

def tcp_message(flow):
    message = flow.messages[-1]
    if message.from_client:
        write("plaintext", flow.client_conn.sockname[1], message.content)
"""


@pytest.fixture(scope="module", autouse=True)
def _mitmdump_is_there() -> None:
    """Skip where mitmproxy is not installed; where these tests are the evidence, its absence is a failure."""
    if MITMDUMP is None:
        reason = "mitmdump is not installed (pip install mitmproxy, in a virtual environment of its own; see MITMDUMP)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


class Take(NamedTuple):
    """What mitmproxy got of its clients, beyond the CONNECT of a proxy."""

    connections: int
    interceptions: int  # ClientHellos that it answered itself
    plaintext: str


class Mitmproxy:
    """mitmdump on ephemeral ports, with all its files in one folder; for the time of a `with` block.

    Args:
        folder: an empty folder.
        trusted: path of the CA bundle by which it verifies the servers.
        intercepted: the server whose connections it intercepts.
        passed: the server whose connections it lets through.
    """

    def __init__(self, folder: Path, trusted: str, intercepted: TLSServer, passed: TLSServer) -> None:
        self.intercepted = intercepted
        self.passed = passed
        self._folder = folder
        self._record = folder / "record"
        self._modes = {
            "reverse": f"reverse:https://localhost:{intercepted.port}",
            # What is decrypted is recorded byte for byte, whether or not it is HTTP.
            "raw": f"reverse:tls://localhost:{intercepted.port}",
            "passed": f"reverse:tls://localhost:{passed.port}",
            "regular": "regular",
        }
        for (name, mode), address in zip(self._modes.items(), LOOPBACK, strict=True):
            self._modes[name] = f"{mode}@{address}:0"
        (folder / "addon.py").write_text(ADDON)
        self._command = [
            *(str(MITMDUMP), "--scripts", "addon.py", "--set", "confdir=configuration"),
            *(part for mode in self._modes.values() for part in ("--mode", mode)),
            *("--set", f"ssl_verify_upstream_trusted_ca={trusted}", "--ignore-hosts", f":{passed.port}$"),
        ]
        self._offset = 0  # lines of the record that were taken

    def __enter__(self) -> Self:
        # Not those of this interpreter: mitmproxy runs in another one, with other packages.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
        environment |= {"HOME": str(self._folder), "RECORD": str(self._record), "PYTHONUNBUFFERED": "1"}
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_for(lambda: len(self._listening()) == len(self._modes), "started")
        except BaseException:
            self.__exit__()
            raise
        by_mode = self._listening()
        self.ports = {name: by_mode[mode] for name, mode in self._modes.items()}
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(WAIT)

    @property
    def certificate_pem(self) -> bytes:
        """Its own CA, which it made when it started."""
        return (self._folder / "configuration" / "mitmproxy-ca-cert.pem").read_bytes()

    def take(self) -> Take:
        """Return what it got since the last call, once all its clients are gone: then nothing more can come."""
        events: list[tuple[str, int, str]] = []

        def gone() -> bool:
            events[:] = self._events()[self._offset :]
            kinds = [kind for kind, _, _ in events]
            return "connected" in kinds and kinds.count("connected") == kinds.count("disconnected")

        self._wait_for(gone, "seen its clients go")
        self._offset += len(events)
        kinds = [kind for kind, _, _ in events]
        plaintext = "\n".join(content for kind, _, content in events if kind == "plaintext")
        return Take(kinds.count("connected"), kinds.count("hello"), plaintext)

    def _events(self) -> list[tuple[str, int, str]]:
        text = self._record.read_text() if self._record.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _listening(self) -> dict[str, int]:
        return {content: port for kind, port, content in self._events() if kind == "listening"}

    def _wait_for(self, condition: Callable[[], bool], goal: str) -> None:
        deadline = time.monotonic() + WAIT
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mitmproxy has not {goal}: {(self._folder / 'log').read_text()}")
            time.sleep(0.01)


@pytest.fixture(scope="module")
def running(cast: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmproxy]:
    """Mitmproxy before two honest servers that have the same key."""
    folder = tmp_path_factory.mktemp("mitmproxy")
    trusted = folder / "trusted.pem"
    trusted.write_bytes(cast.root.certificate_pem)
    with TLSServer(cast.honest) as intercepted, TLSServer(cast.honest) as passed:  # noqa: SIM117  they outlive it
        with Mitmproxy(folder, str(trusted), intercepted, passed) as mitmproxy:
            yield mitmproxy


@pytest.fixture
def mitmproxy(running: Mitmproxy, cast: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mitmproxy:
    """Mitmproxy on the network of a client whose trust store holds its CA, as on a company's machines."""
    store = tmp_path / "store.pem"
    store.write_bytes(cast.root.certificate_pem + running.certificate_pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(store))
    running.passed.handler = None
    running._offset = len(running._events())
    return running


class Route(NamedTuple):
    """Where the client sends a request, and through which proxy."""

    to_intercepted: str
    to_passed: str
    proxies: dict[str, str] | None = None


@pytest.fixture(params=["reverse", "raw", "proxies", "HTTPS_PROXY"])
def route(request: pytest.FixtureRequest, mitmproxy: Mitmproxy, monkeypatch: pytest.MonkeyPatch) -> Route:
    """How the client comes to mitmproxy: redirected by its network to a reverse proxy, or configured to use a proxy."""
    kind, ports = request.param, mitmproxy.ports
    if kind in {"reverse", "raw"}:
        return Route(f"https://localhost:{ports[kind]}/", f"https://localhost:{ports['passed']}/")
    proxy = f"http://127.0.0.1:{ports['regular']}"
    if kind == "HTTPS_PROXY":
        monkeypatch.setenv(kind, proxy)
    servers = mitmproxy.intercepted, mitmproxy.passed
    to_intercepted, to_passed = (server.url() for server in servers)
    return Route(to_intercepted, to_passed, {"https": proxy} if kind == "proxies" else None)


def get(session: requests.Session, url: str, **options: Any) -> str:
    """Send a secret in the path and in a header."""
    return str(session.get(url + SECRET, headers={"X-Api-Key": SECRET}, **options).text)


def post(session: requests.Session, url: str, **options: Any) -> str:
    """Send a secret in the body."""
    return str(session.post(url, data=SECRET, **options).text)


def chunked(session: requests.Session, url: str, **options: Any) -> str:
    """Send a body that is made while it is sent."""
    return str(session.post(url, data=(part.encode() for part in ["begin", SECRET]), **options).text)


def stream(session: requests.Session, url: str, **options: Any) -> str:
    """Read the answer bit by bit."""
    with session.get(url + SECRET, stream=True, **options) as response:
        return b"".join(response.iter_content(1)).decode()


SENDING = [get, post, chunked, stream]


def pinned(cast: Certificates, **options: Any) -> PinnedSession:
    """Make a session that pins the honest servers' key, and trusts what its trust store holds."""
    return PinnedSession({"localhost": [Pin.from_certificate(cast.honest.certificate), cast.backup]}, **options)


def assert_refused(caught: pytest.ExceptionInfo[PinMismatchError], mitmproxy: Mitmproxy) -> None:
    """See that it was mitmproxy's certificate, verified up to its own CA, that was refused."""
    assert caught.value.chain[-1].spki_pin == Pin.from_certificate(mitmproxy.certificate_pem)


@pytest.mark.parametrize("send", SENDING)
def test_without_pins_it_reads_along(mitmproxy: Mitmproxy, route: Route, send: Callable[..., str]) -> None:
    """Plain requests gets its answer and notices nothing; its secret stands in mitmproxy's record."""
    before = len(mitmproxy.intercepted.requests)
    with requests.Session() as session:
        assert send(session, route.to_intercepted, proxies=route.proxies) == "ok"
    take = mitmproxy.take()
    assert (take.connections, take.interceptions) == (1, 1)
    assert SECRET in take.plaintext
    assert len(mitmproxy.intercepted.requests) == before + 1


@pytest.mark.parametrize("send", SENDING)
def test_with_pins_it_gets_nothing(
    cast: Certificates, mitmproxy: Mitmproxy, route: Route, send: Callable[..., str]
) -> None:
    """A pinned session makes one handshake with it and sends nothing; where it lets the host through, all is well."""
    before = mitmproxy.intercepted.application_bytes
    with pinned(cast) as session:
        with pytest.raises(PinMismatchError) as caught:
            send(session, route.to_intercepted, proxies=route.proxies)
        assert_refused(caught, mitmproxy)
        assert mitmproxy.take() == (1, 1, "")
        mitmproxy.intercepted.settle()
        assert mitmproxy.intercepted.application_bytes == before

        assert send(session, route.to_passed, proxies=route.proxies) == "ok"
    assert mitmproxy.take() == (1, 0, "")


def test_redirect(cast: Certificates, mitmproxy: Mitmproxy, route: Route) -> None:
    """A server that is let through sends its client on to one that is intercepted: plain requests goes."""
    # Closed, because requests may keep the connection open for as long as the error is kept that the next one ends in.
    mitmproxy.passed.handler = {
        "/": Response(307, (("Location", route.to_intercepted), ("Connection", "close"))),
        "/home": Response(307, (("Location", route.to_passed + "there"), ("Connection", "close"))),
        "/there": b"ok",
    }
    with requests.Session() as session:
        assert post(session, route.to_passed, proxies=route.proxies) == "ok"
    take = mitmproxy.take()
    assert (take.connections, take.interceptions) == (2, 1)
    assert SECRET in take.plaintext

    with pinned(cast) as session:
        with pytest.raises(PinMismatchError) as caught:
            post(session, route.to_passed, proxies=route.proxies)
        assert_refused(caught, mitmproxy)
    assert mitmproxy.take() == (2, 1, "")

    with pinned(cast) as session:
        assert post(session, f"{route.to_passed}home", proxies=route.proxies) == "ok"
    assert mitmproxy.take() == (2, 0, "")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_without_verification(
    cast: Certificates, mitmproxy: Mitmproxy, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `verify=False` plain requests takes mitmproxy's certificate from anywhere; a pinned leaf is still a must."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with requests.Session() as session:
        assert get(session, route.to_intercepted, proxies=route.proxies, verify=False) == "ok"
    assert SECRET in mitmproxy.take().plaintext

    with pinned(cast) as session:
        with pytest.raises(PinMismatchError):
            get(session, route.to_intercepted, proxies=route.proxies, verify=False)
        assert mitmproxy.take() == (1, 1, "")
        assert get(session, route.to_passed, proxies=route.proxies, verify=False) == "ok"
    assert mitmproxy.take() == (1, 0, "")


def test_check(cast: Certificates, mitmproxy: Mitmproxy, route: Route) -> None:
    """`check()` tells that somebody reads along, without a byte for them to read."""
    with pinned(cast) as session:
        session.proxies = route.proxies or {}
        check = session.check(route.to_intercepted)
        assert (check.outcome, check.verified) == (Outcome.MISMATCH, True)
        assert check.chain[-1].spki_pin == Pin.from_certificate(mitmproxy.certificate_pem)
        assert mitmproxy.take() == (1, 1, "")
        assert session.check(route.to_passed).ok
    assert mitmproxy.take() == (1, 0, "")

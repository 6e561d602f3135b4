"""`PinnedSession.check()`: is it on? It makes one handshake, sends nothing, and says what it found."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from pinned_requests import (
    Pin,
    PinCheck,
    PinnedAdapter,
    PinnedSession,
    PinSet,
    PolicyStore,
    UnpinnableAdapterError,
)
from pinned_requests.core.verdict import Outcome
from pinned_requests.testing import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import NoReturn

    from pinned_requests import ViolationReport
    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.testing import TLSServer
    from support.lab import Lab

WAIT = 20.0  # seconds
DAY = dt.timedelta(days=1)


def pins_of(credential: Credential) -> list[Pin]:
    """Return the pins of a chain, leaf first."""
    return [Pin.from_certificate(certificate) for certificate in credential.chain]


def unexpected(report: ViolationReport) -> NoReturn:
    """A sink that must not be told of anything."""
    pytest.fail(f"the sink was told: {report}")


def assert_one_handshake(server: TLSServer, count: int = 1) -> None:
    """Assert that a server got handshakes, and nothing after them, and that they are over."""
    server.settle()
    assert (server.connections, server.handshakes, server.application_bytes) == (count, count, 0)
    assert server.open_connections == 0


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_match(lab: Lab, depth: int) -> None:
    """It says which pin matched, and where."""
    server = lab.serve(lab.honest)
    pin = pins_of(lab.honest)[depth]
    session = lab.trusting(PinnedSession({"localhost": [lab.backup, pin]}))
    check = session.check(server.url("/path?query"))
    assert check == PinCheck(
        host="localhost",
        port=server.port,
        outcome=Outcome.MATCH,
        pattern="localhost",
        pin=pin,
        depth=depth,
        chain=check.chain,
        verified=True,
    )
    assert check.ok
    assert check.outcome == "match"
    assert [each.spki_pin for each in check.chain] == pins_of(lab.honest)
    assert_one_handshake(server)


@pytest.mark.parametrize("report_only", [False, True])
def test_mismatch(lab: Lab, caplog: pytest.LogCaptureFixture, *, report_only: bool) -> None:
    """It does not raise, calls nobody, and is not softened: the key is the wrong one. It is not logged."""
    reports: list[object] = []
    mitm = lab.serve(lab.attacker)
    pins = PinSet(pins=lab.pins["localhost"], report_only=report_only)
    session = lab.trusting(PinnedSession({"localhost": pins}, on_violation=reports.append, max_retries=3))
    check = session.check(mitm.url())
    assert (check.ok, check.outcome, check.pattern, check.pin, check.depth, check.verified) == (
        *(False, Outcome.MISMATCH, "localhost", None, None),
        True,
    )
    assert [each.spki_pin for each in check.chain] == pins_of(lab.attacker)
    assert_one_handshake(mitm)
    assert reports == []
    assert [record for record in caplog.records if record.name == "pinned_requests"] == []


def test_blocked_key(lab: Lab) -> None:
    """It names the blocked pin and its place."""
    server = lab.serve(lab.honest)
    blocked = pins_of(lab.honest)[1]
    session = lab.trusting(
        PinnedSession(
            {"localhost": {"pins": lab.pins["localhost"], "blocked_pins": [blocked]}}, on_violation=unexpected
        )
    )
    check = session.check(server.url())
    assert (check.ok, check.outcome, check.pin, check.depth) == (False, Outcome.BLOCKED_KEY, blocked, 1)
    assert_one_handshake(server)


@pytest.mark.parametrize(("on_expiry", "connections"), [("unpin", 1), ("block", 0)])
def test_expired(lab: Lab, on_expiry: str, connections: int) -> None:
    """What is refused before a connection is made takes none here either."""
    server = lab.serve(lab.honest)
    expired = {
        "pins": lab.pins["localhost"],
        "expires": dt.datetime.now(dt.UTC) - DAY,
        "on_expiry": on_expiry,
    }
    session = lab.trusting(PinnedSession({"localhost": expired}, on_violation=unexpected))
    check = session.check(server.url())
    assert (check.ok, check.outcome, check.pattern) == (False, Outcome.EXPIRED, "localhost")
    assert_one_handshake(server, connections)


def test_unpinned_and_exempt(lab: Lab) -> None:
    """The handshake is made, as `get()` would, and the chain is shown."""
    server = lab.serve(lab.honest)
    cases: list[tuple[dict[str, PinsLike], Outcome, str | None]] = [
        ({"unrelated.test": PinSet.exempt()}, Outcome.UNPINNED, None),
        ({"localhost": PinSet.exempt(), "**.example.com": lab.pins["localhost"]}, Outcome.EXEMPT, "localhost"),
    ]
    for policy, verdict, pattern in cases:
        session = lab.trusting(PinnedSession(policy, unpinned_hosts="allow"))
        check = session.check(server.url())
        assert (check.ok, check.outcome, check.pattern, check.pin) == (False, verdict, pattern, None)
    assert_one_handshake(server, 2)


def test_refused_without_a_connection(lab: Lab) -> None:
    """A host that is not pinned, and `http://`, take none."""
    server, plain = lab.serve(lab.honest), lab.serve(None)
    blocking = lab.trusting(PinnedSession({"other.example.com": lab.pins["localhost"]}))
    pinned = lab.trusting(PinnedSession(lab.pins, unpinned_hosts="allow"))
    seen = [
        (check.outcome, check.host, check.pattern, check.chain, check.ok)
        for check in (
            blocking.check(server.url()),
            blocking.check(plain.url()),
            pinned.check(plain.url()),
            pinned.check(plain.url(host="127.0.0.1")),
        )
    ]
    assert seen == [
        (Outcome.UNPINNED_HOST, "localhost", None, (), False),
        (Outcome.INSECURE_URL, "localhost", None, (), False),
        (Outcome.INSECURE_URL, "localhost", "localhost", (), False),
        (Outcome.UNPINNED, "127.0.0.1", None, (), False),
    ]
    assert (server.connections, plain.connections) == (0, 0)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_unverified(lab: Lab) -> None:
    """With `session.verify = False` the leaf alone counts, and the check says that nothing was verified."""
    appliance = Credential.self_signed("localhost")
    server = lab.serve(appliance)
    honest = lab.serve(lab.honest)
    for credential, target, depth in ((appliance, server, 0), (lab.honest, honest, 0), (lab.honest, honest, 1)):
        session = lab.trusting(PinnedSession({"localhost": [pins_of(credential)[depth], lab.backup]}))
        session.verify = False
        check = session.check(target.url())
        assert (check.ok, check.verified) == (depth == 0, False)
        assert check.depth == (0 if check.ok else None)
    assert_one_handshake(server)
    assert_one_handshake(honest, 2)


def test_an_open_connection_does_not_spare_the_handshake(lab: Lab) -> None:
    """What the server presents now is what counts; the requests of before and after are not disturbed."""
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(lab.pins))
    assert session.get(server.url()).text == "ok"
    server.settle()
    before = server.application_bytes
    assert session.check(server.url()).ok
    server.settle()
    assert (server.handshakes, server.application_bytes) == (2, before)
    server.credential = lab.attacker
    assert session.check(server.url()).outcome is Outcome.MISMATCH
    server.settle()
    assert (server.handshakes, server.application_bytes) == (3, before)
    assert session.get(server.url()).text == "ok"  # over the connection to the honest server, which is still open
    server.credential = lab.honest
    assert session.check(server.url()).ok
    server.settle()
    assert server.handshakes == 4


def test_a_changed_policy(lab: Lab) -> None:
    """It follows the store, also with several checks in a row; the session is used as ever."""
    server = lab.serve(lab.honest)
    store = PolicyStore(lab.pins)
    session = lab.trusting(PinnedSession(store))
    assert session.check(server.url()).ok
    store.set({"localhost": [pins_of(lab.attacker)[0], lab.backup]})
    assert not session.check(server.url()).ok
    store.set(lab.pins)
    assert session.check(server.url()).ok
    assert_one_handshake(server, 3)
    assert session.get(server.url()).text == "ok"


def test_errors_are_those_of_get(lab: Lab, tmp_path: Path) -> None:
    """No connection, an invalid certificate, an odd URL, wrong files: the same classes."""
    now = dt.datetime.now(dt.UTC)
    issuer = lab.honest.issuer
    plain = lab.serve(None)
    servers = [
        lab.serve(each)
        for each in (
            issuer.issue("localhost", not_before=now - 3 * DAY, not_after=now - DAY),
            issuer.issue("other.example.com"),
            Authority.create().issue("localhost"),
            Credential.self_signed("localhost"),
        )
    ]
    urls = [
        *(server.url() for server in servers),
        f"https://localhost:{plain.port}/",
        "https://localhost:1/",
        "https://localhost:99999/",
        "https://",
        "nonsense",
        "foo://bar",
        "https://[::1",
    ]
    pins = {"localhost": [pins_of(lab.honest)[1], lab.backup]}
    session = lab.trusting(PinnedSession(pins, unpinned_hosts="allow"))
    for url in urls:
        caught = []
        for act in (session.get, session.check):
            with pytest.raises(Exception) as error:  # noqa: PT011  compared below
                act(url, timeout=5)
            caught.append(type(error.value))
        assert caught[0] is caught[1], url
    honest = lab.serve(lab.honest)
    for name, value in (("verify", str(tmp_path / "missing")), ("cert", str(tmp_path / "missing"))):
        with contextlib.ExitStack() as stack:
            broken = stack.enter_context(PinnedSession(pins))
            broken.verify = lab.bundle
            setattr(broken, name, value)
            for act in (broken.get, broken.check):
                with pytest.raises(OSError, match="missing"):
                    act(honest.url())
    for server in servers:
        server.settle()
        assert (server.connections, server.application_bytes) == (2, 0)


def test_timeout(lab: Lab) -> None:
    """It holds during a handshake that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        session = lab.trusting(PinnedSession(lab.pins))
        begin = time.monotonic()
        with pytest.raises(requests.exceptions.ReadTimeout):
            session.check(f"https://localhost:{silent.getsockname()[1]}/", timeout=0.1)
        assert time.monotonic() - begin < WAIT


class Foreign(BaseAdapter):
    """Connects in a way of its own."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Must not be called."""
        raise AssertionError((args, kwargs))

    def close(self) -> None:
        """Nothing is open."""


def test_adapters(lab: Lab) -> None:
    """A foreign one cannot be checked; one that was pinned in place, and one with a policy of its own, can."""
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(lab.pins))
    session.mount("https://", Foreign())
    with pytest.raises(UnpinnableAdapterError):
        session.check(server.url())
    assert server.connections == 0
    session.mount("https://", HTTPAdapter(max_retries=2))
    assert session.check(server.url()).ok
    session.mount("https://", PinnedAdapter({"localhost": [pins_of(lab.attacker)[0], lab.backup]}))
    check = session.check(server.url())
    assert check.outcome is Outcome.MISMATCH
    assert_one_handshake(server, 2)


def test_a_caching_subclass_is_looked_through(lab: Lab) -> None:
    """An adapter that answers by itself must not keep the check from being made."""

    class Answering(PinnedAdapter):
        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]  # fewer parameters
            return super().send(request, **kwargs) if request.method == "BREW" else requests.Response()

    mitm = lab.serve(lab.attacker)
    session = lab.trusting(PinnedSession(lab.pins))
    session.mount("https://", Answering(lab.pins))
    assert session.check(mitm.url()).outcome is Outcome.MISMATCH
    assert_one_handshake(mitm)


def test_a_client_certificate(lab: Lab, tmp_path: Path) -> None:
    """`session.cert` is used, as `get()` would."""
    import ssl  # noqa: PLC0415  for this test alone

    clients = Authority.create("Our Clients")
    client = clients.issue("client.example.com")
    path = tmp_path / "client.pem"
    path.write_bytes(client.key_pem + client.served_pem)
    context = lab.honest.server_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients.certificate_der)
    server = lab.serve(None, context=context)
    session = lab.trusting(PinnedSession(lab.pins))
    with pytest.raises(requests.exceptions.RequestException):
        session.check(server.url())
    session.cert = str(path)
    assert session.check(server.url()).ok


@pytest.fixture(scope="module")
def proxy(start_proxy: Callable[..., int]) -> str:
    """proxy.py with basic authentication; its URL."""
    return f"http://user:password@127.0.0.1:{start_proxy('--basic-auth', 'user:password')}"


@pytest.mark.parametrize("source", ["session", "environment"])
def test_through_a_proxy(lab: Lab, proxy: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own chain is looked at; neither it nor the attacker gets a byte."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    session = lab.trusting(PinnedSession(lab.pins))
    if source == "session":
        session.proxies = {"https": proxy}
    else:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    check = session.check(server.url())
    assert (check.ok, check.host, check.port, check.depth) == (True, "localhost", server.port, 0)
    assert session.check(mitm.url()).outcome is Outcome.MISMATCH
    assert_one_handshake(server)
    assert_one_handshake(mitm)
    assert session.get(server.url()).text == "ok"


def test_a_proxy_that_does_not_let_in(lab: Lab, proxy: str) -> None:
    """The error is that of `get()`."""
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(lab.pins))
    session.proxies = {"https": proxy.replace("password", "wrong")}
    for act in (session.get, session.check):
        with pytest.raises(requests.exceptions.ProxyError):
            act(server.url())
    assert server.connections == 0

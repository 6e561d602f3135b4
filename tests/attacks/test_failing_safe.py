"""What is softened, and what is not: report-only sets, pins that have expired, and whoever is told of a refusal.

Rule for the next maintainer: the clock that counts is `enforcement.guard._now`; certificates live by the real one.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import requests

from pinned_requests import (
    BlockedKeyError,
    Pin,
    PinMismatchError,
    PinnedAdapter,
    PinnedPoolManager,
    PinnedSession,
    PinningError,
    PinsExpiredError,
)
from pinned_requests.enforcement import guard
from pinned_requests.testing import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests import ViolationReport
    from support.scene import Scene

SECOND = dt.timedelta(seconds=1)


def honest(scene: Scene) -> Pin:
    """The pin of the honest server's key."""
    return Pin.from_certificate(scene.honest.certificate)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was found, of each of our log records."""
    return [record.outcome for record in caplog.records if record.name == "pinned_requests"]  # type: ignore[attr-defined]  # extra


@pytest.mark.parametrize("of", ["stranger", "other-name", "self-signed", "expired"])
def test_report_only_softens_no_certificate_error(scene: Scene, of: str) -> None:
    """Chain, name and dates are validated as ever; the right pin does not help either."""
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    credential = {
        "stranger": lambda: Authority.create("Stranger").issue("localhost"),
        "other-name": lambda: scene.root.issue("other.example.com"),
        "self-signed": lambda: Credential.self_signed("localhost"),
        "expired": lambda: scene.root.issue(
            "localhost", not_before=yesterday - dt.timedelta(days=30), not_after=yesterday
        ),
    }[of]()
    server, twin = scene.serve(credential), scene.serve(scene.attacker)
    for pin in (honest(scene), Pin.from_certificate(credential.certificate)):
        reports: list[ViolationReport] = []
        session = scene.pinned(pin, report_only=True, options={"on_violation": reports.append})
        with pytest.raises(requests.exceptions.SSLError) as caught:
            session.post(server.url(), data="secret")
        assert not isinstance(caught.value, PinningError)
        assert scene.toll(server).application_bytes == 0
        assert reports == []
        assert session.get(twin.url()).text == "ok"
        assert len(reports) == 1


def test_report_only_refuses_a_blocked_key(scene: Scene) -> None:
    """A mismatch goes on, a compromised key does not."""
    reports: list[ViolationReport] = []
    blocked = [Pin.from_certificate(scene.attacker.certificate)]
    session = scene.pinned(
        honest(scene), report_only=True, blocked_pins=blocked, options={"on_violation": reports.append}
    )
    mitm, other = scene.serve(scene.attacker), scene.serve(scene.root.issue("localhost"))
    with pytest.raises(BlockedKeyError):
        session.post(mitm.url(), data="secret")
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(other.url()).text == "ok"
    assert [(each.verdict.outcome.value, each.verdict.is_allowed) for each in reports] == [
        ("blocked-key", False),
        ("mismatch", True),
    ]


@pytest.fixture(params=["session", "adapter", "manager"])
def ask(request: pytest.FixtureRequest, scene: Scene) -> Callable[..., Callable[..., str]]:
    """A function that asks a server on a client that has pins with some fields."""

    def make(**fields: Any) -> Callable[..., str]:
        options = {"on_violation": fields.pop("on_violation")}
        policy = {"localhost": {"pins": [honest(scene)], "backup_pins": [scene.backup], **fields}}
        if request.param == "manager":
            manager = PinnedPoolManager(policy, ca_certs=scene.bundle, cert_reqs="CERT_REQUIRED", **options)
            scene.opened.callback(manager.clear)
            return lambda server, **headers: manager.request("GET", server.url(), headers=headers).data.decode()
        session = PinnedSession(policy, **options) if request.param == "session" else requests.Session()
        if request.param == "adapter":
            session.mount("https://", PinnedAdapter(policy, **options))
        scene.trusting(session)
        return lambda server, **headers: str(session.get(server.url(), headers=headers).text)

    return make


EXPIRES = dt.datetime(2027, 3, 1, 12, tzinfo=dt.UTC)
THEN = pytest.mark.parametrize("late", [0 * SECOND, SECOND], ids=["at", "second-after"])
EITHER = pytest.mark.parametrize("on_expiry", ["unpin", "block"])


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[dt.datetime], None]:
    """A function that stops the clock of the guard."""
    return lambda moment: monkeypatch.setattr(guard, "_now", lambda: moment)


@EITHER
def test_a_second_before_expiry_pins_are_satisfied(
    scene: Scene,
    ask: Callable[..., Callable[..., str]],
    at: Callable[[dt.datetime], None],
    caplog: pytest.LogCaptureFixture,
    on_expiry: str,
) -> None:
    """Nothing is said of the expiry yet."""
    at(EXPIRES - SECOND)
    reports: list[ViolationReport] = []
    client = ask(expires=EXPIRES, on_expiry=on_expiry, on_violation=reports.append)
    server = scene.serve(scene.honest)
    assert [client(server), client(server)] == ["ok", "ok"]
    assert warnings_of(caplog) == reports == []


@EITHER
def test_a_second_before_expiry_pins_refuse(
    scene: Scene,
    ask: Callable[..., Callable[..., str]],
    at: Callable[[dt.datetime], None],
    caplog: pytest.LogCaptureFixture,
    on_expiry: str,
) -> None:
    """The attacker gets no byte."""
    at(EXPIRES - SECOND)
    client = ask(expires=EXPIRES, on_expiry=on_expiry, on_violation=lambda _: None)
    mitm = scene.serve(scene.attacker)
    with pytest.raises(PinMismatchError):
        client(mitm)
    assert scene.toll(mitm) == (1, 1, 0)
    assert warnings_of(caplog) == ["mismatch"]


@THEN
@pytest.mark.parametrize("key", ["honest", "attacker"])
def test_expired_pins_that_block(  # noqa: PLR0913, PLR0917 - one argument a thing that varies
    scene: Scene,
    ask: Callable[..., Callable[..., str]],
    at: Callable[[dt.datetime], None],
    caplog: pytest.LogCaptureFixture,
    late: dt.timedelta,
    key: str,
) -> None:
    """No server is connected to, whoever it is."""
    at(EXPIRES + late)
    client = ask(expires=EXPIRES, on_expiry="block", on_violation=lambda _: None)
    server = scene.serve(getattr(scene, key))
    with pytest.raises(PinsExpiredError) as caught:
        client(server)
    assert scene.toll(server) == (0, 0, 0)
    assert (caught.value.host, caught.value.expected) == ("localhost", (honest(scene), scene.backup))
    assert warnings_of(caplog) == ["expired"]


@THEN
@pytest.mark.parametrize("key", ["honest", "attacker"])
def test_expired_pins_that_fall_back(  # noqa: PLR0913, PLR0917 - one argument a thing that varies
    scene: Scene,
    ask: Callable[..., Callable[..., str]],
    at: Callable[[dt.datetime], None],
    caplog: pytest.LogCaptureFixture,
    late: dt.timedelta,
    key: str,
) -> None:
    """Every server with a valid certificate is accepted; this is warned of once, and reported once a connection."""
    at(EXPIRES + late)
    reports: list[ViolationReport] = []
    client = ask(expires=EXPIRES, on_expiry="unpin", on_violation=reports.append)
    server = scene.serve(getattr(scene, key))
    answers = [client(server), client(server), client(server, Connection="close"), client(server)]
    assert answers == ["ok"] * 4
    assert scene.toll(server).handshakes == len(reports) == 2
    assert warnings_of(caplog) == ["expired"]
    assert {each.effective_expiry for each in reports} == {EXPIRES}


def test_expired_pins_fall_back_to_certificates_that_are_valid(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """And to no others."""
    expires = dt.datetime(2027, 3, 1, 12, tzinfo=dt.UTC)
    monkeypatch.setattr(guard, "_now", lambda: expires)
    session = scene.pinned(honest(scene), expires=expires)
    stranger, twin = scene.serve(Authority.create("Stranger").issue("localhost")), scene.serve(scene.attacker)
    with pytest.raises(requests.exceptions.SSLError):
        session.post(stranger.url(), data="secret")
    assert scene.toll(stranger).application_bytes == 0
    assert session.get(twin.url()).text == "ok"


def test_a_name_of_the_same_host_in_sni_is_not_reported_again(scene: Scene) -> None:
    """`server_hostname=` that spells the URL's host is that host: one connection and key, one report."""
    reports: list[ViolationReport] = []
    mitm = scene.serve(scene.attacker)
    for name, count in (("localhost", 1), ("LocalHost", 1), ("api.example.com", 2)):
        reports.clear()
        pins = {"pins": [honest(scene)], "backup_pins": [scene.backup], "report_only": True}
        manager = PinnedPoolManager(
            {"localhost": pins, "api.example.com": pins},
            ca_certs=scene.bundle,
            cert_reqs="CERT_REQUIRED",
            server_hostname=name,
            on_violation=reports.append,
        )
        scene.opened.callback(manager.clear)
        for _ in range(2):
            assert manager.request("GET", mitm.url()).data == b"ok"
        assert len(reports) == count


AUDITED = """
import logging, sys
from pinned_requests import PinnedSession
url, bundle, pin, backup, error, report_only = sys.argv[1:]
logging.getLogger("pinned_requests").addHandler(logging.NullHandler())
events = []

def hook(event, arguments):
    if event.startswith("pinned_requests."):
        events.append((event, *arguments))
        if error != "none":
            raise getattr(__builtins__, error)("mine")

sys.addaudithook(hook)
session = PinnedSession({"localhost": {"pins": [pin], "backup_pins": [backup], "report_only": report_only == "yes"}})
session.verify = bundle
try:
    print(session.post(url, data="secret").text)
except BaseException as caught:
    print(type(caught).__name__)
print(events)
"""


@pytest.mark.parametrize("error", ["none", "OSError", "ValueError", "TimeoutError", "SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("report_only", ["no", "yes"])
def test_an_audit_hook_that_raises_fails_closed(scene: Scene, error: str, report_only: str) -> None:
    """A refusal stays one whatever a hook does: one handshake, no byte. What is only reported is not audited."""
    mitm, twin = scene.serve(scene.attacker), scene.serve(scene.honest)
    outputs = []
    for server in (mitm, twin):
        arguments = [server.url(), scene.bundle, str(honest(scene)), str(scene.backup), error, report_only]
        done = subprocess.run(
            [sys.executable, "-c", AUDITED, *arguments],
            stdout=subprocess.PIPE,
            env={**os.environ, "NO_PROXY": "*"},
            check=True,
            text=True,
            timeout=60,
        )
        outputs.append(done.stdout.splitlines())
    assert outputs[1] == ["ok", "[]"]
    if report_only == "yes":
        assert outputs[0] == ["ok", "[]"]
        return
    ends = error if error in ("SystemExit", "KeyboardInterrupt") else "PinMismatchError"
    assert outputs[0] == [ends, str([("pinned_requests.violation", "localhost", mitm.port, "mismatch")])]
    assert scene.toll(mitm) == (1, 1, 0)

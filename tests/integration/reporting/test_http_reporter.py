"""`HTTPReporter` with real servers, proxies and processes.

Rule for the next maintainer: reports go to 127.0.0.1, and pinned are localhost or example.com. A policy pins no host
that its reports go to.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from pinned_requests import InsecureURLError, PinMismatchError, PinnedAdapter, PinnedSession, PinPolicy, PolicyStore
from pinned_requests.reporting import HTTPReporter, http
from pinned_requests.reporting.http import shared_reporter
from pinned_requests.testing import Response
from support.fork import needs_fork

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pinned_requests.testing import Request, TLSServer
    from support.lab import Lab

PINS = [f"sha256/{c * 42}A=" for c in "AB"]
POLICY = {"**.example.com": PINS}
TOKEN = "the-token-of-the-report-server"  # noqa: S105 - stands in the URL's path
SECRET = "the-secret-of-the-request"  # noqa: S105 - what no report may hold
SOON = 10.0  # seconds: a wait that takes longer has failed


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Forget what waits, so that no thread of one test posts into the next."""
    yield
    for reporter in list(http._reporters):
        with reporter._changed:
            reporter._queue.clear()
        reporter.flush(0)


def violate(session: requests.Session, host: str = "api.example.com") -> None:
    """Cause a violation for which no connection is made, with a secret wherever a request has room for one."""
    with pytest.raises(InsecureURLError):
        session.post(
            f"http://{host}/{SECRET}?{SECRET}",
            data=SECRET,
            headers={"X-Secret": SECRET},
            cookies={"secret": SECRET},
            auth=("user", SECRET),
        )


def reporting_to(server: TLSServer) -> tuple[PinnedSession, HTTPReporter]:
    """Make a session whose violations are posted to a server."""
    reporter = HTTPReporter(server.url(f"/{TOKEN}", host="127.0.0.1"))
    return PinnedSession(POLICY, on_violation=reporter), reporter


def deliveries(server: TLSServer) -> list[dict[str, Any]]:
    """The reports that a server got, once all have arrived."""
    server.settle()
    return [json.loads(request.body) for request in server.requests]


@pytest.mark.parametrize("kind", ["session", "adapter"])
def test_the_policy_says_where_to(lab: Lab, kind: str) -> None:
    """A mismatch on a real connection is posted in the form of RFC 7469, once for all sessions of the process."""
    collector, mitm = lab.serve(None), lab.serve(lab.attacker)
    uri = collector.url(f"/{TOKEN}", host="127.0.0.1")
    policy = PinPolicy.from_json(
        json.dumps({"report_uri": uri, "hosts": {"localhost": [str(pin) for pin in lab.pins["localhost"]]}})
    )
    for _ in range(2):
        session = PinnedSession(policy) if kind == "session" else requests.Session()
        if kind == "adapter":
            session.mount("https://", PinnedAdapter(policy))
        lab.trusting(session)
        for _ in range(2):
            with pytest.raises(PinMismatchError):
                session.get(mitm.url(f"/{SECRET}?{SECRET}"), headers={"X-Secret": SECRET})
    assert shared_reporter(uri).flush(SOON)
    (delivery,) = deliveries(collector)
    (request,) = collector.requests
    assert (request.method, request.path, request.header("Content-Type")) == ("POST", f"/{TOKEN}", "application/json")
    assert (delivery["hostname"], delivery["port"], delivery["outcome"]) == ("localhost", mitm.port, "mismatch")
    assert [pem.count("BEGIN CERTIFICATE") for pem in delivery["served-certificate-chain"]] == [1, 1]
    assert SECRET.encode() not in collector.received


def test_another_policy_reports_elsewhere(lab: Lab) -> None:
    """The store's policy of the moment says where to."""
    collectors = [lab.serve(None), lab.serve(None)]
    policies = [PinPolicy(POLICY, report_uri=each.url(host="127.0.0.1")) for each in collectors]
    store = PolicyStore(PinPolicy(POLICY))
    session = PinnedSession(store)
    violate(session, "a.example.com")
    for policy, host in zip(policies, ("b.example.com", "c.example.com"), strict=True):
        store.set(policy)
        violate(session, host)
        assert policy.report_uri is not None
        assert shared_reporter(policy.report_uri).flush(SOON)
    assert [[each["hostname"] for each in deliveries(server)] for server in collectors] == [
        ["b.example.com"],
        ["c.example.com"],
    ]


def test_the_report_server_is_validated(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the CA it gets nothing, and the report waits; with the CA in the environment it gets it."""
    collector = lab.serve(lab.honest)
    session, reporter = reporting_to(collector)
    session.verify = False  # no business of the reporter's
    violate(session)
    assert not reporter.flush(SOON)
    collector.settle()
    assert (collector.handshakes, collector.application_bytes) == (0, 0)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    assert reporter.flush(SOON)
    assert len(deliveries(collector)) == 1


def test_no_cookie_no_credentials_no_redirect(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither what the server sets, nor what ~/.netrc has, nor anywhere it sends us."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password hidden\n")
    monkeypatch.setenv("NETRC", str(netrc))
    elsewhere = lab.serve(None)
    both_wait = threading.Event()

    def answer(_request: Request) -> Response:
        both_wait.wait(SOON)  # so that one session posts both
        return Response(307, (("Location", elsewhere.url(host="127.0.0.1")), ("Set-Cookie", "a=b; Path=/")))

    collector = lab.serve(None, handler=answer)
    session, reporter = reporting_to(collector)
    for host in ("a.example.com", "b.example.com"):
        violate(session, host)
    both_wait.set()
    assert reporter.flush(SOON)
    assert len(deliveries(collector)) == 2
    for request in collector.requests:
        assert {name.lower() for name, _ in request.headers} & {"cookie", "authorization"} == set()
    assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [200, 302, 400, 500])
def test_an_endless_answer_is_not_read(status: int) -> None:
    """Its headers say what became of the report; of its body nobody reads more than what came with them."""
    ended = threading.Event()

    def answer(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(f"HTTP/1.1 {status} X\r\nLocation: /\r\nContent-Length: {1 << 40}\r\n\r\n".encode())
            try:
                while True:
                    client.sendall(bytes(65536))
            except OSError:
                ended.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        reporter = HTTPReporter(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        violate(PinnedSession(POLICY, on_violation=reporter))
        assert reporter.flush(SOON) is (status != 500)
        assert ended.wait(SOON)
        thread.join(SOON)


def test_the_environments_proxy(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports go through the proxy that requests would take; `session.proxies` is for the session's requests."""
    proxy = lab.serve(None, handler=lambda _request: Response())
    monkeypatch.setenv("HTTP_PROXY", proxy.url(host="127.0.0.1"))
    reporter = HTTPReporter("http://reports.example.net/there")
    violate(PinnedSession(POLICY, on_violation=reporter))
    assert reporter.flush(SOON)
    assert [request.path for request in proxy.requests] == ["http://reports.example.net/there"]


@pytest.mark.parametrize(
    ("status", "is_settled"), [(200, True), (204, True), (400, True), (410, True), (429, False), (503, False)]
)
def test_what_the_server_answers(lab: Lab, caplog: pytest.LogCaptureFixture, status: int, *, is_settled: bool) -> None:
    """What it refuses is dropped, what it may take later waits; a failure is logged once, without path or token."""
    collector = lab.serve(None, handler=lambda _request: Response(status))
    session, reporter = reporting_to(collector)
    for host in ("a.example.com", "b.example.com"):
        violate(session, host)
        assert reporter.flush(SOON) is is_settled
    records = [record for record in caplog.records if record.name == http.logger.name]
    assert [record.levelno for record in records] == ([] if status < 300 else [logging.WARNING])
    assert TOKEN not in caplog.text.replace(f'"POST /{TOKEN} HTTP/1.1"', "")  # urllib3's own, of its debug level


def test_the_report_server_is_gone(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The request is refused as ever; a line says once that nobody takes the reports, and not to which path."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"http://127.0.0.1:{free.getsockname()[1]}/{TOKEN}"
    reporter = HTTPReporter(gone)
    session = lab.trusting(PinnedSession({**POLICY, **lab.pins}, on_violation=reporter))
    for host in ("a.example.com", "b.example.com"):
        violate(session, host)
        assert not reporter.flush(SOON)
    records = [record for record in caplog.records if record.name == http.logger.name]
    assert [record.getMessage().endswith("not delivered: ConnectionError") for record in records] == [True]
    assert TOKEN not in caplog.text
    assert session.get(lab.serve(lab.honest).url()).text == "ok"


def test_a_silent_report_server_delays_nobody() -> None:
    """Each violation is new, and a post would wait ten seconds for its answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reporter = HTTPReporter(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        session = PinnedSession(POLICY, on_violation=reporter)
        began = time.monotonic()
        for number in range(5):
            violate(session, f"h{number}.example.com")
        assert time.monotonic() - began < 2.0
        assert len(reporter._queue) == 5


def run(code: str, *arguments: str) -> tuple[str, float]:
    """Run a program, and return what it printed, and its end, in seconds of the monotonic clock."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True, text=True, timeout=60
    )
    return done.stdout, time.monotonic()


PROGRAM = """
import logging, os, sys, threading, time
from pinned_requests import InsecureURLError, PinnedSession, PinPolicy
from pinned_requests.reporting.http import shared_reporter
logging.getLogger("pinned_requests").addHandler(logging.NullHandler())
pins = [f"sha256/{c * 42}A=" for c in "AB"]
session = PinnedSession(PinPolicy({"**.example.com": pins}, report_uri=sys.argv[1]))
reporter = shared_reporter(sys.argv[1])

def violate(host):
    try:
        session.get(f"http://{host}/")
    except InsecureURLError:
        return
    raise SystemExit("it was not refused")
"""


def test_at_exit_what_waits_is_sent(lab: Lab) -> None:
    """A program that ends right after a violation has reported it."""

    def slow(_request: Request) -> Response:
        time.sleep(0.1)
        return Response()

    collector = lab.serve(None, handler=slow)
    run(PROGRAM + "for n in range(5): violate(f'h{n}.example.com')", collector.url(host="127.0.0.1"))
    assert sorted(each["hostname"] for each in deliveries(collector)) == [f"h{n}.example.com" for n in range(5)]


def test_at_exit_a_server_that_does_not_answer_costs_two_seconds() -> None:
    """It takes the connection and says nothing: the process ends all the same."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        code = PROGRAM + "violate('a.example.com'); print(time.monotonic())"
        began, ended = run(code, url)
    assert 1.5 < ended - float(began) < 4.0  # seconds: two, and what the interpreter takes to end


FORK = """
violate("parent.example.com")  # whose post is under way in the thread when the process forks
held, done = threading.Event(), threading.Event()

def hold():
    with reporter._changed:
        held.set()
        done.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    violate("child.example.com")
    os._exit(0 if reporter.flush(10) else 1)
_, status = os.waitpid(child, 0)
done.set()
print(os.waitstatus_to_exitcode(status))
"""


@needs_fork
def test_a_forked_child_has_a_thread_of_its_own(lab: Lab) -> None:
    """It inherits no thread and no lock that a thread held; what waits in the parent, the parent sends."""

    def slow(_request: Request) -> Response:
        time.sleep(0.3)
        return Response()

    collector = lab.serve(None, handler=slow)
    assert run(PROGRAM + FORK, collector.url(host="127.0.0.1"))[0] == "0\n"
    assert sorted(each["hostname"] for each in deliveries(collector)) == ["child.example.com", "parent.example.com"]


THREADS, VIOLATIONS = 16, 10_000


def delay_of_violations(reporter: HTTPReporter, hosts: int) -> float:
    """Cause violations from many threads, and return by how much a reporter delays one at the median, in seconds.

    Each thread asks a session with the reporter and one without in turns: what else this machine does meets both.
    """
    times: tuple[list[float], list[float]] = ([], [])
    sessions = PinnedSession(POLICY), PinnedSession(POLICY, on_violation=reporter)
    requests_ = [requests.Request("GET", f"http://h{number}.example.com/").prepare() for number in range(hosts)]

    def work(first: int) -> None:
        for number in range(first, VIOLATIONS, THREADS):
            for session, mine in zip(sessions, times, strict=True):
                began = time.perf_counter()
                try:
                    session.send(requests_[number % hosts])
                except InsecureURLError:
                    mine.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(each) for each in times] == [VIOLATIONS, VIOLATIONS]
    without, reported = map(statistics.median, times)
    return reported - without


@pytest.mark.slow
def test_ten_thousand_violations(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 16 threads, with a report server that never answers: no request waits, and each report is kept once."""
    monkeypatch.setattr(logging.getLogger("pinned_requests"), "disabled", True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reporter = HTTPReporter(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        # Sixteen threads share one interpreter, and coverage slows it down: the best of some runs is what it costs.
        limit = 0.001 if "COVERAGE_PROCESS_CONFIG" not in os.environ else 0.05
        assert any(delay_of_violations(reporter, hosts=100) < limit for _ in range(3))
        hosts = [report.host for report in reporter._queue.values()]
        assert sorted(hosts) == sorted(f"h{number}.example.com" for number in range(100))
        assert len(reporter._sent) == 0

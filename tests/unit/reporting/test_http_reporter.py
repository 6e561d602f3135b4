"""`HTTPReporter`: what is sent, how often, and what waits. Time and network are stand-ins."""

from __future__ import annotations

import copy
import datetime as dt
import gc
import json
import pickle
import threading
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinPolicy, PinSet, ViolationReport
from pinned_requests.core.chain import Chain, SeenCertificate
from pinned_requests.core.verdict import evaluate
from pinned_requests.reporting import HTTPReporter, http
from pinned_requests.reporting.http import shared_reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
URL = "https://reports.example.net/secret-token"
SOON = 10.0  # seconds: a wait that takes longer has failed


def pin(number: int) -> Pin:
    """A pin of its own."""
    return Pin("spki", number.to_bytes(32, "big"))


def report(number: int = 0, *, seen: int = 100, minutes: float = 0, der: bytes = b"", **fields: Any) -> ViolationReport:
    """A violation of the host of that number, by a certificate with the key `seen`."""
    certificate = SeenCertificate("CN=a", pin(seen), pin(seen + 1), frozenset((pin(seen),)), True, der)  # noqa: FBT003
    pins = PinSet([pin(1), pin(2)], **fields)
    chain = Chain((certificate,), is_verified=True)
    verdict = evaluate(PinPolicy({"**.example.com": pins}), f"h{number}.example.com", chain, NOW, port=443)
    return ViolationReport(verdict, NOW + dt.timedelta(minutes=minutes))


class Post:
    """Stands in for the network: keeps what was posted, and fails on demand."""

    def __init__(self) -> None:
        self.posted: list[ViolationReport] = []
        self.attempts = 0
        self.works = True
        self.attempted = threading.Event()

    def __call__(self, _session: object, report: ViolationReport) -> bool:
        """As `HTTPReporter._post`, of which it takes the place in the class."""
        self.attempts += 1
        if self.works:
            self.posted.append(report)
        self.attempted.set()
        return self.works


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    """Replace the post; what still waits at the end goes nowhere, too."""
    stand_in = Post()
    monkeypatch.setattr(HTTPReporter, "_post", stand_in)
    yield stand_in
    stand_in.works = True
    for reporter in list(http._reporters):
        reporter.flush(SOON)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of the monotonic clock, in a list of one."""
    seconds = [1000.0]
    monkeypatch.setattr(http, "_clock", lambda: seconds[0])
    return seconds


def test_the_same_report_is_sent_once_in_24_hours(post: Post, clock: list[float]) -> None:
    """To the second, counted from when it was sent, whatever the time of day says."""
    reporter = HTTPReporter(URL)
    for seconds, count in ((0, 1), (1, 1), (86399, 1), (86400, 2), (86401, 2), (172799, 2), (172800, 3)):
        clock[0] = 1000.0 + seconds
        reporter(report(minutes=seconds))
        assert reporter.flush(SOON)
        assert len(post.posted) == count


def test_the_time_counts_from_when_it_was_sent(post: Post, clock: list[float]) -> None:
    """A report that waited for the server for 20 hours is not sent again four hours later."""
    reporter = HTTPReporter(URL)
    post.works = False
    reporter(report())
    assert not reporter.flush(SOON)
    clock[0] += 20 * 3600
    post.works = True
    assert reporter.flush(SOON)
    clock[0] += 5 * 3600
    reporter(report())
    assert reporter.flush(SOON)
    assert len(post.posted) == 1


def test_what_makes_two_reports_the_same(post: Post) -> None:
    """Not the moment, nor a renewed certificate of the same key; but host, keys, pins, and what was decided."""
    reporter = HTTPReporter(URL)
    for same in (report(), report(minutes=5), report(der=b"renewed")):
        reporter(same)
    assert reporter.flush(SOON)
    assert len(post.posted) == 1
    others = [
        report(1),
        report(seen=200),
        report(report_only=True),
        report(backup_pins=[pin(3)]),
        report(expires="2027-03-02T00:00:00Z"),
        report(expires="2027-02-28T00:00:00Z"),
        report(blocked_pins=[pin(100)]),
    ]
    for other in others:
        reporter(other)
    assert reporter.flush(SOON)
    assert len(post.posted[1:]) == len(others)
    assert all(other in post.posted[1:] for other in others)


def test_the_queue_is_bounded_and_keeps_one_report_a_key(post: Post) -> None:
    """The first ones are kept; what was dropped may come again later."""
    reporter, count = HTTPReporter(URL), http.MAX_QUEUED + 50
    post.works = False
    for number in [*range(count), *range(count)]:
        reporter(report(number))
    assert len(reporter._queue) == http.MAX_QUEUED
    post.works = True
    assert reporter.flush(SOON)
    for number in range(count):
        reporter(report(number))
    assert reporter.flush(SOON)
    assert sorted(each.host for each in post.posted) == sorted(f"h{number}.example.com" for number in range(count))


def test_ten_thousand_reports_do_not_fill_the_memory(post: Post) -> None:
    """From 16 threads, each another one: the queue holds its 128, and nothing else grows."""
    reporter, barrier = HTTPReporter(URL), threading.Barrier(16)
    post.works = False
    many = [report(number) for number in range(10_000)]

    def work(first: int) -> None:
        barrier.wait()
        for each in many[first::16]:
            reporter(each)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(16)]
    tracemalloc.start()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        del threads, thread
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(reporter._queue) == len({each.host for each in reporter._queue.values()}) == http.MAX_QUEUED
    assert len(reporter._sent) == 0
    assert grown < 500_000  # bytes


def test_the_keys_are_bounded(post: Post, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as many as there is room for were sent within 24 hours, others wait for theirs: none is sent twice."""
    monkeypatch.setattr(http, "MAX_KEYS", 10)
    reporter = HTTPReporter(URL)
    for _ in range(2):
        for number in range(20):
            reporter(report(number))
            assert reporter.flush(SOON)
    assert [each.host for each in post.posted] == [f"h{number}.example.com" for number in range(10)]
    assert len(reporter._sent) == 10
    clock[0] += http.PERIOD
    reporter(report(15))
    assert reporter.flush(SOON)
    assert len(reporter._sent) == 1
    assert post.posted[-1].host == "h15.example.com"


def unpinned(number: int) -> ViolationReport:
    """A refusal of the host of that number, which no pattern names: a redirect makes any number of them."""
    verdict = evaluate(
        PinPolicy({"a.example": PinSet.exempt()}), f"u{number}.example", Chain((), is_verified=True), NOW
    )
    return ViolationReport(verdict, NOW)


def test_cheap_reports_do_not_push_a_mismatch_out(
    post: Post, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each outcome has room of its own, in the queue and for 24 hours."""
    monkeypatch.setattr(http, "MAX_KEYS", 200)
    reporter = HTTPReporter(URL)
    for number in range(300):  # all keys of this outcome
        reporter(unpinned(number))
        assert reporter.flush(SOON)
    assert len(post.posted) == 200
    post.works = False
    clock[0] += 1.5 * http.PERIOD
    for number in range(1000, 1000 + 2 * http.MAX_QUEUED):  # and its whole queue
        reporter(unpinned(number))
    mismatch = report()
    reporter(mismatch)
    assert len(reporter._queue) == http.MAX_QUEUED + 1
    post.works = True
    assert reporter.flush(SOON)
    assert mismatch in post.posted[200:203]  # in turn, not behind the others
    clock[0] += http.PERIOD
    reporter(report(1))
    assert reporter.flush(SOON)
    assert sum(reporter._known.values()) == len(reporter._sent) == 1
    assert sum(reporter._waiting.values()) == 0


def test_attempts_get_rarer(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """1, 2, 4 … seconds, and five minutes at most; a report that got through sets that back."""
    waits: list[float] = []
    reporter = HTTPReporter(URL)
    waiting = HTTPReporter._next

    def next_at_once(self: HTTPReporter, delay: float) -> Any:
        waits.append(delay)
        post.works = len(waits) > 12
        return waiting(self, 0.0)

    monkeypatch.setattr(HTTPReporter, "_next", next_at_once)
    post.works = False
    reporter(report(1))
    assert reporter.flush(SOON) or reporter.flush(SOON)
    for thread in threading.enumerate():
        if thread.name == "pinned_requests.reporting":
            thread.join(SOON)
    assert waits[:13] == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0]
    assert set(waits[13:]) == {0.0}


def test_a_report_that_the_server_chokes_on_does_not_block_the_others(post: Post) -> None:
    """What failed goes to the end of the queue."""
    reporter = HTTPReporter(URL)
    post.works = False
    for number in range(3):
        reporter(report(number))
    assert not reporter.flush(SOON)
    first = next(iter(reporter._queue.values())).host
    assert not reporter.flush(SOON)
    assert next(iter(reporter._queue.values())).host != first
    assert len(reporter._queue) == 3


def test_no_thread_before_the_first_report_and_none_behind_the_last(post: Post) -> None:
    """It begins with something to send, and ends with it: a reporter that nobody has any more is collected."""
    before = threading.active_count()
    reporter = HTTPReporter(URL)
    assert threading.active_count() == before
    reporter(report())
    assert reporter.flush(SOON)
    for thread in threading.enumerate():
        if thread.name == "pinned_requests.reporting":
            assert thread.daemon
            thread.join(SOON)
    assert threading.active_count() == before
    reporter(report(1))
    assert reporter.flush(SOON)
    assert len(post.posted) == 2
    for thread in threading.enumerate():
        if thread.name == "pinned_requests.reporting":
            thread.join(SOON)
    gone = weakref.ref(reporter)
    del reporter
    gc.collect()
    assert gone() is None


def test_no_thread_to_be_had(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of the interpreter: the request gets no error, and the next report finds the thread."""
    reporter = HTTPReporter(URL)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no more threads")))
        reporter(report(1))
        assert not reporter.flush(SOON)
    reporter(report(2))
    assert reporter.flush(SOON)
    assert [each.host for each in post.posted] == ["h1.example.com", "h2.example.com"]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])  # noqa: S301 - our own
def test_copies(post: Post, again: Callable[[HTTPReporter], HTTPReporter]) -> None:
    """A copy posts to the same URL, and has a queue of its own; neither shows the path."""
    reporter = HTTPReporter(URL)
    post.works = False
    reporter(report())
    other = again(reporter)
    assert other.uri == reporter.uri
    assert len(other._queue) == 0
    assert repr(other) == "<HTTPReporter to reports.example.net:443>"


def test_one_reporter_a_url_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions whose policies name one URL share what was sent, from any thread; URLs do not pile up."""
    monkeypatch.setattr(http, "_shared", {})
    found: list[HTTPReporter] = []
    threads = [threading.Thread(target=lambda: found.append(shared_reporter(URL))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    for number in range(2 * http.MAX_REPORTERS):
        shared_reporter(f"{URL}{number}")
    assert len(http._shared) == http.MAX_REPORTERS


def test_what_is_posted_is_one_line() -> None:
    """A report as JSON stands on one line, whatever it holds: one line a report in a file."""
    text = report(blocked_pins=[pin(100)]).to_json()
    assert "\n" not in text
    assert json.loads(text)["outcome"] == "blocked-key"

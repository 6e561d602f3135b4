"""`Guard` and its notification: sinks are told of each violation, and cannot change a decision."""

from __future__ import annotations

import datetime as dt
import logging
import pickle
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError, PolicyStore, ViolationReport
from pinned_requests.core.chain import Chain, SeenCertificate
from pinned_requests.enforcement import guard as module
from pinned_requests.enforcement import notification, telemetry
from pinned_requests.enforcement.guard import Admission, Guard, Refusal
from pinned_requests.enforcement.notification import AUDIT_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
KEY, OTHER, BACKUP = (Pin("spki", bytes([number]) * 32) for number in (1, 2, 3))
CHAIN = Chain((SeenCertificate("CN=a", KEY, OTHER, frozenset((KEY,)), True, b"DER"),), is_verified=True)  # noqa: FBT003 - a record
HOST = "api.example.com"


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_now", lambda: NOW)


def meet(guard: Guard, host: str = HOST, port: int | None = 443) -> None:
    """Let the guard see a connection to a host with that chain."""
    guard.enforce(guard.judge(admission(guard, host, port), CHAIN))


def admission(guard: Guard, host: str = HOST, port: int | None = 443) -> Admission:
    """What the guard says of the host before the handshake."""
    return guard.admit("https", host, port)


def guard_of(
    on_violation: Callable[[ViolationReport], object] | None = None, pattern: str = HOST, **fields: Any
) -> Guard:
    """A guard with a pin that does not fit the chain."""
    return Guard(PinPolicy({pattern: PinSet([OTHER], [BACKUP], **fields)}), on_violation=on_violation)


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Our audit events: a hook could not be taken out again."""
    events: list[tuple[object, ...]] = []
    monkeypatch.setattr(sys, "audit", lambda *event: events.append(event))
    return events


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The records of the package."""
    return [record for record in caplog.records if record.name == "pinned_requests"]


def test_a_refusal(caplog: pytest.LogCaptureFixture, audited: list[tuple[object, ...]]) -> None:
    """It is logged with fields, audited, and reported: once each."""
    reports: list[ViolationReport] = []
    with pytest.raises(Refusal) as caught:
        meet(guard_of(reports.append))
    (record,) = ours(caplog)
    fields = ("levelname", "host", "port", "noted_host", "outcome", "allowed", "report_only", "spki_pins_seen")
    assert [getattr(record, name) for name in fields] == [
        *("WARNING", HOST, 443, HOST, "mismatch", False, False),
        [str(KEY)],
    ]
    assert record.getMessage() == str(caught.value.report)
    assert audited == [(AUDIT_EVENT, HOST, 443, "mismatch")]
    assert AUDIT_EVENT == "pinned_requests.violation"
    assert reports == [caught.value.report]


def test_what_is_softened_is_not_audited(caplog: pytest.LogCaptureFixture, audited: list[tuple[object, ...]]) -> None:
    """Report-only: logged as such and reported; no audit event, since nothing was refused."""
    reports: list[ViolationReport] = []
    meet(guard_of(reports.append, report_only=True))
    (record,) = ours(caplog)
    assert [getattr(record, name) for name in ("outcome", "allowed", "report_only")] == ["mismatch", True, True]
    assert len(reports) == 1
    assert audited == []


def test_a_guard_that_reports_to_one_sink(caplog: pytest.LogCaptureFixture, audited: list[tuple[object, ...]]) -> None:
    """`session.check()` decides by the same policy, and tells its caller alone."""
    guard, reports = guard_of(lambda _report: pytest.fail("the sink was told")), list[ViolationReport]()
    with pytest.raises(Refusal):
        meet(guard.reporting_to(reports.append))
    assert [report.outcome for report in reports] == ["mismatch"]
    assert ours(caplog) == []
    assert audited == []


def test_an_admission_of_an_earlier_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy in force decides, and not the one before the handshake; so does the time."""
    guard = guard_of(expires="2027-03-02T00:00:00Z", on_expiry="block")
    before = admission(guard)
    assert guard.judge(before, CHAIN).outcome == "mismatch"
    monkeypatch.setattr(module, "_now", lambda: NOW + dt.timedelta(days=1))
    verdict = guard.judge(before, CHAIN)
    assert (verdict.outcome, verdict.is_allowed) == ("expired", False)
    with pytest.raises(Refusal, match="expired"):
        admission(guard)
    guard.store.set({HOST: PinSet([KEY], [BACKUP])})
    assert guard.judge(before, CHAIN).outcome == "match"
    guard.store.set({"elsewhere.example.com": PinSet([KEY], [BACKUP])})
    assert guard.judge(before, CHAIN).outcome == "unpinned-host"


def test_what_is_remembered() -> None:
    """An admission by the policy in force, and its verdict on a chain; of a bounded number of hosts."""

    class Host(str):
        """Text that is equal to another host."""

        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return other == HOST

        def __hash__(self) -> int:
            return hash(HOST)

    guard = Guard({HOST: PinSet([KEY], [BACKUP])})
    first = admission(guard)
    verdict = guard.judge(first, CHAIN)
    assert admission(guard) is first
    assert guard.judge(first, CHAIN) is verdict
    assert guard.judge(first, Chain.missing("closed")).outcome == "chain-unavailable"
    assert guard.judge(first, CHAIN) == verdict
    with pytest.raises(Refusal, match="evil"):
        admission(guard, Host("evil.example.com"))
    for port in (443.0, [443], True):
        with pytest.raises(Refusal, match="not pinned"):
            admission(guard, port=cast("int", port))
    with pytest.raises(Refusal, match="http"):
        guard.admit("http", HOST, 443)
    assert guard._admitted[1]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        restored = pickle.loads(pickle.dumps(guard, protocol))  # noqa: S301  our own
        assert not restored._admitted[1]
        assert admission(restored).verdict == first.verdict
    assert admission(guard, port=8443).verdict.port == 8443
    assert guard.admit("https", "elsewhere.example.com", 443, only_if_named=True).verdict.is_allowed
    with pytest.raises(Refusal, match="elsewhere"):
        admission(guard, "elsewhere.example.com")
    given = guard.policy
    for policy in (PinPolicy({HOST: PinSet([BACKUP], [KEY])}), given):
        guard.store.set(policy)
        assert admission(guard).policy is policy
        assert admission(guard) is admission(guard)
    guard.store.set(PinPolicy({HOST: PinSet([KEY], [BACKUP])}, unpinned_hosts="allow"))
    for number in range(1000):
        admission(guard, f"h{number}.example.com")
    assert len(guard._admitted[1]) <= 256


def test_block_beside_a_store_holds_for_later_policies() -> None:
    """`unpinned_hosts="block"` lasts, and the policy in force is one object until the store has another one."""
    pins = {HOST: PinSet([KEY], [BACKUP])}
    store = PolicyStore(PinPolicy(pins, unpinned_hosts="block"))
    strict, lax = Guard(store, unpinned_hosts="block"), Guard(store)
    store.set(PinPolicy(pins, unpinned_hosts="allow"))
    assert strict.policy is strict.policy
    assert (strict.policy.unpinned_hosts, lax.policy.unpinned_hosts) == ("block", "allow")
    with pytest.raises(Refusal):
        admission(strict, "other.example.com")
    admission(lax, "other.example.com")
    assert not strict.decides_like(lax)
    with pytest.raises(PolicyError, match="contradicts"):
        Guard(store, unpinned_hosts="block")


def test_fields_and_log_records_do_not_clash() -> None:
    """No name of a field is one that a log record has already."""
    record = logging.makeLogRecord({})
    guard = guard_of()
    report = ViolationReport(guard.judge(admission(guard), CHAIN), NOW)
    taken = {*vars(record), "message", "asctime", "taskName"}
    assert report.fields().keys() & taken == set()


def fail_audit(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let audit hooks fail."""
    monkeypatch.setattr(sys, "audit", lambda *_event: raising(error))


def fail_filter(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let a filter of the log fail, which logging does not catch."""
    monkeypatch.setattr(notification.logger, "filters", [lambda _record: raising(error)])


def fail_telemetry(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let OpenTelemetry fail."""
    monkeypatch.setattr(telemetry, "record", lambda _report: raising(error))


def fail_reporter(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the reporter to `report_uri` fail."""
    monkeypatch.setattr(notification, "_post", lambda *_: raising(error))


def raising(error: BaseException) -> object:
    """Raise an error, in an expression."""
    raise error


@pytest.mark.parametrize("fail", [fail_audit, fail_filter, fail_telemetry, fail_reporter])
@pytest.mark.parametrize("error", [OSError("mine"), ValueError("mine"), KeyError("mine")], ids=repr)
@pytest.mark.parametrize("report_only", [False, True])
def test_a_failing_sink_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[..., None],
    error: Exception,
    report_only: bool,  # noqa: FBT001 - pytest's way
) -> None:
    """Its error neither allows nor refuses a connection, and does not replace the refusal; other sinks are told."""
    fail(monkeypatch, error)
    reports: list[ViolationReport] = []
    policy = PinPolicy(
        {HOST: PinSet([OTHER], [BACKUP], report_only=report_only)}, report_uri="https://reports.example.net/"
    )
    guard = Guard(policy, on_violation=reports.append)
    monkeypatch.setattr("pinned_requests.reporting.http.HTTPReporter.__call__", lambda *_: None)
    if report_only:
        meet(guard)
    else:
        with pytest.raises(Refusal):
            meet(guard)
    assert len(reports) == 1


def test_a_log_record_factory_that_sets_our_names(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`host` is a favourite: the record is logged without our fields."""
    make = logging.getLogRecordFactory()

    def with_host(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.host = "this-machine"
        return record

    monkeypatch.setattr(logging, "_logRecordFactory", with_host)
    with pytest.raises(Refusal):
        meet(guard_of())
    (record,) = ours(caplog)
    assert (record.host, record.levelname, hasattr(record, "outcome")) == ("this-machine", "WARNING", False)  # type: ignore[attr-defined]  # set above


EXPIRED = "2027-02-01T00:00:00Z"


def test_expired_pins_warn_once_a_host_and_report_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """Hosts of one pattern warn each; another date of expiry is news."""
    reports: list[ViolationReport] = []
    guard = guard_of(reports.append, pattern="**.example.com", expires=EXPIRED)
    for _ in range(3):
        for host in ("a.example.com", "b.example.com"):
            meet(guard, host)
            meet(guard, host.upper(), 8443)
    assert [(record.host, record.outcome) for record in ours(caplog)] == [  # type: ignore[attr-defined]  # extra
        ("a.example.com", "expired"),
        ("b.example.com", "expired"),
    ]
    assert len(reports) == 12
    guard.store.set({"**.example.com": PinSet([OTHER], [BACKUP], expires="2027-02-02T00:00:00Z")})
    meet(guard, "a.example.com")
    assert len(ours(caplog)) == 3


def test_expired_pins_that_refuse_are_logged_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is always news."""
    guard = guard_of(expires=EXPIRED, on_expiry="block")
    for _ in range(3):
        with pytest.raises(Refusal):
            guard.admit("https", HOST, 443)
    assert len(ours(caplog)) == 3


def test_the_hosts_that_were_warned_of_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect chooses hosts below an expired pattern."""
    monkeypatch.setattr(notification, "MAX_WARNED", 10)
    guard = guard_of(pattern="**.example.com", expires=EXPIRED)
    for number in range(50):
        meet(guard, f"h{number}.example.com")
        assert len(guard._notify.__self__._warned) <= 10  # type: ignore[attr-defined]  # of a bound method


def test_once_from_many_threads(caplog: pytest.LogCaptureFixture) -> None:
    """Two threads that meet the same host at once warn once; and the guard still pickles."""
    guard, barrier = guard_of(expires=EXPIRED), threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        meet(guard)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ours(caplog)) == 1
    again = pickle.loads(pickle.dumps(guard))  # noqa: S301 - our own
    assert again.store.current == guard.store.current

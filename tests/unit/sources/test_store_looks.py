"""`PolicyStore`: when it looks at its source, who waits for that, and who is told."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import hashlib
import json
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError, PolicyStore
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import Outcome
from pinned_requests.enforcement.guard import Guard, Refusal
from pinned_requests.sources import refresher, schedule
from pinned_requests.sources.loaders import Loader, Start
from support.followers import begin_anew, followers
from support.fork import in_a_child, needs_fork
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

A, B, C = (Pin("spki", bytes([number]) * 32) for number in range(3))
OLD = PinPolicy({"api.example.com": [A, B]})
NEW = PinPolicy({"api.example.com": [B, C], "other.example.com": [A, B]})
TIME_OF_A_REQUEST = (
    2.0  # seconds, on a machine with other things to do; the bounds that must not be waited for are longer
)


class Clock:
    """Both clocks of every store, moved by hand."""

    def __init__(self) -> None:
        self.steady, self.wall = 1000.0, 1.8e9

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.steady += seconds
        self.wall += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clocks."""
    clock = Clock()
    monkeypatch.setattr(PolicyStore, "_clocks", staticmethod(lambda: (clock.steady, clock.wall)))
    return clock


class Source:
    """Returns what it holds; it can fail and hang."""

    def __init__(self, policy: object = OLD) -> None:
        self.policy = policy
        self.calls = 0
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self) -> object:
        """Answer."""
        self.calls += 1
        self.go_on.wait(20)
        if self.error is not None:
            raise self.error
        return self.policy


@pytest.fixture
def source() -> Iterator[Source]:
    """A healthy source, and no thread of a store afterwards."""
    begin_anew()
    made = Source()
    yield made
    made.go_on.set()
    wait_until(lambda: not followers())


def chain_of(*pins: Pin) -> Chain:
    """A verified chain of certificates with these keys."""

    class Seen:
        def __init__(self, pin: Pin) -> None:
            self.spki_pin = self.certificate_pin = pin
            self.pins = frozenset([pin])
            self.subject, self.der, self.is_self_issued = "CN=x", b"", True

    return Chain(tuple(Seen(pin) for pin in pins), is_verified=True, unavailable=None)  # type: ignore[misc]  # has what is read


def connect(guard: Guard, *pins: Pin, may_wait: bool = True) -> Outcome:
    """Do what a connection does, and return what was found."""
    admission = guard.admit("https", "api.example.com", 443, may_wait=lambda: may_wait)
    verdict = guard.judge(admission, chain_of(*pins))
    if guard.is_reconsidered(verdict, may_wait=lambda: may_wait):
        verdict = guard.judge(admission, chain_of(*pins))
    guard.enforce(verdict)
    return verdict.outcome


def refused(guard: Guard, *pins: Pin, may_wait: bool = True) -> float:
    """Connect, which must be refused, and return the seconds that it took."""
    begin = time.monotonic()
    with pytest.raises(Refusal):
        connect(guard, *pins, may_wait=may_wait)
    return time.monotonic() - begin


# It looks when it matters


def test_a_first_use_after_a_pause_looks_at_once(source: Source, clock: Clock) -> None:
    """The interval counts from the age of the policy, not from the first use."""
    store = PolicyStore(source, refresh_after=60)
    source.policy = NEW
    clock.pass_by(50)
    assert store.current is OLD
    time.sleep(0.02)
    assert source.calls == 1
    clock.pass_by(20)
    assert store.current is OLD
    wait_until(lambda: store.current is NEW)
    assert source.calls == 2


def test_a_machine_that_slept_looks_at_once(source: Source, clock: Clock) -> None:
    """The monotonic clock stood still; the thread would sleep on."""
    store = PolicyStore(source, refresh_after=60)
    assert store.current is OLD
    wait_until(lambda: bool(store._refresher._bell._waiters))  # it sleeps
    source.policy = NEW
    clock.wall += 8 * 3600
    wait_until(lambda: store.current is NEW)
    assert source.calls == 2


def test_a_clock_that_is_set_back_delays_no_look(source: Source, clock: Clock) -> None:
    """The monotonic clock goes on."""
    store = PolicyStore(source, refresh_after=60)
    assert store.current is OLD
    wait_until(lambda: bool(store._refresher._bell._waiters))  # the thread sleeps
    clock.wall -= 365 * 86400
    clock.steady += 70
    store._refresher.poll()
    assert source.calls == 2
    assert store.age == 0


def test_an_unpickled_store_knows_its_age(clock: Clock) -> None:
    """It looks at its first use if its policy is old, and not before."""
    store = PolicyStore(_answer, refresh_after=60, max_age=600)
    text = pickle.dumps(store)
    clock.pass_by(30)
    young = pickle.loads(text)  # noqa: S301  our own
    assert young.age == 30
    assert young.loaded_at == store.loaded_at
    assert young._refresher.wake_at == -math.inf  # for its thread
    assert 24 <= young._refresher._due[1] - clock.wall <= 36
    clock.pass_by(10_000)
    old = pickle.loads(text)  # noqa: S301  our own
    assert old.current.outdated is not None
    wait_until(lambda: old.current == OLD)
    assert copy.copy(store).current.outdated is not None


def _answer() -> PinPolicy:
    return OLD


@needs_fork
def test_a_worker_that_is_forked_late_is_not_refused(source: Source, clock: Clock) -> None:
    """As under `gunicorn --preload`: the parent has not used its store for longer than `max_age`."""
    store = PolicyStore(source, refresh_after=60, max_age=120)
    guard = Guard(store)
    clock.pass_by(3600)
    assert in_a_child(lambda: connect(guard, A) is Outcome.MATCH) == "True"
    assert connect(guard, A) is Outcome.MATCH  # in the parent as well


def test_a_policy_of_the_future_is_of_unknown_age(source: Source, clock: Clock) -> None:
    """It is treated as old: its date is a wrong one, or the clock is."""
    for loaded in (clock.wall + 1, clock.wall + 1e9, math.inf):
        store = PolicyStore(Loader(source, start=Start(OLD, loaded=loaded)), refresh_after=600, max_age=1e6)
        assert (store.loaded_at, store.age) == (None, math.inf)
        assert store.current.outdated is not None
        assert 0 <= store._refresher._due[1] - clock.wall <= 60
        assert connect(Guard(store), A) is Outcome.MATCH
        assert store.age == 0


# A refusal is confirmed by the newest policy


def test_after_all_pins_are_lost_the_next_request_succeeds(source: Source) -> None:
    """It waits for the look, which has the pins of the new key."""
    guard = Guard(PolicyStore(source, refresh_after=3600))
    source.policy = NEW
    assert connect(guard, C) is Outcome.MATCH
    assert source.calls == 2


def test_a_mismatch_that_is_confirmed_is_refused(source: Source) -> None:
    """An attacker costs one look in 30 seconds, and an honest source no time."""
    guard = Guard(PolicyStore(source, refresh_after=3600))
    assert sum(refused(guard, C) for _ in range(20)) < TIME_OF_A_REQUEST
    assert source.calls == 2


def test_looks_are_early_again_after_30_seconds(source: Source, clock: Clock) -> None:
    """By the wall clock."""
    guard = Guard(PolicyStore(source, refresh_after=3600))
    for calls in (2, 3, 4):
        refused(guard, C)
        refused(guard, C)
        assert source.calls == calls
        clock.pass_by(31)


def test_a_look_that_is_due_soon_is_waited_for(source: Source) -> None:
    """Where an attacker has just provoked the early one: a file is looked at each second."""
    guard = Guard(PolicyStore(source, refresh_after=0.3, confirm_refusals=20))
    refused(guard, Pin("spki", bytes([9]) * 32))
    source.policy = NEW
    assert connect(guard, C) is Outcome.MATCH


def test_who_comes_while_a_look_is_under_way_waits_for_it(source: Source) -> None:
    """One look serves all."""
    guard = Guard(PolicyStore(source, refresh_after=3600, confirm_refusals=20))
    source.policy = NEW
    source.go_on.clear()
    found: list[Outcome] = []
    threads = [threading.Thread(target=lambda: found.append(connect(guard, C))) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: source.calls == 2)
    time.sleep(0.05)
    assert found == []
    source.go_on.set()
    for thread in threads:
        thread.join(20)
    assert found == [Outcome.MATCH] * 8
    assert source.calls == 2


def test_a_source_that_hangs_costs_the_bound_once(source: Source) -> None:
    """The bound counts from the beginning of the look, so that not every request waits for it."""
    guard = Guard(PolicyStore(source, refresh_after=3600, confirm_refusals=0.3))
    source.go_on.clear()
    assert 0.25 < refused(guard, C) < 0.3 + TIME_OF_A_REQUEST
    assert sum(refused(guard, C) for _ in range(10)) < TIME_OF_A_REQUEST
    assert source.calls == 2


def test_what_must_not_wait_looks_beside(source: Source) -> None:
    """The next connection has the new policy."""
    guard = Guard(PolicyStore(source, refresh_after=3600, confirm_refusals=20))
    source.policy = NEW
    source.go_on.clear()
    assert refused(guard, C, may_wait=False) < TIME_OF_A_REQUEST
    source.go_on.set()
    wait_until(lambda: guard.policy is NEW)
    assert connect(guard, C, may_wait=False) is Outcome.MATCH


def test_a_blocked_key_brings_a_look_forward_and_waits_for_none(source: Source) -> None:
    """A compromised key is refused at once."""
    source.policy = PinPolicy({"api.example.com": [A, B]}, blocked_pins=[A])
    store = PolicyStore(source, refresh_after=3600, confirm_refusals=20)
    source.go_on.clear()
    assert refused(Guard(store), A) < TIME_OF_A_REQUEST
    wait_until(lambda: source.calls == 2)


def test_an_outdated_policy_is_confirmed(source: Source, clock: Clock) -> None:
    """A store that was idle for longer than `max_age` refuses nothing while its source is healthy."""
    guard = Guard(PolicyStore(source, refresh_after=60, max_age=300))
    for _ in range(3):
        clock.pass_by(3600)
        assert connect(guard, A) is Outcome.MATCH
    source.error = OSError("down")
    clock.pass_by(3600)
    refused(guard, A)
    source.error = None
    clock.pass_by(31)
    assert connect(guard, A) is Outcome.MATCH


@pytest.mark.parametrize("outcome", ["unpinned", "insecure", "report-only"])
def test_other_outcomes_look_for_nothing(source: Source, outcome: str) -> None:
    """A newer policy is not expected to change them; a redirect can provoke the first two at any host."""
    source.policy = PinPolicy({"api.example.com": {"pins": [A, B], "report_only": True}})
    guard = Guard(PolicyStore(source, refresh_after=3600))
    if outcome == "report-only":
        assert connect(guard, C) is Outcome.MISMATCH
    else:
        scheme, host = ("https", "x.example") if outcome == "unpinned" else ("http", "api.example.com")
        with pytest.raises(Refusal):
            guard.admit(scheme, host, 443)
    assert source.calls == 1


def test_without_a_wish_to_confirm_a_look_is_made_beside(tmp_path: Path) -> None:
    """A file: the request does not wait. A store that is refreshed by hand does not look at all."""
    path = tmp_path / "pins.json"
    path.write_text(OLD.to_json())
    store = PolicyStore.from_file(path, refresh_after=3600)
    path.with_suffix(".new").write_text(NEW.to_json())
    path.with_suffix(".new").replace(path)
    assert refused(Guard(store), C) < TIME_OF_A_REQUEST
    wait_until(lambda: store.current == NEW)
    by_hand = Source()
    refused(Guard(PolicyStore(by_hand)), C)
    assert by_hand.calls == 1
    by_hand.policy = NEW
    assert connect(Guard(PolicyStore(by_hand, confirm_refusals=5)), C) is Outcome.MATCH


def test_a_source_that_uses_its_own_store_does_not_wait_for_itself() -> None:
    """A vault whose own host is pinned, by the policy that it holds."""
    guards: list[Guard] = []

    def ask() -> PinPolicy:
        if guards:
            connect(guards[0], C)
        return OLD

    store = PolicyStore(ask, refresh_after=3600, confirm_refusals=20)
    guards.append(Guard(store))
    assert refused(guards[0], C) < TIME_OF_A_REQUEST
    assert isinstance(store.last_error, Refusal)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5", True])
def test_a_wrong_bound_is_refused(value: Any) -> None:
    """As a wrong interval is."""
    with pytest.raises(PolicyError, match="confirm_refusals"):
        PolicyStore(_answer, confirm_refusals=value)
    with pytest.raises(PolicyError, match="fixed"):
        PolicyStore(OLD, confirm_refusals=5)


# `refresh()` in a signal handler


@pytest.fixture
def handled() -> Iterator[Callable[[Callable[[], object]], object]]:
    """Call a function at each SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda *_: handler())
    signal.signal(signal.SIGUSR1, before)


def test_a_second_signal_while_the_first_one_loads(handled: Callable[[Callable[[], object]], object]) -> None:
    """Its `refresh()` returns, and the first one loads again, so that the newest policy is in force."""
    answers = iter([OLD, OLD, NEW])
    stores: list[PolicyStore] = []

    def load() -> PinPolicy:
        answer = next(answers)
        if stores and answer is OLD:
            signal.raise_signal(signal.SIGUSR1)
        return answer

    store = PolicyStore(load)
    stores.append(store)
    handled(store.refresh)
    signal.raise_signal(signal.SIGUSR1)
    assert store.current is NEW


def test_a_failed_load_is_followed_by_the_one_that_was_asked_for(
    handled: Callable[[Callable[[], object]], object],
) -> None:
    """The signal came when the source was already broken."""
    answers: list[PinPolicy | str] = [OLD, "[", NEW]
    stores: list[PolicyStore] = []

    def load() -> PinPolicy | str:
        answer = answers.pop(0)
        if answer == "[":
            signal.raise_signal(signal.SIGUSR1)
        return answer

    stores.append(PolicyStore(load))
    handled(stores[0].refresh)
    stores[0].refresh()
    assert stores[0].current is NEW


class Interrupted(collections.deque[Any]):
    """What waits for a bell; as soon as it is known that something does, a signal handler rings."""

    def __init__(self, bell: Any) -> None:
        super().__init__(bell._waiters)
        self.handle = bell.ring

    def __bool__(self) -> bool:
        is_waiting = len(self) > 0
        if is_waiting and (handle := self.handle) is not None:
            self.handle = None
            handle()
        return is_waiting


def test_a_signal_in_the_middle_of_a_notification() -> None:
    """The end of a look notifies those who wait for it; where a handler has done that meanwhile, none is left."""
    bell: Any = refresher._Bell()
    waiting = threading.Lock()  # as `Condition.wait()` makes one
    waiting.acquire()
    bell._waiters.append(waiting)
    bell._waiters = Interrupted(bell)
    with bell:
        bell.ring()
    assert not waiting.locked()


SIGNALS = """
import signal, time
from pinned_requests import Pin, PinPolicy, PolicyStore

old, new = (PinPolicy({f"{name}.example": [Pin("spki", bytes([n]) * 32) for n in (1, 2)]}) for name in ("old", "new"))
store = PolicyStore(lambda: old, refresh_after=0.001, on_change=lambda _old, _new: store.current)
signal.signal(signal.SIGALRM, lambda *_: store.refresh())
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
end, rounds = time.monotonic() + 1, 0
while time.monotonic() < end or rounds < 10:
    store.set(new)
    store.refresh()
    assert store.current in (old, new)
    store.confirm(may_wait=True)
    rounds += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print("done")
"""


def test_signals_at_any_moment() -> None:
    """In the middle of every method, with a thread that looks all the time; nothing hangs."""
    # Without coverage: a signal handler must not interrupt that.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "done\n", done.stderr


def test_a_look_that_does_not_end_does_not_hold_refresh_up(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that hangs may wait for one that the signal handler has interrupted."""
    monkeypatch.setattr(refresher, "LONGEST_WAIT", 0.1)
    store = PolicyStore(source, refresh_after=0.01)
    source.go_on.clear()
    assert store.current
    wait_until(lambda: source.calls == 2)
    with pytest.raises(PolicyError, match="under way"):
        store.refresh()


def test_an_interrupted_load_is_over() -> None:
    """Ctrl-C in the middle of one does not keep later ones from being made."""
    answers: list[PinPolicy | BaseException] = [OLD, KeyboardInterrupt(), NEW]

    def load() -> PinPolicy:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    store = PolicyStore(load)
    with pytest.raises(KeyboardInterrupt):
        store.refresh()
    store.refresh()
    assert store.current is NEW


# Operators see which one is in force


def test_the_version() -> None:
    """12 hex digits of the SHA-256 of the canonical JSON; the order of hosts does not matter."""
    text = json.dumps(json.loads(OLD.to_json()), sort_keys=True, separators=(",", ":"))
    assert PolicyStore(OLD).version == hashlib.sha256(text.encode()).hexdigest()[:12]
    hosts = {"a.example": [A, B], "b.example": [A, B]}
    assert PolicyStore(hosts).version == PolicyStore(dict(reversed(hosts.items()))).version
    store = PolicyStore(OLD)
    store.set(NEW)
    assert store.version == PolicyStore(NEW).version != PolicyStore(OLD).version


def test_the_version_of_a_signed_policy_is_its_number() -> None:
    """Until `set()` overrules it."""

    class Signed(Loader):
        def load(self) -> PinPolicy:
            self.version = "7"
            return super().load()

    store = PolicyStore(Signed(_answer))
    assert store.version == "7"
    assert pickle.loads(pickle.dumps(PolicyStore(_answer))).version == PolicyStore(OLD).version  # noqa: S301  our own
    assert copy.copy(store).version == "7"
    store.set(NEW)
    assert store.version == PolicyStore(NEW).version


def test_when_it_was_loaded(clock: Clock) -> None:
    """In UTC, by the clock of the machine."""
    store = PolicyStore(_answer)
    assert store.loaded_at == dt.datetime.fromtimestamp(clock.wall, dt.UTC)
    clock.pass_by(90)
    assert store.age == 90
    store.refresh()
    assert store.age == 0


def test_a_change_is_logged_and_told(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """With the version and the hosts; a look that brings an equal policy is none."""
    caplog.set_level(logging.INFO, "pinned_requests")
    told: list[tuple[PinPolicy, PinPolicy]] = []
    store = PolicyStore(source, on_change=lambda old, new: told.append((old, new)))
    assert told == []
    source.policy = PinPolicy.from_json(OLD.to_json())
    store.refresh()
    assert told == []
    source.policy = NEW
    store.refresh()
    assert told == [(OLD, NEW)]
    store.set(OLD)
    assert told[1:] == [(NEW, OLD)]
    first, second = (record for record in caplog.records if record.levelno == logging.INFO)
    assert first.getMessage() == (
        f"The pin policy has changed to version {PolicyStore(NEW).version}: gained other.example.com; "
        "changed api.example.com"
    )
    assert vars(first)["hosts_gained"] == ["other.example.com"]
    assert vars(second)["hosts_lost"] == ["other.example.com"]
    assert vars(second)["policy_version"] == PolicyStore(OLD).version


def test_errors_are_told(source: Source) -> None:
    """Each of them, whether the thread made the look or `refresh()`."""
    told: list[BaseException] = []
    store = PolicyStore(source, refresh_after=0.01, on_error=told.append)
    source.error = OSError("down")
    with pytest.raises(OSError, match="down"):
        store.refresh()
    assert told == [source.error]
    assert store.current is OLD
    wait_until(lambda: len(told) > 3)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_callbacks_raise_changes_nothing(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged."""

    def fail(*_: object) -> None:
        raise RuntimeError("of the callback")

    store = PolicyStore(source, on_change=fail, on_error=fail)
    source.policy = NEW
    store.refresh()
    assert store.current is NEW
    source.error = OSError("down")
    with pytest.raises(OSError, match="down"):
        store.refresh()
    assert caplog.text.count("RuntimeError: of the callback") == 2


def test_callbacks_may_use_the_store(source: Source) -> None:
    """They are called outside of every lock; changes that they make are told in order."""
    told: list[PinPolicy] = []

    def on_change(_old: PinPolicy, new: PinPolicy) -> None:
        told.append(new)
        if len(told) < 3:
            store.set({"x.example": [A, (B, C)[len(told) - 1]]})
        store.refresh() if len(told) == 3 else None

    store = PolicyStore(source, on_change=on_change)
    store.set(NEW)
    hosts = [next(iter(policy.hosts)) for policy in told]
    assert hosts == ["api.example.com", "x.example", "x.example", "api.example.com"]


@needs_fork
def test_a_child_that_is_forked_while_a_callback_runs_is_told() -> None:
    """The parent's thread that was telling is not there."""
    children: list[int] = []

    def on_change(_old: PinPolicy, new: PinPolicy) -> None:
        if new is NEW:
            children.append(os.fork())
            if children[-1] == 0:
                status = 1
                try:
                    store.set({"x.example": [A, B]})
                finally:
                    os._exit(status)
        elif children == [0]:
            os._exit(0)

    store = PolicyStore(OLD, on_change=on_change)
    store.set(NEW)
    assert os.waitpid(children[0], 0)[1] == 0


def test_a_source_that_does_not_answer_shows(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `last_error` and `on_error`, once, until it answers."""
    monkeypatch.setattr(refresher, "SHORTEST_SILENCE", 0.05)
    told: list[BaseException] = []
    store = PolicyStore(source, refresh_after=0.01, on_error=told.append)
    source.go_on.clear()
    assert store.current is OLD
    wait_until(lambda: len(told) == 1)
    assert "has not answered" in str(told[0])
    assert store.last_error is told[0]
    time.sleep(0.1)
    assert len(told) == 1
    source.policy = NEW
    source.go_on.set()
    wait_until(lambda: store.current is NEW)
    wait_until(lambda: store.last_error is None)
    assert len(told) == 1


@pytest.mark.parametrize("empty", [{}, "{}", "", b"", '{"hosts": {}}', "# being written\n", "unpinned_hosts='allow'"])
def test_an_empty_policy_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: dict[str, object] | str | bytes
) -> None:
    """It is one that is being written, whatever it comes from."""
    source = Source()
    path = tmp_path / ("pins.json" if "{" in str(empty) else "pins.toml")
    path.write_text(OLD.to_json() if path.suffix == ".json" else OLD.to_toml())
    monkeypatch.setenv("PINS", OLD.to_json())
    stores = [PolicyStore(source), PolicyStore.from_file(path), PolicyStore.from_env("PINS")]
    source.policy = empty
    text = json.dumps(empty) if isinstance(empty, dict) else empty.decode() if isinstance(empty, bytes) else empty
    path.write_text(text)
    monkeypatch.setenv("PINS", text)
    for store in stores:
        with pytest.raises(PolicyError):
            store.refresh()
        assert store.current == OLD
    with pytest.raises(PolicyError):
        stores[0].set({})


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    """Nor is another thing that is no file."""
    path = tmp_path / "pins.json"
    os.mkfifo(path)
    with pytest.raises(PolicyError, match="regular"):
        PolicyStore.from_file(path)


def test_an_exempt_policy_needs_no_refresher() -> None:
    """A fixed policy has an age and a version, and confirms nothing."""
    store = PolicyStore({"api.example.com": PinSet.exempt()})
    assert store.age < 100
    assert not store.confirm(may_wait=True)


def test_the_constants() -> None:
    """The contract's."""
    assert (schedule.EARLY, schedule.SPREAD, schedule.JITTER) == (30, 60, 0.1)

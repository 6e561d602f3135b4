"""`PolicyStore`: the policy in force, replaced as a whole or not at all, and kept fresh off the request path."""

from __future__ import annotations

import copy
import datetime as dt
import gc
import math
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError, PolicyStore
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import Outcome, admit, evaluate
from pinned_requests.sources import loaders, refresher
from pinned_requests.sources.loaders import FileLoader, Loader, Start
from support.followers import begin_anew, followers
from support.fork import in_a_child, needs_fork
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinned_requests.core.pinset import PinsLike

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
A, B, C = (Pin("spki", bytes([number]) * 32) for number in range(3))
OLD = PinPolicy({"api.example.com": PinSet.exempt()})
NEW = PinPolicy({"api.example.com": PinSet.exempt()}, unpinned_hosts="allow")


@pytest.mark.parametrize("given", [OLD, {"api.example.com": PinSet.exempt()}])
def test_the_policy_in_force(given: PinPolicy | dict[str, PinsLike]) -> None:
    """A policy, or a mapping that is made one."""
    assert PolicyStore(given).current == OLD


def test_replacing() -> None:
    """The new policy is in force at once."""
    store = PolicyStore(OLD)
    store.set(NEW)
    assert NEW is store.current


@pytest.mark.parametrize(
    "wrong", [None, "api.example.com", b"{}", [], PolicyStore(OLD), {"*": PinSet.exempt()}, {"a.example": []}]
)
def test_a_wrong_policy_is_refused_and_the_old_one_stays(wrong: Any) -> None:
    """The constructor and `set` refuse it."""
    with pytest.raises(PolicyError):
        PolicyStore(wrong)
    store = PolicyStore(OLD)
    with pytest.raises(PolicyError):
        store.set(wrong)
    assert OLD is store.current


@pytest.mark.parametrize("again", [lambda s: pickle.loads(pickle.dumps(s)), copy.copy, copy.deepcopy])  # noqa: S301 - our own
def test_pickle_and_copy(again: Callable[[PolicyStore], PolicyStore]) -> None:
    """The copy holds an equal policy, and goes its own way."""
    store = PolicyStore(OLD)
    other = again(store)
    store.set(NEW)
    assert other.current == OLD


def test_a_fixed_policy_needs_no_source() -> None:
    """Neither `import pinned_requests` nor a session with a mapping imports what loads and refreshes policies."""
    program = (
        "import sys, pinned_requests\n"
        "store = pinned_requests.PolicyStore({'a.example': pinned_requests.PinSet.exempt()})\n"
        "assert pinned_requests.PinnedSession(store).policy is store.current\n"
        "print([name for name in sys.modules if name.startswith('pinned_requests.sources')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Sources


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """A thread ends with its store."""
    begin_anew()
    yield
    wait_until(lambda: not followers())


@pytest.mark.parametrize("answer", [OLD, {"api.example.com": PinSet.exempt()}, OLD.to_json(), OLD.to_toml().encode()])
def test_a_callable_returns_a_policy_a_mapping_or_a_text(answer: object) -> None:
    """It is called by the constructor, and not again unless that is asked for."""
    calls: list[object] = []

    def source() -> object:
        calls.append(1)
        return answer

    store = PolicyStore(source)
    assert [store.current, store.current] == [OLD, OLD]
    assert calls == [1]
    assert followers() == []


@pytest.mark.parametrize("answer", [None, 3, "[", b"\xff", [], {"*": "x"}, object()])
def test_the_first_load_fails_loudly(answer: object) -> None:
    """The store has no last good policy yet."""
    with pytest.raises((PolicyError, AttributeError)):
        PolicyStore(lambda: answer)


def test_the_first_load_raises_what_the_source_raises() -> None:
    """The author of the source knows that error."""
    with pytest.raises(ZeroDivisionError):
        PolicyStore(lambda: 1 // 0)


def test_refresh_loads_in_this_thread() -> None:
    """What it raises is raised, the last good policy stays, and `last_error` says why until the next success."""
    answers: list[PinPolicy | str] = [OLD, NEW, "[", OLD]
    store = PolicyStore(lambda: answers.pop(0))
    store.refresh()
    assert NEW is store.current
    with pytest.raises(PolicyError) as caught:
        store.refresh()
    assert NEW is store.current
    assert store.last_error is caught.value
    store.refresh()
    assert OLD is store.current
    assert store.last_error is None


def test_a_policy_that_was_given_is_not_refreshed() -> None:
    """There is nothing to ask."""
    with pytest.raises(PolicyError, match="callable"):
        PolicyStore(OLD).refresh()


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "1", True, [], 10**400])
@pytest.mark.parametrize("name", ["refresh_after", "max_age"])
def test_a_wrong_interval_is_refused(name: str, value: Any) -> None:
    """An interval is a number of seconds."""
    with pytest.raises(PolicyError, match=name):
        PolicyStore(lambda: OLD, **{name: value})
    with pytest.raises(PolicyError, match=name):
        PolicyStore(OLD, **{name: 1})  # type: ignore[arg-type]  # mypy takes either for the other


def test_a_source_is_asked_again_in_the_background() -> None:
    """By one thread that is not the caller's."""
    threads = []
    answers = iter([OLD])

    def source() -> PinPolicy:
        threads.append(threading.current_thread())
        return next(answers, NEW)

    store = PolicyStore(source, refresh_after=0.01)
    assert followers() == []  # before the first use
    assert OLD is store.current
    wait_until(lambda: store.current is NEW and len(threads) > 3)
    assert set(threads[1:]) == set(followers())
    assert len(followers()) == 1


def test_a_source_that_hangs_delays_no_reader() -> None:
    """`current` answers at once, from every thread; the source is asked by one thread alone."""
    hanging, go_on = threading.Event(), threading.Event()
    calls = []

    def source() -> PinPolicy:
        calls.append(1)
        if len(calls) > 1:
            hanging.set()
            go_on.wait(20)
        return OLD if len(calls) == 1 else NEW

    store = PolicyStore(source, refresh_after=0.01)
    assert store.current
    assert hanging.wait(20)
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        seen = set(threads.map(lambda _: store.current, range(1000)))
    assert time.monotonic() - begin < 5
    assert seen == {OLD}
    assert len(calls) == 2
    go_on.set()
    wait_until(lambda: store.current is NEW)


def test_refresh_waits_for_a_load_that_is_under_way() -> None:
    """A source is asked by one thread at a time."""
    inside = []
    most = []

    def source() -> PinPolicy:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)
        inside.pop()
        return OLD

    store = PolicyStore(source, refresh_after=0.001)
    assert store.current
    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            threads.submit(store.refresh)
    assert max(most) == 1


def test_a_later_failure_keeps_the_last_good_policy(caplog: pytest.LogCaptureFixture) -> None:
    """It stands in `last_error`, and is logged at the 1st, 2nd, 4th, … in a row; the next success ends it."""
    answers = iter([OLD])
    broken = True

    def source() -> PinPolicy:
        if (first := next(answers, None)) is not None:
            return first
        if broken:
            raise PolicyError("\x1b[31mred\nforged")
        return NEW

    store = PolicyStore(source, refresh_after=0.002)
    assert OLD is store.current
    wait_until(lambda: store._refresher._schedule.failures >= 9)
    assert OLD is store.current
    assert isinstance(store.last_error, PolicyError)
    counts = [record.args[0] for record in caplog.records if record.args]  # type: ignore[index]  # a tuple here
    assert counts[:4] == [1, 2, 4, 8]
    assert all(record.getMessage().isprintable() for record in caplog.records)
    broken = False
    wait_until(lambda: store.current is NEW)
    assert store.last_error is None


def test_the_thread_survives_any_error_of_a_source() -> None:
    """Even what would end a program."""
    answers = iter([OLD])

    def source() -> PinPolicy:
        if first := next(answers, None):
            return first
        raise SystemExit

    store = PolicyStore(source, refresh_after=0.001)
    assert store.current
    wait_until(lambda: store._refresher._schedule.failures > 2)
    assert isinstance(store.last_error, SystemExit)


def test_a_store_that_failed_ends_like_any_other() -> None:
    """Its error does not keep it alive by its traceback."""
    answers = iter([OLD])

    def source() -> PinPolicy:
        return next(answers)

    store = PolicyStore(source, refresh_after=0.001)
    assert store.current
    while store.last_error is None:
        time.sleep(0.005)
    gone = weakref.ref(store)
    gc.disable()
    try:
        del store
        wait_until(lambda: gone() is None)
    finally:
        gc.enable()


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [_UnprintableError(), PolicyError("x")])
def test_the_thread_survives_any_error_of_the_log(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that raises would end it unnoticed."""

    def fail(_record: object) -> bool:
        raise RuntimeError

    monkeypatch.setattr(refresher.logger, "filters", [fail])
    answers = iter([OLD])
    broken = True

    def source() -> PinPolicy:
        if (first := next(answers, None)) is not None:
            return first
        if broken:
            raise error
        return NEW

    store = PolicyStore(source, refresh_after=0.001)
    assert store.current
    wait_until(lambda: store._refresher._schedule.failures > 3)
    broken = False
    wait_until(lambda: store.current is NEW)


def test_the_text_of_an_error_of_others_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It may hold the URL of a vault, with a token."""
    answers = iter([OLD])

    def source() -> PinPolicy:
        if (first := next(answers, None)) is not None:
            return first
        raise OSError("https://vault.example/v1?token=SECRET")

    store = PolicyStore(source, refresh_after=0.001)
    assert store.current
    wait_until(lambda: store._refresher._schedule.failures > 3)
    assert "OSError" in caplog.text
    assert "SECRET" not in caplog.text


def test_what_was_set_is_not_undone_by_a_load_that_began_before() -> None:
    """A load that begins after `set()` replaces the policy."""
    loading_now, go_on = threading.Event(), threading.Event()
    answers = iter([OLD])
    other = PinPolicy({"other.example": PinSet.exempt()})

    def source() -> PinPolicy:
        if (first := next(answers, None)) is not None:
            return first
        loading_now.set()
        go_on.wait(20)
        return NEW

    store = PolicyStore(source)
    thread = threading.Thread(target=store.refresh)
    thread.start()
    assert loading_now.wait(20)
    store.set(other)
    go_on.set()
    thread.join(20)
    assert store.current is other
    store.refresh()
    assert store.current is NEW


def test_where_no_thread_can_be_had_the_policy_is_there_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the interpreter, for one; the next use tries again."""

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    answers = iter([OLD])
    store = PolicyStore(lambda: next(answers, NEW), refresh_after=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert store.current is OLD
    assert store.current
    wait_until(lambda: store.current is NEW)


@needs_fork
def test_a_forked_child_can_refresh_by_hand() -> None:
    """Its parent may have been about to."""
    loading_now, go_on = threading.Event(), threading.Event()
    parent = os.getpid()
    answers = iter([OLD])

    def source() -> PinPolicy:
        if (first := next(answers, None)) is not None:
            return first
        if os.getpid() == parent:
            loading_now.set()
            go_on.wait(20)
        return NEW

    store = PolicyStore(source)
    thread = threading.Thread(target=store.refresh)
    thread.start()
    assert loading_now.wait(20)

    def work() -> bool:
        store.refresh()
        return store.current is NEW

    assert in_a_child(work) == "True"
    go_on.set()
    thread.join(20)


def test_a_policy_past_max_age_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host but those that it exempts, until a load succeeds; by the clock that says more."""
    clock = [100.0, 1000.0]
    monkeypatch.setattr(PolicyStore, "_clocks", staticmethod(lambda: (clock[0], clock[1])))
    policy = PinPolicy({"api.example.com": [A, B], "status.example.com": PinSet.exempt()}, unpinned_hosts="allow")
    store = PolicyStore(lambda: policy, max_age=60)
    for steady, wall in ((100.0, 1061.0), (161.0, 1000.0), (161.0, 0.0)):
        clock[:] = 100.0, 1000.0
        store.refresh()
        assert store.current is policy
        clock[:] = clock[0] + 60, clock[1] + 60
        assert store.current is policy
        clock[:] = steady, wall
        assert store.current.outdated is not None
        assert store.current is store.current  # what was evaluated under it is told by identity
    found = {
        (scheme, host): admit(store.current, scheme, host, 443, NOW).outcome
        for scheme in ("https", "http")
        for host in ("api.example.com", "status.example.com", "other.example.com")
    }
    assert found == {
        ("https", "api.example.com"): Outcome.OUTDATED_POLICY,
        ("https", "status.example.com"): Outcome.EXEMPT,
        ("https", "other.example.com"): Outcome.OUTDATED_POLICY,
        ("http", "api.example.com"): Outcome.OUTDATED_POLICY,
        ("http", "status.example.com"): Outcome.EXEMPT,
        ("http", "other.example.com"): Outcome.OUTDATED_POLICY,
    }
    chain = Chain.of([], is_verified=True)
    assert not evaluate(store.current, "api.example.com", chain, NOW, port=443).is_allowed
    assert store.current != policy
    assert pickle.loads(pickle.dumps(store.current)) == store.current  # noqa: S301  our own
    store.set(policy)
    assert store.current is policy


def test_a_store_with_a_source_pickles_if_that_does() -> None:
    """The copy has the policy and its age, and asks for itself."""
    store = PolicyStore(_source, refresh_after=1000, max_age=1e9)
    assert store.current
    other = pickle.loads(pickle.dumps(store))  # noqa: S301  our own
    assert other.current == OLD
    assert len(followers()) == 2
    assert other.loaded_at == store.loaded_at


def _source() -> PinPolicy:
    return OLD


def test_a_store_may_begin_with_a_policy() -> None:
    """Then the source is asked soon after the store is used, and not by the constructor."""
    go_on = threading.Event()

    def source() -> PinPolicy:
        go_on.wait(20)
        return NEW

    store = PolicyStore(Loader(source, start=Start(OLD)), refresh_after=0.1)
    assert OLD is store.current
    go_on.set()
    wait_until(lambda: store.current is NEW)


def test_a_store_may_begin_with_a_policy_that_is_known_to_be_old() -> None:
    """Its age and its error count until the source has answered; a copy keeps the age."""
    hour_ago = time.time() - 3600
    loader = Loader(_source, start=Start(NEW, PolicyError("not asked yet"), hour_ago))
    store = PolicyStore(loader, max_age=60)
    assert store.current.outdated is not None
    assert str(store.last_error) == "not asked yet"
    for other in (pickle.loads(pickle.dumps(store)), copy.copy(store)):  # noqa: S301  our own
        assert other.current == store.current
        assert other._refresher._loader.start is None  # a second policy in each pickle, for nothing
        other.refresh()
        assert other.current == OLD
    assert store.current.outdated is not None


@needs_fork
def test_a_forked_child_asks_for_itself() -> None:
    """Its parent's thread is not there, and a lock of it may be held."""
    hanging, go_on = threading.Event(), threading.Event()
    parent = os.getpid()
    calls = []

    def source() -> PinPolicy:
        calls.append(1)
        if len(calls) == 1:
            return OLD
        if os.getpid() == parent:
            hanging.set()
            go_on.wait(20)
        return NEW

    store = PolicyStore(source, refresh_after=0.01)
    assert store.current
    assert hanging.wait(20)
    in_a_child(lambda: wait_until(lambda: store.current is NEW))
    go_on.set()


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read once, and again by `refresh()`."""
    monkeypatch.setenv("PINS", OLD.to_json())
    store = PolicyStore.from_env("PINS")
    monkeypatch.setenv("PINS", NEW.to_toml())
    assert store.current == OLD
    store.refresh()
    assert store.current == NEW


# Files


def replace_by_rename(path: Path, text: str) -> None:
    """As an editor or a deployment does it."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def replace_by_symlink(path: Path, text: str) -> None:
    """As the kubelet does it: the file is a link through `..data`, which is swapped for another folder."""
    version = path.parent / f"..{time.monotonic_ns()}"
    version.mkdir()
    (version / path.name).write_text(text)
    link = path.parent / "..data_tmp"
    link.symlink_to(version.name)
    link.replace(path.parent / "..data")
    if not path.is_symlink():
        path.unlink()
        path.symlink_to(Path("..data", path.name))


def write_in_place(path: Path, text: str) -> None:
    """As a shell does it: for a while the file is empty, then half."""
    with path.open("w") as file:
        for half in (text[: len(text) // 2], text[len(text) // 2 :]):
            file.flush()
            time.sleep(0.03)
            file.write(half)


@pytest.mark.parametrize("replace", [replace_by_rename, replace_by_symlink, write_in_place])
def test_a_replaced_file_is_noticed(tmp_path: Path, replace: Callable[[Path, str], None]) -> None:
    """By any way to replace it, repeatedly; no third policy is ever in force, and no error remains."""
    path = tmp_path / "pins.json"
    path.write_text(OLD.to_json())
    store = PolicyStore.from_file(path, refresh_after=0.02)
    for policy in (NEW, OLD, NEW):
        before = store.current
        replace(path, policy.to_json())
        assert store.current in (before, policy)
        wait_until(lambda policy=policy: store.current == policy)  # type: ignore[misc]  # bound now, not later
        wait_until(lambda: store.last_error is None)


@pytest.fixture
def _fine_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that tells any two writes apart, so that a file need not be read again to be sure."""
    monkeypatch.setattr(loaders, "TICK", -(10**18))


@pytest.mark.usefixtures("_fine_clock")
def test_a_file_that_is_written_in_place_is_read_when_it_stands_still(tmp_path: Path) -> None:
    """Half of it may be a policy: one that lacks what comes after, here the pins that block."""
    path = tmp_path / "pins.toml"
    whole = '[hosts."a.example"]\nexempt = true\n\n[hosts."b.example"]\nexempt = true\n'
    path.write_text(OLD.to_toml())
    loader = FileLoader(path)
    assert loader.load() == OLD
    with path.open("w") as file:
        for piece in (whole[:37], whole[37:]):
            file.write(piece)
            file.flush()
            os.utime(path, ns=(0, time.monotonic_ns()))
            assert loader.poll() is None
    assert len(loader.poll().hosts) == 2
    assert loader.poll() is None


@pytest.mark.usefixtures("_fine_clock")
def test_a_file_whose_time_and_size_are_as_before_is_noticed(tmp_path: Path) -> None:
    """Pins have one length, and programs that copy files keep their times."""
    path = tmp_path / "pins.json"
    old, new = (PinPolicy({"a.example": [A, pin]}) for pin in (B, C))
    path.write_text(old.to_json())
    os.utime(path, (1, 1))
    loader = FileLoader(path)
    assert loader.load() == old
    assert loader.poll() is None
    time.sleep(0.02)
    path.write_text(new.to_json())
    os.utime(path, (1, 1))
    assert loader.poll() is None  # written in place, and not known to be complete
    assert loader.poll() == new


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    """It may be written again within one tick of the clock, and look the same."""
    path = tmp_path / "pins.json"
    path.write_text(OLD.to_json())
    loader = FileLoader(path)
    assert loader.load() == OLD
    assert loader.poll() == OLD


@pytest.mark.usefixtures("_fine_clock")
def test_copies_of_a_store_each_notice(tmp_path: Path) -> None:
    """What one has seen the other has not."""
    path = tmp_path / "pins.json"
    path.write_text(OLD.to_json())
    stores = [PolicyStore.from_file(path, refresh_after=0.02)]
    stores += [copy.copy(stores[0]), copy.deepcopy(stores[0])]
    assert [store.current for store in stores] == [OLD] * 3
    replace_by_rename(path, NEW.to_json())
    wait_until(lambda: [store.current for store in stores] == [NEW] * 3)


@pytest.mark.usefixtures("_fine_clock")
def test_a_file_that_takes_the_place_of_another_is_read_at_once(tmp_path: Path) -> None:
    """It is complete: programs write a file before they rename it."""
    path = tmp_path / "pins.json"
    path.write_text(OLD.to_json())
    loader = FileLoader(path)
    assert loader.load() == OLD
    for replace, policy in ((replace_by_rename, NEW), (replace_by_symlink, OLD)):
        replace(path, policy.to_json())
        assert loader.poll() == policy


def test_a_truncated_or_missing_file_leaves_the_last_good_policy(tmp_path: Path) -> None:
    """`last_error` says why, until the file is complete again."""
    path = tmp_path / "pins.json"
    path.write_text(OLD.to_json())
    store = PolicyStore.from_file(path, refresh_after=0.02)
    assert store.current == OLD
    path.write_text("")
    wait_until(lambda: isinstance(store.last_error, PolicyError))
    path.unlink()
    wait_until(lambda: isinstance(store.last_error, FileNotFoundError))
    assert store.current == OLD
    replace_by_rename(path, NEW.to_json())
    wait_until(lambda: store.current == NEW)


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read may be half of the one and half of the other."""
    path = tmp_path / "pins.json"
    path.write_text(OLD.to_json())
    loader = FileLoader(path)
    read = PinPolicy.from_file

    def slowly(path: Path) -> PinPolicy:
        policy = read(path)
        path.write_text(NEW.to_json())
        return policy

    with monkeypatch.context() as patch:
        patch.setattr(PinPolicy, "from_file", slowly)
        with pytest.raises(PolicyError, match="changed while it was read"):
            loader.load()
    assert loader.poll() == NEW


@pytest.mark.parametrize("wrong", [None, 3, "pins.yaml", "", "a\0.toml", b"pins.toml"])
def test_a_wrong_path_is_refused(wrong: Any) -> None:
    """By our error, as with `PinPolicy.from_file`."""
    with pytest.raises((PolicyError, FileNotFoundError)):
        PolicyStore.from_file(wrong)
    with pytest.raises(FileNotFoundError):
        PolicyStore.from_file("absent.toml")

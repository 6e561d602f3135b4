"""`Schedule`: when a client looks at its source again, and that many clients do not look together."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinned_requests.sources.schedule import Schedule

SECONDS = st.floats(0.01, 1e8)


@given(interval=SECONDS, age=st.floats(0, 1e9))
def test_a_look_is_due_when_the_policy_is_old(interval: float, age: float) -> None:
    """Within 10 % of the interval; at once where it is older."""
    delay = Schedule(interval).after_success(age)
    assert delay >= 0
    assert max(0.0, 0.9 * interval - age) * 0.999 <= delay <= max(0.0, 1.1 * interval - age) * 1.001 + 1e-6


@given(interval=SECONDS, failures=st.integers(1, 40))
def test_after_a_failure_any_delay_up_to_twice_the_interval(interval: float, failures: int) -> None:
    """At the first failure as at the fortieth."""
    schedule = Schedule(interval)
    delays = [schedule.after_failure() for _ in range(failures)]
    assert schedule.failures == failures
    assert all(0 <= delay <= 2 * interval for delay in delays)
    schedule.after_success()
    assert schedule.failures == 0


def test_the_jitter_is_full() -> None:
    """The delays fill the whole range."""
    schedule = Schedule(10.0, uniform=random.Random(1).uniform)  # noqa: S311  no secret
    tenths = Counter(int(schedule.after_failure() / 2) for _ in range(10_000))
    assert set(tenths) == set(range(10))
    assert all(800 < count < 1200 for count in tenths.values())


@given(interval=SECONDS, age=st.floats(0, 1e9))
def test_the_first_look_is_spread(interval: float, age: float) -> None:
    """An old policy: over a tenth of the interval, and a minute at most; a young one: when it is old."""
    delay = Schedule(interval).after_start(age)
    if age >= 1.1 * interval:
        assert 0 <= delay <= min(60.0, interval / 10)
    elif age < 0.8 * interval:
        assert delay > 0


def test_without_an_interval_no_look_is_ever_due() -> None:
    """Looks are made by hand."""
    schedule = Schedule(None)
    assert (schedule.after_success(), schedule.after_start(1e9), schedule.after_failure()) == (math.inf,) * 3


@given(st.lists(st.floats(-100, 100), max_size=50))
def test_one_early_look_in_30_seconds(steps: list[float]) -> None:
    """However often one is asked for. A clock that is set back does not stop early looks."""
    schedule, now, last = Schedule(60.0), 1e9, -math.inf
    for step in steps:
        now += step
        taken = schedule.takes_early_look(now)
        assert taken == (not 0 <= now - last < 30)
        if taken:
            last = now


@pytest.mark.parametrize("outage", [1, 2, 5, 15, 100])
def test_a_fleet_comes_back_evenly(outage: int) -> None:
    """200 clients after an outage: in no second of the recovery more than twice as many looks as in good times."""
    interval, clients = 5.0, 200
    for seed in range(5):
        uniform = random.Random(seed).uniform  # noqa: S311  no secret
        begin = 2 * interval
        looks: Counter[int] = Counter()
        for _ in range(clients):
            schedule = Schedule(interval, uniform=uniform)
            now = uniform(0, interval)
            while now < begin + outage + 3 * interval:
                is_down = begin <= now < begin + outage
                looks[int(now)] += not is_down
                now += schedule.after_failure() if is_down else schedule.after_success()
        recovery = range(int(begin) + outage, int(begin) + outage + 2 * int(interval))
        assert max(looks[second] for second in recovery) <= 2 * clients / interval

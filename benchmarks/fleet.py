"""Simulate a fleet of clients of one repository, with the code of the store and a clock of the simulation.

Up to `STORES` clients are real `PolicyStore`s. More would not fit into memory: they are `Schedule`s, the part of a
store that decides when to look. `tests/unit/sources/test_fleet.py` compares the two.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pinned_requests import PinPolicy, PinSet, PolicyStore
from pinned_requests.sources.loaders import Loader, Start
from pinned_requests.sources.refresher import Refresher
from pinned_requests.sources.schedule import Schedule

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

STORES = 10_000  # clients
HOUR = 3600  # seconds
EPOCH = 1.8e9  # seconds: the beginning of each scenario
GAP = 600.0  # seconds between two requests of a client, on average
# Files of the repository: a look asks for the next root (404) and the timestamp; and for snapshot, targets and policy
# if there is something new.
LOOK, NEWS = 2, 3
OLD, NEW = (PinPolicy({f"{name}.example": PinSet.exempt()}) for name in ("old", "new"))


class Scenario(NamedTuple):
    """What happens to the fleet. Times are seconds from the beginning.

    Attributes:
        name: for people.
        published: when the new policy is published.
        lost: when the servers' keys change, so that the old policy refuses them.
        down: from when to when the repository does not answer.
        starts: whether all clients start at 0, with an old policy; else they have run for long.
        lasts: for how long it is watched.
    """

    name: str
    published: float = 0.0
    lost: float | None = None
    down: tuple[float, float] = (0.0, 0.0)
    starts: bool = False
    lasts: int = 3 * HOUR


SCENARIOS = {
    "start": Scenario("all clients start at once", published=-1.0, starts=True),
    "publish": Scenario("a policy is published", lasts=3 * HOUR // 2),
    "outage": Scenario("the repository is down for an hour", published=HOUR / 2, down=(0, HOUR), lasts=4 * HOUR),
    "lost": Scenario("all pins are lost, and new ones published", lost=0.0, lasts=3 * HOUR // 2),
    "blocked": Scenario("a leaked CA is blocked, refresh_after=300", lasts=HOUR // 4),
}
INTERVALS = {"blocked": 300.0}  # seconds, where it is not an hour


class Outcome(NamedTuple):
    """What was seen.

    Attributes:
        requests: at the repository, for each second.
        enforced: when each client took the new policy, sorted, in seconds from its publication.
        refused: honest requests.
        clients: of the fleet.
    """

    requests: list[int]
    enforced: list[float]
    refused: int
    clients: int

    def share(self, percent: float) -> float:
        """Return the seconds from the publication until so many of the clients had the new policy."""
        return self.enforced[min(len(self.enforced), max(1, round(self.clients * percent / 100))) - 1]


class World:
    """The repository, and the clock."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.now = 0.0
        self.requests: Counter[int] = Counter()
        self.uniform = random.Random(seed).uniform  # noqa: S311  no secret

    def ask(self, *, has_new: bool) -> bool:
        """Answer a look, and return whether the new policy is published.

        Raises:
            OSError: the repository is down.
        """
        down, second = self.scenario.down, int(self.now // 1)
        if down[0] <= self.now < down[1]:
            self.requests[second] += 1
            raise OSError("the repository is down")
        is_new = self.now >= self.scenario.published
        self.requests[second] += LOOK + NEWS * (is_new and not has_new)
        return is_new


class Client(Protocol):
    """A client, which looks when it is told to."""

    @property
    def has_new(self) -> bool:
        """Whether the new policy is in force."""

    def look(self) -> float:
        """Look if that is due, and return the seconds until the next time."""

    def look_early(self) -> float | None:
        """Look because of a mismatch, and return the seconds until the next time; None: not so soon after another."""


class LightClient:
    """The schedule of a store."""

    __slots__ = ("_schedule", "_world", "has_new")

    def __init__(self, world: World, interval: float) -> None:
        self._world, self.has_new = world, False
        self._schedule = Schedule(interval, uniform=world.uniform)

    def begin(self, age: float) -> float:
        """Start with a policy of this age."""
        return self._schedule.after_start(age)

    def look(self) -> float:  # noqa: D102  as in the protocol
        try:
            self.has_new = self._world.ask(has_new=self.has_new)
        except OSError:
            return self._schedule.after_failure()
        return self._schedule.after_success()

    def look_early(self) -> float | None:  # noqa: D102  as in the protocol
        return self.look() if self._schedule.takes_early_look(EPOCH + self._world.now) else None


class StoreClient(PolicyStore):
    """A real store, whose clock and thread are the simulation."""

    def __init__(self, world: World, interval: float) -> None:
        self._world, self._interval = world, interval

    def begin(self, age: float) -> float:
        """Start with a policy of this age."""
        loader = Loader(self._answer, Start(OLD, loaded=EPOCH + self._world.now - age))
        super().__init__(loader, refresh_after=self._interval)
        refresher = self._refresher
        if refresher is None:
            raise TypeError("a store with a source has a refresher")
        refresher.__class__ = _ThreadlessRefresher
        refresher._schedule._uniform = self._world.uniform  # noqa: SLF001  for the same figures each time
        delay = refresher._schedule.after_start(age)  # noqa: SLF001  the one of the constructor was another
        refresher._plan(delay)  # noqa: SLF001  as above
        self._waiting = refresher
        return delay

    @property
    def has_new(self) -> bool:  # noqa: D102  as in the protocol
        return self._current is NEW

    def look(self) -> float:  # noqa: D102  as in the protocol
        return self._waiting.poll()

    def look_early(self) -> float | None:  # noqa: D102  as in the protocol
        looks = self._waiting._looks  # noqa: SLF001  the simulation stands for the thread
        self.confirm(may_wait=False)
        delay = self._waiting.poll()
        return None if self._waiting._looks == looks else delay  # noqa: SLF001  as above

    def _answer(self) -> PinPolicy:
        return NEW if self._world.ask(has_new=self.has_new) else OLD

    def _clocks(self) -> tuple[float, float]:  # type: ignore[override]  # those of a world, not of the class
        return self._world.now, EPOCH + self._world.now


class _ThreadlessRefresher(Refresher):
    def _start(self) -> bool:
        self._has_thread = True
        return True

    def _watch(self) -> threading.Timer | None:
        return None


def simulate(  # noqa: PLR0913  what a simulation consists of
    scenario: Scenario, clients: int, interval: float, *, confirms: bool = True, stores: bool = False, seed: int = 1
) -> Outcome:
    """Run a scenario.

    Args:
        scenario: what happens.
        clients: how many.
        interval: `refresh_after` of each, in seconds.
        confirms: whether requests wait for the look that they bring forward (`confirm_refusals`).
        stores: whether the clients are real stores.
        seed: of everything random.
    """
    world = World(scenario, seed)
    begin = 0 if scenario.starts else -int(1.5 * interval)  # until it has settled
    world.now = float(begin)
    calendar: defaultdict[int, list[tuple[float, int, bool]]] = defaultdict(list)  # second → when, who, is a request
    fleet: list[LightClient | StoreClient] = []
    for number in range(clients):
        client = StoreClient(world, interval) if stores else LightClient(world, interval)
        fleet.append(client)
        due = begin + client.begin(float("inf") if scenario.starts else world.uniform(0, interval))
        calendar[int(due // 1)].append((due, number, False))
        if scenario.lost is not None:
            when = scenario.lost + _gap(world)
            calendar[int(when // 1)].append((when, number, True))
    next_look = [float("-inf")] * clients  # an early look moves it
    enforced, refused = [], 0
    for second in range(begin, scenario.lasts):
        for when, number, is_request in _in_order(calendar, second):
            client = fleet[number]
            if not is_request and when < next_look[number]:
                continue
            had_new = client.has_new
            if is_request and had_new:
                continue
            world.now = when
            delay = client.look_early() if is_request else client.look()
            if client.has_new and not had_new:
                enforced.append(when - scenario.published)
            if is_request and not (confirms and client.has_new):
                refused += 1
                again = when + _gap(world)
                calendar[int(again // 1)].append((again, number, True))
            if delay is not None:
                next_look[number] = due = when + delay
                calendar[int(due // 1)].append((due, number, False))
        calendar.pop(second, None)
    return Outcome([world.requests[second] for second in range(scenario.lasts)], sorted(enforced), refused, clients)


def _gap(world: World) -> float:
    """Return the time until the next request of a client: any moment is as likely as any other."""
    return world.uniform(0, 2 * GAP)


def _in_order(calendar: dict[int, list[tuple[float, int, bool]]], second: int) -> Iterator[tuple[float, int, bool]]:
    """Yield the events of a second, also those that are added meanwhile."""
    while events := calendar.pop(second, None):
        yield from sorted(events)


def main(arguments: list[str]) -> None:
    """Run all scenarios and print the tables of `docs/fleet.md`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fleet", description=__doc__)
    parser.add_argument("--clients", type=int, action="append", help="how many; repeatable (10000 and 1000000)")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="only this scenario; repeatable")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw fleet-NAME.svg there")
    options = parser.parse_args(arguments)
    logging.getLogger("pinned_requests").setLevel(logging.CRITICAL)
    sizes = options.clients or [STORES, 1_000_000]
    print("| scenario | clients | peak, files/s | even rate | 50 % | 99 % | 100 % | refused | without confirming |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name in options.only or SCENARIOS:
        scenario, interval = SCENARIOS[name], INTERVALS.get(name, float(HOUR))
        found = {size: simulate(scenario, size, interval, stores=size <= STORES) for size in sizes}
        for size, outcome in found.items():
            plain = outcome.refused
            if scenario.lost is not None:
                plain = simulate(scenario, size, interval, confirms=False, stores=size <= STORES).refused
            shares = " | ".join(_duration(outcome.share(percent)) for percent in (50, 99, 100))
            is_all = "" if len(outcome.enforced) == size else f" ({len(outcome.enforced)} of them)"
            print(
                f"| {scenario.name} | {size:,} | {max(outcome.requests):,} | {LOOK * size / interval:,.0f} | {shares}"
                f"{is_all} | {outcome.refused:,} | {plain:,} |",
                flush=True,
            )
        if options.plots:
            from benchmarks.fleet_plot import draw  # noqa: PLC0415  wants matplotlib

            draw(scenario, interval, found, options.plots / f"fleet-{name}.svg")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004  two minutes

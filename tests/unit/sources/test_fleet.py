"""A fleet of 200 clients: what `docs/fleet.md` says of it, on the simulated clock of `benchmarks/fleet.py`."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

PLACE = Path(__file__).parents[3] / "benchmarks" / "fleet.py"
CLIENTS = 200


@pytest.fixture(scope="module")
def fleet() -> ModuleType:
    """The program, which is not installed."""
    spec = spec_from_file_location("_fleet", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["_fleet"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("outage", [1, 3, 5, 20, 60])
def test_recovery_from_an_outage(fleet: ModuleType, outage: int) -> None:
    """In no second after it are there more than twice as many looks as in good times."""
    interval = 5.0
    scenario = fleet.Scenario("", published=1e9, down=(0, outage), lasts=outage + 20)
    found = fleet.simulate(scenario, CLIENTS, interval, stores=True)
    assert max(found.requests[outage:]) <= 2 * fleet.LOOK * CLIENTS / interval
    assert sum(found.requests[outage:]) > 0


def test_all_pins_are_lost(fleet: ModuleType) -> None:
    """Each client is back with its next request; without `confirm_refusals` one request of each is refused first."""
    scenario = fleet.Scenario("", lost=0.0, lasts=1300)
    with_it, without = (fleet.simulate(scenario, CLIENTS, 3600.0, stores=True, confirms=each) for each in (True, False))
    assert (with_it.refused, len(with_it.enforced)) == (0, CLIENTS)
    assert with_it.enforced[-1] <= 2 * fleet.GAP
    assert 0.7 * CLIENTS < without.refused <= CLIENTS


def test_a_policy_is_published(fleet: ModuleType) -> None:
    """All have it within 1.1 intervals."""
    found = fleet.simulate(fleet.Scenario("", lasts=700), CLIENTS, 600.0, stores=True)
    assert len(found.enforced) == CLIENTS
    assert 200 < found.share(50) < 400
    assert found.share(100) <= 660


def test_a_start_of_all_at_once_is_spread(fleet: ModuleType) -> None:
    """Over a minute, or a tenth of the interval."""
    found = fleet.simulate(fleet.Scenario("", published=-1.0, starts=True, lasts=70), CLIENTS, 3600.0, stores=True)
    assert max(found.requests) <= 4 * (fleet.LOOK + fleet.NEWS) * CLIENTS / 60
    assert 50 < found.share(99) < 61


@pytest.mark.parametrize("name", ["start", "publish", "outage", "lost"])
def test_schedules_make_the_curves_of_stores(fleet: ModuleType, name: str) -> None:
    """So that a million of them say what a million stores would do."""
    scenario = fleet.SCENARIOS[name]
    stores, schedules = (fleet.simulate(scenario, 1000, 3600.0, stores=each) for each in (True, False))
    assert len(stores.enforced) == len(schedules.enforced) == 1000
    for percent in (25, 50, 75):
        assert stores.share(percent) == pytest.approx(schedules.share(percent), rel=0.2, abs=20)
    assert sum(stores.requests) == pytest.approx(sum(schedules.requests), rel=0.05)

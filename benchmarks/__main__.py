"""Run the benchmarks and print medians, and ratios to requests: medians of those of each round, side by side.

`python -m benchmarks fleet` simulates a fleet of clients instead, for docs/fleet.md. `python -m benchmarks soak` shows
that nothing grows over many requests, connections and policies. `python -m benchmarks scoreboard` runs well-known
clients against the attackers of the lab, for docs/scoreboard.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scenarios import Scenario, in_fresh_processes, in_memory, on_the_wire
from benchmarks.server import KEYS, VERSIONS, running

if TYPE_CHECKING:
    from collections.abc import Iterable


def main() -> None:
    """Run what was asked for, and keep it where that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="measurements of each contender in a scenario (60)")
    parser.add_argument("--quick", action="store_true", help="an ECDSA server with TLS 1.3 only")
    parser.add_argument("--only", metavar="WORDS", help="only scenarios with this in their title")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw new and kept-alive connections into this PNG or SVG file")
    options = parser.parse_args()

    python = f"{platform.python_implementation()} {platform.python_version()}"
    today = dt.datetime.now(dt.UTC).date().isoformat()
    machine = f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {today}"
    print(f"{machine}\n")
    scenarios = []
    for scenario in run(options.rounds, quick=options.quick, only=options.only):
        show(scenario)
        scenarios.append(scenario)
    if options.json:
        result = {"machine": machine, "scenarios": [as_json(scenario) for scenario in scenarios]}
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    if options.plot:
        from benchmarks.plot import draw  # noqa: PLC0415  wants matplotlib

        draw(scenarios, machine, options.plot)


def run(rounds: int, *, quick: bool, only: str | None) -> Iterable[Scenario]:
    """Yield the scenarios: first those of the server that a program meets most."""

    def is_wanted(title: str) -> bool:
        return only is None or only in title

    servers = [(key, tls) for key in KEYS for tls in reversed(VERSIONS)]
    for key, tls in servers[:1] if quick else servers:
        with tempfile.TemporaryDirectory() as folder, running(Path(folder), key, tls) as target:
            for scenario in on_the_wire(target, rounds, is_wanted):
                yield scenario._replace(name=f"{scenario.name} ({key.upper()}, TLS {tls})")
            if (key, tls) == servers[0]:
                yield from in_fresh_processes(target, rounds, is_wanted)
    yield from in_memory(is_wanted)


def show(scenario: Scenario) -> None:
    """Print a scenario: each figure, and its ratio to the first."""
    print(scenario.name)
    for name, (value, ratio) in scenario.figures.items():
        print(f"  {name:36} {value:10.3f} {scenario.unit}  {ratio:8.3f} x", flush=True)
    print(flush=True)


def as_json(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario for the file of figures."""
    figures = {name: figure._asdict() for name, figure in scenario.figures.items()}
    return {"name": scenario.name, "unit": scenario.unit, "figures": figures}


if __name__ == "__main__":
    from benchmarks import fleet, scoreboard, soak

    others = {"fleet": fleet.main, "scoreboard": scoreboard.main, "soak": soak.main}
    if sys.argv[1:] and sys.argv[1] in others:
        others[sys.argv[1]](sys.argv[2:])
    else:
        main()

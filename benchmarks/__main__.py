"""Run the benchmarks and print medians, and ratios to requests, measured side by side in this one run."""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks.server import Target, running
from pinned_requests import Pin, PinnedSession, PinPolicy
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import evaluate
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER_PIN = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
SECOND_PIN = "sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
CLOSE = {"Connection": "close"}


def main() -> None:
    """Run all scenarios and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="measurements of each contender in a scenario")
    rounds: int = parser.parse_args().rounds

    today = dt.datetime.now(dt.timezone.utc).date()
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, {today}\n")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as target:
        show("new connection on a session", new_connection(target, rounds), "ms", 1e3)
        show("request on a kept-alive connection", kept_alive(target, rounds * 20), "ms", 1e3)
    show("import", imports(max(rounds // 4, 5)), "ms", 1e3)
    show("evaluation on a pooled connection, 3 certificates", evaluation(), "µs", 1e6)
    show("lookup in a policy of", lookups(), "µs", 1e6)


def new_connection(target: Target, rounds: int) -> dict[str, float]:
    """Measure a request that makes a connection of its own, on a session that lives on."""
    plain, pinned = sessions(target)
    return medians(
        {
            "requests": lambda: plain.get(target.url, headers=CLOSE),
            "pinned_requests": lambda: pinned.get(target.url, headers=CLOSE),
        },
        rounds,
    )


def kept_alive(target: Target, rounds: int) -> dict[str, float]:
    """Measure a request on a connection that is open."""
    plain, pinned = sessions(target)
    return medians(
        {"requests": lambda: plain.get(target.url), "pinned_requests": lambda: pinned.get(target.url)}, rounds
    )


def imports(rounds: int) -> dict[str, float]:
    """Measure an import in a fresh interpreter, each in turn."""

    def seconds(modules: str) -> float:
        code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
        return float(subprocess.check_output([sys.executable, "-c", code], text=True))  # noqa: S603  this interpreter

    taken: dict[str, list[float]] = {"requests": [], "requests, pinned_requests": []}
    for _ in range(rounds):
        for modules, times in taken.items():
            times.append(seconds(modules))
    return {f"import {modules}": statistics.median(times) for modules, times in taken.items()}


def evaluation() -> dict[str, float]:
    """Measure the decision alone, where the root of three certificates is the one that is pinned."""
    leaf = Authority.create().intermediate().issue("api.example.com")
    certificates = [certificate.public_bytes(Encoding.DER) for certificate in leaf.chain]
    chain = Chain.of(certificates, is_verified=True)
    policy = PinPolicy({"api.example.com": [Pin.from_certificate(certificates[-1]), OTHER_PIN]})
    now = dt.datetime.now(dt.timezone.utc)
    return {"evaluate()": per_call(lambda: evaluate(policy, "api.example.com", chain, now, port=443))}


def lookups() -> dict[str, float]:
    """Measure a lookup among so many hosts, of one that is not there, which is the longest way."""
    policies = {
        count: PinPolicy({f"host{n}.example.com": [OTHER_PIN, SECOND_PIN] for n in range(count)})
        for count in (1, 1_000, 100_000)
    }
    return {
        f"{count:,} hosts": per_call(lambda policy=policy: policy.lookup("api.eu.example.com"))
        for count, policy in policies.items()
    }


def sessions(target: Target) -> tuple[requests.Session, PinnedSession]:
    """Return a plain and a pinned session for the target."""
    plain, pinned = requests.Session(), PinnedSession({"localhost": [Pin.from_certificate(target.leaf), OTHER_PIN]})
    for session in (plain, pinned):
        session.trust_env, session.verify = False, target.bundle
    return plain, pinned


def medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each contender; they take turns, so that a busy machine is busy for all of them."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
    for _ in range(rounds):
        for name, contender in contenders.items():
            begin = time.perf_counter()
            contender()
            taken[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in taken.items()}


def per_call(call: Callable[[], object], calls: int = 20_000, repeats: int = 7) -> float:
    """Return the seconds that a call takes: the median of some repeats."""
    return statistics.median(timeit.repeat(call, number=calls, repeat=repeats)) / calls


def show(scenario: str, seconds: dict[str, float], unit: str, factor: float) -> None:
    """Print a scenario: each figure, and its ratio to the first."""
    print(scenario)
    reference = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"  {name:32} {value * factor:10.3f} {unit}  {value / reference:8.3f} x")
    print()


if __name__ == "__main__":
    main()

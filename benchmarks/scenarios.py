"""What is measured."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks.contenders import CONTENDERS, OTHER_PIN
from benchmarks.measure import import_times, medians, per_call, process, processes
from benchmarks.worker import THREADS, Worker
from pinned_requests import Pin, PinPolicy
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import evaluate
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.server import Target

SECOND_PIN = "sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
OF_REQUESTS = ("requests", "pinned_requests", "requests, shared context")
LIVE_SESSIONS = 1_000

# In a fresh interpreter: what a program does for its first request.
FIRST_REQUEST = {
    "requests": "import requests; requests.Session().get(url, verify=bundle)",
    "pinned_requests": (
        "from pinned_requests import PinnedSession; PinnedSession({'localhost': [pin, other]}).get(url, verify=bundle)"
    ),
}
ARGUMENTS = "import sys; url, bundle, pin, other = sys.argv[1:5]; "
LIVE = {
    "requests": "import requests; make = requests.Session",
    "pinned_requests": (
        "from pinned_requests import PinnedSession; make = lambda: PinnedSession({'localhost': [pin, other]})"
    ),
}
HOLD = """
sessions = [make() for _ in range(int(sys.argv[5]))]
for session in sessions:
    session.get(url, verify=bundle).content
"""


class Scenario(NamedTuple):
    """One table: a figure for each contender; the first is what the others are compared to."""

    name: str
    unit: str
    figures: dict[str, float]


def on_the_wire(target: Target, rounds: int) -> Iterable[Scenario]:
    """Measure all contenders against a running server."""
    workers = {name: Worker(name, target) for name in CONTENDERS}
    running = {name: worker for name, worker in workers.items() if worker.is_available}

    def measure(title: str, task: str, rounds: int, names: Iterable[str] = running) -> Scenario:
        tasks = {name: partial(running[name].seconds, task) for name in names}
        return Scenario(title, "ms", milliseconds(medians(tasks, rounds)))

    try:
        yield measure("new connection on a session", "new", rounds)
        yield measure("request on a kept-alive connection", "kept", rounds * 20)
        yield measure(f"{THREADS} threads, {THREADS} new connections each", "threads", max(rounds // 4, 3), OF_REQUESTS)
        yield measure("fresh session and one request", "fresh", rounds)
    finally:
        for worker in workers.values():
            worker.end()


def in_fresh_processes(target: Target, rounds: int) -> Iterable[Scenario]:
    """Measure what a whole process spends."""
    arguments = (target.url, target.bundle, str(Pin.from_certificate(target.leaf)), OTHER_PIN)
    spent = processes({name: ARGUMENTS + code for name, code in FIRST_REQUEST.items()}, rounds, arguments)
    yield Scenario(
        "first request of a fresh process, wall time", "ms", milliseconds({n: s.seconds for n, s in spent.items()})
    )
    yield Scenario(
        "first request of a fresh process, peak memory", "MB", megabytes({n: s.memory for n, s in spent.items()})
    )
    held = {
        name: process(ARGUMENTS + code + HOLD, (*arguments, str(LIVE_SESSIONS))).memory for name, code in LIVE.items()
    }
    yield Scenario(f"{LIVE_SESSIONS:,} live sessions with one connection each, peak memory", "MB", megabytes(held))
    first, second = import_times(("requests", "pinned_requests"), rounds)
    yield Scenario("import", "ms", milliseconds({"requests": first, "requests, then pinned_requests": first + second}))


def in_memory() -> Iterable[Scenario]:
    """Measure the decision alone, and look-ups of a host that is not there, which take the longest way."""
    leaf = Authority.create().intermediate().issue("api.example.com")
    certificates = [certificate.public_bytes(Encoding.DER) for certificate in leaf.chain]
    chain = Chain.of(certificates, is_verified=True)
    root_pinned = PinPolicy({"api.example.com": [Pin.from_certificate(certificates[-1]), OTHER_PIN]})
    now = dt.datetime.now(dt.timezone.utc)
    seconds = per_call(lambda: evaluate(root_pinned, "api.example.com", chain, now, port=443))
    yield Scenario("pin evaluation, the root of 3 certificates pinned", "µs", {"evaluate()": seconds * 1e6})

    policies = {
        f"{count:,} hosts": PinPolicy({f"host{n}.example.com": [OTHER_PIN, SECOND_PIN] for n in range(count)})
        for count in (1, 1_000, 100_000)
    }
    large = policies["100,000 hosts"]
    texts = {"JSON": (PinPolicy.from_json, large.to_json()), "TOML": (PinPolicy.from_toml, large.to_toml())}
    loaded = {name: per_call(partial(read, text), calls=1, repeats=3) for name, (read, text) in texts.items()}
    yield Scenario("load a policy of 100,000 hosts with two pins each", "s", loaded)
    found = {name: per_call(looking_up(policy)) * 1e6 for name, policy in policies.items()}
    yield Scenario("policy lookup", "µs", found)


def looking_up(policy: PinPolicy) -> Callable[[], object]:
    """Return a call that looks up a host without an entry."""
    return lambda: policy.lookup("api.eu.example.com")


def milliseconds(seconds: dict[str, float]) -> dict[str, float]:
    """Return seconds as milliseconds."""
    return {name: value * 1e3 for name, value in seconds.items()}


def megabytes(sizes: dict[str, float]) -> dict[str, float]:
    """Return bytes as megabytes."""
    return {name: value / 1e6 for name, value in sizes.items()}

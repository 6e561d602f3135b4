"""What is measured."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from operator import add
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks.contenders import CONTENDERS, OTHER_PIN
from benchmarks.measure import Figure, figures, import_times, in_turns, per_call, process, processes
from benchmarks.worker import THREADS, Worker
from pinned_requests import Pin, PinPolicy
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import evaluate
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.server import Target

Wanted = Callable[[str], bool]  # says of the title of a scenario whether to measure it
SECOND_PIN = "sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
# The first is the one that the others are compared to.
SHARED_CONTEXT = ("requests, shared context", "pinned_requests", "ssl and http.client, shared context")
OF_REQUESTS = ("requests", *SHARED_CONTEXT)
OF_URLLIB3 = ("urllib3", "PinnedPoolManager")
LIVE_SESSIONS = 1_000
MILLI, MICRO, MEGA = 1e3, 1e6, 1e-6  # so many ms and µs in a second, MB in a byte

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
    """One table: figures of each contender; the first is what the others are compared to."""

    name: str
    unit: str
    figures: dict[str, Figure]


def on_the_wire(target: Target, rounds: int, wanted: Wanted) -> Iterable[Scenario]:
    """Measure the contenders against a running server."""
    workers: dict[str, Worker] = {}

    def measure(title: str, task: str, rounds: int, names: Iterable[str] = CONTENDERS) -> Iterable[Scenario]:
        if not wanted(title):
            return
        for name in names:
            if name not in workers:
                workers[name] = Worker(name, target)
        tasks = {name: partial(workers[name].seconds, task) for name in names if workers[name].is_available}
        yield Scenario(title, "ms", figures(in_turns(tasks, rounds), MILLI))

    threads = f"{THREADS} threads, {THREADS} new connections each"
    try:
        yield from measure("new connection on a session", "new", rounds)
        yield from measure("new connection, to a shared context without pins", "new", rounds * 3, SHARED_CONTEXT)
        yield from measure("request on a kept-alive connection", "kept", rounds * 4)
        yield from measure("request on a kept-alive connection, to urllib3", "kept", rounds * 10, OF_URLLIB3)
        yield from measure(threads, "threads", max(rounds // 4, 3), OF_REQUESTS)
        yield from measure(f"{threads}, to a shared context without pins", "threads", rounds, SHARED_CONTEXT)
        yield from measure("fresh session and one request", "fresh", rounds)
    finally:
        for worker in workers.values():
            worker.end()


def in_fresh_processes(target: Target, rounds: int, wanted: Wanted) -> Iterable[Scenario]:
    """Measure what a whole process spends."""
    arguments = (target.url, target.bundle, str(Pin.from_certificate(target.leaf)), OTHER_PIN)
    first = "first request of a fresh process"
    if wanted(first):
        codes = {name: ARGUMENTS + code for name, code in FIRST_REQUEST.items()}
        spent = processes(codes, rounds * 5, arguments)  # processes scatter by more than the two differ
        seconds = {name: [one.seconds for one in all_] for name, all_ in spent.items()}
        memory = {name: [one.memory for one in all_] for name, all_ in spent.items()}
        yield Scenario(f"{first}, wall time", "ms", figures(seconds, MILLI))
        yield Scenario(f"{first}, peak memory", "MB", figures(memory, MEGA))
    live = f"{LIVE_SESSIONS:,} live sessions with one connection each, peak memory"
    if wanted(live):
        codes = {name: ARGUMENTS + code + HOLD for name, code in LIVE.items()}
        held = {name: [process(code, (*arguments, str(LIVE_SESSIONS))).memory] for name, code in codes.items()}
        yield Scenario(live, "MB", figures(held, MEGA))
    if wanted("import"):
        requests, pinned = import_times(("requests", "pinned_requests"), rounds)
        times = {"requests": requests, "requests, then pinned_requests": list(map(add, requests, pinned))}
        yield Scenario("import", "ms", figures(times, MILLI))


def in_memory(wanted: Wanted) -> Iterable[Scenario]:
    """Measure the decision alone, how policies load, and look-ups of a host without an entry, which take longest."""
    evaluation = "pin evaluation, the root of 3 certificates pinned"
    if wanted(evaluation):
        yield Scenario(evaluation, "µs", figures({"evaluate()": [per_call(evaluating())]}, MICRO))
    loading = "load a policy of 100,000 hosts with two pins each"
    if wanted(loading):
        large = policy_of(100_000)
        texts = {"JSON": (PinPolicy.from_json, large.to_json()), "TOML": (PinPolicy.from_toml, large.to_toml())}
        loads = {name: partial(per_call, partial(read, text), 1, 1) for name, (read, text) in texts.items()}
        yield Scenario(loading, "s", figures(in_turns(loads, rounds=5)))
    if wanted("policy lookup"):
        found = {f"{count:,} hosts": [per_call(looking_up(policy_of(count)))] for count in (1, 1_000, 100_000)}
        yield Scenario("policy lookup", "µs", figures(found, MICRO))


def evaluating() -> Callable[[], object]:
    """Return a call that evaluates a chain whose root is pinned."""
    leaf = Authority.create().intermediate().issue("api.example.com")
    certificates = [certificate.public_bytes(Encoding.DER) for certificate in leaf.chain]
    chain = Chain.of(certificates, is_verified=True)
    policy = PinPolicy({"api.example.com": [Pin.from_certificate(certificates[-1]), OTHER_PIN]})
    now = dt.datetime.now(dt.UTC)
    return lambda: evaluate(policy, "api.example.com", chain, now, port=443)


def policy_of(count: int) -> PinPolicy:
    """Return a policy with so many hosts, and two pins for each."""
    return PinPolicy({f"host{n}.example.com": [OTHER_PIN, SECOND_PIN] for n in range(count)})


def looking_up(policy: PinPolicy) -> Callable[[], object]:
    """Return a call that looks up a host without an entry."""
    return lambda: policy.lookup("api.eu.example.com")

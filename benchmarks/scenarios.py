"""What is measured."""

from __future__ import annotations

import datetime as dt
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks.contenders import CONTENDERS, OTHER_PIN, Client
from benchmarks.measure import import_times, medians, per_call, process, processes
from pinned_requests import Pin, PinPolicy
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import evaluate
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.server import Target

SECOND_PIN = "sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
THREADS = 8
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
    clients = {name: make(target) for name, make in available(target)}
    try:
        yield Scenario(
            "new connection on a session",
            "ms",
            milliseconds(medians({name: closing(client) for name, client in clients.items()}, rounds)),
        )
        yield Scenario(
            "request on a kept-alive connection",
            "ms",
            milliseconds(medians({name: client.get for name, client in clients.items()}, rounds * 20)),
        )
        yield Scenario(
            f"{THREADS} threads, new connections, {THREADS} each",
            "ms",
            milliseconds(medians({name: threaded(clients[name]) for name in OF_REQUESTS}, max(rounds // 8, 3))),
        )
    finally:
        for client in clients.values():
            client.end()
    fresh = {name: one_request(make, target) for name, make in available(target)}
    yield Scenario("fresh session and one request", "ms", milliseconds(medians(fresh, rounds)))


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
    found = {name: per_call(looking_up(policy)) * 1e6 for name, policy in policies.items()}
    yield Scenario("policy lookup", "µs", found)


def available(target: Target) -> Iterable[tuple[str, Callable[[Target], Client]]]:
    """Yield the contenders whose library is installed; name the others."""
    for name, make in CONTENDERS.items():
        try:
            make(target).end()
        except ImportError as e:  # noqa: PERF203  a handful
            print(f"left out: {name} ({e})", file=sys.stderr)
        else:
            yield name, make


def closing(client: Client) -> Callable[[], object]:
    """Return a call that fetches over a connection of its own."""
    return lambda: client.get(close=True)


def one_request(make: Callable[[Target], Client], target: Target) -> Callable[[], None]:
    """Return a call that makes a client, fetches once and ends it."""

    def call() -> None:
        client = make(target)
        client.get()
        client.end()

    return call


def threaded(client: Client) -> Callable[[], None]:
    """Return a call in which threads fetch at once, each over new connections."""

    def call() -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            for future in [threads.submit(client.get, close=True) for _ in range(THREADS * THREADS)]:
                future.result()

    return call


def looking_up(policy: PinPolicy) -> Callable[[], object]:
    """Return a call that looks up a host without an entry."""
    return lambda: policy.lookup("api.eu.example.com")


def milliseconds(seconds: dict[str, float]) -> dict[str, float]:
    """Return seconds as milliseconds."""
    return {name: value * 1e3 for name, value in seconds.items()}


def megabytes(sizes: dict[str, float]) -> dict[str, float]:
    """Return bytes as megabytes."""
    return {name: value / 1e6 for name, value in sizes.items()}

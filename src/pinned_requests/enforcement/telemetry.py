"""OpenTelemetry: violations (a counter, and an event on the span of the request), and policies (gauges).

Rules for the next maintainer:

- `opentelemetry-api` is not a dependency. It is imported at the first violation; gauges are made once the program has
  imported it.
- A redirect chooses hosts. The counter's attributes come from the policy alone, or each host would be another series.
"""

from __future__ import annotations

import math
import sys
import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinned_requests.core.report import ViolationReport

NAME = "pinned_requests.violation"  # of the event
COUNTER = "pinned_requests.violations"
HASH_DIGITS = 12  # of a version that is not a number
AGE, VERSION = "pinned_requests.policy.age", "pinned_requests.policy.version"  # of the gauges


class Observed(Protocol):
    """What the gauges read of a policy store."""

    @property
    def age(self) -> float:
        """Seconds; infinite if unknown."""

    @property
    def version(self) -> str:
        """A number in decimal digits, or 12 hex digits."""


def record(report: ViolationReport) -> None:
    """Count a violation, and note it on the current span, if `opentelemetry-api` is installed."""
    if (instruments := _instruments()) is None:
        return
    counter, current_span = instruments
    verdict = report.verdict
    attributes: dict[str, Any] = {
        "pinned_requests.outcome": verdict.outcome.value,
        "pinned_requests.allowed": verdict.is_allowed,
        "pinned_requests.report_only": report.report_only,
    }
    if verdict.pattern is not None:
        attributes["pinned_requests.noted_host"] = verdict.pattern
    counter.add(1, attributes)
    attributes["server.address"] = report.host
    if report.port is not None:
        attributes["server.port"] = report.port
    current_span().add_event(NAME, attributes)


@lru_cache(maxsize=1)
def _instruments() -> tuple[Any, Any] | None:
    try:
        from opentelemetry import metrics, trace  # noqa: PLC0415  not a dependency
    except ImportError:
        return None
    meter = metrics.get_meter("pinned_requests")
    counter = meter.create_counter(COUNTER, unit="{violation}", description="Refused or reported TLS peers")
    return counter, trace.get_current_span


def observe(store: Observed, source: str) -> None:
    """Show the age and the version of a store's policy in gauges, for as long as the store exists.

    An unknown age is not shown. A version that is a hash is shown as a number; the attribute `pinned_requests.version`
    has it as text. The attribute `pinned_requests.source` tells stores apart.
    """
    key = id(store)
    if key not in _observed:
        _observed[key] = weakref.ref(store, lambda _: _observed.pop(key, None)), source
    if "opentelemetry.metrics" in sys.modules:
        _gauges()


_observed: dict[int, tuple[Callable[[], Observed | None], str]] = {}


@lru_cache(maxsize=1)
def _gauges() -> None:
    from opentelemetry import metrics  # noqa: PLC0415  not a dependency

    def observations(read: Callable[[Observed], float]) -> Callable[[object], Iterator[Any]]:
        def callback(_options: object) -> Iterator[Any]:
            for find, source in list(_observed.values()):
                store = find()
                if store is not None and math.isfinite(value := read(store)):
                    attributes = {"pinned_requests.source": source, "pinned_requests.version": store.version}
                    yield metrics.Observation(value, attributes)

        return callback

    gauge = metrics.get_meter("pinned_requests").create_observable_gauge
    age = observations(lambda store: store.age)
    version = observations(lambda store: int(store.version, 16 if len(store.version) == HASH_DIGITS else 10))
    gauge(AGE, [age], unit="s", description="Age of the pin policy in force")
    gauge(VERSION, [version], description="Version of the pin policy in force")

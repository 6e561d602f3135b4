"""Violations as OpenTelemetry sees them: a counter, and an event on the span of the request.

Rules for the next maintainer:

- `opentelemetry-api` is not a dependency. It is looked for at the first violation, never by `import pinned_requests`.
- A redirect chooses hosts. The counter's attributes come from the policy alone, or each host would be another series.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinned_requests.core.report import ViolationReport

NAME = "pinned_requests.violation"  # of the event
COUNTER = "pinned_requests.violations"


def record(report: ViolationReport) -> None:
    """Count a violation, and note it on the current span, where `opentelemetry-api` is installed."""
    instruments = _instruments()
    if instruments is None:
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

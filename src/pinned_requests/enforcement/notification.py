"""Tells sinks of a violation: log, audit hooks, OpenTelemetry, the policy's `report_uri`, the callback.

Sinks run after the decision and cannot change it. Their exceptions are logged and ignored.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from pinned_requests.core.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.core.report import ViolationReport

logger = logging.getLogger("pinned_requests")

AUDIT_EVENT = "pinned_requests.violation"  # with host, port and outcome: at each refusal
MAX_WARNED = 4096  # hosts: a redirect chooses them, where a pattern has expired


class Notifier:
    """Tells of violations. The constructor raises a `PolicyError` as that of `Guard`."""

    def __init__(self, on_violation: Callable[[ViolationReport], object] | None, policy: PinPolicy) -> None:
        self._on_violation = on_violation
        self._warned: dict[tuple[str, datetime | None], object] = {}  # hosts whose pins have expired
        self._demand_deliverable(policy)

    def notify(self, report: ViolationReport, policy: PinPolicy) -> None:
        """Tell of a violation, under the policy in force."""
        if self._is_news(report):
            _tell("the log", _log, report)
        if not report.allowed:
            _tell("an audit hook", _audit, report)
        _tell("OpenTelemetry", _record, report)
        if policy.report_uri is not None:
            _tell("report_uri", _post, report, policy.report_uri)
        _tell("on_violation", self._call, report, policy)

    def _is_news(self, report: ViolationReport) -> bool:
        """Return whether to log a report: expired pins that fall back to CA validation are logged once a host."""
        if report.outcome is not Outcome.EXPIRED or not report.allowed:
            return True
        if len(self._warned) >= MAX_WARNED:
            self._warned.clear()
        ticket = object()  # of two threads, the one whose ticket is kept logs
        return self._warned.setdefault((report.host, report.effective_expiry), ticket) is ticket

    def _call(self, report: ViolationReport, policy: PinPolicy) -> None:
        if self._on_violation is not None:
            self._demand_deliverable(policy)  # the policy may have changed
            self._on_violation(report)

    def _demand_deliverable(self, policy: PinPolicy) -> None:
        if (check := getattr(self._on_violation, "demand_unpinned", None)) is not None:
            check(policy)


def _tell(name: str, sink: Callable[..., object], *arguments: object) -> None:
    try:
        sink(*arguments)
    except Exception:
        with contextlib.suppress(Exception):  # the failure may be in a log filter
            logger.exception("%s failed on a violation report", name)


def _post(report: ViolationReport, uri: str) -> None:
    from pinned_requests.reporting.http import shared_reporter  # noqa: PLC0415  only where it is used

    shared_reporter(uri)(report)


def _record(report: ViolationReport) -> None:
    from pinned_requests.enforcement import telemetry  # noqa: PLC0415  only where it is used

    telemetry.record(report)


def _log(report: ViolationReport) -> None:
    try:
        logger.warning("%s", report, extra=report.fields())
    except KeyError:  # a log record factory of the program has set one of these names already
        logger.warning("%s", report)


def _audit(report: ViolationReport) -> None:
    sys.audit(AUDIT_EVENT, report.host, report.port, report.outcome.value)

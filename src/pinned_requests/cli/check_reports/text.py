"""The text of `check`, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.cli.check_reports.report import summary
from pinned_requests.cli.output import Row, show_table
from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.findings import Severity

if TYPE_CHECKING:
    from pinned_requests.cli.check_reports.report import Report
    from pinned_requests.monitoring.check import HostCheck


def show_text(report: Report) -> None:
    """Print what was found."""
    checked = report.checked
    show_table(None, ("host", "found"), [_row(each, report) for each in checked.hosts])
    if checked.not_checked:
        print(f"Not checked, being patterns: {', '.join(checked.not_checked)}; name hosts that they match.")
    print(summary(checked))


def _row(host: HostCheck, report: Report) -> Row:
    sample, lines = host.worst, []
    verdict = sample.verdict if sample else None
    if sample and verdict is not None and verdict.pin is not None:
        subject = verdict.chain.certificates[verdict.depth or 0].subject
        pins = host.pins
        listed = () if pins is None else (*pins.pins, *pins.backup_pins, *pins.blocked_pins)
        note = verdict.pin.describe((*listed, *report.policy.blocked_pins))
        lines = [f"{host.outcome} at depth {verdict.depth}: {subject}", note]
    elif sample and sample.chain.certificates and host.outcome in (Outcome.MISMATCH.value, "invalid-certificate"):
        for depth, seen in enumerate(sample.chain.certificates):
            lines += [f"presented at depth {depth}: {seen.subject}", str(seen.spki_pin)]
    elif not host.findings:
        lines = [host.outcome]
    lines += [f"{each.severity}: {each.kind}: {each.text}" for each in host.findings]
    if not host.is_complete:
        lines.append("interrupted: not all of it was checked" if host.samples else "interrupted before it was checked")
    return Row(str(host.target), lines, is_good=(host.severity or Severity.INFO) < report.fail_on and host.is_complete)

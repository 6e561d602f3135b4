"""The output of `check` as a plug-in of Nagios, Icinga and others, with their exit codes.

https://nagios-plugins.org/doc/guidelines.html
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from pinned_requests.cli.check_reports.report import counted, counts, fine_hosts
from pinned_requests.monitoring.findings import Severity

if TYPE_CHECKING:
    from pinned_requests.cli.check_reports.report import Report


class State(IntEnum):
    """The exit codes of plug-ins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def state(report: Report) -> State:
    """Return the state: that of the worst finding that counts."""
    if report.is_failure:
        return State.CRITICAL if report.checked.severity is Severity.CRITICAL else State.WARNING
    return State.OK if report.checked.is_complete else State.UNKNOWN


def as_nagios(report: Report) -> str:
    """Return the status line with performance data, and a line for each finding."""
    checked = report.checked
    words = counted(checked)
    status = f"PINS {state(report).name} - {len(checked.hosts)} hosts, {fine_hosts(checked)} fine"
    status += f"; findings: {words}" if words else ""
    worst = max(
        ((f.severity, str(host.target), f.kind) for host in checked.hosts for f in host.findings),
        key=lambda each: each[0],
        default=None,
    )
    if worst is not None and worst[0] >= report.fail_on:
        status += f"; {worst[1]}: {worst[2]}"
    measured = " ".join(f"{name}={count}" for name, count in {"hosts": len(checked.hosts), **counts(checked)}.items())
    lines = [
        _plain(f"{finding.severity}: {host.target}: {finding.kind}: {finding.text}")
        for host in checked.hosts
        for finding in host.findings
    ]
    return "\n".join([f"{_plain(status)} | {measured}", *lines]) + "\n"


def unknown(sentence: str) -> str:
    """Return the output where nothing could be checked."""
    return f"PINS {State.UNKNOWN.name} - {_plain(sentence)}\n"


def _plain(text: str) -> str:
    return text.replace("|", "/")  # what follows it is performance data

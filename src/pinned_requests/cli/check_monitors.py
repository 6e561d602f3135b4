"""The output of `check` for monitoring systems.

As a plug-in of Nagios, Icinga and others, with their exit codes: https://nagios-plugins.org/doc/guidelines.html. For
Prometheus, as node_exporter's textfile collector reads it: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

from pinned_requests.cli.check_report import counted, counts, fine_hosts, is_judged, issuer_ends, leaf_ends, reserve
from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.findings import KINDS, Severity
from pinned_requests.monitoring.sampling import UNREACHABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pinned_requests.cli.check_report import Report
    from pinned_requests.monitoring.check import HostCheck

_PREFIX = "pinned_requests_"


class NagiosState(IntEnum):
    """The exit codes of plug-ins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def nagios_state(report: Report) -> NagiosState:
    """Return the state of the worst finding that counts."""
    if report.is_failure:
        return NagiosState.CRITICAL if report.checked.severity is Severity.CRITICAL else NagiosState.WARNING
    return NagiosState.OK if report.checked.is_complete else NagiosState.UNKNOWN


def as_nagios(report: Report) -> str:
    """Return the status line with performance data, and a line for each finding."""
    checked = report.checked
    words = counted(checked)
    status = f"PINS {nagios_state(report).name} - {len(checked.hosts)} hosts, {fine_hosts(checked)} fine"
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


def nagios_unknown(sentence: str) -> str:
    """Return the output where nothing could be checked."""
    return f"PINS {NagiosState.UNKNOWN.name} - {_plain(sentence)}\n"


def _plain(text: str) -> str:
    return text.replace("|", "/")  # what follows it is performance data


def as_prometheus(report: Report) -> str:
    """Return the metrics of all hosts."""
    checked, now = report.checked, report.checked.time

    def days(moment: datetime | None) -> float | None:
        return None if moment is None else round((moment - now) / timedelta(days=1), 3)

    def soonest(moments: Iterable[datetime | None]) -> float | None:
        return days(min((each for each in moments if each is not None), default=None))

    hosts = [each for each in checked.hosts if each.samples]
    metrics: list[tuple[str, str, list[tuple[Mapping[str, str], float | None]]]] = [
        ("check_timestamp_seconds", "When the check ran.", [({}, now.timestamp())]),
        ("check_complete", "Whether all hosts were checked (0 after an interrupt).", [({}, int(checked.is_complete))]),
        (
            "host_reached",
            "Whether each connection to the host gave a certificate chain.",
            [(_of(host), int(all(each.outcome != UNREACHABLE for each in host.samples))) for host in hosts],
        ),
        (
            "leaf_expiry_days",
            "Days until the certificate of the leaf expires, of all samples the soonest.",
            [(_of(host), soonest(map(leaf_ends, host.samples))) for host in hosts],
        ),
        (
            "issuer_expiry_days",
            "Days until the certificate of the matched issuer expires, of all samples the soonest.",
            [(_of(host), soonest(issuer_ends(host, each) for each in host.samples)) for host in hosts],
        ),
        (
            "pins_expiry_days",
            "Days until the pins expire.",
            [(_of(host), days(host.pins.expires if host.pins else None)) for host in checked.hosts],
        ),
        (
            "match_depth",
            "Depth in the chain of the certificate that a pin matched, 0 for the leaf, of all samples the highest.",
            [(_of(host), _depth(host)) for host in hosts],
        ),
        (
            "backup_pins_in_reserve",
            "Accepted pins of keys that are not served.",
            [(_of(host), len(reserve(host))) for host in hosts if is_judged(host)],
        ),
        (
            "findings",
            "Findings by kind.",
            [
                ({**_of(host), "kind": kind, "severity": str(KINDS[kind].severity)}, count)
                for host in checked.hosts
                for kind in KINDS
                if (count := sum(each.kind == kind for each in host.findings))
            ],
        ),
        (
            "host_findings",
            "Findings of all kinds; 0 is fine.",
            [(_of(host), len(host.findings)) for host in checked.hosts],
        ),
    ]
    return "".join(_metric(name, meaning, samples) for name, meaning, samples in metrics)


def _of(host: HostCheck) -> dict[str, str]:
    return {"host": str(host.target)}


def _depth(host: HostCheck) -> int | None:
    depths = [each.verdict.depth for each in host.samples if each.verdict and each.outcome == Outcome.MATCH.value]
    return max((depth for depth in depths if depth is not None), default=None)


def _metric(name: str, meaning: str, samples: Iterable[tuple[Mapping[str, str], float | None]]) -> str:
    lines = [f"# HELP {_PREFIX}{name} {meaning}", f"# TYPE {_PREFIX}{name} gauge"]
    for labels, value in samples:
        if value is not None:
            listed = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            lines.append(f"{_PREFIX}{name}{'{' + listed + '}' if listed else ''} {value}")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""  # noqa: PLR2004  the two of every metric


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

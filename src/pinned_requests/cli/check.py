"""`pinned-requests check`: live hosts held against a policy, in one of the formats."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

from pinned_requests import PinPolicy
from pinned_requests.cli.check_monitors import NagiosState, as_nagios, as_prometheus, nagios_state, nagios_unknown
from pinned_requests.cli.check_report import Report, as_json, as_json_lines, summary
from pinned_requests.cli.errors import ExitCode, failure_of
from pinned_requests.cli.output import Row, progress, show_table
from pinned_requests.core.text import escape
from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.check import Checked, Options, check_hosts
from pinned_requests.monitoring.findings import Severity
from pinned_requests.monitoring.history import History
from pinned_requests.monitoring.target import read_target
from pinned_requests.monitoring.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pinned_requests.monitoring.check import HostCheck


def check(
    path: Path,
    hosts: Sequence[str],
    make_options: Callable[[], Options],
    *,
    form: str,
    output: Path | None,
    state: Path | None,
    fail_on: Severity,
) -> int:
    """Check hosts against a policy, and show what was found.

    `make_options` is a function, so that Nagios is told of its errors, too.

    Returns:
        1 for a finding that counts, else 0; 130 after an interrupt; for Nagios, the code of the state.
    """
    try:
        policy = PinPolicy.from_file(path)
        checked = _checked(policy, hosts, make_options(), state)
        report = Report(escape(str(path)), policy, checked, fail_on)
        _show(form, report, output)
    except Exception as error:
        failure = failure_of(error)
        if form != "nagios" or failure is None or failure.code == ExitCode.PIPE_CLOSED:
            raise
        sys.stdout.write(nagios_unknown(escape(failure.sentence or "")))
        return NagiosState.UNKNOWN
    if form == "nagios":
        return nagios_state(report)
    if not checked.is_complete:
        return ExitCode.INTERRUPTED
    return ExitCode.FINDING if report.is_failure else ExitCode.OK


def _checked(policy: PinPolicy, hosts: Sequence[str], options: Options, state: Path | None) -> Checked:
    targets = list(dict.fromkeys(map(read_target, hosts)))
    history = None if state is None else History.read(state)
    with progress(len(targets or policy.hosts)) as show:
        checked = check_hosts(policy, targets, options, history=history, on_progress=show)
    if history is not None and state is not None:
        history.write(state)
    return checked


def _show(form: str, report: Report, output: Path | None) -> None:
    if output is None:
        _print(form, report)
        return
    with contextlib.redirect_stdout(io.StringIO()) as written:
        _print(form, report)
    write_whole(output, written.getvalue().encode())


def _print(form: str, report: Report) -> None:
    if form == "text":
        show_text(report)
        return
    if form == "html":
        from pinned_requests.cli.check_page import as_page as render
    else:
        render = {
            "json": as_json,
            "jsonl": as_json_lines,
            "nagios": as_nagios,
            "prometheus": as_prometheus,
        }[form]
    sys.stdout.write(render(report))


def show_text(report: Report) -> None:
    """Print what was found, for people."""
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

"""`pinned-requests check`: live hosts held against a policy, in one of the formats."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

from pinned_requests import PinPolicy
from pinned_requests.cli.check_reports import document, nagios, prometheus, text
from pinned_requests.cli.check_reports.report import Report
from pinned_requests.cli.errors import ExitCode, failure_of
from pinned_requests.cli.output import progress
from pinned_requests.core.text import escape
from pinned_requests.monitoring.check import Checked, Options, check_hosts
from pinned_requests.monitoring.history import History
from pinned_requests.monitoring.target import read_target
from pinned_requests.monitoring.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pinned_requests.monitoring.findings import Severity


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

    Args:
        path: of the policy.
        hosts: `HOST[:PORT]`; none: every host that the policy names, patterns excepted.
        make_options: how to check; a function, so that Nagios is told of its errors, too.
        form: the format.
        output: a file to write, whole or not at all; None is stdout.
        state: a file that remembers, or None.
        fail_on: the severity from which on findings count.

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
        sys.stdout.write(nagios.unknown(escape(failure.sentence or "")))
        return nagios.State.UNKNOWN
    if form == "nagios":
        return nagios.state(report)
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
        text.show_text(report)
        return
    if form == "html":
        from pinned_requests.cli.check_reports.page import as_page as render
    else:
        render = {
            "json": document.as_json,
            "jsonl": document.as_json_lines,
            "nagios": nagios.as_nagios,
            "prometheus": prometheus.as_prometheus,
        }[form]
    sys.stdout.write(render(report))

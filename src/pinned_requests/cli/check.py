"""`pinned-requests check`: compares what servers present with the policy, today and in the near future."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pinned_requests.cli.output import CommandError, Row, progress, show_json, show_table
from pinned_requests.core.host import HostPattern
from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.check import HostCheck, Options, check_host, described, named_hosts
from pinned_requests.monitoring.details import details_of_certificate
from pinned_requests.monitoring.target import read_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests import PinPolicy

MAX_JOBS = 64  # threads: each holds a connection


def check(policy: PinPolicy, hosts: Sequence[str], options: Options, *, jobs: int, as_json: bool) -> int:
    """Check hosts against a policy, several at a time, and show what was found.

    Args:
        policy: the policy.
        hosts: `HOST[:PORT]`; none: every host that the policy names, patterns excepted.
        options: how.
        jobs: how many hosts are asked at a time.
        as_json: whether to print JSON.

    Returns:
        1 for a finding, else 0.

    Raises:
        CommandError: there is no host to check, or an option is wrong.
        PolicyError: a host is invalid.
    """
    targets = list(dict.fromkeys(map(read_target, hosts))) if hosts else named_hosts(policy)
    if not targets:
        raise CommandError("the policy pins no host by its name; name hosts that its patterns match")
    now = datetime.now(UTC)
    executor = ThreadPoolExecutor(max_workers=min(jobs, MAX_JOBS))
    try:
        asked = executor.map(partial(check_host, policy, options=options, now=now), targets)
        checks = list(progress(asked, len(targets)))
    finally:
        executor.shutdown(cancel_futures=True)  # after an interrupt: what has not begun does not begin

    found = sum(len(each.findings) for each in checks)
    skipped = [] if hosts else [pattern for pattern in policy.hosts if HostPattern.parse(pattern).kind != "exact"]
    if as_json:
        show_json({"findings": found, "not_checked": skipped, "hosts": [_document(each) for each in checks]})
    else:
        show_table(None, ("host", "found"), [_row(each, policy) for each in checks])
        if skipped:
            print(f"Not checked, being patterns: {', '.join(skipped)}; name hosts that they match.")
    return 1 if found else 0


def _row(checked: HostCheck, policy: PinPolicy) -> Row:
    verdict, lines = checked.verdict, []
    if verdict is not None and verdict.pin is not None:
        subject = verdict.chain.certificates[verdict.depth or 0].subject
        lines = [f"{checked.outcome} at depth {verdict.depth}: {subject}", described(verdict, policy)]
    elif verdict is not None and verdict.outcome is Outcome.MISMATCH:
        for depth, seen in enumerate(verdict.chain.certificates):
            lines += [f"presented at depth {depth}: {seen.subject}", str(seen.spki_pin)]
    elif not checked.findings:
        lines = [checked.outcome]
    lines += [f"{finding.kind}: {finding.text}" for finding in checked.findings]
    return Row(str(checked.target), lines, is_good=not checked.findings)


def _document(checked: HostCheck) -> dict[str, Any]:
    verdict = checked.verdict
    chain = verdict.chain.certificates if verdict else ()
    return {
        "host": str(checked.target),
        "outcome": checked.outcome,
        "pattern": verdict.pattern if verdict else None,
        "pin": str(verdict.pin) if verdict and verdict.pin else None,
        "depth": verdict.depth if verdict else None,
        "chain": [{"depth": at, **details_of_certificate(seen.der).document()} for at, seen in enumerate(chain)],
        "findings": [finding._asdict() for finding in checked.findings],
    }

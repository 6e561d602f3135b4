"""`pinned-requests lint`: checks a policy offline, without a network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pinned_requests import PinPolicy
from pinned_requests.cli.errors import ExitCode
from pinned_requests.cli.output import Row, show_json, show_table
from pinned_requests.core.text import escape
from pinned_requests.editing.doubts import STRICT, doubts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pinned_requests.monitoring.findings import Finding


def lint(
    policies: Sequence[Path], within: timedelta, ignored: frozenset[str], *, is_strict: bool, as_json: bool
) -> int:
    """Show what is doubtful of policies. Returns 1 for a finding, else 0."""
    now = datetime.now(UTC)
    ignored |= frozenset() if is_strict else STRICT
    found: dict[tuple[str, str], list[Finding]] = {}
    patterns = 0
    for path in policies:
        policy = PinPolicy.from_file(path)
        patterns += len(policy.hosts)
        for place, finding in doubts(policy, now, within):
            if finding.kind not in ignored:
                found.setdefault((str(path), place), []).append(finding)
    if as_json:
        show_json(
            [
                {"policy": path, "place": place, "kind": each.kind, "text": each.text}
                for (path, place), findings in found.items()
                for each in findings
            ]
        )
    elif found:
        rows = [
            Row(
                place if len(policies) == 1 else f"{escape(path)}: {place}",
                [f"{each.kind}: {each.text}" for each in findings],
                is_good=False,
            )
            for (path, place), findings in found.items()
        ]
        show_table(None, ("host pattern", "doubtful"), rows)
        print(f"Findings: {sum(map(len, found.values()))} (host patterns: {patterns}).")
    else:
        print(f"Nothing is doubtful (host patterns: {patterns}).")
    return ExitCode.FINDING if found else ExitCode.OK

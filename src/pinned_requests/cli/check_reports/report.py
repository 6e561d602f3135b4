"""`Report`: what all formats are made of, and which findings count."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.details import validity
from pinned_requests.monitoring.findings import Severity

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests import PinPolicy
    from pinned_requests.monitoring.check import Checked, HostCheck
    from pinned_requests.monitoring.findings import PinUse
    from pinned_requests.monitoring.sampling import Sample


class Report(NamedTuple):
    """What was checked, under the escaped name of its policy; findings count from the severity `fail_on` on."""

    name: str
    policy: PinPolicy
    checked: Checked
    fail_on: Severity = Severity.WARNING

    @property
    def is_failure(self) -> bool:
        """Whether a finding counts."""
        return (self.checked.severity or 0) >= self.fail_on


def summary(checked: Checked) -> str:
    """Return what was found, in one line."""
    found = counted(checked)
    hosts = len(checked.hosts)
    said = f"{hosts} host{'s' if hosts != 1 else ''}, {fine_hosts(checked)} fine; findings: {found or 'none'}"
    return said if checked.is_complete else f"{said} (interrupted)"


def counts(checked: Checked) -> dict[str, int]:
    """Return how many findings there are of each severity, the worst first."""
    return {str(each): sum(finding.severity is each for finding in checked.findings) for each in reversed(Severity)}


def counted(checked: Checked) -> str:
    """Return the same in words; empty without a finding."""
    return ", ".join(f"{count} {severity}" for severity, count in counts(checked).items() if count)


def fine_hosts(checked: Checked) -> int:
    """Return how many hosts have no finding at all."""
    return sum(host.severity is None and host.is_complete for host in checked.hosts)


def is_judged(host: HostCheck) -> bool:
    """Whether a chain of a pinned host was judged: else it is not known which pins are in reserve."""
    return bool(host.uses) and any(each.verdict is not None for each in host.samples)


def reserve(host: HostCheck) -> list[PinUse]:
    """Return the accepted pins whose keys are not served."""
    return [use for use in host.uses if use.depth is None]


def leaf_ends(sample: Sample) -> datetime | None:
    """Return when the leaf's certificate expires."""
    chain = sample.chain.certificates
    return validity(chain[0].der)[1] if chain else None


def issuer_ends(host: HostCheck, sample: Sample) -> datetime | None:
    """Return when the first pinned certificate above the leaf expires."""
    if host.pins is None or sample.outcome not in (Outcome.MATCH.value, Outcome.EXPIRED.value):
        return None
    for seen in sample.chain.certificates[1:]:
        if seen.pins & host.pins.accepted:
            return validity(seen.der)[1]
    return None

"""`Report`: what all formats of `check` are made of, which findings count, and its JSON (`check.schema.json`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.cli.output import rfc3339
from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.details import details_of_certificate, validity
from pinned_requests.monitoring.findings import Severity

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests import PinPolicy
    from pinned_requests.core.chain import Chain
    from pinned_requests.monitoring.check import Checked, HostCheck
    from pinned_requests.monitoring.findings import PinUse
    from pinned_requests.monitoring.sampling import Sample

_VERSION = 1  # of the JSON; fields may be added without another one


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


def as_json(report: Report) -> str:
    """Return one object for all hosts, in ASCII alone."""
    checked = report.checked
    document = {
        "version": _VERSION,
        "time": rfc3339(checked.time),
        "policy": report.name,
        "is_complete": checked.is_complete,
        "findings": len(checked.findings),
        "severity": None if checked.severity is None else str(checked.severity),
        "not_checked": list(checked.not_checked),
        "hosts": [_host(each, checked) for each in checked.hosts],
    }
    return json.dumps(document, indent=2) + "\n"


def as_json_lines(report: Report) -> str:
    """Return one object a host and line, in ASCII alone."""
    return "".join(json.dumps(_host(each, report.checked)) + "\n" for each in report.checked.hosts)


def _host(host: HostCheck, checked: Checked) -> dict[str, Any]:
    worst = host.worst
    return {
        "host": str(host.target),
        "time": rfc3339(checked.time),
        "outcome": host.outcome,
        "severity": None if host.severity is None else str(host.severity),
        "is_complete": host.is_complete,
        "pattern": host.pattern,
        **_match(worst),
        "chain": [] if worst is None else _chain(worst.chain),
        "pins": [_pin(use) for use in host.uses],
        "pins_expire": None if host.pins is None else rfc3339(host.pins.expires),
        "findings": [{"kind": each.kind, "severity": str(each.severity), "text": each.text} for each in host.findings],
        "samples": [_sample(each) for each in host.samples],
        "learned": None if host.learned is None else host.learned.document(),
    }


def _match(sample: Sample | None) -> dict[str, Any]:
    verdict = sample.verdict if sample else None
    return {
        "pin": str(verdict.pin) if verdict and verdict.pin else None,
        "depth": verdict.depth if verdict else None,
    }


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "address": sample.address,
        "outcome": sample.outcome,
        "verified": sample.chain.is_verified,
        **_match(sample),
        "reason": sample.reason,
        "chain": [
            {"subject": seen.subject, "pin": str(seen.spki_pin), "certificate_pin": str(seen.certificate_pin)}
            for seen in sample.chain.certificates
        ],
    }


def _chain(chain: Chain) -> list[dict[str, Any]]:
    return [
        {"depth": depth, **details_of_certificate(seen.der).document()} for depth, seen in enumerate(chain.certificates)
    ]


def _pin(use: PinUse) -> dict[str, Any]:
    return {
        "pin": str(use.pin),
        "note": use.pin.note,
        "backup": use.is_backup,
        "depth": use.depth,
        "role": use.role,
        "subject": use.subject,
    }

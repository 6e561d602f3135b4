"""The JSON of `check`, as `check.schema.json` has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pinned_requests.cli.output import rfc3339
from pinned_requests.monitoring.details import details_of_certificate

if TYPE_CHECKING:
    from pinned_requests.cli.check_reports.report import Report
    from pinned_requests.core.chain import Chain
    from pinned_requests.monitoring.check import Checked, HostCheck
    from pinned_requests.monitoring.findings import PinUse
    from pinned_requests.monitoring.sampling import Sample

VERSION = 1  # of the format; fields may be added without another one


def as_json(report: Report) -> str:
    """Return one object for all hosts, in ASCII alone."""
    checked = report.checked
    document = {
        "version": VERSION,
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

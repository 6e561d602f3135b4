"""`doubts()`: what is doubtful of a policy as it is written. The library behind `lint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.host import HostPattern
from pinned_requests.monitoring.findings import Finding, authority_of
from pinned_requests.monitoring.trust_store import public_roots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy

KINDS = {
    "no-backup-pin": "fewer than two distinct pins",
    "backup-pin-in-use": "a pin is among pins and backup_pins",
    "blocked-pin-accepted": "a pin is both accepted and blocked",
    "certificate-pin": "a whole certificate is pinned, which changes with each renewal",
    "pins-expired": "the pin set has expired",
    "pins-expire-soon": "the pin set expires within --within",
    "report-only": "a mismatch is only reported",
    "unpinned-hosts-allowed": "hosts without pins are allowed",
    "wide-pattern": "a pattern matches every subdomain at any depth",
    "tld-wide-pattern": "a pattern matches what registrars sell to others",
    "single-ca": "every pin is of one CA: what happens to it locks the client out (--strict)",
}
STRICT = frozenset({"single-ca"})  # found with --strict alone

WHOLE_POLICY = "policy"
_DISTINCT_PINS = 2
# Names are sold below these of a country, as in co.uk. A list of all such places would be out of date.
_SHARED_LABELS = frozenset(("ac", "co", "com", "edu", "go", "gov", "gob", "gouv", "ltd", "me", "net", "or", "org"))
_COUNTRY = 2  # letters


def doubts(policy: PinPolicy, now: datetime, within: timedelta) -> Iterator[tuple[str, Finding]]:
    """Yield what is doubtful, each with the host pattern that it is about, or `WHOLE_POLICY`."""
    if policy.unpinned_hosts == "allow":
        text = 'unpinned_hosts is "allow": a host that is misspelt in the policy is not pinned, without any sign'
        yield WHOLE_POLICY, Finding("unpinned-hosts-allowed", text)
    for name, pins in policy.hosts.items():
        if pins.is_exempt:
            continue
        of_pins = _of_pins(pins, policy.blocked)
        for finding in (*_of_pattern(HostPattern.parse(name)), *of_pins, *_of_time(pins, now, within)):
            yield name, finding


def _of_pattern(pattern: HostPattern) -> Iterator[Finding]:
    if pattern.kind == "exact":
        return
    labels = pattern.host.split(".")
    if len(labels) == 1 or (len(labels) == _COUNTRY and len(labels[1]) == _COUNTRY and labels[0] in _SHARED_LABELS):
        yield Finding(
            "tld-wide-pattern", f"no one operator has the keys of all hosts below {pattern.host}; name your own domain"
        )
    elif pattern.kind == "subtree":
        yield Finding(
            "wide-pattern", "every subdomain at any depth must have these keys, also those others run for you"
        )


def _of_pins(pins: PinSet, blocked: frozenset[Pin]) -> Iterator[Finding]:
    if len(pins.accepted) < _DISTINCT_PINS:
        yield Finding("no-backup-pin", "the next change of that key locks this client out; add a backup pin")
    for pin in dict.fromkeys((*pins.pins, *pins.backup_pins)):
        text = pin.describe(pins.accepted)
        if pin in pins.blocked or pin in blocked:
            yield Finding("blocked-pin-accepted", f"{text} is accepted and blocked: blocking wins; do not accept it")
        if pin in pins.pins and pin in pins.backup_pins:
            yield Finding("backup-pin-in-use", f"{text} is a pin and a backup pin; a backup is of a key in reserve")
        if pin.kind == "cert":
            yield Finding("certificate-pin", f"{text} changes with each renewal of the certificate; pin its key")
    roots = map(public_roots().find, pins.accepted)
    owners = {root and authority_of(root) for root in roots}
    if len(owners) == 1 and None not in owners:
        yield Finding("single-ca", f"every pin is of {owners.pop()}, a CA; add a key of your own, or another CA")
    if pins.report_only:
        yield Finding("report-only", "a mismatch is reported, and the request is sent all the same")


def _of_time(pins: PinSet, now: datetime, within: timedelta) -> Iterator[Finding]:
    if pins.has_expired(now):
        becomes = "the host is refused" if pins.on_expiry == "block" else "the host falls back to CA validation"
        yield Finding("pins-expired", f"the pins expired at {pins.expires:%Y-%m-%d %H:%M} UTC: {becomes}")
    elif pins.expires is not None and pins.has_expired(now + within):
        yield Finding("pins-expire-soon", f"the pins expire at {pins.expires:%Y-%m-%d %H:%M} UTC; renew the policy")

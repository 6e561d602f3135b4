"""`review()`: finds the hosts that a new policy would lock out, before it is published.

For a while, clients have the old policy or the new one: a host is safe if one key satisfies both. A finding says who is
refused, and what to do. Servers are reached by a function that is passed in: handshakes belong to the rooms above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pinned_requests.core.chain import Chain
from pinned_requests.core.difference import Difference, difference
from pinned_requests.core.host import DEFAULT_PORTS, HostPattern
from pinned_requests.core.verdict import Outcome, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy

WHOLE_POLICY = "policy"  # the place of findings that are about no host
OFFLINE = {
    "no-backup-pin",
    "blocked-pin-accepted",
    "pins-expired",
    "no-common-pin",
    "host-lost",
    "unpinned-hosts-blocked",
    "published-unreadable",
}  # kinds of findings
LIVE = {"unreachable", "mismatch", "blocked-key", "published-mismatch"}  # kinds of findings about live servers
_DISTINCT_PINS = 2  # RFC 7469 §4.3: one in use and one backup
_PROBE = "pinned-requests-probe"  # a label that no pattern names: it stands for the subdomains of a wildcard

LookUp = Callable[[str, int], Chain]
"""Takes a host and a port; returns the chain that it presents now; raises `UnseenError`."""


class UnseenError(Exception):
    """A server's chain could not be seen; the text says why, escaped."""


@dataclass(frozen=True)
class Lockout:
    """A reason not to publish a policy."""

    place: str  # a host pattern, or `WHOLE_POLICY`
    kind: str  # of `OFFLINE` or `LIVE`
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True)
class Review:
    """What a new policy changes, and what it would break."""

    difference: Difference  # to the published policy
    lockouts: tuple[Lockout, ...]
    not_seen: tuple[str, ...] = ()  # patterns with a wildcard, which were not checked live

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        found = [asdict(each) for each in self.lockouts]
        return {"difference": self.difference.document(), "lockouts": found, "not_checked": list(self.not_seen)}


def review(
    old: PinPolicy | None,
    new: PinPolicy,
    now: datetime,
    look_up: LookUp | None = None,
    *,
    unreadable: str | None = None,
) -> Review:
    """Compare a policy with the published one, and with live servers.

    Patterns are not checked live, nor are exempt hosts. A host with several servers is looked up once.

    Args:
        old: the published policy, if there is one.
        new: the policy to publish.
        now: aware.
        look_up: sees the chains of live servers; None: no server is asked, and a host whose policies have no pin in
            common is a finding.
        unreadable: why the published policy cannot be read, if it cannot: then `old` is None, and that is a finding.
    """
    found = []
    if old is not None and old.unpinned_hosts == "allow" and new.unpinned_hosts == "block":
        text = 'unpinned_hosts becomes "block": clients refuse every host that the policy does not name'
        found.append(Lockout(WHOLE_POLICY, "unpinned-hosts-blocked", text))
    found += _of_hosts(old, new, now)
    if unreadable is not None:
        text = f"the published policy cannot be read, and is not compared with the new one: {unreadable}"
        found.append(Lockout(WHOLE_POLICY, "published-unreadable", text))
    not_seen: list[str] = []
    if look_up is not None:
        not_seen = [name for name, pins in new.hosts.items() if "*" in name and not pins.is_exempt]
        checked = {place: list(_of_server(place, old, new, now, look_up)) for place in _named(old, new)}
        seen = [place for place, findings in checked.items() if not findings]
        found = [each for each in found if not (each.kind == "no-common-pin" and each.place in seen)]
        found += [each for findings in checked.values() for each in findings]
    return Review(difference(old, new), tuple(found), tuple(not_seen))


def _of_hosts(old: PinPolicy | None, new: PinPolicy, now: datetime) -> Iterator[Lockout]:
    for place, pins in new.hosts.items():
        if not pins.is_exempt:
            yield from _of_pins(place, pins, new, now)
    if old is None:
        return
    for place in dict.fromkeys((*new.hosts, *old.hosts)):
        before, after = _found(old, place), _found(new, place)
        if after is not None and before is not None:
            are_enforced = _is_enforced(before, now) and _is_enforced(after, now)
            if are_enforced and not _usable(after, new) & _usable(before, old):
                text = (
                    "no pin is in the published policy, too: clients that have not refreshed yet and those that have "
                    "accept different keys; publish the new pins beside the old ones first, or check with --live"
                )
                yield Lockout(place, "no-common-pin", text)
        elif after is None and new.unpinned_hosts == "block":
            text = "the new policy does not name it, and blocks what it does not name: clients refuse it; keep it"
            yield Lockout(place, "host-lost", text)


def _of_pins(place: str, pins: PinSet, new: PinPolicy, now: datetime) -> Iterator[Lockout]:
    usable = _usable(pins, new)
    if not usable:
        yield Lockout(place, "blocked-pin-accepted", "all its pins are blocked: clients refuse it; add a pin in use")
    elif len(usable) < _DISTINCT_PINS and not pins.report_only:
        kept = "it has one pin" if len(pins.accepted) < _DISTINCT_PINS else "all its pins but one are blocked"
        text = f"{kept}: the next change of that key locks clients out; add a backup pin"
        yield Lockout(place, "no-backup-pin", text)
    if pins.has_expired(now):
        becomes = "clients refuse it" if pins.on_expiry == "block" else "clients no longer pin it"
        text = f"its pins expired at {pins.expires:%Y-%m-%d %H:%M} UTC: {becomes}; renew them"
        yield Lockout(place, "pins-expired", text)


def _named(old: PinPolicy | None, new: PinPolicy) -> list[str]:
    """Return the patterns of both policies that have no wildcard."""
    names = [*new.hosts, *(() if old is None else old.hosts)]
    return [name for name in dict.fromkeys(names) if HostPattern.parse(name).kind == "exact"]


def _of_server(place: str, old: PinPolicy | None, new: PinPolicy, now: datetime, look_up: LookUp) -> Iterator[Lockout]:
    pattern = HostPattern.parse(place)
    host, port = pattern.host, pattern.port or DEFAULT_PORTS["https"]
    after, before = new.lookup(host, port), None if old is None else old.lookup(host, port)
    checks_new = after is not None and (not after.is_exempt or bool(new.blocked))  # blocked pins spare no host
    checks_old = before is not None and _is_enforced(before, now)
    if not (checks_new or checks_old):
        return
    try:
        chain = look_up(host, port)
    except UnseenError as e:
        yield Lockout(place, "unreachable", f"it cannot be checked: {e}")
        return
    if checks_new:
        verdict = evaluate(new, host, chain, now, port=port)
        if verdict.outcome is Outcome.BLOCKED_KEY:
            text = f"it presents {verdict.pin}, which the new policy blocks: clients refuse it; change its key first"
            yield Lockout(place, "blocked-key", text)
        elif not verdict.is_allowed and verdict.outcome is not Outcome.EXPIRED:  # `_of_pins` says that
            text = f"it presents none of the pins of the new policy ({_presented(chain)}): clients refuse it"
            yield Lockout(place, "mismatch", text)
    if checks_old and old is not None:
        verdict = evaluate(old, host, chain, now, port=port)
        if not verdict.is_allowed:
            what = "a key that the published policy blocks"
            if verdict.outcome is not Outcome.BLOCKED_KEY:
                what = f"none of the pins of the published policy ({_presented(chain)})"
            text = f"it presents {what}: clients that have not refreshed yet refuse it"
            yield Lockout(place, "published-mismatch", text)


def _presented(chain: Chain) -> str:
    return f"its leaf is {chain.certificates[0].spki_pin}" if chain.certificates else "it presents no chain"


def _usable(pins: PinSet, policy: PinPolicy) -> frozenset[Pin]:
    return pins.accepted - pins.blocked - policy.blocked


def _is_enforced(pins: PinSet, now: datetime) -> bool:
    return not (pins.is_exempt or pins.report_only or pins.has_expired(now))


def _found(policy: PinPolicy, place: str) -> PinSet | None:
    """Return the entry for a host pattern: its own, or that of a wider pattern."""
    if place in policy.hosts:
        return policy.hosts[place]
    pattern = HostPattern.parse(place)
    host = pattern.host if pattern.kind == "exact" else f"{_PROBE}.{pattern.host}"
    return policy.lookup(host, pattern.port or DEFAULT_PORTS["https"])

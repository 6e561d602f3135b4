"""`export()`: the part of a policy that another system can express, with which every writer starts.

`select()`: the part that is about one host or host pattern.

Rules for the next maintainer:

- What a system cannot do is in its `Abilities`, not in its writer: it is applied and named here.
- A blocked pin is never written as an accepted one, though no other system can block keys.
- The text pins no host that the policy exempts, and enforces no pins that the policy only reports: a wider pattern
  that would is left out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import PREFIXES, HostPattern, is_address
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show
from pinned_requests.formats.results import WHOLE, Loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pinned_requests.core.host import PatternKind
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet

EVERY_KIND = frozenset(PREFIXES)


class Abilities(NamedTuple):
    """What a system can express."""

    system: str  # its name, for losses and errors
    kinds: frozenset[PatternKind] = frozenset(("exact", "subtree"))  # of host patterns
    ports: bool = False  # pins for one port
    addresses: bool = False  # pins for an IP address
    one_entry_a_name: bool = False  # `example.com` and `**.example.com` exclude each other
    exempt: bool = False  # a host taken out of a wider pattern
    report_only: bool = False  # a mismatch reported without a refusal
    certificates: bool = False  # pins of whole certificates
    expires: Literal["day", "second"] | None = None  # how precisely pins expire; None: not at all


class Entry(NamedTuple):
    """What a system can express of a pin set. An entry without pins is exempt."""

    pins: tuple[Pin, ...]
    expires: datetime | None = None
    report_only: bool = False

    def is_like(self, other: Entry) -> bool:
        """Return whether both mean the same: the order of pins does not matter."""
        return set(self.pins) == set(other.pins) and self[1:] == other[1:]

    @property
    def strictness(self) -> int:
        """What a mismatch leads to: 0 nothing, 1 a report, 2 a refusal."""
        return 0 if not self.pins else 1 if self.report_only else 2


class Export:
    """The part of a policy that a system can express, and what of it is lost."""

    def __init__(self, policy: PinPolicy, abilities: Abilities) -> None:
        self.entries: dict[HostPattern, Entry] = {}  # a writer may replace patterns by narrower ones
        self.losses: list[Loss] = []
        self._left_out: set[str] = set()
        self._policy = policy
        self._abilities = abilities
        self._system = abilities.system

    def of_kind(self, kind: PatternKind) -> list[HostPattern]:
        """Return the patterns of a kind, as they are now: entries may be removed meanwhile."""
        return [pattern for pattern in self.entries if pattern.kind == kind]

    def lose(self, pattern: HostPattern | None, field: str, text: str) -> None:
        """Name a loss."""
        self.losses.append(Loss(None if pattern is None else str(pattern), field, text))

    def leave_out(self, pattern: HostPattern, why: str) -> None:
        """Remove an entry, and name it."""
        self.entries.pop(pattern, None)
        self._left_out.add(str(pattern))
        self.lose(pattern, WHOLE, f"is left out: {why}")

    def add(self, pattern: HostPattern, pins: PinSet) -> None:
        """Add the entry that the system can have for a pin set, and name what is lost of it."""
        blocked = pins.blocked | self._policy.blocked
        listed = [pin for pin in dict.fromkeys((*pins.pins, *pins.backup_pins)) if pin not in blocked]
        written = tuple(pin for pin in listed if self._abilities.certificates or pin.kind == "spki")
        why = self._why_not_pattern(pattern) or self._why_not_set(pins, written)
        if why:
            self.leave_out(pattern, why)
        elif pins.is_exempt:
            self.entries[pattern] = Entry(())
        elif pins.report_only and not self._abilities.report_only:
            self.entries[pattern] = Entry(())
            text = f"is written as exempt: {self._system} cannot report a mismatch without a refusal"
            self.lose(pattern, WHOLE, text)
        else:
            self._name_losses(pattern, pins, blocked)
            self.entries[pattern] = Entry(written, self._expires(pattern, pins.expires), pins.report_only)

    def _why_not_pattern(self, pattern: HostPattern) -> str | None:
        if pattern.port is not None and not self._abilities.ports:
            return f"{self._system} has no ports; name the host without one"
        if not self._abilities.addresses and is_address(pattern.host):
            return f"{self._system} cannot pin IP addresses"
        if pattern.kind not in self._abilities.kinds:
            other = " or with '**.'" if "subtree" in self._abilities.kinds else ""
            return f"{self._system} has no such pattern; name the host in full{other}"
        return None

    def _why_not_set(self, pins: PinSet, written: tuple[Pin, ...]) -> str | None:
        if pins.is_exempt:
            return None if self._abilities.exempt else f"{self._system} cannot exempt a host"
        if pins.report_only and not self._abilities.report_only and not self._abilities.exempt:
            return f"{self._system} cannot report a mismatch without a refusal"
        return None if written else f"{self._system} can have none of its pins"

    def _name_losses(self, pattern: HostPattern, pins: PinSet, blocked: frozenset[Pin]) -> None:
        if not pins.accepted.isdisjoint(blocked):
            self.lose(pattern, "pins", "that are also blocked are left out")
        if not self._abilities.certificates and any(pin.kind == "cert" for pin in pins.accepted):
            self.lose(pattern, "pins", f"of whole certificates are left out: {self._system} has none")
        if pins.backup_pins:
            self.lose(pattern, "backup_pins", f"are written among the pins: {self._system} does not tell them apart")
        if pins.blocked:
            self.lose(pattern, "blocked_pins", f"are left out: {self._system} cannot block keys")
        if pins.on_expiry == "block":
            text = f"is 'block', which is left out: {self._system} cannot refuse a host for expired pins"
            self.lose(pattern, "on_expiry", text)
        if any(pin.note is not None for pin in (*pins.pins, *pins.backup_pins)):
            self.lose(pattern, "note", f"of a pin is left out: {self._system} has none")

    def _expires(self, pattern: HostPattern, expires: datetime | None) -> datetime | None:
        """Return when pins expire in the system: never later than in the policy."""
        precision = self._abilities.expires
        if expires is None:
            return None
        if precision is None:
            self.lose(pattern, "expires", f"is left out: pins do not expire in {self._system}")
            return None
        midnight = datetime(expires.year, expires.month, expires.day, tzinfo=UTC)
        kept = midnight if precision == "day" else expires.replace(microsecond=0)
        if kept != expires:
            self.lose(pattern, "expires", f"is rounded down to the {precision} for {self._system}")
        return kept

    def keep_one_a_name(self) -> None:
        """Leave out `**.example.com` if `example.com` says something else, and the latter if both say the same."""
        for pattern in self.of_kind("subtree"):
            exact = HostPattern("exact", pattern.host)
            if exact not in self.entries:
                continue
            if self.entries[exact].is_like(self.entries[pattern]):
                self.leave_out(exact, f"{pattern} says the same, and {self._system} has one entry for a name")
            else:
                self.leave_out(pattern, f"{exact} has an entry, and {self._system} has one entry for a name")

    def leave_out_too_strict(self) -> None:
        """Leave out every entry that is stricter on a host than the policy is: a pattern around an exempt host.

        Once more after a writer has replaced an entry by others, and by `finish()` at the end.
        """
        for name, pins in self._policy.hosts.items():
            allowed = 0 if pins.is_exempt else 1 if pins.report_only else 2
            if allowed == 2:  # noqa: PLR2004  as strict as can be
                continue
            pattern = HostPattern.parse(name)
            for host in _samples(pattern):
                holds, _pins = self._policy.find(host, pattern.port) or (None, None)
                if holds == name:
                    self._leave_out_stricter(pattern, HostPattern("exact", host, pattern.port), allowed)

    def _leave_out_stricter(self, pattern: HostPattern, sample: HostPattern, allowed: int) -> None:
        # All that match, until one is as lenient: when an entry is left out, the next wider one holds.
        for each in [each for each in (sample, *covering(sample, self.entries)) if each in self.entries]:
            if self.entries[each].strictness <= allowed:
                return
            verb = "enforce its pins on" if allowed else "pin"
            reason = "the policy reports only" if allowed else "the policy exempts"
            self.leave_out(each, f"{self._system} would {verb} {pattern}, which {reason}; name the hosts in full")

    def finish(self) -> tuple[Loss, ...]:
        """Return the losses. For a host that is left out they name the wider pattern that holds there instead.

        Raises:
            PolicyError: no entry is left.
        """
        self.leave_out_too_strict()
        if not self.entries:
            reasons = [f": {loss}" for loss in self.losses if loss.field == WHOLE]
            raise PolicyError(f"nothing of this policy can be expressed in {self._system}{''.join(reasons[-1:])}")
        # The fields of an entry that is left out are lost with it.
        named = (loss for loss in self.losses if loss.field == WHOLE or loss.host not in self._left_out)
        return tuple(self._with_wider(loss) for loss in named)

    def _with_wider(self, loss: Loss) -> Loss:
        if loss.field != WHOLE or loss.host is None:
            return loss
        pattern = HostPattern.parse(loss.host)
        wider = next(covering(pattern, self.entries), None) if pattern not in self.entries else None
        if wider is None or not self.entries[wider].pins:
            return loss
        return loss._replace(text=f"{loss.text}; the pins of {wider} hold there instead")


def export(policy: PinPolicy, abilities: Abilities, only: HostPattern | None = None) -> Export:
    """Return what a system with these abilities can express of a policy.

    Args:
        policy: the policy.
        abilities: of the system.
        only: the host pattern of a text that has one entry and does not name its host; None for other formats.
    """
    exported = Export(policy, abilities)
    if policy.unpinned_hosts == "block":
        text = f"is 'block', which is left out: {abilities.system} allows unpinned hosts"
        exported.lose(None, "unpinned_hosts", text)
    if policy.blocked_pins:
        exported.lose(None, "blocked_pins", f"are left out: {abilities.system} cannot block a key for all hosts")
    for name, pins in policy.hosts.items():
        pattern = HostPattern.parse(name)
        if only is None or pattern == only:
            exported.add(pattern, pins)
        else:
            exported.leave_out(pattern, f"the text is for {only} alone")
    if abilities.one_entry_a_name:
        exported.keep_one_a_name()
    return exported


def covering(pattern: HostPattern, patterns: Mapping[HostPattern, Entry]) -> Iterator[HostPattern]:
    """Yield those of `patterns` that match all that `pattern` matches, except itself, the most specific first."""
    ports = dict.fromkeys((pattern.port, None))
    kinds: tuple[PatternKind, ...] = (pattern.kind, "subtree") if pattern.kind != "subtree" else ("subtree",)
    host = pattern.host
    while host:
        for kind in kinds:
            for port in ports:
                wider = HostPattern(kind, host, port)
                if wider != pattern and wider in patterns:
                    yield wider
        kinds = ("one-label", "subtree") if host == pattern.host and pattern.kind == "exact" else ("subtree",)
        host = host.partition(".")[2]


def _samples(pattern: HostPattern) -> tuple[str, ...]:
    """Return hosts that `pattern` matches. A less specific pattern that overlaps it matches one of them."""
    host = pattern.host
    # No policy names a host below this label: `normalize_host()` refuses the character.
    below = (f"?.{host}", f"?.?.{host}")
    return {"exact": (host,), "one-label": below[:1], "subtree": (host, *below)}[pattern.kind]


def select(policy: PinPolicy, host: str) -> PinPolicy:
    """Return the policy that says, for everything that `host` matches, what `policy` says.

    Entries within a pattern stay: the exempt host and the port with other pins below `**.example.com`.

    Args:
        policy: the whole policy.
        host: a host pattern of `policy`, in any spelling, or a host that one of its patterns matches.

    Raises:
        PolicyError: `host` is not a host pattern, or `policy` has no entry for it.
    """
    wanted = HostPattern.parse(host)
    name = wanted.host if wanted.kind == "exact" else None
    found = policy.lookup(name, wanted.port) if name else policy.hosts.get(str(wanted))
    if found is None:
        raise PolicyError(f"no pattern of the policy matches {show(host)}; give one of its host patterns")
    patterns = [HostPattern.parse(each) for each in policy.hosts]
    selected: dict[HostPattern, PinSet] = {wanted: found}
    if name is not None:
        for port in sorted({each.port for each in patterns if each.port is not None} if wanted.port is None else ()):
            _pattern, pins = policy.find(name, port) or (None, None)
            if pins is not None and pins != found:
                selected[HostPattern(wanted.kind, wanted.host, port)] = pins
    else:
        # Entries without a port first: the one with the port is more specific and replaces it.
        for each in sorted(patterns, key=lambda each: each.port is not None):
            if (narrower := _within(each, wanted)) is not None:
                pins = policy.lookup(narrower.host, narrower.port) if narrower.kind == "exact" else None
                selected[narrower] = pins or policy.hosts[str(each)]
    return PinPolicy(
        {str(pattern): pins for pattern, pins in selected.items()},
        unpinned_hosts=policy.unpinned_hosts,
        report_uri=policy.report_uri,
        blocked_pins=policy.blocked_pins,
    )


def _within(pattern: HostPattern, wanted: HostPattern) -> HostPattern | None:
    """Return what of `pattern` lies within the wildcard pattern `wanted` and is more specific, or None."""
    if wanted.port is not None and pattern.port not in (None, wanted.port):
        return None
    kind, host = pattern.kind, pattern.host
    if host == wanted.host:
        # `*.` comes before `**.`, with any ports; of two with the same wildcard, the one with a port comes first.
        more_specific = (
            pattern.port is not None and wanted.port is None
            if kind == wanted.kind
            else wanted.kind == "subtree"  # which alone matches the host itself, and what `*.` matches
        )
        if not more_specific:
            return None
    elif wanted.kind == "one-label":
        if host.partition(".")[2] != wanted.host or kind == "one-label":
            return None
        kind = "exact"  # all that `**.` has in common with it
    elif not host.endswith(f".{wanted.host}"):
        return None
    return HostPattern(kind, host, wanted.port if pattern.port is None else pattern.port)

"""`export()`: the part of a policy that another system can express. Every writer starts with it.

Rules for the next maintainer:

- The limits of a system are in its `Abilities`, not in its writer: they are applied and named here, in one place.
- A blocked pin is never written as an accepted one, though no other system can block keys.
- The text pins no host that the policy exempts, and enforces no pins that the policy only reports. Where a wider
  pattern would do so, the wider pattern is left out (`Export.finish()`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern, is_address
from pinned_requests.formats.results import WHOLE, Loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pinned_requests.core.host import PatternKind
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy


class Abilities(NamedTuple):
    """What a system can express.

    Attributes:
        system: its name, for losses and errors.
        kinds: the kinds of host patterns that it has.
        ports: whether pins can be limited to one port.
        addresses: whether an IP address can be pinned.
        one_entry_a_name: whether `example.com` and `**.example.com` exclude each other.
        exempt: whether a host can be taken out of a wider pattern.
        report_only: whether a mismatch can be reported without a refusal.
        certificates: whether whole certificates can be pinned.
        expires: the precision with which pins can expire, or None if they cannot.
    """

    system: str
    kinds: frozenset[PatternKind] = frozenset(("exact", "subtree"))
    ports: bool = False
    addresses: bool = False
    one_entry_a_name: bool = False
    exempt: bool = False
    report_only: bool = False
    certificates: bool = False
    expires: Literal["day", "second"] | None = None


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
    """The part of a policy that a system can express, and what of it is lost.

    Attributes:
        entries: what is to be written. A writer may replace patterns by narrower ones.
        losses: what is lost so far.
    """

    def __init__(self, policy: PinPolicy, abilities: Abilities) -> None:
        self.entries: dict[HostPattern, Entry] = {}
        self.losses: list[Loss] = []
        self._left_out: set[str] = set()
        self._policy = policy
        self._system = abilities.system

    def lose(self, pattern: HostPattern | None, field: str, text: str) -> None:
        """Name a loss."""
        self.losses.append(Loss(None if pattern is None else str(pattern), field, text))

    def leave_out(self, pattern: HostPattern, why: str) -> None:
        """Remove an entry, and name it."""
        self.entries.pop(pattern, None)
        self._left_out.add(str(pattern))
        self.lose(pattern, WHOLE, f"is left out: {why}")

    def leave_out_too_strict(self) -> None:
        """Leave out every entry that is stricter on a host than the policy is: a pattern around an exempt host.

        Call it once more after an entry has been replaced by others; `finish()` does.
        """
        for name, pins in self._policy.hosts.items():
            allowed = 0 if pins.is_exempt else 1 if pins.report_only else 2
            if allowed == 2:  # noqa: PLR2004  as strict as can be
                continue
            pattern = HostPattern.parse(name)
            for host in _samples(pattern):
                holds = self._policy.find(host, pattern.port)
                if holds is not None and holds.pattern == name:
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
    """Return what a system with these abilities can express of `policy`.

    Args:
        policy: the policy.
        abilities: of the system.
        only: the host pattern of a text that has one entry and does not name its host; None for other formats.
    """
    exported = Export(policy, abilities)
    system = abilities.system
    if policy.unpinned_hosts == "block":
        exported.lose(None, "unpinned_hosts", f"is 'block', which is left out: {system} allows unpinned hosts")
    if policy.blocked_pins:
        exported.lose(None, "blocked_pins", f"are left out: {system} cannot block a key for all hosts")
    for name, pins in policy.hosts.items():
        pattern = HostPattern.parse(name)
        written = _writable_pins(pins, policy.blocked, abilities)
        why = _why_not_pattern(pattern, abilities) or _why_not_set(pins, written, abilities)
        if only is not None and pattern != only:
            why = f"the text is for {only} alone"
        if why:
            exported.leave_out(pattern, why)
        elif pins.is_exempt:
            exported.entries[pattern] = Entry(())
        elif pins.report_only and not abilities.report_only:
            exported.entries[pattern] = Entry(())
            exported.lose(pattern, WHOLE, f"is written as exempt: {system} cannot report a mismatch without a refusal")
        else:
            _name_losses(exported, pattern, pins, policy.blocked, abilities)
            expires = _expires(exported, pattern, pins.expires, abilities)
            exported.entries[pattern] = Entry(written, expires, pins.report_only)
    if abilities.one_entry_a_name:
        _keep_one_a_name(exported, system)
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


def _why_not_pattern(pattern: HostPattern, abilities: Abilities) -> str | None:
    """Return why the system cannot have such a pattern, or None."""
    system = abilities.system
    if pattern.port is not None and not abilities.ports:
        return f"{system} has no ports; name the host without one"
    if not abilities.addresses and is_address(pattern.host):
        return f"{system} cannot pin IP addresses"
    if pattern.kind not in abilities.kinds:
        other = " or with '**.'" if "subtree" in abilities.kinds else ""
        return f"{system} has no such pattern; name the host in full{other}"
    return None


def _why_not_set(pins: PinSet, written: tuple[Pin, ...], abilities: Abilities) -> str | None:
    """Return why the system cannot have such a pin set, of which it can have the pins `written`, or None."""
    system = abilities.system
    if pins.is_exempt and not abilities.exempt:
        return f"{system} cannot exempt a host"
    if pins.report_only and not abilities.report_only and not abilities.exempt:
        return f"{system} cannot report a mismatch without a refusal"
    if not pins.is_exempt and not written:
        return f"{system} can have none of its pins"
    return None


def _writable_pins(pins: PinSet, blocked: frozenset[Pin], abilities: Abilities) -> tuple[Pin, ...]:
    """Return the pins to write: those that neither the set nor the policy (`blocked`) blocks."""
    distinct = (pin for pin in dict.fromkeys((*pins.pins, *pins.backup_pins)) if pin not in pins.blocked)
    return tuple(pin for pin in distinct if pin not in blocked and (abilities.certificates or pin.kind == "spki"))


def _name_losses(
    exported: Export, pattern: HostPattern, pins: PinSet, blocked: frozenset[Pin], abilities: Abilities
) -> None:
    """Name what the system cannot express of a pin set, apart from its expiry."""
    system = abilities.system
    if not pins.accepted.isdisjoint(pins.blocked | blocked):
        exported.lose(pattern, "pins", "that are also blocked are left out")
    if not abilities.certificates and any(pin.kind == "cert" for pin in pins.accepted):
        exported.lose(pattern, "pins", f"of whole certificates are left out: {system} has none")
    if pins.backup_pins:
        exported.lose(pattern, "backup_pins", f"are written among the pins: {system} does not tell them apart")
    if pins.blocked:
        exported.lose(pattern, "blocked_pins", f"are left out: {system} cannot block keys")
    if pins.on_expiry == "block":
        exported.lose(
            pattern, "on_expiry", f"is 'block', which is left out: {system} cannot refuse a host for expired pins"
        )
    if any(pin.note is not None for pin in (*pins.pins, *pins.backup_pins)):
        exported.lose(pattern, "note", f"of a pin is left out: {system} has none")


def _expires(exported: Export, pattern: HostPattern, expires: datetime | None, abilities: Abilities) -> datetime | None:
    """Return when pins expire in the system, never later than in the policy, and name the difference."""
    system = abilities.system
    if expires is None:
        return None
    if abilities.expires is None:
        exported.lose(pattern, "expires", f"is left out: pins do not expire in {system}")
        return None
    midnight = datetime(expires.year, expires.month, expires.day, tzinfo=UTC)
    kept = midnight if abilities.expires == "day" else expires.replace(microsecond=0)
    if kept != expires:
        exported.lose(pattern, "expires", f"is rounded down to the {abilities.expires} for {system}")
    return kept


def _keep_one_a_name(exported: Export, system: str) -> None:
    """Leave out `**.example.com` if `example.com` says something else, and the latter if both say the same."""
    for pattern in [pattern for pattern in exported.entries if pattern.kind == "subtree"]:
        exact = HostPattern("exact", pattern.host)
        if exact not in exported.entries:
            continue
        if exported.entries[exact].is_like(exported.entries[pattern]):
            exported.leave_out(exact, f"{pattern} says the same, and {system} has one entry for a name")
        else:
            exported.leave_out(pattern, f"{exact} has an entry, and {system} has one entry for a name")

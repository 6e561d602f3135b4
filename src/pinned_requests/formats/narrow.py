"""`narrow()`: the part of a policy that another system can express. Every writer begins with it.

Rules for the next maintainer:

- Limits of a system are in `Abilities`, not in its writer: here they are applied and named in one place.
- A blocked pin is never written among the pins, though no other system blocks keys.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern, is_address
from pinned_requests.formats.loss import WHOLE, Loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pinned_requests.core.host import PatternKind
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy


class Abilities(NamedTuple):
    """What a system can say.

    Attributes:
        system: its name, for sentences.
        kinds: the kinds of host patterns.
        ports: whether pins can hold on one port only.
        addresses: whether an IP address can be pinned.
        one_entry_a_name: whether `example.com` and `**.example.com` exclude each other.
        exempt: whether a host can be taken out of a wider pattern.
        report_only: whether a mismatch can be reported only.
        certificates: whether whole certificates can be pinned.
        expires: how exactly pins can expire, or None where they cannot.
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
    """What is left of a pin set. One without pins is exempt."""

    pins: tuple[Pin, ...]
    expires: datetime | None = None
    report_only: bool = False

    def is_like(self, other: Entry) -> bool:
        """Say whether both mean the same: the order of pins means nothing."""
        return set(self.pins) == set(other.pins) and self[1:] == other[1:]


class Narrowed(NamedTuple):
    """What is left of a policy, and what is not."""

    entries: dict[HostPattern, Entry]
    losses: list[Loss]

    def leave_out(self, pattern: HostPattern, why: str) -> None:
        """Remove an entry, and name it."""
        self.entries.pop(pattern, None)
        self.losses.append(Loss(str(pattern), WHOLE, f"is left out: {why}"))

    def finish(self, system: str) -> tuple[Loss, ...]:
        """Return the losses, those of wider patterns that now hold for what was left out included.

        Raises:
            PolicyError: nothing is left.
        """
        if not self.entries:
            reasons = [f": {loss}" for loss in self.losses if loss.field == WHOLE]
            raise PolicyError(f"nothing of this policy can be said to {system}{''.join(reasons[:1])}")
        return tuple(self._with_wider(loss) for loss in self.losses)

    def _with_wider(self, loss: Loss) -> Loss:
        if loss.field != WHOLE or loss.host is None:
            return loss
        pattern = HostPattern.parse(loss.host)
        wider = next(covering(pattern, self.entries), None) if pattern not in self.entries else None
        if wider is None or not self.entries[wider].pins:
            return loss
        return loss._replace(text=f"{loss.text}; the pins of {wider} hold there instead")


def narrow(policy: PinPolicy, abilities: Abilities) -> Narrowed:
    """Return what of `policy` a system with these abilities can say, and what it cannot."""
    narrowed = Narrowed({}, [])
    system = abilities.system
    if policy.unpinned_hosts == "block":
        text = f"is 'block', which is left out: {system} leaves hosts without pins alone"
        narrowed.losses.append(Loss(None, "unpinned_hosts", text))
    if policy.blocked_pins:
        text = f"are left out: no key can be blocked for all hosts in {system}"
        narrowed.losses.append(Loss(None, "blocked_pins", text))
    for name, pins in policy.hosts.items():
        pattern = HostPattern.parse(name)
        written = _written(pins, policy.blocked, abilities)
        why = _no_pattern(pattern, abilities) or _no_set(pins, written, abilities)
        if why:
            narrowed.leave_out(pattern, why)
        elif pins.is_exempt:
            narrowed.entries[pattern] = Entry(())
        elif pins.report_only and not abilities.report_only:
            narrowed.entries[pattern] = Entry(())
            text = f"is exempt, its pins are left out: {system} cannot report a mismatch and go on"
            narrowed.losses.append(Loss(name, WHOLE, text))
        else:
            expires = _say_losses(name, pins, policy.blocked, abilities, narrowed.losses)
            narrowed.entries[pattern] = Entry(written, expires, pins.report_only)
    if abilities.one_entry_a_name:
        _keep_one_a_name(narrowed, system)
    return narrowed


def covering(pattern: HostPattern, patterns: Mapping[HostPattern, Entry]) -> Iterator[HostPattern]:
    """Yield those of `patterns` that match all that `pattern` matches, itself left out, the most specific first."""
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


def _no_pattern(pattern: HostPattern, abilities: Abilities) -> str | None:
    """Say why the system cannot have such a pattern, or None."""
    system = abilities.system
    if pattern.port is not None and not abilities.ports:
        return f"{system} has no ports; name the host without one"
    if not abilities.addresses and is_address(pattern.host):
        return f"{system} pins no IP addresses"
    if pattern.kind not in abilities.kinds:
        other = " or with '**.'" if "subtree" in abilities.kinds else ""
        return f"{system} has no such pattern; name the host in full{other}"
    return None


def _no_set(pins: PinSet, written: tuple[Pin, ...], abilities: Abilities) -> str | None:
    """Say why the system cannot have such a pin set, of which `written` can be said, or None."""
    system = abilities.system
    if pins.is_exempt and not abilities.exempt:
        return f"{system} cannot exempt a host"
    if pins.report_only and not abilities.report_only and not abilities.exempt:
        return f"{system} cannot report a mismatch and go on"
    if not pins.is_exempt and not written:
        return f"{system} can have none of its pins"
    return None


def _written(pins: PinSet, blocked: frozenset[Pin], abilities: Abilities) -> tuple[Pin, ...]:
    """Return the pins to write: those that neither the set nor the policy (`blocked`) blocks."""
    distinct = (pin for pin in dict.fromkeys((*pins.pins, *pins.backup_pins)) if pin not in pins.blocked)
    return tuple(pin for pin in distinct if pin not in blocked and (abilities.certificates or pin.kind == "spki"))


def _say_losses(
    name: str, pins: PinSet, blocked: frozenset[Pin], abilities: Abilities, losses: list[Loss]
) -> datetime | None:
    """Add to `losses` what the system cannot say of a pin set, and return its date of expiry there."""
    system = abilities.system

    def lose(field: str, text: str) -> None:
        losses.append(Loss(name, field, f"{text} {system}"))

    if not pins.accepted.isdisjoint(pins.blocked | blocked):
        lose("pins", "are left out where they are blocked as well, in")
    if not abilities.certificates and any(pin.kind == "cert" for pin in pins.accepted):
        lose("pins", "of whole certificates are left out: there are none in")
    if pins.backup_pins:
        lose("backup_pins", "stand among the pins in")
    if pins.blocked:
        lose("blocked_pins", "are left out: no key can be blocked in")
    if pins.on_expiry == "block":
        lose("on_expiry", "is 'block', which is left out: no host can be refused for expired pins in")
    if any(pin.note is not None for pin in (*pins.pins, *pins.backup_pins)):
        lose("note", "of a pin is left out: there are none in")
    return _expires(pins.expires, abilities, lose)


def _expires(expires: datetime | None, abilities: Abilities, lose: Callable[[str, str], None]) -> datetime | None:
    if expires is None:
        return None
    if abilities.expires is None:
        lose("expires", "is left out: pins hold for ever in")
        return None
    midnight = datetime(expires.year, expires.month, expires.day, tzinfo=UTC)
    kept = midnight if abilities.expires == "day" else expires.replace(microsecond=0)
    if kept != expires:
        lose("expires", f"is cut to the {abilities.expires}, and so earlier, in")
    return kept


def _keep_one_a_name(narrowed: Narrowed, system: str) -> None:
    """Leave out `**.example.com` where `example.com` says something else, and the latter where they say the same."""
    for pattern in [pattern for pattern in narrowed.entries if pattern.kind == "subtree"]:
        exact = HostPattern("exact", pattern.host)
        if exact not in narrowed.entries:
            continue
        if narrowed.entries[exact].is_like(narrowed.entries[pattern]):
            narrowed.leave_out(exact, f"{pattern} says the same, and {system} has one entry a name")
        else:
            narrowed.leave_out(pattern, f"{exact} has an entry, and {system} has one a name")

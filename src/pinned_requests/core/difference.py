"""What a new policy changes: hosts, pins and expiry, gained, lost and changed; for people, logs and machines."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.pinset import PIN_LISTS, PinSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.policy import PinPolicy

MAX_NAMED = 20  # host patterns of each kind in the one line

_OTHER_FIELDS = ("expires", "on_expiry", "report_only", "exempt")


class Change(NamedTuple):
    """One thing that changes.

    Attributes:
        field: of a policy or pin set, such as `"backup_pins"`.
        old: the pin or value that is lost, as text, or None.
        new: the same, that is gained.
        shown: it as people are shown it: of a pin, its note as well.
    """

    field: str
    old: str | None
    new: str | None
    shown: str

    def __str__(self) -> str:
        kind = "gained" if self.old is None else "lost" if self.new is None else "changed"
        return f"{kind} {self.field}: {self.shown}"


class Difference(NamedTuple):
    """What a new policy changes: false if nothing.

    Attributes:
        gained: host pattern → changes, of the patterns that only the new policy has.
        lost: the same, of those that only the old policy has.
        changed: the same, of those that differ.
        policy: the changes of the whole policy.
    """

    gained: dict[str, tuple[Change, ...]]
    lost: dict[str, tuple[Change, ...]]
    changed: dict[str, tuple[Change, ...]]
    policy: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.gained or self.lost or self.changed or self.policy)

    def __str__(self) -> str:
        """Return one line, such as ``gained api.example.com; changed blocked_pins``."""
        names = {
            "gained": [*self.gained],
            "lost": [*self.lost],
            "changed": [*self.changed, *dict.fromkeys(change.field for change in self.policy)],
        }
        return "; ".join(f"{verb} {_named(found)}" for verb, found in names.items() if found) or "nothing changed"

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""

        def each(changes: Iterable[Change]) -> list[dict[str, str | None]]:
            return [{"field": change.field, "old": change.old, "new": change.new} for change in changes]

        kinds = {"gained": self.gained, "lost": self.lost, "changed": self.changed}
        hosts = {kind: {host: each(changes) for host, changes in found.items()} for kind, found in kinds.items()}
        return {"hosts": hosts, "policy": each(self.policy)}


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def difference(old: PinPolicy | None, new: PinPolicy) -> Difference:
    """Return what a new policy changes; `old` is None if there is none yet. Notes on pins are not compared."""
    before, after = {} if old is None else old.hosts, new.hosts
    changed = {host: _of_sets(before[host], after[host]) for host in before if host in after}
    policy = _of_pins("blocked_pins", getattr(old, "blocked_pins", ()), new.blocked_pins)
    for field in ("unpinned_hosts", "report_uri"):
        policy += _of_values(field, getattr(old, field, None), getattr(new, field))
    return Difference(
        {host: _of_sets(None, pins) for host, pins in after.items() if host not in before},
        {host: _of_sets(pins, None) for host, pins in before.items() if host not in after},
        {host: changes for host, changes in changed.items() if changes},
        tuple(policy),
    )


def _of_sets(old: PinSet | None, new: PinSet | None) -> tuple[Change, ...]:
    changes: list[Change] = []
    for field in PIN_LISTS:
        changes += _of_pins(field, getattr(old, field, ()), getattr(new, field, ()))
    before, after = ({} if pins is None else pins.fields() for pins in (old, new))
    for field in _OTHER_FIELDS:
        changes += _of_values(field, before.get(field), after.get(field))
    return tuple(changes)


def _of_pins(field: str, old: Iterable[Pin], new: Iterable[Pin]) -> list[Change]:
    before, after = dict.fromkeys(old), dict.fromkeys(new)
    lost = [Change(field, str(pin), None, pin.describe()) for pin in before if pin not in after]
    return [*lost, *(Change(field, None, str(pin), pin.describe()) for pin in after if pin not in before)]


def _of_values(field: str, old: object, new: object) -> list[Change]:
    if old == new:
        return []
    before, after = _text(old), _text(new)
    return [Change(field, before, after, " -> ".join(text for text in (before, after) if text is not None))]


def _text(value: object) -> str | None:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)

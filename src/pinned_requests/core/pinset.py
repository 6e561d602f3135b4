"""`PinSet`: the pins of one host or host pattern.

Rule for the next maintainer: a value is frozen, and valid once it is built. The constructor reports every mistake, so
that no request can fail for one.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import MissingBackupPinWarning, PolicyError, one_of, unknown
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import exact, show
from pinned_requests.core.value import Value, put

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    OnExpiry = Literal["unpin", "block"]
    PinLike = Pin | str | Mapping[str, str | None]
    PinsOf = PinLike | Iterable[PinLike]
    PinsLike: TypeAlias = "PinSet | PinsOf | Mapping[str, Any]"

_NO_PINS: frozenset[Pin] = frozenset()
_PACKAGE = __name__.partition(".")[0]
_DISTINCT_PINS = 2  # RFC 7469 §4.3: one in use and one backup
_DATE = r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)?"
_OFFSET: dict[str | None, str] = {"Z": "+00:00", "z": "+00:00", None: ""}
PIN_LISTS = ("pins", "backup_pins", "blocked_pins")  # the fields that hold pins
_SHOWN = (*PIN_LISTS, "expires", "on_expiry", "report_only")
_CONSTRUCTED = (*_SHOWN, "is_exempt")
_FIELDS = (*_SHOWN, "exempt")
_PIN_FIELDS = ("pin", "note")
_MAX_WARNED = 4096  # pin sets: a source that keeps changing `expires` must not fill the memory
_warned: set[PinSet] = set()  # the sets that MissingBackupPinWarning was emitted for


class PinSet(Value):
    """The pins of one host or pattern.

    A chain satisfies the set when any certificate of the *verified* chain (leaf, intermediate or root) matches any of
    `pins` or `backup_pins`, and none is one of `blocked_pins`.

    Args:
        pins: pins in use: one pin or an iterable, each a `Pin`, a spelling that `Pin.parse` reads, or a mapping of
            `pin` (one of these two) and `note`.
        backup_pins: pins of keys that are kept for a rotation and not yet served (RFC 7469 §4.3).
        blocked_pins: pins of compromised keys. A chain with one is refused, even if it also matches an accepted pin.
        expires: the moment from which the pins are expired: an aware `datetime`, or its text (RFC 3339 §5.6, which
            asks for an offset or `Z`).
        on_expiry: `"unpin"`: after that moment only CA validation protects the host, and each connection is reported;
            or `"block"`: the host is refused.
        report_only: whether a mismatch is only reported and the request goes on. A blocked key is refused even then.
        is_exempt: whether this set has no pins and takes a host out of a wider pattern; see `exempt()`.

    Raises:
        PolicyError: the set has neither pins nor `is_exempt`, or both; a date is naive or cannot be read; or a value
            has the wrong type.
        PinFormatError: a pin cannot be read.

    For look-ups, the frozen sets `accepted` (`pins` and `backup_pins`) and `blocked` are derived from these. Equality
    ignores the order, repetition and notes of pins. It is not checked whether the key of a backup pin exists.
    """

    pins: tuple[Pin, ...]
    backup_pins: tuple[Pin, ...]
    blocked_pins: tuple[Pin, ...]
    expires: datetime | None
    on_expiry: OnExpiry
    report_only: bool
    is_exempt: bool
    accepted: frozenset[Pin]
    blocked: frozenset[Pin]
    __slots__ = tuple(__annotations__)

    def __init__(  # noqa: PLR0913  one argument a field
        self,
        pins: PinsOf = (),
        backup_pins: PinsOf = (),
        blocked_pins: PinsOf = (),
        *,
        expires: datetime | str | None = None,
        on_expiry: OnExpiry = "unpin",
        report_only: bool = False,
        is_exempt: bool = False,
    ) -> None:
        in_use = read_pins("pins", pins)
        in_reserve = read_pins("backup_pins", backup_pins)
        compromised = read_pins("blocked_pins", blocked_pins)
        # Without `_set()`, and with one empty set for all: a policy may have a hundred thousand of these.
        put(self, "pins", in_use)
        put(self, "backup_pins", in_reserve)
        put(self, "blocked_pins", compromised)
        put(self, "expires", None if expires is None else _aware_utc(expires))
        put(self, "on_expiry", one_of("on_expiry", on_expiry, ("unpin", "block")))
        put(self, "report_only", _boolean("report_only", report_only))
        put(self, "is_exempt", _boolean("exempt", is_exempt))
        put(self, "accepted", frozenset(in_use + in_reserve) if in_use or in_reserve else _NO_PINS)
        put(self, "blocked", frozenset(compromised) if compromised else _NO_PINS)

        if self.is_exempt and (self.accepted or self.blocked):
            raise PolicyError("a pin set is exempt or has pins, not both; remove one of the two")
        if self.is_exempt and (self.expires is not None or self.on_expiry != "unpin" or self.report_only):
            raise PolicyError("an exempt pin set has no other fields; remove them")
        if not self.is_exempt and not self.accepted:
            raise PolicyError("a pin set without pins would refuse every server; add 'pins', or set 'exempt'")
        if not self.is_exempt and not self.report_only and len(self.accepted) < _DISTINCT_PINS and self not in _warned:
            if len(_warned) >= _MAX_WARNED:
                _warned.clear()
            warnings.warn(
                f"{self.pins[0] if self.pins else self.backup_pins[0]} is the only pin of its set: the next change of "
                "that key locks this client out; add a backup pin (RFC 7469 §4.3)",
                MissingBackupPinWarning,
                stacklevel=_callers_stacklevel(),
            )
            _warned.add(self)  # after the warning: if warnings are errors, the same set fails every time

    @classmethod
    def exempt(cls) -> PinSet:
        """Return the set that takes a host out of a wider pattern: connections to it are not pinned."""
        return cls(is_exempt=True)

    @classmethod
    def of(cls, value: PinsLike) -> PinSet:
        """Return a `PinSet`.

        Args:
            value: a `PinSet`, which is returned unchanged; a pin or an iterable of pins; or a mapping of the fields, in
                which `is_exempt` is called `exempt`.

        Raises:
            PolicyError: as the constructor, or `value` has another type or an unknown field.
        """
        if isinstance(value, PinSet):
            return value
        # The usual types come first: `isinstance()` with an abstract class is slow.
        if type(value) is dict or (type(value) is not list and isinstance(value, Mapping)):
            given = known_fields("field of a pin set", value, _FIELDS)
            return cls(is_exempt=given.pop("exempt", False), **given)
        return cls(value)

    def fields(self) -> dict[str, Any]:
        """Return the fields without a default value, as plain values and a `datetime`: `PinSet.of` reads them back."""
        if self.is_exempt:
            return {"exempt": True}
        pins = {name: [pin_fields(pin) for pin in getattr(self, name)] for name in PIN_LISTS}
        fields: dict[str, Any] = {name: value for name, value in pins.items() if value}
        if self.expires is not None:
            fields["expires"] = self.expires
        if self.on_expiry != "unpin":
            fields["on_expiry"] = self.on_expiry
        if self.report_only:
            fields["report_only"] = True
        return fields

    def has_expired(self, now: datetime) -> bool:
        """Return whether the pins are expired at `now` (aware)."""
        return self.expires is not None and now >= self.expires

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, PinSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        if self.is_exempt:
            return "PinSet.exempt()"
        return f"PinSet({', '.join(f'{name}={getattr(self, name)!r}' for name in _SHOWN)})"

    def __reduce__(self) -> tuple[object, ...]:
        return _restore_set, tuple(getattr(self, name) for name in _CONSTRUCTED)

    def _key(self) -> tuple[object, ...]:
        return (
            frozenset(self.pins),
            frozenset(self.backup_pins),
            self.blocked,
            self.expires,
            self.on_expiry,
            self.report_only,
            self.is_exempt,
        )


def _restore_set(*values: Any) -> PinSet:
    return PinSet(**dict(zip(_CONSTRUCTED, values, strict=True)))


def read_pins(name: str, value: object) -> tuple[Pin, ...]:
    """Return the distinct pins of the field `name`.

    Raises:
        PolicyError: `value` is neither a pin nor an iterable of pins.
        PinFormatError: a pin cannot be read.
    """
    if type(value) is tuple and not value:
        return ()
    if type(value) is not list:  # as in `PinSet.of()`
        if isinstance(value, (Pin, str, Mapping)):
            value = (value,)
        elif isinstance(value, bytes) or not isinstance(value, Iterable):
            raise PolicyError(f"'{name}' is {show(value)}; give a pin or an iterable of pins")
    try:
        pins = [Pin.parse(pin) if type(pin) is str else _pin(pin) for pin in value]
    except PolicyError as e:
        raise type(e)(f"'{name}': {e}") from None
    return tuple(dict.fromkeys(pins)) if len(pins) > 1 else tuple(pins)


def _pin(value: object) -> Pin:
    if isinstance(value, Pin):
        return value
    if not isinstance(value, Mapping):
        return Pin.parse(value)  # type: ignore[arg-type]  # it refuses other types
    given = known_fields("field of a pin", value, _PIN_FIELDS)
    if "pin" not in given:
        raise PolicyError("a pin with a note needs the field 'pin'")
    pin = given["pin"] if isinstance(given["pin"], Pin) else Pin.parse(given["pin"])
    return pin.with_note(given["note"]) if "note" in given else pin


def known_fields(what: str, fields: Mapping[Any, Any], known: tuple[str, ...]) -> dict[Any, Any]:
    """Return a copy of `fields`, whose names must be in `known`; `what` is one of them, for the error."""
    given = {exact(name) if isinstance(name, str) else name: value for name, value in fields.items()}
    for name in given:
        if name not in known:
            unknown(what, name, known)
    return given


def pin_fields(pin: Pin) -> str | dict[str, str]:
    """Return a pin as it is written to a file: its spelling, or a mapping of spelling and note."""
    return str(pin) if pin.note is None else {"pin": str(pin), "note": pin.note}


def _aware_utc(value: object) -> datetime:
    moment = _read_date(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise PolicyError(f"'expires' is {show(value)}; give an aware datetime or text such as '2027-03-01T00:00:00Z'")
    if moment.utcoffset() is None:
        raise PolicyError(f"'expires' is {show(str(moment))}, which has no time zone; add one, such as 'Z'")
    try:
        utc = moment.astimezone(UTC)
        # A plain copy: a subclass, such as pandas' NaT, may compare in its own way and never expire.
        return datetime(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, UTC)
    except (OverflowError, TypeError, ValueError):
        raise PolicyError(f"'expires' is {show(str(moment))}, which is out of range in UTC; give another") from None


def _read_date(text: str) -> datetime | None:
    """Parse a date and time of RFC 3339 §5.6, alike on all Python versions, whose `fromisoformat` differ."""
    if not (parts := re.fullmatch(_DATE, exact(text), re.ASCII)):
        return None
    try:
        return datetime.fromisoformat(
            f"{parts[1]}T{parts[2]}.{(parts[3] or '')[:6]:0<6}{_OFFSET.get(parts[4], parts[4])}"
        )
    except ValueError:
        return None


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise PolicyError(f"'{name}' is {show(value)}; give true or false")
    return value


def _callers_stacklevel() -> int:
    """Return the `stacklevel` with which a warning of the caller points at the first line outside this package."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001  the documented way to the caller's frame in CPython
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    return level

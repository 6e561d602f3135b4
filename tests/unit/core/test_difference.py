"""`difference()`: what a new policy gains, loses and changes, for people and machines."""

from __future__ import annotations

import pytest

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.core.difference import Change, Difference, difference

A, B, C = (f"sha256/{letter * 42}A=" for letter in "ABC")

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")


def test_nothing() -> None:
    """Order, repetition and notes make no difference."""
    old = PinPolicy({"a.example": [A, B]})
    same = PinPolicy({"A.example.": [B, Pin.parse(A).with_note("leaf"), B]})
    assert difference(old, same) == Difference({}, {}, {}, ())
    assert not difference(old, same)


def test_everything() -> None:
    """Hosts and pins, gained, lost and changed."""
    old = PinPolicy({"a.example": {"pins": A, "expires": "2026-01-01T00:00:00Z"}, "b.example": [A, B]}, blocked_pins=C)
    new = PinPolicy(
        {"a.example": {"pins": B, "backup_pins": A, "on_expiry": "block"}, "c.example": {"exempt": True}},
        unpinned_hosts="allow",
    )
    found = difference(old, new)
    assert found.gained == {"c.example": (Change("exempt", None, "true", "true"),)}
    assert found.lost == {"b.example": (Change("pins", A, None, A), Change("pins", B, None, B))}
    assert list(map(str, found.changed["a.example"])) == [
        f"lost pins: {A}",
        f"gained pins: {B}",
        f"gained backup_pins: {A}",
        "lost expires: 2026-01-01T00:00:00Z",
        "gained on_expiry: block",
    ]
    assert list(map(str, found.policy)) == [f"lost blocked_pins: {C}", "changed unpinned_hosts: block -> allow"]


def test_the_first_policy() -> None:
    """Everything is gained, with the notes for people and without them for machines."""
    found = difference(None, PinPolicy({"a.example": Pin.parse(A).with_note("leaf\n2026")}))
    (change,) = found.gained["a.example"]
    assert (change.new, str(change)) == (A, f"gained pins: {A}  (leaf\\n2026)")


def test_for_machines() -> None:
    """Plain values."""
    old = PinPolicy({"a.example": {"pins": [A, B], "expires": "2026-01-01T00:00:00Z"}})
    new = PinPolicy({"a.example": {"pins": [A, B], "expires": "2027-01-01T00:00:00Z"}})
    assert difference(old, new).document() == {
        "hosts": {
            "gained": {},
            "lost": {},
            "changed": {
                "a.example": [{"field": "expires", "old": "2026-01-01T00:00:00Z", "new": "2027-01-01T00:00:00Z"}]
            },
        },
        "policy": [],
    }


def test_one_line() -> None:
    """It names the hosts, and what the whole policy says by the names of the configuration."""
    old = PinPolicy({"a.example": [A, B], "b.example": [A, B], "c.example": [A, B]})
    new = PinPolicy({"c.example": [A, B], "b.example": [A, C], "d.example": PinSet.exempt()}, blocked_pins=[C, A])
    assert str(difference(old, new)) == "gained d.example; lost a.example; changed b.example, blocked_pins"
    assert str(difference(old, old)) == "nothing changed"
    lax = PinPolicy(old.hosts, unpinned_hosts="allow", report_uri="https://reports.example.net")
    assert str(difference(old, lax)) == "changed unpinned_hosts, report_uri"


def test_a_long_line_is_cut() -> None:
    """A log line has a bound."""
    large = PinPolicy({f"{number}.example": [A, B] for number in range(1000)})
    small = PinPolicy({"a.example": [A, B]})
    assert str(difference(small, large)).endswith("19.example and 980 more; lost a.example")

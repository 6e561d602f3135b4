"""`difference()`: what a new policy gains, loses and changes, for people and machines."""

from __future__ import annotations

import pytest

from pinned_requests import Pin, PinPolicy
from pinned_requests.publishing.difference import Change, Difference, difference

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

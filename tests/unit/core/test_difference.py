"""`Difference`: what one policy changes of another."""

from __future__ import annotations

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.core.difference import Difference

A, B, C = (Pin("spki", bytes([number]) * 32) for number in range(3))
OLD = PinPolicy({"a.example": [A, B], "b.example": [A, B], "c.example": [A, B]})
NEW = PinPolicy({"c.example": [A, B], "b.example": [A, C], "d.example": PinSet.exempt()}, blocked_pins=[C])


def test_hosts_gained_lost_and_changed() -> None:
    """And what the whole policy says."""
    found = Difference.of(OLD, NEW)
    assert found == Difference(("d.example",), ("a.example",), ("b.example",), ("blocked_pins",))
    assert str(found) == "gained d.example; lost a.example; changed b.example, blocked_pins"


def test_no_difference() -> None:
    """Notes are none: they are never part of equality."""
    noted = PinPolicy({**OLD.hosts, "a.example": [A.with_note("safe B"), B]})
    assert Difference.of(OLD, noted) == Difference((), (), (), ())
    assert str(Difference.of(OLD, noted)) == "no host changed"


def test_options() -> None:
    """By the names of the configuration."""
    lax = PinPolicy(OLD.hosts, unpinned_hosts="allow", report_uri="https://reports.example.net")
    assert Difference.of(OLD, lax).others == ("unpinned_hosts", "report_uri")


def test_a_long_list_is_cut() -> None:
    """A log line has a bound."""
    large = PinPolicy({f"{number}.example": [A, B] for number in range(1000)})
    assert str(Difference.of(OLD, large)).endswith("19.example and 980 more; lost a.example, b.example, c.example")

"""Checks of hosts, whose connections are given."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from pinned_requests import Pin, PinPolicy
from pinned_requests.core.chain import RawChain
from pinned_requests.monitoring import check, findings
from pinned_requests.monitoring.sampling import Asked, Contact
from pinned_requests.monitoring.target import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from pinned_requests.monitoring.target import Target

PINS = [Pin("spki", bytes(32)), Pin("spki", bytes(range(32)))]


def test_an_interrupt_of_the_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that were judged by then are returned as such, all others as not checked."""
    number, real = itertools.count(), findings.pin_uses

    def survey(targets: Sequence[Target], *_: object, **__: object) -> list[Asked]:
        error = {each: UnreachableError(each, "it is asleep") for each in targets}
        return [
            Asked((Contact(None, RawChain((), unavailable=""), error[each]),), is_complete=True) for each in targets
        ]

    def pin_uses(*arguments: Any) -> Any:
        if next(number) == 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(check, "survey", survey)
    monkeypatch.setattr(check, "pin_uses", pin_uses)
    found = check.check_hosts(PinPolicy({f"{name}.example.com": PINS for name in "abc"}))
    assert [(each.outcome, each.is_complete) for each in found.hosts] == [
        ("unreachable", True),
        ("not-checked", False),
        ("not-checked", False),
    ]
    assert not found.is_complete

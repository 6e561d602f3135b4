"""`PinCheck`: a verdict as the answer to "is it on?"."""

from __future__ import annotations

import datetime as dt

import pytest

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.core.chain import Chain, SeenCertificate
from pinned_requests.core.report import PinCheck
from pinned_requests.core.verdict import Outcome, evaluate

NOW = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
KEY, OTHER = Pin("spki", bytes(32)), Pin("spki", b"\1" * 32)
SEEN = SeenCertificate("CN=a.example", KEY, Pin("cert", bytes(32)), frozenset((KEY,)), True, b"DER")  # noqa: FBT003 - a record
CHAIN = Chain((SEEN,), is_verified=True)


@pytest.mark.parametrize(
    ("pins", "outcome", "pin", "depth", "ok"),
    [
        (PinSet([KEY, OTHER]), Outcome.MATCH, KEY, 0, True),
        (PinSet([OTHER, Pin("cert", b"\1" * 32)]), Outcome.MISMATCH, None, None, False),
        (PinSet([OTHER], report_only=True), Outcome.MISMATCH, None, None, False),
        (PinSet([KEY, OTHER], expires=NOW), Outcome.EXPIRED, None, None, False),
    ],
)
def test_a_check(pins: PinSet, outcome: Outcome, pin: Pin | None, depth: int | None, ok: bool) -> None:  # noqa: FBT001 - pytest's way
    """It has the fields of the verdict; only a match is `ok`."""
    check = PinCheck.of(evaluate(PinPolicy({"*.example": pins}), "A.example", CHAIN, NOW, port=443))
    assert check == PinCheck("a.example", 443, outcome, "*.example", pin, depth, (SEEN,), verified=True)
    assert check.ok is ok


def test_the_host_is_escaped() -> None:
    """It may come from a redirect."""
    check = PinCheck.of(evaluate(PinPolicy({"a.example": PinSet.exempt()}), "a\n", CHAIN, NOW))
    assert check.host == r"a\n"

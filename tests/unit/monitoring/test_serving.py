"""May a key be served? Every policy that a client may still have decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError
from pinned_requests.monitoring.serving import Serving, Version, can_serve, refusal_of

HOST = "api.example.com"
OLD, NEW, CA, OTHER = (Pin("spki", bytes([n]) * 32) for n in range(4))
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def policy(*pins: Pin, **options: object) -> PinPolicy:
    """The policy of the host."""
    return PinPolicy({HOST: PinSet([*pins, OTHER], **options)})  # type: ignore[arg-type]  # options of the set


def ask(*versions: tuple[PinPolicy, int | None], key: Pin = NEW, is_complete: bool = True) -> Serving:
    """Ask for a key, with versions that were written so many days ago."""
    return can_serve(
        [[key]],
        HOST,
        443,
        [Version(each, None if ago is None else NOW - ago * DAY, f"v{at}") for at, (each, ago) in enumerate(versions)],
        now=NOW,
        max_client_age=90 * DAY,
        is_complete=is_complete,
    )


def test_the_date() -> None:
    """A key that came 30 days ago is safe in 60 days, when no client has the policy before it."""
    answer = ask((policy(OLD), 200), (policy(OLD, NEW), 30))
    assert not answer.is_safe
    assert answer.known_since == NOW - 30 * DAY
    assert answer.safe_from == NOW + 60 * DAY
    assert [(each.name, each.why, each.until) for each in answer.refusals] == [
        ("v0", "does not accept it", NOW + 60 * DAY)
    ]


def test_the_moment() -> None:
    """It is safe from the 90th day on, and not before; what came later does not matter."""
    for ago, is_safe in ((90, True), (89, False)):
        answer = ask((policy(OLD), 400), (policy(OLD, NEW), ago), (policy(NEW), 1))
        assert (answer.is_safe, answer.known_since) == (is_safe, NOW - ago * DAY)
        assert answer.safe_from == NOW + (90 - ago) * DAY


def test_a_gap() -> None:
    """A version between that did not have it counts, too."""
    answer = ask((policy(NEW), 400), (policy(OLD), 50), (policy(NEW), 10))
    assert (answer.known_since, answer.safe_from) == (NOW - 10 * DAY, NOW + 80 * DAY)


def test_what_to_publish_first() -> None:
    """A key that the newest policy refuses has no date, whatever older ones say."""
    answer = ask((policy(NEW), 400), (policy(OLD), 10))
    assert (answer.is_safe, answer.safe_from, answer.known_since) == (False, None, None)
    assert [each.name for each in answer.refusals] == ["v1"]


def test_what_is_not_known() -> None:
    """An unknown policy before the first is taken to refuse; without a date for ever."""
    answer = ask((policy(NEW), 30), is_complete=False)
    assert (answer.is_safe, answer.safe_from) == (False, NOW + 60 * DAY)
    assert ask((policy(NEW), 30)).is_safe
    assert ask((policy(NEW), 91), is_complete=False).is_safe
    answer = ask((policy(OLD), None), (policy(NEW), None))
    assert (answer.is_safe, answer.safe_from) == (False, None)
    assert ask((policy(OLD, NEW), None), (policy(NEW), None)).is_safe
    with pytest.raises(PolicyError):
        ask()


def test_reasons() -> None:
    """What a policy says of a key; a pin above the leaf counts as well, and a blocked key wins."""
    assert refusal_of(policy(NEW), HOST, 443, [NEW]) is None
    assert refusal_of(policy(CA), HOST, 443, [NEW, CA]) is None
    assert refusal_of(policy(CA), HOST, 443, [NEW]) == "does not accept it"
    assert refusal_of(policy(OLD, report_only=True), HOST, 443, [NEW]) == "does not accept it"
    assert refusal_of(policy(OLD, expires="2020-01-01T00:00:00Z"), HOST, 443, [NEW]) == "does not accept it"
    assert refusal_of(policy(NEW, blocked_pins=[CA]), HOST, 443, [NEW, CA]) == "blocks it"
    everywhere = PinPolicy({HOST: PinSet.exempt()}, blocked_pins=[NEW])
    assert refusal_of(everywhere, HOST, 443, [NEW]) == "blocks it, for every host"
    assert refusal_of(everywhere, HOST, 443, [OLD]) is None
    assert refusal_of(policy(NEW), "b.example.com", 443, [NEW]) == "has no entry for the host"
    allowing = PinPolicy({HOST: PinSet([NEW, OLD])}, unpinned_hosts="allow")
    assert refusal_of(allowing, "b.example.com", 443, [OTHER]) is None

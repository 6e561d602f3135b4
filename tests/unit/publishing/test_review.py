"""`review()`: each policy that would lock clients out gives a finding that names the host, and its cure gives none."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import MissingBackupPinWarning, Pin, PinPolicy
from pinned_requests.core.chain import Chain, SeenCertificate
from pinned_requests.publishing.review import LIVE, OFFLINE, Lockout, UnseenError, review

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.core.pinset import PinsLike

A, B, C, D = (f"sha256/{letter * 42}A=" for letter in "ABCD")
HOST = "api.example.com"
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
PAST, FUTURE = "2026-05-31T00:00:00Z", "2026-06-02T00:00:00Z"


def policy(pins: PinsLike, host: str = HOST, **options: Any) -> PinPolicy:
    """Return a policy of one host, which may have one pin."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingBackupPinWarning)
        return PinPolicy({host: pins}, **options)


def found(
    old: PinPolicy | None, new: PinPolicy, look_up: Callable[[str, int], Chain] | None = None
) -> list[tuple[str, str]]:
    """Return the place and kind of what is found."""
    return [(each.place, each.kind) for each in review(old, new, NOW, look_up).lockouts]


PAIR: dict[str, Any] = {"pins": A, "backup_pins": B}
CASES: list[tuple[str, str, PinPolicy | None, PinPolicy, PinPolicy]] = [  # kind, place, published, new, its cure
    ("no-backup-pin", HOST, None, policy(A), policy([A, B])),
    ("no-backup-pin", HOST, None, policy([A, B], blocked_pins=B), policy([A, B], blocked_pins=C)),
    ("no-backup-pin", HOST, None, policy(PAIR | {"blocked_pins": A}), policy(PAIR | {"blocked_pins": C})),
    ("no-backup-pin", HOST, None, policy(A), policy({"pins": A, "report_only": True})),
    (
        "blocked-pin-accepted",
        HOST,
        None,
        policy([A, B], blocked_pins=[A, B]),
        policy([A, B, C, D], blocked_pins=[A, B]),
    ),
    ("pins-expired", HOST, None, policy(PAIR | {"expires": PAST}), policy(PAIR | {"expires": FUTURE})),
    (
        "pins-expired",
        HOST,
        None,
        policy(PAIR | {"expires": PAST, "on_expiry": "block"}),
        policy(PAIR | {"expires": FUTURE, "on_expiry": "block"}),
    ),
    ("no-common-pin", HOST, policy([A, B]), policy([C, D]), policy([B, C])),
    ("no-common-pin", HOST, policy([A, B]), policy([B, C, D], blocked_pins=B), policy([A, C, D], blocked_pins=B)),
    ("no-common-pin", HOST, policy([A, B]), policy([C, D], "*.example.com"), policy([A, D], "*.example.com")),
    ("host-lost", HOST, policy([A, B]), policy([A, B], "b.example"), policy([A, B], "*.example.com")),
    ("host-lost", "*.example.com", policy([A, B], "*.example.com"), policy([A, B]), policy([A, B], "**.example.com")),
    (
        "host-lost",
        HOST,
        policy([A, B]),
        policy([A, B], "b.example"),
        policy([A, B], "b.example", unpinned_hosts="allow"),
    ),
    ("host-lost", f"{HOST}:8443", policy([A, B], f"{HOST}:8443"), policy([A, B], f"{HOST}:443"), policy([A, B])),
    (
        "unpinned-hosts-blocked",
        "policy",
        policy([A, B], unpinned_hosts="allow"),
        policy([A, B]),
        policy([A, B], unpinned_hosts="allow"),
    ),
]


@pytest.mark.parametrize(("kind", "place", "old", "new", "cure"), CASES)
def test_a_policy_that_locks_out(kind: str, place: str, old: PinPolicy | None, new: PinPolicy, cure: PinPolicy) -> None:
    """It is found once; its cure is not."""
    assert found(old, new) == [(place, kind)]
    assert found(old, cure) == []


def test_every_kind_has_a_case() -> None:
    """None is left out above or below."""
    assert {kind for kind, *_ in CASES} == OFFLINE - {"published-unreadable"}


def test_the_sentence_names_the_host() -> None:
    """And says what happens, and what to do."""
    (lockout,) = review(None, policy(A), NOW).lockouts
    text = "it has one pin: the next change of that key locks clients out; add a backup pin"
    assert lockout == Lockout(HOST, "no-backup-pin", text)
    assert str(lockout) == f"{HOST}: {text}"


def test_a_published_policy_that_cannot_be_read() -> None:
    """What cannot be compared is not published without a person's decision."""
    (lockout,) = review(None, policy([A, B]), NOW, unreadable="it is damaged").lockouts
    assert (lockout.place, lockout.kind) == ("policy", "published-unreadable")


@pytest.mark.parametrize(
    "old", [{"exempt": True}, {"pins": [A, B], "report_only": True}, {"pins": [A, B], "expires": PAST}]
)
def test_what_the_published_policy_does_not_enforce(old: PinsLike) -> None:
    """Clients accept any key of that host now, so that other pins are no surprise."""
    assert found(policy(old), policy([C, D])) == []


def presenting(*pins: str) -> Callable[[str, int], Chain]:
    """Return what sees a verified chain of keys with these pins, for each host and port."""

    def look_up(host: str, _port: int) -> Chain:
        certificates = []
        for pin in map(Pin.parse, pins):
            other = Pin("cert", pin.digest)
            certificates.append(
                SeenCertificate(f"CN={host}", pin, other, frozenset((pin, other)), is_self_issued=False, der=b"")
            )
        return Chain(tuple(certificates), is_verified=True)

    return look_up


@pytest.mark.parametrize(
    ("served", "kinds"),
    [
        ([A], []),
        ([C, A], []),  # an issuer that both accept
        ([B], ["published-mismatch"]),
        ([D], ["mismatch", "published-mismatch"]),
        ([C], ["mismatch"]),
    ],
)
def test_live_servers(served: list[str], kinds: list[str]) -> None:
    """A key of the new policy and of the published one must be served."""
    assert found(policy([A, C]), policy([A, B]), presenting(*served)) == [(HOST, kind) for kind in kinds]


def test_no_pin_in_common_and_a_chain_that_has_both() -> None:
    """A leaf of the one and an issuer of the other: no client is refused, and a look proves it."""
    old, new = policy([A, B]), policy([C, D])
    assert found(old, new) == [(HOST, "no-common-pin")]
    assert found(old, new, presenting(C, A)) == []
    assert found(old, new, presenting(C)) == [(HOST, "no-common-pin"), (HOST, "published-mismatch")]


def test_a_blocked_key_is_served() -> None:
    """Also by a host that is exempt: blocked pins spare none."""
    new = policy([A, B], blocked_pins=C)
    assert found(None, new, presenting(C, A)) == [(HOST, "blocked-key")]
    assert found(None, policy({"exempt": True}, blocked_pins=C), presenting(C)) == [(HOST, "blocked-key")]
    assert found(None, new, presenting(A)) == []
    old = policy([A, B], blocked_pins=C)
    assert found(old, policy([A, B]), presenting(C, A)) == [(HOST, "published-mismatch")]


def test_a_host_that_cannot_be_seen() -> None:
    """What was not checked is not passed."""

    def unseen(host: str, port: int) -> Chain:
        raise UnseenError(f"{host}:{port} is silent")

    (lockout,) = review(None, policy([A, B]), NOW, unseen).lockouts
    assert lockout == Lockout(HOST, "unreachable", f"it cannot be checked: {HOST}:443 is silent")
    assert found(None, policy([A, B]), lambda *_: Chain.missing("odd")) == [(HOST, "mismatch")]


def test_which_hosts_are_seen() -> None:
    """Those that one of the policies names, each port once; no pattern, and no host that is exempt."""
    seen: list[tuple[str, int]] = []

    def look_up(host: str, port: int) -> Chain:
        seen.append((host, port))
        return presenting(A)(host, port)

    old = PinPolicy({"a.example": [A, B], "*.b.example": [A, B], "lost.example": [A, B]}, unpinned_hosts="allow")
    new = PinPolicy(
        {"a.example": [A, B], "a.example:8443": [A, B], "**.b.example": [A, B], "c.example": {"exempt": True}},
        unpinned_hosts="allow",
    )
    reviewed = review(old, new, NOW, look_up)
    assert (reviewed.lockouts, reviewed.not_seen) == ((), ("**.b.example",))
    assert seen == [("a.example", 443), ("a.example", 8443), ("lost.example", 443)]


def test_report_only_is_no_lockout() -> None:
    """Clients report a mismatch, and go on."""
    new = policy({"pins": [A, B], "report_only": True})
    assert found(None, new, presenting(D)) == []


def test_each_live_kind_is_found_above() -> None:
    """The names in the documentation are those of the library."""
    assert {"unreachable", "mismatch", "blocked-key", "published-mismatch"} == LIVE

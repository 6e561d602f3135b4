"""Apple's `NSPinnedDomains`."""

from __future__ import annotations

import plistlib
from typing import TYPE_CHECKING

import pytest

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats import read, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinned_requests.core.pinset import PinsLike

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.core.errors.MissingBackupPinWarning")

A, B, C = (Pin("spki", letter * 32) for letter in (b"a", b"b", b"c"))
BASE64_A, BASE64_B, BASE64_C = (str(pin).removeprefix("sha256/") for pin in (A, B, C))


def allowing(hosts: Mapping[str, PinsLike]) -> PinPolicy:
    """The policy of these hosts that leaves all others alone."""
    return PinPolicy(hosts, unpinned_hosts="allow")


def found(name: str, text: str) -> tuple[PinPolicy, list[tuple[str | None, str]]]:
    """Read `text`, and return the policy, and host and field of its losses."""
    policy, losses = read(name, text)
    return policy, [(loss.host, loss.field) for loss in losses]


def plist(value: dict[str, object]) -> str:
    """The property list of `value`."""
    return plistlib.dumps(value).decode()


def apple(domains: object, **more: object) -> str:
    """An Info.plist with these pinned domains."""
    return plist({"CFBundleName": "x", "NSAppTransportSecurity": {"NSPinnedDomains": domains, **more}})


def identities(*pins: str) -> list[dict[str, str]]:
    """The value of NSPinnedLeafIdentities or NSPinnedCAIdentities."""
    return [{"SPKI-SHA256-BASE64": pin} for pin in pins]


@pytest.mark.parametrize(
    ("text", "hosts", "losses"),
    [
        (apple({"a.example": {"NSPinnedLeafIdentities": identities(BASE64_A, BASE64_B)}}), {"a.example": [A, B]}, []),
        (
            apple({"A.example": {"NSPinnedCAIdentities": identities(BASE64_A), "NSIncludesSubdomains": True}}),
            {"a.example": [A], "*.a.example": [A]},
            [],
        ),
        (
            apple({"192.0.2.1": {"NSPinnedCAIdentities": identities(BASE64_A), "NSIncludesSubdomains": True}}),
            {"192.0.2.1": [A]},
            [],
        ),
        (
            apple(
                {
                    "a.example": {
                        "NSPinnedLeafIdentities": identities(BASE64_A),
                        "NSPinnedCAIdentities": identities(BASE64_B),
                        "NSUnheardOf": 1,
                    }
                },
                NSAllowsArbitraryLoads=True,
            ),
            {"a.example": [A]},
            [(None, "NSAllowsArbitraryLoads"), ("a.example", "NSPinnedCAIdentities"), ("a.example", "NSUnheardOf")],
        ),
        (
            plist({"NSPinnedDomains": {"a.example": {"NSPinnedLeafIdentities": identities(BASE64_A)}}}),
            {"a.example": [A]},
            [],
        ),
    ],
    ids=["leaves", "subdomains", "address", "leaf and CA", "the dictionary alone"],
)
def test_apple_is_read(text: str, hosts: dict[str, PinsLike], losses: list[tuple[str | None, str]]) -> None:
    """Subdomains are those with one label more; of pins that must both match those of the leaf stay."""
    assert found("apple", text) == (allowing(hosts), [(None, "depth"), *losses])


@pytest.mark.parametrize(
    "text",
    [
        plist({}),
        plist({"NSAppTransportSecurity": []}),
        apple({}),
        apple([]),
        apple({"a.example": []}),
        apple({"a.example": {}}),
        apple({"a.example": {"NSPinnedLeafIdentities": []}}),
        apple({"a.example": {"NSPinnedLeafIdentities": {}}}),
        apple({"a.example": {"NSPinnedLeafIdentities": [BASE64_A]}}),
        apple({"a.example": {"NSPinnedLeafIdentities": [{}]}}),
        apple({"a.example": {"NSPinnedLeafIdentities": identities("AAAA")}}),
        apple({"a.example": {"NSPinnedLeafIdentities": identities("A" * 44)}}),
        apple({"a.example": {"NSPinnedLeafIdentities": identities(BASE64_A), "NSIncludesSubdomains": 1}}),
        apple({"*.example": {"NSPinnedLeafIdentities": identities(BASE64_A)}}),
        apple({each: {"NSPinnedLeafIdentities": identities(BASE64_A)} for each in ("a.example", "A.example")}),
    ],
)
def test_apple_that_makes_no_sense_is_refused(text: str) -> None:
    """Values of another type, no pins and the same host twice are errors."""
    with pytest.raises(PolicyError):
        read("apple", text)


def test_apple_with_the_same_key_twice_is_refused() -> None:
    """Of two entries of one host none wins in silence."""
    text = apple(
        {name: {"NSPinnedLeafIdentities": identities(BASE64_A, BASE64_B)} for name in ("a.example", "b.example")}
    )
    assert len(read("apple", text).policy.hosts) == 2
    with pytest.raises(PolicyError, match=r"'a\.example' is listed twice"):
        read("apple", text.replace("b.example", "a.example"))


def test_apple_is_written() -> None:
    """Pins stand among those of leaves, and `*.` becomes the subdomains of its host where they have the same pins."""
    policy = allowing({"a.example": [A, B], "*.a.example": [B, A], "b.example": [A, B], "*.b.example": [C, A]})
    text, losses = write("apple", policy)
    assert plistlib.loads(text.encode()) == {
        "NSAppTransportSecurity": {
            "NSPinnedDomains": {
                "a.example": {
                    "NSIncludesSubdomains": True,
                    "NSPinnedLeafIdentities": identities(BASE64_A, BASE64_B),
                },
                "b.example": {
                    "NSIncludesSubdomains": False,
                    "NSPinnedLeafIdentities": identities(BASE64_A, BASE64_B),
                },
            }
        }
    }
    assert [(loss.host, loss.field) for loss in losses] == [("*.b.example", "host"), (None, "depth")]


def test_apple_has_no_pattern_for_all_subdomains() -> None:
    """`**.` becomes the host and one label below it, as far as these have no entries of their own."""
    text, losses = write("apple", allowing({"**.a.example": [A, B], "**.b.example": [A, B], "b.example": [A, C]}))
    assert read("apple", text).policy == allowing({"a.example": [A, B], "*.a.example": [A, B], "b.example": [A, C]})
    assert [(loss.host, loss.field) for loss in losses] == [
        ("**.a.example", "host"),
        ("**.b.example", "host"),
        ("*.b.example", "host"),
        (None, "depth"),
    ]

"""TrustKit's property list."""

from __future__ import annotations

import plistlib
from typing import TYPE_CHECKING

import pytest

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
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


def trustkit(domains: object, **more: object) -> str:
    """An Info.plist with these pinned domains."""
    return plist({"CFBundleName": "x", "TSKConfiguration": {"TSKPinnedDomains": domains, **more}})


HASHES = {"TSKPublicKeyHashes": [BASE64_A, BASE64_B]}


@pytest.mark.parametrize(
    ("text", "hosts", "losses"),
    [
        (trustkit({"A.example": HASHES}), {"a.example": [A, B]}, []),
        (
            trustkit({"a.example": {**HASHES, "TSKIncludeSubdomains": True, "TSKEnforcePinning": False}}),
            {"**.a.example": PinSet([A, B], report_only=True)},
            [],
        ),
        (
            trustkit({"a.example": {**HASHES, "TSKExpirationDate": "2027-03-01"}}),
            {"a.example": PinSet([A, B], expires="2027-03-01T00:00:00Z")},
            [],
        ),
        (
            trustkit(
                {
                    "b.a.example": {"TSKExcludeSubdomainFromParentPolicy": True},
                    "c.a.example": {"kSKExcludeSubdomainFromParentPolicy": True, "TSKReportUris": []},
                }
            ),
            {"b.a.example": PinSet.exempt(), "c.a.example": PinSet.exempt()},
            [("c.a.example", "TSKReportUris")],
        ),
        (
            trustkit(
                {"a.example": {**HASHES, "TSKReportUris": ["https://r.example"]}}, TSKSwizzleNetworkDelegates=True
            ),
            {"a.example": [A, B]},
            [(None, "TSKSwizzleNetworkDelegates"), ("a.example", "TSKReportUris")],
        ),
        (plist({"TSKPinnedDomains": {"a.example": HASHES}}), {"a.example": [A, B]}, []),
    ],
    ids=["one host", "reported", "expiry", "excluded", "other keys", "the dictionary alone"],
)
def test_trustkit_is_read(text: str, hosts: dict[str, PinsLike], losses: list[tuple[str | None, str]]) -> None:
    """Pins are enforced unless the text says otherwise, and expire at midnight UTC."""
    assert found("trustkit", text) == (allowing(hosts), losses)


@pytest.mark.parametrize(
    "text",
    [
        plist({}),
        trustkit({}),
        trustkit({"a.example": {}}),
        trustkit({"a.example": {"TSKPublicKeyHashes": [3]}}),
        trustkit({"a.example": {"TSKPublicKeyHashes": ["AAAA"]}}),
        trustkit({"a.example": {"TSKPublicKeyHashes": BASE64_A}}),
        trustkit({"a.example": {**HASHES, "TSKEnforcePinning": "NO"}}),
        trustkit({"a.example": {**HASHES, "TSKExpirationDate": "1.3.2027"}}),
        trustkit({"a.example": {**HASHES, "TSKExpirationDate": "2027-02-30"}}),
        trustkit({"a.example": {**HASHES, "TSKExpirationDate": 2027}}),
        trustkit({"a.example": HASHES, "A.example": {**HASHES, "TSKIncludeSubdomains": True}}),
        trustkit({"*.example": HASHES}),
    ],
)
def test_trustkit_that_makes_no_sense_is_refused(text: str) -> None:
    """Values of another type, no pins and the same host twice are errors."""
    with pytest.raises(PolicyError):
        read("trustkit", text)


def test_trustkit_is_written() -> None:
    """Every setting of a host, and the key that TrustKit looks for to exclude one."""
    policy = allowing(
        {
            "**.a.example": PinSet([A, B], expires="2027-03-01T00:00:00Z"),
            "b.a.example": PinSet.exempt(),
            "c.example": PinSet([A], report_only=True),
        }
    )
    text, losses = write("trustkit", policy)
    assert plistlib.loads(text.encode()) == {
        "TSKConfiguration": {
            "TSKSwizzleNetworkDelegates": False,
            "TSKPinnedDomains": {
                "a.example": {
                    "TSKIncludeSubdomains": True,
                    "TSKEnforcePinning": True,
                    "TSKPublicKeyHashes": [BASE64_A, BASE64_B],
                    "TSKExpirationDate": "2027-03-01",
                },
                "b.a.example": {"kSKExcludeSubdomainFromParentPolicy": True},
                "c.example": {
                    "TSKIncludeSubdomains": False,
                    "TSKEnforcePinning": False,
                    "TSKPublicKeyHashes": [BASE64_A],
                },
            },
        }
    }
    assert losses == ()


def test_trustkit_is_not_given_what_it_aborts_the_app_for() -> None:
    """One pin, a name without a suffix, and an exemption from nothing or of several hosts are left out."""
    exempt = PinSet.exempt()
    hosts: dict[str, PinsLike] = {
        "**.a.example": [A, B],
        "x.example": [A, B],
        "localhost": [A, B],
        "a.com": [A],
        "b.example": exempt,
        "**.c.a.example": exempt,
        "d.a.example": exempt,
    }
    text, losses = write("trustkit", allowing(hosts))
    assert [(loss.host, loss.field) for loss in losses] == [
        ("localhost", "host"),
        ("a.com", "host"),
        ("**.c.a.example", "host"),
        ("**.a.example", "host"),  # it would pin the hosts of the one above
        ("b.example", "host"),
        ("d.a.example", "host"),  # nothing is left to exempt it from
    ]
    assert list(read("trustkit", text).policy.hosts) == ["x.example"]

"""Formats that are XML: Android's configuration, and the property lists of Apple and TrustKit."""

from __future__ import annotations

import plistlib
import sys
from typing import Any

import pytest

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats import read, write

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.core.errors.MissingBackupPinWarning")

A, B, C = (Pin("spki", letter * 32) for letter in (b"a", b"b", b"c"))
BASE64_A, BASE64_B, BASE64_C = (str(pin).removeprefix("sha256/") for pin in (A, B, C))


def allowing(hosts: dict[str, Any]) -> PinPolicy:
    """The policy of these hosts that leaves all others alone."""
    return PinPolicy(hosts, unpinned_hosts="allow")


def found(name: str, text: str) -> tuple[PinPolicy, list[tuple[str | None, str]]]:
    """Read `text`, and return the policy, and host and field of its losses."""
    policy, losses = read(name, text)
    return policy, [(loss.host, loss.field) for loss in losses]


def plist(value: object) -> str:
    """The property list of `value`."""
    return plistlib.dumps(value).decode()


# Android


def android(inner: str) -> str:
    """A configuration with `inner` in it."""
    return f"<?xml version='1.0' encoding='utf-8'?>\n<network-security-config>{inner}</network-security-config>"


def domain_config(*domains: str, pins: str | None = None, attributes: str = "", more: str = "") -> str:
    """A domain-config of domains, each a name or a whole element, with two pins where `pins` gives no other set."""
    elements = (each if each.startswith("<") else f"<domain>{each}</domain>" for each in domains)
    return f"<domain-config {attributes}>{''.join(elements)}{PIN_SET if pins is None else pins}{more}</domain-config>"


def pin_set(*pins: str, attributes: str = "", more: str = "") -> str:
    """A pin-set of pins, each in base64."""
    return f"<pin-set {attributes}>{''.join(f'<pin digest={Q}SHA-256{Q}>{pin}</pin>' for pin in pins)}{more}</pin-set>"


Q = '"'
PIN_SET = pin_set(f"\n {BASE64_A} ", BASE64_B)
SUBDOMAINS = '<domain includeSubdomains="{}">{}</domain>'.format
NESTED = domain_config(
    "a.example",
    more=domain_config("b.example", pins="")
    + domain_config("c.example", pins=pin_set(BASE64_C))
    + domain_config("d.example", pins="<pin-set/>"),
)
OTHERS = (
    '<base-config cleartextTrafficPermitted="true"/><debug-overrides/><!-- a comment --><domain>x.example</domain>'
    + domain_config(
        "a.example",
        attributes='cleartextTrafficPermitted="false"',
        more='<trust-anchors><certificates src="user" overridePins="true"/></trust-anchors><unheard-of/>',
    )
    + domain_config(
        "b.example",
        pins=pin_set(BASE64_A, BASE64_B, attributes='hint=""', more="<x/>"),
        more='<trust-anchors><certificates src="system"/></trust-anchors>',
    )
)


@pytest.mark.parametrize(
    ("inner", "hosts", "losses"),
    [
        (domain_config(" API.Example.com\n"), {"api.example.com": [A, B]}, []),
        (
            domain_config(SUBDOMAINS("true", "example.com"), SUBDOMAINS("false", "example.org")),
            {"**.example.com": [A, B], "example.org": [A, B]},
            [],
        ),
        (domain_config(SUBDOMAINS("TRUE", "192.0.2.1")), {"192.0.2.1": [A, B]}, []),
        (
            domain_config("a.example", pins=pin_set(BASE64_A, BASE64_B, attributes='expiration="2027-03-01"')),
            {"a.example": PinSet([A, B], expires="2027-03-01T00:00:00Z")},
            [(None, "expires")],
        ),
        (
            NESTED + domain_config("e.example", pins=""),
            {
                "a.example": [A, B],
                "b.example": [A, B],
                "c.example": [C],
                "d.example": PinSet.exempt(),
                "e.example": PinSet.exempt(),
            },
            [],
        ),
        (
            OTHERS,
            {"a.example": [A, B], "b.example": [A, B]},
            [
                (None, "base-config"),
                (None, "debug-overrides"),
                (None, "domain"),
                ("a.example", "cleartextTrafficPermitted"),
                ("a.example", "trust-anchors"),
                ("a.example", "unheard-of"),
                ("b.example", "hint"),
                ("b.example", "x"),
                ("b.example", "trust-anchors"),
            ],
        ),
    ],
    ids=["one host", "subdomains", "address", "expiry", "nested", "other elements"],
)
def test_android_is_read(inner: str, hosts: dict[str, Any], losses: list[tuple[str | None, str]]) -> None:
    """A configuration means what the platform's own parser makes of it, and what is not about pins is named."""
    assert found("android", android(inner)) == (allowing(hosts), losses)


@pytest.mark.parametrize(
    "inner",
    [
        "",
        domain_config("b.example") + PIN_SET,
        domain_config("b.example") + domain_config(),
        domain_config("<domain/>"),
        domain_config("a.example<x/>"),
        domain_config("*.example.com"),
        domain_config("a.example:8443"),
        domain_config(SUBDOMAINS("yes", "a.example")),
        domain_config("a.example", more=PIN_SET),
        domain_config("a.example", SUBDOMAINS("true", "A.example")),
        domain_config("a.example", pins=f"<pin-set><pin>{BASE64_A}</pin></pin-set>"),
        domain_config("a.example", pins='<pin-set><pin digest="SHA-1">AAAA</pin></pin-set>'),
        domain_config("a.example", pins=pin_set("AAAA")),
        domain_config("a.example", pins=pin_set("")),
        domain_config("a.example", pins=pin_set(f"{BASE64_A}<x/>")),
        domain_config("a.example", pins=pin_set(f"sha256/{BASE64_A}")),
        *(
            domain_config("a.example", pins=pin_set(BASE64_A, attributes=f"expiration='{day}'"))
            for day in (
                "",
                "20270301",
                "2027-W09-1",
                "2027-3-1",
                "2027-02-30",
                "2027-03-01T00:00:00Z",
                "\u0662027-03-01",
            )
        ),
    ],
)
def test_android_that_the_platform_refuses_is_refused(inner: str) -> None:
    """What Android would not start the app with, and a wildcard or port that it would never match, is an error."""
    with pytest.raises(PolicyError):
        read("android", android(inner))


def test_android_wants_its_own_root() -> None:
    """Another XML document is refused."""
    with pytest.raises(PolicyError, match="network-security-config"):
        read("android", "<resources/>")


def test_android_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without defusedxml nothing is read by another parser; the error says what to install."""
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    with pytest.raises(ImportError, match=r"pinned-requests\[cli\]"):
        read("android", android(""))


def test_android_is_written() -> None:
    """One domain-config a host; the exempt one has no pins."""
    policy = allowing(
        {
            "**.example.com": PinSet([A, B], expires="2027-03-01T00:00:00Z"),
            "a.example.com": PinSet.exempt(),
            "[::1]": [A],
        }
    )
    text, losses = write("android", policy)
    assert (
        text
        == f"""\
<?xml version="1.0" encoding="utf-8"?>
<network-security-config>
    <domain-config>
        <domain includeSubdomains="true">example.com</domain>
        <pin-set expiration="2027-03-01">
            <pin digest="SHA-256">{BASE64_A}</pin>
            <pin digest="SHA-256">{BASE64_B}</pin>
        </pin-set>
    </domain-config>
    <domain-config>
        <domain includeSubdomains="false">a.example.com</domain>
    </domain-config>
    <domain-config>
        <domain includeSubdomains="false">::1</domain>
        <pin-set>
            <pin digest="SHA-256">{BASE64_A}</pin>
        </pin-set>
    </domain-config>
</network-security-config>
"""
    )
    assert [(loss.host, loss.field) for loss in losses] == [(None, "expires")]


def test_android_has_one_entry_a_name() -> None:
    """Of a host and all below it, the host alone stays where they differ, and all where they do not."""
    policy = allowing({"a.example": [A, B], "**.a.example": [B, C], "**.b.example": [A, B], "b.example": [B, A]})
    text, losses = write("android", policy)
    assert read("android", text).policy == allowing({"a.example": [A, B], "**.b.example": [A, B]})
    assert [(loss.host, loss.field) for loss in losses] == [("**.a.example", "host"), ("b.example", "host")]


def test_android_leaves_a_reported_host_alone() -> None:
    """A host whose mismatches are only reported is exempt, not blocked, and not under the pins of a wider pattern."""
    text, losses = write("android", allowing({"**.a.example": [A, B], "b.a.example": PinSet([C, A], report_only=True)}))
    assert read("android", text).policy == allowing({"**.a.example": [A, B], "b.a.example": PinSet.exempt()})
    assert [(loss.host, loss.field) for loss in losses] == [("b.a.example", "host")]


# Apple


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
def test_apple_is_read(text: str, hosts: dict[str, Any], losses: list[tuple[str | None, str]]) -> None:
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


# TrustKit


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
def test_trustkit_is_read(text: str, hosts: dict[str, Any], losses: list[tuple[str | None, str]]) -> None:
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
    hosts = {
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

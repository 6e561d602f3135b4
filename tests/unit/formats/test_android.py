"""Android's Network Security Configuration."""

from __future__ import annotations

import sys
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
def test_android_is_read(inner: str, hosts: dict[str, PinsLike], losses: list[tuple[str | None, str]]) -> None:
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

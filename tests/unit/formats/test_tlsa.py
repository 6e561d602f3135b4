"""DNS TLSA records."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats import read, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pinned_requests.core.pinset import PinsLike

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.core.errors.MissingBackupPinWarning")

A, B = Pin("spki", b"a" * 32), Pin("spki", b"b" * 32)
CERTIFICATE = Pin("cert", b"c" * 32)


def allowing(hosts: Mapping[str, PinsLike]) -> PinPolicy:
    """The policy of these hosts that leaves all others alone."""
    return PinPolicy(hosts, unpinned_hosts="allow")


def records(text: str) -> tuple[PinPolicy, list[str]]:
    """Read TLSA records, and return the policy and the fields of its losses except the last, which every text has."""
    policy, losses = read("tlsa", text)
    return policy, [loss.field for loss in losses[:-1]]


HEX_A, HEX_B, HEX_C = (pin.digest.hex() for pin in (A, B, CERTIFICATE))


ZONE = f"""\
; a zone

$TTL 5
$ORIGIN example.com.
_8443._tcp.a.example. IN TLSA (3 1 1
    {HEX_A[:8]} ; half
    {HEX_A[8:]})
	IN TLSA 1 1 1 {HEX_B}
"""
OTHER_RECORDS = f"""\
$ORIGIN example.
@ IN SOA a. b. (
    1 2 3 4 5 )
x TXT "(; TLSA"
_443._tcp.a TLSA 3 1 1 {HEX_A}
"""
OTHER_HASHES = f"""\
_443._tcp.a.example. TLSA 3 1 1 {HEX_A}
 TLSA 3 1 0 00
 TLSA 3 1 2 {HEX_A}{HEX_A}
 TLSA 255 1 1 {HEX_B}
 TLSA 3 9 1 {HEX_B}
_443._udp.a.example. TLSA 3 1 1 {HEX_B}
"""


@pytest.mark.parametrize(
    ("text", "hosts", "losses"),
    [
        (f"_443._tcp.api.example.com. 3600 IN TLSA 3 1 1 {HEX_A}", {"api.example.com:443": [A]}, []),
        (f"_443._TCP.API.example.com.\tIN 1h tlsa 2 1 1 {HEX_A.upper()}\r\n", {"api.example.com:443": [A]}, []),
        (f"*._tcp.example.com. TLSA 0 0 1 {HEX_C} ; any port", {"example.com": [CERTIFICATE]}, []),
        (ZONE, {"a.example:8443": [A, B]}, []),
        (OTHER_RECORDS, {"a.example:443": [A]}, ["SOA", "TXT"]),
        (OTHER_HASHES, {"a.example:443": [A]}, ["pins", "pins", "pins", "pins", "host"]),
    ],
    ids=["dig", "other case", "any port", "zone file", "other records", "other hashes"],
)
def test_tlsa_is_read(text: str, hosts: dict[str, PinsLike], losses: list[str]) -> None:
    """Records are read as RFC 6698 §2.2 and RFC 1035 §5.1 write them."""
    policy, fields = records(text)
    assert (policy, sorted(fields)) == (allowing(hosts), sorted(losses))


@pytest.mark.parametrize(
    "text",
    [
        f"3 1 1 {HEX_A}",
        f" IN TLSA 3 1 1 {HEX_A}",
        f"_443._tcp.api IN TLSA 3 1 1 {HEX_A}",
        f"api.example.com. IN TLSA 3 1 1 {HEX_A}",
        f"_443._tcp.*.example.com. IN TLSA 3 1 1 {HEX_A}",
        f"_443._tcp.192.0.2.1. IN TLSA 3 1 1 {HEX_A}",
        f"_65536._tcp.a.example. IN TLSA 3 1 1 {HEX_A}",
        f"_0._tcp.a.example. IN TLSA 3 1 1 {HEX_A}",
        "_443._tcp.a.example. IN TLSA",
        "_443._tcp.a.example. IN",
        "_443._tcp.a.example. IN TLSA 3 1 1",
        f"_443._tcp.a.example. IN TLSA 3 1 {HEX_A}",
        f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX_A[:-2]}",
        f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX_A}00",
        f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX_A[:-1]}g",
        f"_443._tcp.a.example. IN TLSA DANE-EE SPKI SHA2-256 {HEX_A}",
        f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX_A}\n IN TLSA ( 3 1 1 {HEX_A}",
        f"$INCLUDE /etc/hostname\n_443._tcp.a.example. IN TLSA 3 1 1 {HEX_A}",
        f"$GENERATE 1-2 _443._tcp.a$.example. TLSA 3 1 1 {HEX_A}",
        f"$ORIGIN example\n_443._tcp.a IN TLSA 3 1 1 {HEX_A}",
        f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX_A} )",
        "_443._tcp.a.example. IN TLSA 3 1 2 00",
        "a.example. IN A 192.0.2.1",
    ],
)
def test_tlsa_that_cannot_be_read_is_refused(text: str) -> None:
    """Owner, parameters and hash have to be there, and whole."""
    with pytest.raises(PolicyError):
        records(text)


def test_tlsa_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dnspython no record is read; the error says what to install."""
    monkeypatch.setitem(sys.modules, "dns.zonefile", None)
    with pytest.raises(ImportError, match=r"pip install 'pinned-requests\[cli\]'"):
        read("tlsa", f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX_A}")


def test_a_zone_file_reads_no_other_file(tmp_path: Path) -> None:
    """`$INCLUDE` is refused, also of a file that is there."""
    other = tmp_path / "other"
    other.write_text(f"_443._tcp.b.example. IN TLSA 3 1 1 {HEX_B}\n")
    with pytest.raises(PolicyError, match="INCLUDE"):
        read("tlsa", f"_443._tcp.a.example. IN TLSA 3 1 1 {HEX_A}\n$INCLUDE {other}\n")


def test_tlsa_is_written() -> None:
    """Each pin is written as that of a leaf and as that of a CA, keys and certificates by their selectors."""
    text, losses = write("tlsa", allowing({"a.example:8443": [A, CERTIFICATE]}))
    assert text == (
        f"_8443._tcp.a.example. 3600 IN TLSA 3 1 1 {HEX_A}\n"
        f"_8443._tcp.a.example. 3600 IN TLSA 3 0 1 {HEX_C}\n"
        f"_8443._tcp.a.example. 3600 IN TLSA 2 1 1 {HEX_A}\n"
        f"_8443._tcp.a.example. 3600 IN TLSA 2 0 1 {HEX_C}\n"
    )
    assert [loss.field for loss in losses] == ["CA validation"]


def test_tlsa_has_ports() -> None:
    """A host without a port is written for 443, unless 443 has pins of its own, or the name gets too long."""
    long = ".".join(["a" * 60] * 4)
    text, losses = write(
        "tlsa", allowing({"a.example": [A], "b.example": [A], "b.example:443": [B], f"{long}.example": [A]})
    )
    assert [(line.split()[0], line.split()[-1]) for line in text.splitlines()[::2]] == [
        ("_443._tcp.b.example.", HEX_B),
        ("_443._tcp.a.example.", HEX_A),
    ]
    assert [(loss.host, loss.field) for loss in losses[:-1]] == [
        ("a.example", "host"),
        ("b.example", "host"),
        (f"{long}.example", "host"),
    ]

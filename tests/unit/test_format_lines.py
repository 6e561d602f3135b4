"""Formats of single lines: curl's option, the header of RFC 7469, OkHttp's source code and DNS records."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats import read, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.core.errors.MissingBackupPinWarning")

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
A, B = Pin("spki", b"a" * 32), Pin("spki", b"b" * 32)
BASE64_A, BASE64_B = (str(pin).removeprefix("sha256/") for pin in (A, B))
CERTIFICATE = Pin("cert", b"c" * 32)
HEADER = f'pin-sha256="{BASE64_A}"; pin-sha256="{BASE64_B}"'


def allowing(hosts: dict[str, Any]) -> PinPolicy:
    """The policy of these hosts that leaves all others alone."""
    return PinPolicy(hosts, unpinned_hosts="allow")


def header(text: str, host: str = "api.example.com") -> tuple[PinPolicy, list[str]]:
    """Read a header of RFC 7469, and return the policy and the fields of its losses."""
    policy, losses = read("rfc7469", text, host=host, now=NOW)
    return policy, [loss.field for loss in losses]


def records(text: str) -> tuple[PinPolicy, list[str]]:
    """Read TLSA records, and return the policy and the fields of its losses but for the one of every record."""
    policy, losses = read("tlsa", text)
    return policy, [loss.field for loss in losses[:-1]]


# curl


def test_curl() -> None:
    """The pins of a host, as --pinnedpubkey takes them."""
    text, losses = write("curl", allowing({"api.example.com": [A, B]}))
    assert text == f"sha256//{BASE64_A};sha256//{BASE64_B}\n"
    assert [loss.field for loss in losses] == ["depth"]
    assert read("curl", text, host="api.example.com:8443").policy == allowing({"api.example.com:8443": [A, B]})


@pytest.mark.parametrize(
    "text",
    [
        "/etc/ssl/key.pem",
        f"sha256/{BASE64_A}",
        f"sha256//{BASE64_A};",
        f"sha256//{BASE64_A}; sha256//{BASE64_B}",
        f"sha256//{BASE64_A}\nsha256//{BASE64_B}",
        f"sha256//{BASE64_A[:-1]}",
    ],
)
def test_curl_takes_nothing_else(text: str) -> None:
    """Another spelling, a path or white space is refused."""
    with pytest.raises(PolicyError):
        read("curl", text, host="api.example.com")


# RFC 7469


@pytest.mark.parametrize(
    ("text", "policy", "losses"),
    [
        (
            f"Public-Key-Pins: {HEADER}; max-age=10",
            {"api.example.com": PinSet([A, B], expires=NOW.replace(microsecond=0) + timedelta(seconds=10))},
            [],
        ),
        (
            f'PUBLIC-KEY-PINS:MAX-AGE="10";{HEADER.replace("pin-sha", "PIN-SHA")};INCLUDESUBDOMAINS\r\n',
            {"**.api.example.com": PinSet([A, B], expires=NOW.replace(microsecond=0) + timedelta(seconds=10))},
            [],
        ),
        (f"Public-Key-Pins-Report-Only: {HEADER}", {"api.example.com": PinSet([A, B], report_only=True)}, []),
        (
            f"Public-Key-Pins-Report-Only: {HEADER} ; max-age=10",
            {"api.example.com": PinSet([A, B], report_only=True)},
            ["max-age"],
        ),
        (
            f'Public-Key-Pins-Report-Only: {HEADER}; report-uri="https://a\\"b/;c"; pin-sha512="AAAA"; strict; x=y',
            {"api.example.com": PinSet([A, B], report_only=True)},
            ["pin-sha512", "report-uri", "strict", "x"],
        ),
        (
            f"Public-Key-Pins: {HEADER}; max-age=99999999999",
            {"api.example.com": PinSet([A, B], expires=NOW.replace(microsecond=0) + timedelta(seconds=1 << 31))},
            ["max-age"],
        ),
        (
            f"Public-Key-Pins: {HEADER}; max-age=0000000000002147483649",
            {"api.example.com": PinSet([A, B], expires=NOW.replace(microsecond=0) + timedelta(seconds=1 << 31))},
            ["max-age"],
        ),
    ],
    ids=["enforced", "in capitals", "reported", "aged report", "more directives", "too old", "too old by a second"],
)
def test_header_is_read(text: str, policy: dict[str, Any], losses: list[str]) -> None:
    """What RFC 7469 §2.1 allows is read, and what it has ignored is named."""
    assert header(text) == (allowing(policy), losses)


@pytest.mark.parametrize(
    "text",
    [
        f"Strict-Transport-Security: {HEADER}",
        HEADER,
        f"Public-Key-Pins: {HEADER}",
        f"Public-Key-Pins: {HEADER}; max-age",
        f"Public-Key-Pins: {HEADER}; max-age=",
        f"Public-Key-Pins: {HEADER}; max-age=-1",
        f"Public-Key-Pins: {HEADER}; max-age=1.5",
        f"Public-Key-Pins: {HEADER}; max-age=0",
        f"Public-Key-Pins: {HEADER}; max-age=5; max-age=5",
        f"Public-Key-Pins: {HEADER}; max-age=5; includeSubDomains=1",
        f"Public-Key-Pins: {HEADER}; max-age=5;",
        f"Public-Key-Pins: {HEADER};; max-age=5",
        f"Public-Key-Pins: {HEADER} max-age=5",
        f"Public-Key-Pins: {HEADER}; max-age = 5",
        f'Public-Key-Pins: {HEADER}; max-age=5; x="',
        f"Public-Key-Pins: {HEADER}; max-age=5\r\nSet-Cookie: a=b",
        f"Public-Key-Pins: pin-sha256={BASE64_A}; max-age=5",
        "Public-Key-Pins: pin-sha256=AAAA; max-age=5",
        'Public-Key-Pins: pin-sha256="AAAA"; max-age=5',
        'Public-Key-Pins: pin-sha512="AAAA"; max-age=5',
        "Public-Key-Pins: max-age=5",
        "Public-Key-Pins:",
    ],
)
def test_header_that_a_user_agent_ignores_is_refused(text: str) -> None:
    """What does not conform to RFC 7469 is an error, with or without includeSubDomains."""
    with pytest.raises(PolicyError):
        header(text)


def test_header_without_a_known_pin_says_so() -> None:
    """A header whose pins are all of other hashes is ignored by RFC 7469 §2.1.1, and the error names that rule."""
    with pytest.raises(PolicyError, match=r"§2\.1\.1"):
        header('Public-Key-Pins: pin-sha512="AAAA"; max-age=5')


@pytest.mark.parametrize("host", ["192.0.2.1", "[::1]", "*.example.com", "**.example.com", "example.com:8443"])
def test_header_comes_from_a_host(host: str) -> None:
    """Addresses, patterns and ports have no header."""
    with pytest.raises(PolicyError):
        header(f"Public-Key-Pins: {HEADER}; max-age=5", host)


def test_header_at_the_end_of_time() -> None:
    """A max-age that ends after the year 9999 is refused."""
    with pytest.raises(PolicyError):
        read(
            "rfc7469",
            f"Public-Key-Pins: {HEADER}; max-age=2147483648",
            host="api.example.com",
            now=datetime(9999, 12, 31, tzinfo=UTC),
        )


@pytest.mark.parametrize(
    ("hosts", "text", "losses"),
    [
        (
            {"api.example.com": PinSet([A, B], expires=NOW + timedelta(seconds=10))},
            f"Public-Key-Pins: {HEADER}; max-age=10\n",
            ["expires"],
        ),
        (
            {"**.example.com": [A, B]},
            f"Public-Key-Pins: {HEADER}; max-age=5184000; includeSubDomains\n",
            ["expires"],
        ),
        (
            {"api.example.com": PinSet([A, B], expires=NOW.replace(year=2226, microsecond=0))},
            f"Public-Key-Pins: {HEADER}; max-age=2147483648\n",
            ["expires"],
        ),
        (
            {"api.example.com": PinSet([A], report_only=True, expires=NOW.replace(microsecond=0))},
            f'Public-Key-Pins-Report-Only: pin-sha256="{BASE64_A}"\n',
            ["expires"],
        ),
    ],
)
def test_header_is_written(hosts: dict[str, Any], text: str, losses: list[str]) -> None:
    """The header that a host is to send, with the time that is left."""
    written = write("rfc7469", allowing(hosts), now=NOW)
    assert (text, losses) == (written.text, [loss.field for loss in written.losses])


@pytest.mark.parametrize(
    "pins",
    [[A], [A, CERTIFICATE], PinSet([A, B], expires=NOW), PinSet.exempt()],
    ids=["no backup", "no backup that can be said", "expired", "exempt"],
)
def test_header_that_would_be_ignored_is_not_written(pins: Any) -> None:
    """A header that no user agent would note pins of is an error."""
    with pytest.raises(PolicyError):
        write("rfc7469", allowing({"api.example.com": pins}), now=NOW)


# OkHttp

OKHTTP = allowing({"api.example.com": [A, B], "**.example.com": [A, B], "*.example.org": [B, A], "[::1]": [A, B]})
ADDED = f"""\
    .add("api.example.com", "{A}", "{B}")
    .add("**.example.com", "{A}", "{B}")
    .add("*.example.org", "{B}", "{A}")
    .add("::1", "{A}", "{B}")
"""


def test_okhttp_in_kotlin() -> None:
    """The builder in Kotlin."""
    text = f"""\
import okhttp3.CertificatePinner

val certificatePinner = CertificatePinner.Builder()
{ADDED}    .build()
"""
    assert text == write("okhttp-kotlin", OKHTTP).text


def test_okhttp_in_java() -> None:
    """The builder in Java."""
    text = f"""\
import okhttp3.CertificatePinner;

CertificatePinner certificatePinner = new CertificatePinner.Builder()
{ADDED}    .build();
"""
    assert text == write("okhttp-java", OKHTTP).text


def test_okhttp_joins_the_pins_of_patterns() -> None:
    """Where a wider pattern has other pins, OkHttp accepts them as well, and a loss says so."""
    hosts = {"api.example.com": [A], "*.example.com": [A], "**.example.com": [A, B], "x.api.example.com": [A, B]}
    assert [(loss.host, loss.field) for loss in write("okhttp-java", allowing(hosts)).losses] == [
        ("api.example.com", "pins"),
        ("*.example.com", "pins"),
    ]


# TLSA

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
def test_tlsa_is_read(text: str, hosts: dict[str, Any], losses: list[str]) -> None:
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

"""The headers of RFC 7469."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
A, B = Pin("spki", b"a" * 32), Pin("spki", b"b" * 32)
BASE64_A, BASE64_B = (str(pin).removeprefix("sha256/") for pin in (A, B))
CERTIFICATE = Pin("cert", b"c" * 32)
HEADER = f'pin-sha256="{BASE64_A}"; pin-sha256="{BASE64_B}"'


def allowing(hosts: Mapping[str, PinsLike]) -> PinPolicy:
    """The policy of these hosts that leaves all others alone."""
    return PinPolicy(hosts, unpinned_hosts="allow")


def header(text: str, host: str = "api.example.com") -> tuple[PinPolicy, list[str]]:
    """Read a header of RFC 7469, and return the policy and the fields of its losses."""
    policy, losses = read("rfc7469", text, host=host, now=NOW)
    return policy, [loss.field for loss in losses]


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
def test_header_is_read(text: str, policy: dict[str, PinsLike], losses: list[str]) -> None:
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
def test_header_is_written(hosts: dict[str, PinsLike], text: str, losses: list[str]) -> None:
    """The header that a host is to send, with the time that is left."""
    written = write("rfc7469", allowing(hosts), now=NOW)
    assert (text, losses) == (written.text, [loss.field for loss in written.losses])


@pytest.mark.parametrize(
    "pins",
    [[A], [A, CERTIFICATE], PinSet([A, B], expires=NOW), PinSet.exempt()],
    ids=["no backup", "no backup that can be said", "expired", "exempt"],
)
def test_header_that_would_be_ignored_is_not_written(pins: PinsLike) -> None:
    """A header that no user agent would note pins of is an error."""
    with pytest.raises(PolicyError):
        write("rfc7469", allowing({"api.example.com": pins}), now=NOW)

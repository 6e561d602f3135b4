"""`doubts()`: each doubt on a policy that gives it, and none on one that does not."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import PinPolicy
from pinned_requests.cli import main
from pinned_requests.editing.doubts import KINDS, WHOLE_POLICY, doubts

if TYPE_CHECKING:
    from pathlib import Path

    from pinned_requests.core.pinset import PinsLike

A, B, C = (f"sha256/{letter * 42}A=" for letter in "ABC")
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
GOOD: dict[str, Any] = {"pins": A, "backup_pins": B}

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")


def test_notes_are_shown() -> None:
    """Escaped: whoever wrote the policy wrote them."""
    pins = {"pins": [{"pin": A, "note": "leaf\n2026"}, B], "backup_pins": A}
    (finding,) = (finding for _, finding in doubts(PinPolicy({"a.example": pins}), NOW, 30 * DAY))
    assert finding.text.startswith(f"{A}  (leaf\\n2026) is a pin and a backup pin")


def test_a_pin_that_the_whole_policy_blocks() -> None:
    """It is accepted in vain."""
    assert kinds([A, B], blocked_pins=A) == ["blocked-pin-accepted"]
    assert kinds([A, B], blocked_pins=C) == []


def kinds(pins: PinsLike, pattern: str = "api.example.com", **options: Any) -> list[str]:
    """Return the kinds of doubts of a policy of one entry."""
    found = list(doubts(PinPolicy({pattern: pins}, **options), NOW, 30 * DAY))
    assert {place for place, _ in found} <= {pattern, WHOLE_POLICY}
    return [finding.kind for _, finding in found]


@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        (GOOD, []),
        ([A, B], []),
        ({"exempt": True}, []),
        (A, ["no-backup-pin"]),
        ([A, A], ["no-backup-pin"]),
        ({"pins": A, "backup_pins": A}, ["no-backup-pin", "backup-pin-in-use"]),
        ({"pins": [A, B], "backup_pins": [B, C]}, ["backup-pin-in-use"]),
        ({**GOOD, "blocked_pins": C}, []),
        ({**GOOD, "blocked_pins": A}, ["blocked-pin-accepted"]),
        ({**GOOD, "blocked_pins": B}, ["blocked-pin-accepted"]),
        ({"pins": f"cert-{A}", "backup_pins": B}, ["certificate-pin"]),
        ({**GOOD, "report_only": True}, ["report-only"]),
        ({**GOOD, "expires": NOW + 31 * DAY}, []),
        ({**GOOD, "expires": NOW + 30 * DAY}, ["pins-expire-soon"]),
        ({**GOOD, "expires": NOW}, ["pins-expired"]),
        ({**GOOD, "expires": NOW, "on_expiry": "block"}, ["pins-expired"]),
    ],
)
def test_pin_sets(pins: PinsLike, expected: list[str]) -> None:
    """A set has the doubts that it gives reason for."""
    assert kinds(pins) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("localhost", []),
        ("192.0.2.1", []),
        ("*.example.com", []),
        ("*.example.co.uk", []),
        ("**.example.com", ["wide-pattern"]),
        ("**.example.co.uk:8443", ["wide-pattern"]),
        ("**.acme.uk", ["wide-pattern"]),
        ("*.com", ["tld-wide-pattern"]),
        ("**.com", ["tld-wide-pattern"]),
        ("*.co.uk", ["tld-wide-pattern"]),
        ("**.com.br", ["tld-wide-pattern"]),
        ("*.co.com", []),
    ],
)
def test_patterns(pattern: str, expected: list[str]) -> None:
    """A pattern is wide if it reaches below what its owner need have the keys of."""
    assert kinds(GOOD, pattern) == expected


def test_unpinned_hosts() -> None:
    """That hosts without pins are allowed is a doubt of the whole."""
    assert kinds(GOOD, unpinned_hosts="allow") == ["unpinned-hosts-allowed"]


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A doubt is a finding, unless its kind is ignored; a file that is no policy is an error."""
    path = tmp_path / "p.json"
    path.write_text(PinPolicy({"**.com": A}).to_json())
    assert main(["lint", str(path)]) == 1
    assert "**.com\n  tld-wide-pattern: " in capsys.readouterr().out
    assert main(["lint", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(each["place"], each["kind"]) for each in found] == [
        ("**.com", "tld-wide-pattern"),
        ("**.com", "no-backup-pin"),
    ]
    assert {each["kind"] for each in found} <= KINDS.keys()
    ignored = ["--ignore", "tld-wide-pattern", "--ignore", "no-backup-pin"]
    assert main(["lint", str(path), *ignored]) == 0
    assert main(["lint", str(path), "--ignore", "wide-patern"]) == 2
    path.write_text("{}")
    assert main(["lint", str(path)]) == 2


def test_within(tmp_path: Path) -> None:
    """What is soon is said by `--within`."""
    path = tmp_path / "p.toml"
    expires = dt.datetime.now(dt.UTC) + 10 * DAY
    path.write_text(PinPolicy({"a.example.com": GOOD | {"expires": expires}}).to_toml())
    assert [main(["lint", str(path), "--within", span]) for span in ("9d", "11d", "1w", "2w", "24h", "241h")] == [
        *(0, 1, 0, 1, 0),
        1,
    ]
    assert main(["lint", str(path), "--within", "soon"]) == 2

"""The reports of `check` where a live host would be too much: interrupts, many hosts, odd dates."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli.check import show_text
from pinned_requests.cli.check_monitors import NagiosState, as_nagios, nagios_state
from pinned_requests.cli.check_page import as_page
from pinned_requests.cli.check_report import Report, summary
from pinned_requests.cli.check_timeline import MAX_ROWS, Ends, timeline
from pinned_requests.monitoring.check import NOT_CHECKED, Checked, HostCheck
from pinned_requests.monitoring.findings import Finding, Severity
from pinned_requests.monitoring.history import CHANGES, ROTATES, Learned
from pinned_requests.monitoring.target import Target

if TYPE_CHECKING:
    import pytest

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
POLICY = PinPolicy({"a.example.com": [Pin("spki", bytes(32)), Pin("spki", bytes(range(32)))]})


def report(*hosts: HostCheck, fail_on: Severity = Severity.WARNING) -> Report:
    """Return a report on hosts."""
    is_complete = all(each.is_complete for each in hosts)
    return Report("pins.toml", POLICY, Checked(hosts, ("**.example.com",), NOW, is_complete), fail_on)


def host(name: str, *kinds: str, is_complete: bool = True, learned: Learned | None = None) -> HostCheck:
    """Return what was found of a host."""
    findings = tuple(Finding(kind, f"about {kind}") for kind in kinds)
    outcome = "match" if is_complete else NOT_CHECKED
    return HostCheck(Target(name), outcome, name, None, (), (), findings, learned, is_complete)


def test_an_interrupt_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """In each format: what was not checked is not fine."""
    some = report(host("a.example.com"), host("b.example.com", is_complete=False))
    assert summary(some.checked) == "2 hosts, 1 fine; findings: none (interrupted)"
    show_text(some)
    assert "b.example.com:443\n  not-checked\n  interrupted before it was checked\n" in capsys.readouterr().out
    page = as_page(some)
    assert "Not checked, or not in full" in page
    assert "The check was interrupted." in page
    assert nagios_state(some) is NagiosState.UNKNOWN
    assert as_nagios(some).startswith("PINS UNKNOWN - 2 hosts, 1 fine | ")


def test_nothing_hides_a_critical_finding() -> None:
    """Neither an interrupt nor `--fail-on critical`."""
    some = report(host("a", is_complete=False), host("b", "mismatch", "no-backup-pin"), fail_on=Severity.CRITICAL)
    assert some.is_failure
    assert nagios_state(some) is NagiosState.CRITICAL
    assert summary(some.checked).startswith("2 hosts, 0 fine; findings: 1 critical, 1 warning")


def test_the_page_says_what_was_learned() -> None:
    """In words."""
    learned = Learned(3, CHANGES, ROTATES, NOW, 64 * DAY)
    page = as_page(report(host("a.example.com", "issuer-rotates", learned=learned)))
    assert re.search(r"Key over renewals</dt><dd>changed each time<", page)
    assert re.search(r"Issuer over renewals</dt><dd>changed<", page)


def test_the_time_line() -> None:
    """The soonest is on top; dates that have passed stand at the beginning, and those after the year are left out."""
    assert timeline([Ends("a", NOW + 400 * DAY), Ends("b")], NOW) is None
    drawn = timeline([Ends("late", NOW + 300 * DAY), Ends("<past>", pins=NOW - DAY, issuer=NOW + 366 * DAY)], NOW)
    assert drawn is not None
    assert drawn.index("&lt;past&gt;") < drawn.index("late")
    assert 'x="184.5" y="35.5"' in drawn  # the square in the first row, on the line of today
    assert drawn.count('class="issuer"') == 1  # of the legend
    assert "2027-09-21" in drawn


def test_a_time_line_of_many_hosts() -> None:
    """It has a bounded number of rows, and says what it leaves out."""
    drawn = timeline([Ends(f"host{at}.example.com", NOW + at * DAY) for at in range(MAX_ROWS + 5)], NOW)
    assert drawn is not None
    assert "host0.example.com" in drawn
    assert f"host{MAX_ROWS}.example.com" not in drawn
    assert "5 more hosts have dates within the year." in drawn
    assert "host" + "x" * 23 + "…" in (timeline([Ends("host" + "x" * 60, NOW)], NOW) or "")

"""docs/failsafe.md: its drill runs, and its table leaves nothing out."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pinned_requests
from pinned_requests.core.verdict import Outcome
from pinned_requests.reporting import http

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "failsafe.md").read_text("utf-8")


def test_the_drill() -> None:
    """Every event of it ends as the table says."""
    assert "python docs/failsafe_drill.py" in TEXT
    done = subprocess.run(
        [sys.executable, str(DOCS / "failsafe_drill.py")], capture_output=True, check=False, text=True, timeout=60
    )
    assert (done.returncode, done.stderr, "WRONG" in done.stdout) == (0, "", False)
    assert done.stdout.count("operator: ") == 9


def test_the_table_has_every_outcome_and_every_error() -> None:
    """All that can be found, but where nothing is decided, and all that can be raised, and no other."""
    rows = [line for line in TEXT.partition("## Rolling out")[0].splitlines() if line.startswith("| ")]
    outcomes = {name for row in rows for name in re.findall(r"^\| `([a-z-]+)`", row)}
    silent = {Outcome.UNPINNED, Outcome.EXEMPT, Outcome.UNDECIDED}
    assert outcomes == {outcome.value for outcome in set(Outcome) - silent}
    errors = {name for row in rows for name in re.findall(r"`(\w+Error)`", row)} - {"SSLError"}
    raised = {name for name in pinned_requests.__all__ if name.endswith("Error")}
    assert errors == raised - {"PinningError", "PolicyError", "PinFormatError"}


def test_the_limits_are_those_of_the_code() -> None:
    """A number that is changed there is changed here."""
    assert f"{http.MAX_QUEUED} reports wait, {http.MAX_KEYS} are remembered" in TEXT
    assert f"1, 2, 4 … {http.LAST_DELAY:.0f} seconds" in TEXT


def test_the_policy_that_it_shows() -> None:
    """It is one."""
    (toml,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    policy = pinned_requests.PinPolicy.from_toml(textwrap.dedent(toml))
    assert policy.report_uri == "https://reports.example.net/pins"
    assert policy.hosts["api.example.com"].report_only

"""The reference pages name everything that there is, and nothing else."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pinned_requests
from pinned_requests import PinPolicy, PinSet, ViolationReport, formats, monitoring, reporting, testing
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import Outcome, evaluate
from pinned_requests.formats import FORMATS
from pinned_requests.sources import tuf

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = {path.stem: path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md")}


def column(page: str, heading: str) -> list[str]:
    """Return what stands in backticks in the first column of the table whose first heading is given."""
    table = re.search(rf"^\| {heading} \|.*?\n\n", REFERENCE[page], re.DOTALL | re.MULTILINE)
    assert table is not None
    first = [re.split(r"(?<!\\)\|", line)[1] for line in table[0].splitlines()[2:] if line]
    return [name for cell in first for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize(
    "module", [pinned_requests, formats, monitoring, reporting, testing, tuf], ids=lambda module: module.__name__
)
def test_every_public_name(module: ModuleType) -> None:
    """Each name of `__all__` has an entry in the reference."""
    text = "\n".join(REFERENCE.values())
    described = set(re.findall(r"^\.\. (?:auto\w+|py:data):: (\w+)", text, re.MULTILINE))
    assert set(module.__all__) - described == set()


def test_errors() -> None:
    """The table of errors has every refusal."""
    errors = {name for name in pinned_requests.__all__ if name.endswith("Error")}
    assert set(column("errors", "error")) == errors - {"PinningError", "PolicyError", "PinFormatError"}


def test_host_patterns() -> None:
    """Each pattern of the table is one."""
    patterns = [pattern for pattern in column("policy", "pattern") if not pattern.startswith(":")]
    assert len(patterns) == 5
    for pattern in patterns:
        assert PinPolicy({pattern: [f"sha256/{c * 42}A=" for c in "AB"]}).hosts.keys() == {pattern}


def test_fields_of_a_pin_set() -> None:
    """The table has every field, and no other."""
    with pytest.raises(pinned_requests.PolicyError):
        PinSet.of({"pins": "sha256/" + "A" * 43 + "=", "unknown": 1})
    values: dict[str, Any] = {"expires": "2099-01-01T00:00:00Z", "on_expiry": "block", "report_only": True}
    pins: dict[str, Any] = {
        name: f"sha256/{c * 42}A=" for name, c in zip(("pins", "backup_pins", "blocked_pins"), "ABC", strict=True)
    }
    PinSet.of(values | pins)
    assert set(column("policy", "field")) == {*values, *pins, "exempt"}


def test_outcomes() -> None:
    """The table has each outcome that leaves the library."""
    assert {"outcome", *column("reports", "`outcome`")} == {"outcome", *Outcome} - {Outcome.UNDECIDED}


def test_fields_of_records() -> None:
    """The table has each field of a log record."""
    policy = PinPolicy({"api.example.com": [f"sha256/{c * 42}A=" for c in "AB"]})
    now = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
    report = ViolationReport(evaluate(policy, "api.example.com", Chain.missing("a test"), now), now)
    assert column("reports", "field") == list(report.fields())


def test_formats() -> None:
    """The table has each format."""
    assert set(column("formats", "name")) == set(FORMATS)


@pytest.mark.parametrize(
    "code",
    [
        (path.name, code)
        for path in sorted([*DOCS.glob("*.md"), *DOCS.glob("*/*.md")])
        for code in re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    ],
    ids=lambda code: code[0],
)
def test_python_compiles(code: tuple[str, str]) -> None:
    """All Python in the pages is Python; that of the policies is run, since it needs no network."""
    page, text = code
    compiled = compile(text, page, "exec")
    if page == "policy.md":
        names: dict[str, object] = {}
        exec(compiled, names)  # noqa: S102 - our own text
        assert isinstance(names["policy"], PinPolicy)

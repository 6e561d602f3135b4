"""The table of findings: in code, in the schema and in the documentation."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from pinned_requests.monitoring.findings import KINDS, Finding, Severity

PAGE = Path(__file__).parents[3] / "docs" / "check.md"


def test_the_documentation_has_the_table() -> None:
    """Each kind with its severity and meaning, in the order of the code: the worst first."""
    if not PAGE.is_file():
        pytest.skip("the wheel has no documentation")
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `") and line.split("`")[1] in KINDS]
    assert rows == [f"| `{name}` | {kind.severity} | {kind.meaning} |" for name, kind in KINDS.items()]
    assert [kind.severity for kind in KINDS.values()] == sorted((k.severity for k in KINDS.values()), reverse=True)


def test_the_schema_has_the_kinds() -> None:
    """And no others."""
    schema = json.loads(resources.files("pinned_requests").joinpath("check.schema.json").read_text("utf-8"))
    assert schema["$defs"]["finding"]["properties"]["kind"]["enum"] == list(KINDS)
    assert schema["$defs"]["severity"]["enum"] == [str(each) for each in reversed(Severity)]


def test_the_severity_of_a_finding() -> None:
    """It is that of its kind."""
    assert Finding("mismatch", "").severity is Severity.CRITICAL
    assert Severity.CRITICAL > Severity.WARNING > Severity.INFO

"""What the README shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pinned_requests
from pinned_requests import Pin, PinPolicy

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def command(name: str) -> list[str]:
    """Return the lines of the fenced block below a comment."""
    match = re.search(rf"^<!-- {name} command -->\n```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert match is not None
    return match[1].splitlines()


@pytest.mark.parametrize("name", ["demo", "test"])
def test_two_commands(name: str) -> None:
    """Each of the two commands is one line."""
    assert len(command(name)) == 1


@pytest.mark.parametrize("code", [code for code in PYTHON if not code.startswith(">>>")])
def test_python(code: str) -> None:
    """The code compiles, imports what there is, and makes the policy it shows; no request is made."""
    code = code.replace('"sha256/…", "sha256/…"', ", ".join(repr(f"sha256/{c * 42}A=") for c in "AB"))
    assert "…" not in code
    code = "\n".join(line for line in code.splitlines() if not line.startswith("session.get"))
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own text
    assert {"PinnedSession", "PinnedSSLContext", "PinPolicy", "pytest"} & names.keys()


def test_pins() -> None:
    """Every pin that is spelled out can be read, and the first example has a backup."""
    pins = set(re.findall(r"(?:sha256/)[A-Za-z0-9+/]{43}=", README))
    assert len({Pin.parse(pin) for pin in pins}) == len(pins) >= 4


def test_reference_tables() -> None:
    """Every error of the package stands in the table of errors, and each pattern of the other table is one."""
    errors = {name for name in pinned_requests.__all__ if name.endswith("Error")}
    described = set(re.findall(r"`(\w+Error)`", README))
    assert errors - described == set()
    rows = re.search(r"^\| pattern \|.*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert rows is not None
    patterns = re.findall(r"^\| (?:`([^`]+)`(?:, `([^`]+)`)?) ", rows[0], re.MULTILINE)
    for pattern in filter(None, (pattern for pair in patterns for pattern in pair)):
        assert PinPolicy({pattern: [f"sha256/{c * 42}A=" for c in "AB"]}).hosts.keys() == {pattern}

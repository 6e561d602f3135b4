"""`docs/remote.md` says what is so: its commands are run, and its tables are complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from typer.testing import CliRunner

from pinned_requests import PinPolicy, PinSet
from pinned_requests.cli.repo import app
from pinned_requests.sources.remote.errors import Check

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "remote.md"


def test_the_commands_do_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, in an empty folder with a policy in it."""
    commands = [shlex.split(line) for line in PAGE.read_text("utf-8").splitlines() if line.startswith("pinned-req")]
    assert len(commands) >= 5
    monkeypatch.chdir(tmp_path)
    Path("pins.toml").write_text('[hosts."api.example.com"]\nexempt = true\n', "utf-8")
    for program, group, *arguments in commands:
        assert (program, group) == ("pinned-requests", "repo")
        done = CliRunner().invoke(app, arguments)
        assert (done.exit_code, done.stderr) == (0, "")
    (target,) = Path("repository/targets").iterdir()
    assert PinPolicy.from_json(target.read_bytes()) == PinPolicy({"api.example.com": PinSet.exempt()})


def test_every_check_is_explained() -> None:
    """The table names those that there are, below its heading."""
    assert set(re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)) == {"check", *get_args(Check)}

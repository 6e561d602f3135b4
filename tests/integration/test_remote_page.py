"""`docs/remote.md` says what is so: its commands are run, and its tables are complete."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from typer.testing import CliRunner

from pinned_requests import PinPolicy, PinSet
from pinned_requests.cli.repo import app
from pinned_requests.sources.tuf.errors import Check

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


def test_no_holder_of_the_page_signs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the ceremony of the page no folder of keys is enough for root, and any two are."""
    (line,) = re.findall(r"^pinned-requests repo (init .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(line)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    holders = [value for option, value in pairwise(arguments) if option == "--keys"]
    root = ["refresh", "repository", "--also", "root"]
    for holder in holders:
        done = CliRunner().invoke(app, [*root, "--keys", holder])
        assert (done.exit_code, "root would have 1 of the 2" in done.stderr) == (1, True)
    assert CliRunner().invoke(app, [*root, "--keys", holders[0], "--keys", holders[1]]).exit_code == 0


def test_every_check_is_explained() -> None:
    """The table names those that there are, below its heading."""
    assert set(re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)) == {"check", *get_args(Check)}

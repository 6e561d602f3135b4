"""The help of every command, its manual page, its completion, and the hook for pre-commit."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import pinned_requests
from pinned_requests.cli import main
from pinned_requests.cli.run import command_tree, walk
from pinned_requests.editing import doubts
from pinned_requests.formats import FORMATS
from pinned_requests.monitoring import findings

COMMANDS = {" ".join(names[1:]): command for names, command in walk(command_tree())}
LEAVES = {name: command for name, command in COMMANDS.items() if not hasattr(command, "commands")}
PROJECT = Path(__file__).parents[3]
MANUAL = PROJECT / "docs" / "pinned-requests.1"


def examples_of(command: Any) -> list[str]:
    """Return the command lines that a command's help gives as examples."""
    return re.findall(r"^Example: (.*)$", command.help, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`-h` and `--help` are the same, without the types of Python."""
    shown = []
    for option in ("-h", "--help"):
        assert main([*name.split(), option]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert not re.search(r"list\[|<path>|<class|typing", shown[0])


@pytest.mark.parametrize("name", LEAVES)
def test_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has one, on one line, with options that there are."""
    [example] = examples_of(LEAVES[name])
    assert main([*name.split(), "-h"]) == 0
    assert f"Example: {example}\n" in capsys.readouterr().out
    words = shlex.split(example.replace('"$(', "").replace(')"', ""))
    own = words[words.index("pinned-requests") + 1 :]
    own = own[: own.index("--")] if "--" in own else own  # behind it is another program's command line
    assert own[: len(name.split())] == name.split()
    known = {opt for each in LEAVES[name].params for opt in each.opts}
    assert {word for word in own if word.startswith("--")} <= known


def test_kinds_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names every kind of finding and every format, in the order of the tables, and no other."""
    for name, kinds in (("check", findings.KINDS), ("lint", doubts.KINDS), ("convert", FORMATS)):
        assert main([name, "-h"]) == 0
        shown = " ".join(capsys.readouterr().out.split("Arguments:")[0].split())
        listed = re.search(r"(?:Findings[^:]*|Formats): (.*?)\.(?: |$)", shown)
        assert listed is not None
        found = re.findall(
            r"[a-z0-9]+(?:-[a-z0-9]+)*", re.sub(r"; (?:with --strict|and to write only) ", ", ", listed[1])
        )
        assert sorted(found) == sorted(kinds)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The script for a shell is printed, to be installed by hand; typer asks shellingham which shell calls."""
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    with pytest.raises(SystemExit) as ended:
        main(["--show-completion", shell])
    assert ended.value.code == 0
    assert "_PINNED_REQUESTS_COMPLETE" in capsys.readouterr().out


def test_a_command_that_is_misspelt(capsys: pytest.CaptureFixture[str]) -> None:
    """The one that was meant is named."""
    assert main(["rotat"]) == 2
    assert "rotate" in capsys.readouterr().err


def test_what_each_argument_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Kinds of findings, formats and types of keys are listed where they are asked for."""
    assert main(["pin", "--format", "hex", "x"]) == 2
    assert "openssl" in capsys.readouterr().err
    assert main(["lint", "--ignore", "nonsense", "pins.toml"]) == 2
    err = capsys.readouterr().err
    assert "wide-pattern" in err
    assert err.endswith("; see 'pinned-requests lint --help'\n")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is that of the package."""
    assert main([option]) == 0
    assert capsys.readouterr().out == f"pinned-requests {pinned_requests.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pinned-requests r", {"repin", "repo", "rotate"}),
        ("pinned-requests rotate ", {"status", "next", "finish", "record"}),
    ],
)
def test_completion(
    words: str, expected: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bash gets the commands that begin so."""
    monkeypatch.setenv("_PINNED_REQUESTS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert set(capsys.readouterr().out.split()) == expected


def test_the_manual_page_is_that_of_the_commands() -> None:
    """To make it again: python docs/manual_page.py > docs/pinned-requests.1."""
    if not MANUAL.exists():
        pytest.skip("the sources are not there")
    assert MANUAL.read_text("utf-8") == runpy.run_path(str(PROJECT / "docs" / "manual_page.py"))["manual_page"]()


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.skipif(not MANUAL.exists(), reason="the sources are not there")
def test_the_manual_page_is_in_order() -> None:
    """Groff warns of nothing, and shows every command and every example."""
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", MANUAL], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    shown = " ".join(done.stdout.split())
    for name, command in LEAVES.items():
        assert f"pinned-requests {name}" in shown
        assert all(example in shown for example in examples_of(command))


def test_the_hook_of_pre_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its entry lints the files that it is for, several at a time."""
    definition = PROJECT / ".pre-commit-hooks.yaml"
    if not definition.exists():
        pytest.skip("the sources are not there")
    hooks: list[dict[str, Any]] = yaml.safe_load(definition.read_text("utf-8"))
    [hook] = hooks
    for name, is_for in {
        "pins.toml": True,
        "etc/pins-prod.json": True,
        "pyproject.toml": False,
        "spins.toml": False,
    }.items():
        assert bool(re.search(hook["files"], name)) is is_for
    pins = (
        '["sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="]'
    )
    good, wide = tmp_path / "pins.toml", tmp_path / "pins-wide.toml"
    good.write_text(f'[hosts."a.example.com"]\npins = {pins}\n')
    wide.write_text(f'[hosts."**.example.com"]\npins = {pins}\n')
    entry = hook["entry"].split()[1:]
    assert main([*entry, str(good), str(good)]) == 0
    assert main([*entry, str(good), str(wide)]) == 1
    assert f"{wide}: **.example.com" in capsys.readouterr().out

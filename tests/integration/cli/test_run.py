"""What every command has in common: exit codes, closed pipes, terminals, and a missing extra."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.command import Ran

pytestmark = pytest.mark.slow

# It paints the terminal, rings its bell, forges a line and turns text around; the rest is what rich would interpret.
SUBJECT = "\x1b[31m\x07\nsha256/forged\u202e\x9b2J[red]x[/red]:key:"
SHOWN = r"\x1b[31m\x07\nsha256/forged\u202e\x9b2J[red]x[/red]:key:"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["--unknown"], ["demo", "--unknown"], ["check", "--jobs", "0"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments that are not known end with 2, and a line that says where to look."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--help" in err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """It names every command, and the exit codes."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("pin ", "init ", "check ", "convert ", "lint ", "demo ", "Exit codes"))
    for name in ("pin", "init", "check", "convert", "lint", "demo"):
        assert main([name, "--help"]) == 0


def test_as_a_module(command: Callable[..., Ran]) -> None:
    """`python -m pinned_requests` is the same command."""
    assert command("--help").out.startswith("Usage: pinned-requests ")


def test_without_the_extra(environment: dict[str, str], tmp_path: Path) -> None:
    """Where the extra is not installed, it says what to install."""
    code = "import sys; sys.modules['typer'] = None; from pinned_requests.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"pinned-requests: the command needs typer; run: pip install 'pinned-requests[cli]'\n"


def test_without_a_part_of_the_extra(
    monkeypatch: pytest.MonkeyPatch, hostile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it turns out later."""
    monkeypatch.setitem(sys.modules, "rich.table", None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["pin", str(hostile)]) == 2
    assert "pinned-requests[cli]" in capsys.readouterr().err


def test_an_import_that_fails_for_another_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no missing extra, and not called one."""
    monkeypatch.delitem(sys.modules, "pinned_requests.cli.run")
    monkeypatch.setitem(sys.modules, "pinned_requests.cli.app", None)
    with pytest.raises(ModuleNotFoundError, match="app"):
        main(["demo"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe(unbuffered: str, environment: dict[str, str], tmp_path: Path) -> None:
    """A reader that goes away, such as `head`, ends it in silence, with 141."""
    (tmp_path / "cert.pem").write_bytes(Authority.create().certificate_pem)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "pinned_requests", "pin", "cert.pem"],
        cwd=tmp_path,
        env={**environment, "PYTHONUNBUFFERED": unbuffered},
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closing: str, environment: dict[str, str], tmp_path: Path) -> None:
    """A process that was started without them ends with its exit code all the same."""
    (tmp_path / "cert.pem").write_bytes(Authority.create().certificate_pem)
    for arguments, code in (("pin cert.pem", 0), ("pin ./missing", 2), ("convert --from toml --to json", 2)):
        script = f'"{sys.executable}" -m pinned_requests {arguments} {closing}'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130, in silence."""

    def interrupt(*_arguments: object, **_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pinned_requests.cli.demo.demo", interrupt)
    assert main(["demo"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), OSError(5, "of the disk")])
def test_errors_of_the_system(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They end with 2 and a sentence."""

    def fail(*_arguments: object, **_options: object) -> int:
        raise error

    monkeypatch.setattr("pinned_requests.cli.demo.demo", fail)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_arguments_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """What a script passes on does not drive the terminal."""
    for arguments in (["pin", SUBJECT], ["pin", f"./{SUBJECT}"], [SUBJECT], ["pin", f"--{SUBJECT}"], ["lint", SUBJECT]):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert all(c.isprintable() for c in err[:-1])


def test_the_process_is_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the hook for exceptions nor the filters of warnings are other than before."""
    import warnings  # noqa: PLC0415  to look at its state

    before = sys.excepthook, warnings.filters[:]
    assert main(["pin", "./missing"]) == 2
    assert (sys.excepthook, warnings.filters[:]) == before
    assert capsys.readouterr().out == ""


@pytest.fixture
def hostile() -> Path:
    """A certificate whose subject and issuer attack the terminal."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SUBJECT)])
    authority = Authority.create()
    path = Path("cert.pem")
    path.write_bytes(authority.issue("localhost", subject=name).certificate_pem)
    return path


def test_names_in_certificates(hostile: Path, command: Callable[..., Ran]) -> None:
    """They are shown, escaped, in a pipe and in JSON."""
    ran = command("pin", hostile)
    assert (ran.code, ran.err) == (0, "")
    assert f"  subject  CN={SHOWN}\n" in ran.out
    assert all(c.isprintable() or c == "\n" for c in ran.out)
    said = command("pin", hostile, "--json").out
    assert all(c.isascii() and (c.isprintable() or c == "\n") for c in said)
    assert json.loads(said)[0]["found"][0]["subject"] == f"CN={SHOWN}"


def test_names_in_certificates_on_a_terminal(hostile: Path, terminal: Callable[..., str]) -> None:
    """They are shown as they are, and neither the terminal nor rich interprets them."""
    shown = terminal("pin", hostile, TERM="dumb")
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "[red]x[/red]:key:" in shown
    assert r"\x1b[31m\x07\nsha256/forged\u202e\x9b2J" in shown
    # With colours there are escape sequences, all of them our own: the subject is what it was.
    assert "[red]x[/red]:key:" in terminal("pin", hostile)


def test_pins_on_a_terminal_of_80_columns(hostile: Path, terminal: Callable[..., str]) -> None:
    """No pin is cut or broken, no line is longer, whatever stands beside it."""
    pin = str(Pin.from_file(hostile))
    host = f"{'a' * 60}.{'b' * 60}.example.com"
    other = Pin("cert", bytes(32))
    Path("pins.toml").write_text(PinPolicy({host: {"pins": [pin, other], "blocked_pins": [pin, other]}}).to_toml())
    for arguments, pins in ((["pin", hostile], [pin]), (["lint", "pins.toml"], [pin, str(other)])):
        shown = terminal(*arguments, NO_COLOR="1", TERM="dumb")
        assert all(each in shown for each in pins)
        assert max(map(len, shown.splitlines())) <= 80


def test_colours(hostile: Path, terminal: Callable[..., str], command: Callable[..., Ran]) -> None:
    """There are colours on a terminal, unless NO_COLOR is set, and none elsewhere."""
    Path("pins.toml").write_text(PinPolicy({"**.com": ["sha256/" + letter * 42 + "A=" for letter in "AB"]}).to_toml())
    assert "\x1b[31m" in terminal("lint", "pins.toml")
    assert "\x1b[3" not in terminal("lint", "pins.toml", NO_COLOR="1")
    assert "\x1b" not in command("lint", "pins.toml").out
    assert "\x1b" not in command("pin", hostile).out


def test_a_locale_without_the_letters(command: Callable[..., Ran], tmp_path: Path) -> None:
    """A name that the output's encoding lacks is escaped."""
    certificate = Authority.create("Žluťoučký").certificate_pem
    (tmp_path / "cert.pem").write_bytes(certificate)
    ran = command("pin", "cert.pem", env={"PYTHONIOENCODING": "ascii"})
    assert (ran.code, ran.err) == (0, "")
    assert r"CN=\u017dlu" in ran.out

"""Every command and every way in which it can go wrong: a documented exit code, one sentence, no traceback."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pinned_requests import PinPolicy
from pinned_requests.cli import main
from pinned_requests.testing import Authority
from support.fork import needs_fork

if TYPE_CHECKING:
    import socket
    from typing import NoReturn

    from support.lab import Lab

OK, FINDING, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141
WAIT = 60.0  # seconds
FIVE_GB = 5 << 30


class Case(NamedTuple):
    """A command line, in which `{host}` is a live server, `{ca}` its CA, and `{file}` what goes wrong.

    Attributes:
        words: the command line.
        file: what `{file}` is where nothing is wrong; None for a command that reads no file.
        code: the exit code where nothing is wrong.
        wrong: the exit code for a wrong file.
    """

    words: str
    file: str | None = None
    code: int = OK
    wrong: int = BAD_INPUT


COMMANDS = {
    "pin FILE": Case("pin {file}", "./cert.pem"),
    "pin HOST": Case("pin {host} --ca-bundle {ca}"),
    "pin --format": Case("pin {file} --format curl", "./cert.pem"),
    "init": Case("init {host} --ca-bundle {ca} --output new.toml --backup-key new.key"),
    "init --add": Case("init --add {file} {other} --ca-bundle {ca} --yes", "pins.toml"),
    "check": Case("check {file} --ca-bundle {ca}", "pins.toml"),
    "lint": Case("lint {file}", "pins.toml"),
    "convert": Case("convert {file} --to json", "pins.toml"),
    "demo": Case("demo"),
    "rotate status": Case("rotate status {file} {host} --ca-bundle {ca}", "pins.toml"),
    "rotate next": Case("rotate next {file} {host} --ca-bundle {ca} --backup-key n.key --yes", "pins.toml"),
    "rotate finish": Case("rotate finish {file} {host} --ca-bundle {ca} --yes", "pins.toml", FINDING),
    "rotate record": Case("rotate record {file}", "pins.toml"),
    "can-serve": Case("can-serve cert.pem {host} --policy {file}", "pins.toml"),
    "can-serve FILE": Case("can-serve {file} {host} --policy pins.toml", "cert.pem"),
    "block": Case("block ./stolen.pem --policy {file} --yes", "pins.toml"),
    "block FILE": Case("block {file} --policy pins.toml --yes", "./stolen.pem"),
    "repin": Case("repin {host} --policy {file} --ca-bundle {ca}", "pins.toml"),
    "repo init": Case("repo init new --keys new-keys --plain"),
    "repo publish": Case("repo publish repository {file} --keys keys", "pins.toml"),
    "repo rotate-key": Case("repo rotate-key repository targets --keys keys --plain"),
    "repo refresh": Case("repo refresh repository --keys keys"),
    "repo status": Case("repo status repository"),
    "repo sync": Case("repo sync repository served"),
    "repo keys": Case("repo keys alice --plain"),
    "repo propose": Case("repo propose repository new.json --policy {file}", "pins.toml"),
    "repo sign": Case("repo sign repository {file} --keys keys", "./proposal.json"),
    "repo merge": Case("repo merge repository {file} --keys keys", "./signed.json"),
    "lab audit": Case("lab audit --attacker trusted-ca --host api.example.com -- true", code=FINDING),
}
ENDLESS = {"lab serve"}  # until it is told to end; see tests/integration/testing/test_lab_serve.py
READING = [name for name, case in COMMANDS.items() if case.file is not None]


REPOSITORY = (
    "repo init repository --keys keys --plain",
    "repo propose repository proposal.json --policy pins.toml",
    "repo propose repository signed.json --policy pins.toml",
    "repo sign repository signed.json --keys keys",
)


def prepare(*commands: str) -> None:
    """Run commands, in silence."""
    for command in commands:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert main(command.split(" ")) == OK


class Desk:
    """A folder with all that the commands read, and servers."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._names = {
            "host": f"127.0.0.1:{lab.serve(lab.honest).port}",
            "other": f"localhost:{lab.serve(lab.honest).port}",
            "ca": lab.bundle,
        }
        Path("cert.pem").write_bytes(lab.honest.served_pem)
        Path("stolen.pem").write_bytes(Authority.create().certificate_pem)
        prepare(f"init {self._names['host']} --ca-bundle {lab.bundle} --backup-key b.key")

    def words(self, case: Case, file: str | None = None) -> list[str]:
        """Return the command line, with another file. What commands of `repo` read is made when one is asked for."""
        if case.words.startswith("repo ") and not Path("repository").exists():
            prepare(*REPOSITORY)
        return case.words.format(file=file or case.file, **self._names).split(" ")


@pytest.fixture
def desk(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Prepare the folder."""
    monkeypatch.chdir(tmp_path)
    return Desk(lab)


def test_every_command_is_here() -> None:
    """A new command gets a row."""
    from pinned_requests.cli.run import command_tree, walk  # noqa: PLC0415  for this alone

    leaves = {" ".join(names[1:]) for names, each in walk(command_tree()) if not hasattr(each, "commands")}
    words = {name: case.words for name, case in COMMANDS.items()}
    assert leaves - ENDLESS == {leaf for leaf in leaves for line in words.values() if line.startswith(leaf)}


@pytest.mark.parametrize("name", COMMANDS)
def test_when_nothing_is_wrong(name: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The happy path; without a terminal, since there is none here."""
    code = main(desk.words(COMMANDS[name]))
    assert code == COMMANDS[name].code, capsys.readouterr()


def wrong_files(folder: Path) -> dict[str, str]:
    """Make the files that are wrong, and return their paths."""
    files = {}
    for suffix in (".toml", ".json", ".pem"):
        garbage, empty, secret = (folder / f"{name}{suffix}" for name in ("garbage", "empty", "secret"))
        garbage.write_bytes(b"\x00\xff\x1b[31m" * 100)
        empty.write_bytes(b"")
        secret.write_bytes(b"x")
        secret.chmod(0)
        (folder / f"folder{suffix}").mkdir()
        with (folder / f"huge{suffix}").open("wb") as file:
            file.truncate(FIVE_GB)
        for kind in ("garbage", "empty", "secret", "folder", "huge", "missing"):
            files[f"{kind}{suffix}"] = f"./{kind}{suffix}"
        files[f"inside{suffix}"] = f"./garbage{suffix}/inside{suffix}"
    return files


@pytest.mark.parametrize("name", READING)
def test_wrong_files(name: str, desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Garbage, an empty file, one of 5 GB, a folder, one that is missing or not to be read: 2, and one sentence."""
    case = COMMANDS[name]
    suffix = Path(case.file or "").suffix
    before = {path: path.read_bytes() for path in tmp_path.glob("*.toml")}
    for kind, file in wrong_files(tmp_path).items():
        if not kind.endswith(suffix):
            continue
        begun = time.monotonic()
        assert main(desk.words(case, file)) == case.wrong, kind
        assert time.monotonic() - begun < 20, kind
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), kind
        assert all(c.isprintable() for c in err[:-1])
        if name != "convert" and not kind.startswith("inside"):
            assert f"./{kind}" in err or f"{kind}" in err, err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_line_that_is_wrong(name: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """An option that is not there: 2, and where help is."""
    words = desk.words(COMMANDS[name])
    words.insert(words.index("--") if "--" in words else len(words), "--nonsense")
    assert main(words) == BAD_INPUT
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--help" in err


@pytest.mark.parametrize(
    "name", [name for name, case in COMMANDS.items() if "{host}" in case.words and "can-serve" not in name]
)
def test_a_host_that_is_down(name: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that does not answer is a finding, or pinned already: never a traceback."""
    words = ["127.0.0.1:1" if word.startswith("127.0.0.1:") else word for word in desk.words(COMMANDS[name])]
    assert main(words) in (FINDING, BAD_INPUT)
    assert capsys.readouterr().err.count("\n") <= 2


class Running:
    """Starts a command as a process."""

    def __init__(self, desk: Desk, folder: Path, environment: dict[str, str]) -> None:
        self._desk, self._folder, self._environment = desk, folder, environment

    def __call__(self, name: str, **options: Any) -> subprocess.Popen[bytes]:
        """Return the process; options are those of Popen, and `variables` of the environment."""
        environment = {**self._environment, **options.pop("variables", {})}
        return subprocess.Popen(
            [sys.executable, "-m", "pinned_requests", *self._desk.words(COMMANDS[name])],
            cwd=self._folder,
            env=environment,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )


@pytest.fixture
def running(desk: Desk, tmp_path: Path, environment: dict[str, str]) -> Running:
    """Start commands in the folder."""
    return Running(desk, tmp_path, environment)


def end(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Wait for a process, and return exit code and output."""
    out, err = process.communicate(timeout=WAIT)
    shown = (out or b"").decode(), (err or b"").decode()
    assert "Traceback" not in "".join(shown), shown
    return process.returncode, *shown


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_has_gone(name: str, running: Running) -> None:
    """Standard output is a closed pipe: 141 as soon as something is written, and silence."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code, _, err = end(running(name, stdout=writing))
    finally:
        os.close(writing)
    if COMMANDS[name].code == OK:
        assert code == PIPE_CLOSED
        assert "WARNING" in err or err == ""
    else:
        assert code in (COMMANDS[name].code, PIPE_CLOSED)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(name: str, running: Running) -> None:
    """Standard output cannot be written: 2 and a sentence; what had to be refused still is."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123  a device
        code, _, err = end(running(name, stdout=full))
    if COMMANDS[name].code == OK:
        assert code == BAD_INPUT
        assert "No space left" in err
    else:
        assert code in (COMMANDS[name].code, BAD_INPUT)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_least_locale(name: str, running: Running) -> None:
    """LANG=C and NO_COLOR, standard input and output closed: the same exit codes, and ASCII alone where it is C."""
    code, out, err = end(
        running(
            name, variables={"LANG": "C", "LC_ALL": "C", "NO_COLOR": "1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        )
    )
    assert code == COMMANDS[name].code, err
    assert out.isascii()
    assert err.isascii()


@pytest.mark.parametrize("name", [name for name, case in COMMANDS.items() if "{ca}" in case.words])
def test_ctrl_c(name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In the midst of a connection: 130, in silence, and no file is changed."""

    def interrupt(*_arguments: object, **_options: object) -> NoReturn:
        raise KeyboardInterrupt

    def interrupt_connecting(connecting: socket.socket, *_arguments: object) -> NoReturn:
        connecting.close()  # a socket that is left to the collector warns
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in Path().iterdir()}
    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", interrupt)
    monkeypatch.setattr("socket.socket.connect", interrupt_connecting)
    code = main(desk.words(COMMANDS[name]))
    assert code == INTERRUPTED
    assert capsys.readouterr().err == ""
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("name", [name for name, case in COMMANDS.items() if "{ca}" not in case.words])
def test_ctrl_c_while_it_prints(
    name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no connection is made, which is when a command is fastest: 130, in silence."""
    words = desk.words(COMMANDS[name])

    def interrupt(*_arguments: object, **_options: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stdout, "write", interrupt)
    assert main(words) == INTERRUPTED
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_ctrl_c_at_a_question(running: Running, desk: Desk) -> None:
    """A real signal while the command waits for an answer on a terminal: 130, and nothing is written."""
    before = PinPolicy.from_file("pins.toml")
    ours, theirs = os.openpty()
    words = [word for word in desk.words(COMMANDS["rotate next"]) if word != "--yes"]
    COMMANDS["asking"] = Case(" ".join(words))
    try:
        # A shell's background jobs ignore the signal, and their children do: that is not what is tested.
        process = running("asking", stdin=theirs, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
    finally:
        del COMMANDS["asking"]
    assert process.stderr is not None
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(process.stderr.fileno(), 1024)
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == INTERRUPTED
    os.close(ours)
    os.close(theirs)
    assert PinPolicy.from_file("pins.toml") == before
    assert not Path("n.key").exists()


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_ctrl_c_at_a_passphrase(key: bytes, tmp_path: Path) -> None:
    """Typed on the terminal that the passphrase is read from: 130, and no key is made."""
    program = (
        "import os, pty, sys, termios, time\n"
        "child, terminal = pty.fork()\n"
        "if child == 0:\n"
        "    os.execv(sys.executable, [sys.executable, '-m', 'pinned_requests', 'repo', 'keys', sys.argv[2]])\n"
        "while termios.tcgetattr(terminal)[3] & termios.ECHO:  # getpass drops what is typed before\n"
        "    time.sleep(0.01)\n"
        "os.write(terminal, bytes.fromhex(sys.argv[1]))  # once: a second Ctrl-C, while Python ends, would kill it\n"
        "shown = b''\n"
        "try:\n"
        "    while True:\n"
        "        shown += os.read(terminal, 4096)\n"
        "except OSError:  # the other side is closed\n"
        "    pass\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), b'Traceback' in shown)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PINNED_REQUESTS_PASSPHRASE"}
    words = [sys.executable, "-c", program, key.hex(), str(tmp_path / "alice")]
    # A process of its own: pytest's has threads, and a fork would be a copy of all that.
    done = subprocess.run(words, capture_output=True, text=True, timeout=WAIT, env=environment, check=False)
    assert (done.stdout, done.stderr) == (f"{INTERRUPTED} False\n", "")
    assert not list((tmp_path / "alice").glob("*.pem"))


class Terminal(io.StringIO):
    """What a terminal shows."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


@pytest.mark.parametrize("name", COMMANDS)
def test_widths(
    name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On a terminal of 40, 80 or 200 columns: the same exit code, and no table is wider than one, pins excepted."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    for columns in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        for stream in ("stdout", "stderr"):
            monkeypatch.setattr(sys, stream, Terminal())
        words = desk.words(COMMANDS[name])
        shutil.copytree(".", before := tmp_path_factory.mktemp("before"), dirs_exist_ok=True)
        assert main(words) == COMMANDS[name].code
        shown = sys.stdout.getvalue()
        assert "\x1b" not in shown
        assert all(len(line) <= max(columns, 80) for line in shown.splitlines() if line[:1] in "┏┃┡│├└")
        monkeypatch.chdir(before)  # as it was, for the next width


def test_keys_are_private(desk: Desk) -> None:
    """Each key that a command makes is its owner's alone."""
    for name in ("init", "init --add", "rotate next"):
        assert main(desk.words(COMMANDS[name])) == OK
    keys = list(Path().glob("*.key"))
    assert len(keys) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}

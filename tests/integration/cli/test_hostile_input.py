"""Hostile input gives one sentence and exit code 2, never a traceback, and never takes more than 200 MB of memory."""

from __future__ import annotations

import json
import plistlib
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pinned_requests.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc"),
]

LIMIT = 200 << 20  # bytes of memory
GIGABYTE = 1 << 30
WAIT = 60.0  # seconds

# One process for many commands: to start one takes longer than what it is to do. It prints a line for each.
# VmHWM, reset between them, and not ru_maxrss, which begins with what the process that started it had in memory.
MEASURED = """
import contextlib, io, json, sys
from pinned_requests.cli import main
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    with open("/proc/self/status") as status:
        peak = int(next(line.split()[1] for line in status if line.startswith("VmHWM:"))) << 10
    print(json.dumps([code, out.getvalue(), err.getvalue(), peak]))
"""

READABLE = [name for name, each in FORMATS.items() if each.reader]
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]>'
QUADRATIC = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>'
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
ANDROID = "<network-security-config><domain-config><domain>{}</domain></domain-config></network-security-config>"
PLIST = "<plist><dict><key>{}</key><string>x</string></dict></plist>"


COVERAGE = "COVERAGE_PROCESS_CONFIG"  # which takes memory and time of its own


class Run(NamedTuple):
    """How a command went, and its peak of memory in bytes."""

    code: int
    out: str
    err: str
    peak: int


@pytest.fixture
def measured(tmp_path: Path, environment: dict[str, str]) -> Callable[..., list[Run]]:
    """Run commands, each a list of arguments, and measure the memory of each."""

    def run(*commands: list[object], stdin: int | IO[bytes] = subprocess.DEVNULL) -> list[Run]:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, json.dumps([[*map(str, arguments)] for arguments in commands])],
            cwd=tmp_path,
            env={name: value for name, value in environment.items() if name != COVERAGE},
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )
        assert done.stderr == ""
        ran = [Run(*json.loads(line)) for line in done.stdout.splitlines()]
        assert len(ran) == len(commands)
        return ran

    return run


def assert_refused(ran: Run) -> None:
    """It ended with 2 and one sentence, in little memory."""
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert all(c.isprintable() for c in ran.err[:-1])
    assert ran.peak < LIMIT


def sparse(path: Path, size: int = GIGABYTE) -> Path:
    """Make a file of NUL bytes that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def long_line(path: Path) -> Path:
    """Make a file of one line of 33 MB, more than any policy may have, and nothing behind it for a gigabyte."""
    with path.open("wb") as file:
        for _ in range(33):
            file.write(b"a" * (1 << 20))
        file.truncate(GIGABYTE)
    return path


ANYWHERE = {
    "empty": b"",
    "NUL bytes": bytes(1000),
    "a NUL byte in it": b'unpinned_hosts = "bl\0ock"\n',
    "invalid UTF-8": b"\xff\xfe\xc3\x28" * 100,
    "surrogates": b"\xed\xa0\x80",
    "a long line": b"a" * (1 << 20),
    "escapes": b"\x1b[31m\x07\x9b" * 100,
    "deep brackets": b"[" * 1_000_000,
    "deep objects": b'{"hosts":' * 200_000,
    "deep tables": b"a = " + b"[" * 100_000,
    "deep inline tables": b"a = " + b"{b = " * 50_000,
    "deep keys": b"a" + b".a" * 100_000 + b" = 1\n",
    "a huge number": b"a = " + b"9" * 1_000_000,
    "deep XML": b"<a>" * 50_000,
    "bomb": (BOMB + ANDROID.format("&l9;")).encode(),
}


def converting(name: str, path: object = "input") -> list[object]:
    """Return the command that reads a format."""
    host = ["--host", "a.example.com"] if FORMATS[name].is_hostless else []
    return ["convert", *([path] if path else []), "--from", name, "--to", "json", *host]


@pytest.mark.parametrize("name", [*READABLE, "lint", "check", "pin"])
def test_input_that_is_none(name: str, measured: Callable[..., list[Run]], tmp_path: Path) -> None:
    """Whatever a file holds that is no configuration, every reader refuses it."""
    suffix = {"lint": ".toml", "check": ".json"}.get(name, ".txt")
    files = [tmp_path / f"{what.replace(' ', '-')}{suffix}" for what in ANYWHERE]
    for file, data in zip(files, ANYWHERE.values(), strict=True):
        file.write_bytes(data)
    for ran in measured(*(converting(name, file) if name in FORMATS else [name, file] for file in files)):
        assert_refused(ran)


@pytest.mark.parametrize("make", [sparse, long_line])
def test_a_gigabyte(make: Callable[[Path], Path], measured: Callable[..., list[Run]], tmp_path: Path) -> None:
    """A file of 1 GB is not read to its end, nor one without an end."""
    path, toml, policy = (make(tmp_path / name) for name in ("input", "p.toml", "p.json"))
    commands: list[list[object]] = [converting(name, path) for name in READABLE]
    commands += [["lint", toml], ["check", toml], ["lint", policy], ["check", policy], ["pin", path]]
    commands += [["pin", "localhost", "--ca-bundle", path], ["pin", "/dev/zero"]]
    commands += [converting(name, "/dev/zero") for name in READABLE]
    for ran in measured(*commands):
        assert_refused(ran)


@pytest.mark.parametrize("name", ["toml", "curl", "android"])
def test_a_gigabyte_of_standard_input(name: str, measured: Callable[..., list[Run]], tmp_path: Path) -> None:
    """Nor is a standard input of that size."""
    with long_line(tmp_path / "input").open("rb") as stdin:
        [ran] = measured(converting(name, None), stdin=stdin)
    assert_refused(ran)


@pytest.mark.parametrize("name", ["android", "apple", "trustkit"])
def test_entities(name: str, measured: Callable[..., list[Run]], tmp_path: Path) -> None:
    """Entities are neither expanded nor fetched."""
    body = ANDROID if name == "android" else PLIST
    for file, head, entities in (
        ("bomb", BOMB, "&l9;"),
        ("long", QUADRATIC, "&a;" * 5000),
        ("external", EXTERNAL, "&e;"),
    ):
        (tmp_path / file).write_text(head + body.format(entities))
    for ran in measured(*(converting(name, file) for file in ("bomb", "long", "external"))):
        assert_refused(ran)
        assert "root:" not in ran.err


def test_property_lists(measured: Callable[..., list[Run]], tmp_path: Path) -> None:
    """Nesting does not end in a traceback, nor does a binary property list."""
    (tmp_path / "deep").write_text("<plist>" + "<array>" * 20_000 + "</array>" * 20_000 + "</plist>")
    (tmp_path / "binary").write_bytes(plistlib.dumps({"NSAppTransportSecurity": {}}, fmt=plistlib.FMT_BINARY))
    for ran in measured(converting("apple", "deep"), converting("apple", "binary")):
        assert_refused(ran)


def test_what_is_no_certificate(measured: Callable[..., list[Run]], tmp_path: Path) -> None:
    """Neither PEM nor DER that is broken is a certificate."""
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n"
    broken = {
        "no end": begin * 30_000,
        "empty": (begin + end[1:]) * 15_000,
        "zeros": begin + b"A" * 1_000_000 + end,
        "encrypted": b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "indefinite": b"\x30\x80" * 400_000,
        "long": b"\x30\x84\x7f\xff\xff\xff",
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
    for ran in measured(*(["pin", f"./{name}"] for name in broken)):
        assert_refused(ran)


def test_the_honest_twin(measured: Callable[..., list[Run]], tmp_path: Path) -> None:
    """A policy of 20,000 hosts, of 3 MB, is read in that memory; so the measure is not met by refusing everything."""
    pins = (
        '["sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="]'
    )
    (tmp_path / "p.toml").write_text("".join(f'[hosts."h{n}.example.com"]\npins = {pins}\n' for n in range(20_000)))
    [ran] = measured(["lint", "p.toml"])
    assert (ran.code, ran.err) == (0, "")
    assert 20 << 20 < ran.peak < LIMIT

"""Hostile input gives one sentence and exit code 2, never a traceback, and never takes more than 200 MB of memory."""

from __future__ import annotations

import plistlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pinned_requests.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")

LIMIT = 200 << 20  # bytes of memory
GIGABYTE = 1 << 30
WAIT = 60.0  # seconds

# VmHWM and not ru_maxrss: that one begins with what the process had in memory before it became this one.
MEASURED = """
import sys
from pinned_requests.cli import main
code = main(sys.argv[2:])
sys.stdout.flush()
with open("/proc/self/status") as status, open(sys.argv[1], "w") as peak:
    peak.write(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
sys.exit(code)
"""

READABLE = [name for name, each in FORMATS.items() if each.reads]
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]>'
QUADRATIC = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>'
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
ANDROID = "<network-security-config><domain-config><domain>{}</domain></domain-config></network-security-config>"
PLIST = "<plist><dict><key>{}</key><string>x</string></dict></plist>"


class Run(NamedTuple):
    """How a command went, and its peak of memory in bytes."""

    code: int
    out: str
    err: str
    peak: int


@pytest.fixture
def measured(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Run]:
    """Run the command, and measure its memory."""

    def run(*arguments: object, stdin: Any = subprocess.DEVNULL) -> Run:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "peak", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Run(done.returncode, done.stdout, done.stderr, int((tmp_path / "peak").read_text()) << 10)

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


@pytest.mark.parametrize("name", [*READABLE, "policy.toml", "policy.json", "pin"])
def test_input_that_is_none(name: str, measured: Callable[..., Run], tmp_path: Path) -> None:
    """Whatever a file holds that is no configuration, every reader refuses it."""
    hostless = FORMATS[name].is_hostless if name in FORMATS else False
    path = tmp_path / (name if name.startswith("policy") else "input")
    options = {
        "pin": ["pin", path.name],
        "policy.toml": ["lint", path.name],
        "policy.json": ["check", path.name],
    }.get(name, ["convert", path.name, "--from", name, "--to", "toml", *(["--host", "a.example"] if hostless else [])])
    for what, data in ANYWHERE.items():
        if name == "pin" and "/" in what:
            continue
        path.write_bytes(data)
        ran = measured(*options)
        assert (what, ran.code) == (what, 2), ran.out[:200]
        assert_refused(ran)


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("make", [sparse, long_line])
def test_a_gigabyte_to_convert(
    name: str, make: Callable[[Path], Path], measured: Callable[..., Run], tmp_path: Path
) -> None:
    """A file of 1 GB is not read to its end, nor is a standard input of that size, nor one without an end."""
    path = make(tmp_path / "input")
    host = ["--host", "a.example.com"] if FORMATS[name].is_hostless else []
    assert_refused(measured("convert", path, "--from", name, "--to", "json", *host))
    with path.open("rb") as stdin:
        assert_refused(measured("convert", "--from", name, "--to", "json", *host, stdin=stdin))
    if make is sparse:
        assert_refused(measured("convert", "/dev/zero", "--from", name, "--to", "json", *host))


@pytest.mark.parametrize("make", [sparse, long_line])
def test_a_gigabyte_of_a_policy_or_certificate(
    make: Callable[[Path], Path], measured: Callable[..., Run], tmp_path: Path
) -> None:
    """Nor is one that is called a policy or a certificate."""
    for name in ("p.toml", "p.json"):
        path = make(tmp_path / name)
        assert_refused(measured("lint", path))
        assert_refused(measured("check", path))
    assert_refused(measured("pin", path))
    assert_refused(measured("pin", "/dev/zero"))
    assert_refused(measured("pin", "localhost", "--ca-bundle", path))


@pytest.mark.parametrize("name", ["android", "apple", "trustkit"])
@pytest.mark.parametrize("document", [BOMB + "{}", QUADRATIC + "{}", EXTERNAL + "{}"])
def test_entities(name: str, document: str, measured: Callable[..., Run], tmp_path: Path) -> None:
    """Entities are neither expanded nor fetched."""
    body = (ANDROID if name == "android" else PLIST).format({BOMB: "&l9;", QUADRATIC: "&a;" * 5000}.get(document[:-2], "&e;"))
    (tmp_path / "input").write_text(document.format(body))
    ran = measured("convert", "input", "--from", name, "--to", "json")
    assert_refused(ran)
    assert "root:" not in ran.err


def test_a_deep_property_list(measured: Callable[..., Run], tmp_path: Path) -> None:
    """Nesting does not end in a traceback, nor does a binary property list."""
    (tmp_path / "input").write_text("<plist>" + "<array>" * 20_000 + "</array>" * 20_000 + "</plist>")
    assert_refused(measured("convert", "input", "--from", "apple", "--to", "json"))
    (tmp_path / "input").write_bytes(plistlib.dumps({"NSAppTransportSecurity": {}}, fmt=plistlib.FMT_BINARY))
    assert_refused(measured("convert", "input", "--from", "apple", "--to", "json"))


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN CERTIFICATE-----\n" * 30_000,
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n" * 15_000,
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * 1_000_000 + b"\n-----END CERTIFICATE-----\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        b"\x30\x80" * 400_000,
        b"\x30\x84\x7f\xff\xff\xff",
    ],
)
def test_what_is_no_certificate(data: bytes, measured: Callable[..., Run], tmp_path: Path) -> None:
    """Neither PEM nor DER that is broken is a certificate."""
    (tmp_path / "input").write_bytes(data)
    assert_refused(measured("pin", "input"))


def test_the_honest_twin(measured: Callable[..., Run], tmp_path: Path) -> None:
    """A policy of 20,000 hosts, of 3 MB, is read in that memory; so the measure is not met by refusing everything."""
    pins = '["sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="]'
    (tmp_path / "p.toml").write_text("".join(f'[hosts."h{n}.example.com"]\npins = {pins}\n' for n in range(20_000)))
    ran = measured("lint", "p.toml")
    assert (ran.code, ran.err) == (0, "")
    assert 20 << 20 < ran.peak < LIMIT

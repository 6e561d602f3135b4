"""`JSONLinesReporter`: real files, several processes."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import InsecureURLError, PinnedSession, PinPolicy, PolicyError, ViolationReport
from pinned_requests.core.verdict import admit
from pinned_requests.reporting import JSONLinesReporter

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
POLICY = PinPolicy({"**.example.com": [f"sha256/{c * 42}A=" for c in "AB"]})
PROCESSES, EACH = 3, 200


def report(host: str) -> ViolationReport:
    """A violation of a host."""
    return ViolationReport(admit(POLICY, "http", host, 80, NOW), NOW)


def hosts(*paths: Path) -> list[str]:
    """The hosts of the reports in some files; each line is whole."""
    return [json.loads(line)["hostname"] for path in paths for line in path.read_text().splitlines()]


def test_a_line_a_report(tmp_path: Path) -> None:
    """Behind what is there already; a session writes through it."""
    path = tmp_path / "reports.jsonl"
    path.write_text('{"hostname": "there before"}\n')
    session = PinnedSession(POLICY, on_violation=JSONLinesReporter(path))
    for host in ("a.example.com", "a.example.com", "b.example.com"):
        with pytest.raises(InsecureURLError):
            session.get(f"http://{host}/secret")
    assert hosts(path) == ["there before", "a.example.com", "a.example.com", "b.example.com"]
    assert "secret" not in path.read_text()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_new_file_is_the_owners_alone(tmp_path: Path) -> None:
    """The reports name the hosts that are talked to."""
    path = tmp_path / "reports.jsonl"
    JSONLinesReporter(path)(report("a.example.com"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rotation(tmp_path: Path) -> None:
    """No file grows beyond its size, so many are kept, and none is cut; a longer report stands alone."""
    path = tmp_path / "reports.jsonl"
    names = [f"h{number}.example.com" for number in range(10)]
    size = len(report(names[0]).to_json()) + 1
    reporter = JSONLinesReporter(str(path), max_bytes=2 * size, backups=2)
    for name in names:
        reporter(report(name))
        assert path.stat().st_size <= 2 * size
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, f"{path.name}.1", f"{path.name}.2"]
    kept = hosts(tmp_path / f"{path.name}.2", tmp_path / f"{path.name}.1", path)
    assert kept == names[-6:]
    alone = JSONLinesReporter(tmp_path / "small.jsonl", max_bytes=1, backups=1)
    for name in names[:2]:
        alone(report(name))
    assert hosts(tmp_path / "small.jsonl.1", tmp_path / "small.jsonl") == names[:2]


PROGRAM = """
import sys
from test_jsonlines import EACH, report
from pinned_requests.reporting import JSONLinesReporter
path, number, max_bytes, backups = sys.argv[1:]
reporter = JSONLinesReporter(path, max_bytes=int(max_bytes), backups=int(backups))
for each in range(EACH):
    reporter(report(f"p{number}-{each}.example.com"))
"""


@pytest.mark.parametrize("lines", [7, 10**6], ids=["rotated", "not-rotated"])
def test_several_processes(tmp_path: Path, lines: int) -> None:
    """Each report stands in one of the files once, on a line of its own."""
    path = tmp_path / "reports.jsonl"
    arguments = [str(lines * len(report("p0-000.example.com").to_json())), "1000"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}  # noqa: PTH120 - a text
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), str(number), *arguments], env=environment)
        for number in range(PROCESSES)
    ]
    assert [process.wait(60) for process in running] == [0] * PROCESSES
    files = list(tmp_path.iterdir())
    assert (len(files) > 10) is (lines == 7)
    expected = [f"p{number}-{each}.example.com" for number in range(PROCESSES) for each in range(EACH)]
    assert sorted(hosts(*files)) == sorted(expected)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such lock")
def test_whoever_comes_second_rotates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process renames the file between our look and our lock: that of its reports that is new stays."""
    import fcntl  # noqa: PLC0415  not on Windows

    path = tmp_path / "reports.jsonl"
    size = len(report("a.example.com").to_json()) + 1
    mine, other = (JSONLinesReporter(path, max_bytes=size, backups=1) for _ in range(2))
    mine(report("a.example.com"))
    lock = fcntl.flock

    def late(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        other(report("b.example.com"))
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    mine._rotate(size)
    assert hosts(tmp_path / "reports.jsonl.1", path) == ["a.example.com", "b.example.com"]


def test_a_file_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The request is refused all the same, and the log says what is wrong."""
    session = PinnedSession(POLICY, on_violation=JSONLinesReporter(tmp_path / "nowhere" / "reports.jsonl"))
    with pytest.raises(InsecureURLError):
        session.get("http://a.example.com/")
    errors = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert errors == [FileNotFoundError]


@pytest.mark.parametrize("options", [{"max_bytes": 0}, {"max_bytes": 1.5}, {"backups": 0}, {"backups": True}])
def test_wrong_options(tmp_path: Path, options: dict[str, Any]) -> None:
    """A size that is none is said at once."""
    with pytest.raises(PolicyError):
        JSONLinesReporter(tmp_path / "reports.jsonl", **options)


def test_it_pickles(tmp_path: Path) -> None:
    """With the session that it stands on."""
    reporter = JSONLinesReporter(tmp_path / "reports.jsonl", max_bytes=5)
    assert repr(pickle.loads(pickle.dumps(reporter))) == repr(reporter)  # noqa: S301 - our own


@pytest.mark.skipif(sys.platform == "win32", reason="flock is POSIX's")
def test_a_lock_that_somebody_holds_delays_nobody(tmp_path: Path) -> None:
    """The file is not rotated then, and grows by a line."""
    import fcntl  # noqa: PLC0415  POSIX's

    path = tmp_path / "reports.jsonl"
    reporter = JSONLinesReporter(path, max_bytes=1)
    reporter(report("a.example.com"))
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        reporter(report("b.example.com"))
    assert hosts(path) == ["a.example.com", "b.example.com"]
    reporter(report("c.example.com"))
    assert hosts(path) == ["c.example.com"]


def test_half_a_line_is_an_error_and_the_next_one_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is full for a while."""
    path = tmp_path / "reports.jsonl"
    reporter = JSONLinesReporter(path)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: write(file, data[:20]))
        with pytest.raises(OSError, match="not all of the report"):
            reporter(report("a.example.com"))
    reporter(report("b.example.com"))
    half, whole = path.read_text().splitlines()
    assert len(half) == 20
    assert json.loads(whole)["hostname"] == "b.example.com"

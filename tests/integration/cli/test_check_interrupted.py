"""`pinned-requests check`: progress on a terminal, and what an interrupt leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODYS = [Pin("spki", bytes(32)), Pin("spki", bytes(range(32)))]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_progress_bar_for_many_hosts(terminal: Callable[..., str]) -> None:
    """On a terminal a bar shows how many of many hosts are done; for few hosts there is none."""
    few = {f"127.0.0.1:{port}": NOBODYS for port in range(1, 4)}
    many = {f"127.0.0.1:{port}": NOBODYS for port in range(1, 15)}
    for hosts, has_bar in ((few, False), (many, True)):
        Path("pins.json").write_text(PinPolicy(hosts).to_json())
        assert ("asking" in terminal("check", "pins.json")) is has_bar


def test_no_progress_bar_in_a_log(command: Callable[..., Any]) -> None:
    """What cron would mail has the findings, and nothing on stderr."""
    hosts = {f"127.0.0.1:{port}": NOBODYS for port in range(1, 15)}
    Path("pins.json").write_text(PinPolicy(hosts).to_json())
    ran = command("check", "pins.json")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.count("unreachable: Connection refused") == 14
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_interrupt_shows_what_is_known(environment: dict[str, str], lab: Any, form: str) -> None:
    """Ctrl-C ends the check within a second, though a server is silent; hosts and samples that were had are shown."""
    done = lab.serve(lab.honest)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as never:
        names = [f"localhost:{done.port}"]
        names += [f"127.0.0.1:{server.getsockname()[1]}" for server in (silent, never)]
        pins = [Pin.from_certificate(lab.honest.certificate), lab.backup]
        Path("pins.json").write_text(PinPolicy(dict.fromkeys(names, pins)).to_json())
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "pinned_requests", "check", "pins.json", "--ca-bundle", lab.bundle),
                *("--timeout", "60", "--samples", "20", "--jobs", "1", "--format", form, "--state", "state.json"),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            connection, _ = silent.accept()  # the first host is done now
            with connection:
                start = time.monotonic()
                os.kill(process.pid, signal.SIGINT)
                out, err = process.communicate(timeout=30)
                took = time.monotonic() - start
    assert (process.returncode, err) == (130, b"")
    assert took < 1
    if form == "json":
        said = json.loads(out)
        assert [host["host"] for host in said["hosts"]] == names
        assert [host["outcome"] for host in said["hosts"]] == ["match", "not-checked", "not-checked"]
        assert [host["is_complete"] for host in said["hosts"]] == [True, False, False]
        assert (said["is_complete"], len(said["hosts"][0]["samples"])) == (False, 20)
    else:
        assert "match at depth 0" in out.decode()
        assert out.decode().count("interrupted before it was checked") == 2
        assert out.decode().endswith("3 hosts, 1 fine; findings: none (interrupted)\n")
    assert list(json.loads(Path("state.json").read_text())["hosts"]) == names[:1]

"""The command as its users have it: a process of its own, in a folder of its own, without settings of the machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pinned_requests
from support.command import Ran

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 60.0  # seconds: far longer than any command takes; a hang is a failure


@pytest.fixture
def environment() -> dict[str, str]:
    """What a process needs to find the package under test, be it in `src/` or in a wheel."""
    # The folder of the package: a relative PYTHONPATH means nothing elsewhere.
    return {**os.environ, "PYTHONPATH": str(Path(pinned_requests.__file__).parents[1]), "NO_PROXY": "*"}


@pytest.fixture
def command(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Ran]:
    """Run the command in the test's folder, and return how that went."""

    def run(*arguments: object, **options: Any) -> Ran:
        if not {"stdin", "input"} & options.keys():
            options["stdin"] = subprocess.DEVNULL
        done = subprocess.run(
            [sys.executable, "-m", "pinned_requests", *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, **options.pop("env", {})},
            capture_output=True,
            encoding="utf-8",
            timeout=WAIT,
            check=False,
            **options,
        )
        assert "Traceback" not in done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def terminal(tmp_path: Path, environment: dict[str, str]) -> Callable[..., str]:
    """Run the command on a terminal of 80 columns, and return all that it shows there."""

    def run(*arguments: object, **variables: str) -> str:
        # No pipe would do: what counts is that stdout and stderr are a terminal.
        ours, theirs = os.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "pinned_requests", *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, "COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color", **variables},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # EIO: the other side is closed
                while piece := os.read(ours, 65536):
                    shown += piece
            process.wait(WAIT)
        os.close(ours)
        assert b"Traceback" not in shown
        return shown.decode().replace("\r\n", "\n")

    return run

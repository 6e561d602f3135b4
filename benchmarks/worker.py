"""A client in a process of its own, which does what it is told and says how long that took.

The interpreter adapts its code to the classes that it meets: in one process, two clients that share the code of
urllib3 slow each other down, which no program that uses one of them would see.

Where the kernel places a process in memory makes it up to 20 % faster or slower for as long as it lives, which is more
than what is measured. So the workers have one layout and one hash seed, where the system can do that.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS
from benchmarks.server import Target

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 8


@cache
def _fixed_layout() -> list[str]:
    """Return what starts a program without address space layout randomization; nothing where that cannot be had."""
    command = ["setarch", "-R"]
    try:
        subprocess.run([*command, "true"], check=True, stderr=subprocess.DEVNULL)  # noqa: S603  a fixed command
    except (OSError, subprocess.CalledProcessError):
        return []
    return command


class Worker:
    """A running process with one contender."""

    def __init__(self, name: str, target: Target) -> None:
        command = [*_fixed_layout(), sys.executable, "-m", "benchmarks.worker"]
        command += [name, target.url, target.bundle, target.leaf_file]
        # The sessions trust the environment, as sessions do. It must not send them elsewhere.
        variables = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        variables["PYTHONHASHSEED"] = "0"
        self._process = subprocess.Popen(  # noqa: S603  our own
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )
        self.is_available = self._answer() == "ready"

    def seconds(self, task: str) -> float:
        """Have a task of `TASKS` done, and return the seconds that it took."""
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        print(task, file=self._process.stdin, flush=True)
        return float(self._answer())

    def end(self) -> None:
        """End the process; closing its input does."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None  # noqa: S101  it is a pipe
        return self._process.stdout.readline().strip()


def _is_setting(name: str) -> bool:
    """Say whether requests takes a proxy or a CA bundle from a variable."""
    return name.lower().endswith("_proxy") or name in {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}


def serve(name: str, target: Target) -> None:
    """Do tasks until the end of standard input."""
    make = CONTENDERS[name]
    try:
        client = make(target)
    except ImportError as e:
        print(f"left out: {name} ({e})", file=sys.stderr)
        return

    def fresh() -> None:
        one = make(target)
        one.get()
        one.end()

    def threads() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for future in [pool.submit(client.get, close=True) for _ in range(THREADS * THREADS)]:
                future.result()

    # What is done, and how often in a row: a single request measures how fast a cold cache is filled.
    tasks: dict[str, tuple[Callable[[], object], int]] = {
        "new": (lambda: client.get(close=True), 5),
        "kept": (client.get, 20),
        "threads": (threads, 1),
        "fresh": (fresh, 1),
    }
    print("ready", flush=True)
    for line in sys.stdin:
        task, times = tasks[line.strip()]
        begin = time.perf_counter()
        for _ in range(times):
            task()
        print((time.perf_counter() - begin) / times, flush=True)
    client.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("url")
    parser.add_argument("bundle")
    parser.add_argument("leaf_file")
    options = parser.parse_args()
    leaf = Path(options.leaf_file).read_bytes()
    serve(options.name, Target(options.url, options.bundle, leaf, options.leaf_file))

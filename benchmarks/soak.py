"""Show that nothing grows: requests over kept-alive connections, new connections, and policies that are swapped.

The server is a process of its own. What is printed is what this process has after a warm-up, and at the end.
"""

from __future__ import annotations

import argparse
import gc
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.server import running
from pinned_requests import Pin, PinnedSession, PinPolicy, PolicyStore

EVERY = 0.02  # seconds between two looks at the file
WARM_UP = 0.1  # of all requests


class Usage(NamedTuple):
    """What a process has: kilobytes of memory, open descriptors, threads."""

    resident: int
    descriptors: int
    threads: int


def usage() -> Usage:
    """Return what this process has, by Linux's /proc."""
    gc.collect()
    resident = re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    return Usage(int(resident[1]) if resident else 0, descriptors(), threading.active_count())


def descriptors() -> int:
    """Return how many are open, but for the file that the thread of the store may be reading at this moment."""
    looks = []
    for _ in range(5):
        looks.append(len(list(Path("/proc/self/fd").iterdir())))
        time.sleep(EVERY / 4)
    return min(looks)


def soak(requests: int, connections: int, swaps: int) -> tuple[Usage, Usage]:
    """Make so many requests, connections and swaps, and return the usage after the warm-up and at the end."""
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as target:
        folder = Path(name)
        path, new = folder / "pins.json", folder / "new.json"
        leaf, *backups = Pin.from_certificate(target.leaf), *(Pin("spki", bytes([number]) * 32) for number in (1, 2))
        policies = [PinPolicy({"localhost": [leaf, backup]}) for backup in backups]
        path.write_text(policies[0].to_json(), "utf-8")
        changes: list[object] = []
        store = PolicyStore.from_file(path, refresh_after=EVERY, on_change=lambda _old, _new: changes.append(None))
        before = usage()
        swapped = 0
        with PinnedSession(store) as session:
            for number in range(requests):
                if number == int(requests * WARM_UP):
                    before = usage()
                if number % max(1, requests // connections) == 0:
                    session.close()
                if number % max(1, requests // swaps) == 0:
                    swapped += 1
                    new.write_text(policies[swapped % 2].to_json(), "utf-8")
                    new.replace(path)
                    while len(changes) < swapped:
                        time.sleep(EVERY / 4)
                    changes_seen = len(changes)
                    if changes_seen != swapped:
                        raise RuntimeError(f"{changes_seen} changes of {swapped} swaps")
                session.get(target.url, verify=target.bundle)  # the session's own would be overruled by the environment
            return before, usage()


def main(arguments: list[str]) -> None:
    """Print the usage before and after."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--swaps", type=int, default=200)
    options = parser.parse_args(arguments)
    before, after = soak(options.requests, options.connections, options.swaps)
    for name, first, last in zip(Usage._fields, before, after, strict=True):
        print(f"{name:12} {first:8,} → {last:8,}")

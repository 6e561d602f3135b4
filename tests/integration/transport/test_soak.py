"""Nothing grows over requests, connections and policies: a short run of `python -m benchmarks soak`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the figures are those of Linux's /proc")
def test_memory_descriptors_and_threads_stay() -> None:
    """In a process of its own, after a warm-up."""
    command = [sys.executable, "-m", "benchmarks", "soak", "--requests", "600", "--connections", "60", "--swaps", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = {}
    for line in done.stdout.splitlines():
        name, before, _, after = line.replace(",", "").split()
        figures[name] = int(before), int(after)
    first, last = figures["resident"]
    assert last - first <= 2_000  # kB
    for name in ("descriptors", "threads"):
        first, last = figures[name]
        assert last <= first

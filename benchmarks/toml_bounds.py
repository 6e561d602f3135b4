"""Measure the time and memory that the largest TOML texts take, those of `tests/unit/core/test_toml_bounds.py`.

Each text is measured in a process of its own, for `tomllib` and `rtoml`, as large as it may be (most bounds refuse it)
and as large as it is parsed:

    python -m benchmarks.toml_bounds [MEGABYTES] [NAME…]
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pinned_requests import PolicyError
from pinned_requests.core import policy_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALLOWED = 10.0  # s
TEXTS: Mapping[str, Callable[[int], str]] = runpy.run_path(
    str(Path(__file__).parents[1] / "tests/unit/core/test_toml_bounds.py")
)["TEXTS"]


def largest(name: str, size: int) -> str:
    """Return the largest text of a kind that is parsed, of at most `size` characters."""
    begin, end = 0, size
    while end - begin > size // 256:
        middle = (begin + end) // 2
        try:
            policy_text._bound_toml(TEXTS[name](middle))  # noqa: SLF001  the bound to be measured
        except PolicyError:
            end = middle
        else:
            begin = middle
    return TEXTS[name](begin)


def measure(text: str) -> str:
    """Return the seconds of processor time and the memory that a text takes, and the result."""
    import resource  # noqa: PLC0415  not on Windows

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    try:
        policy_text.load_toml(text)
        result = "read"
    except PolicyError as e:
        result = str(e)
    seconds = time.process_time() - begin
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    late = "" if seconds < ALLOWED else "TOO LONG "
    return f"{len(text) / (1 << 20):5.1f} MB: {seconds:4.1f} s, {memory:5} MB more, {late}{result[:60]}"


def main(megabytes: str = "48", *names: str) -> None:
    """Measure all texts, or those named, with both parsers."""
    for name in names or TEXTS:
        for parser in ("tomllib", "rtoml"):
            for make in (f"b.TEXTS[{name!r}]({megabytes} << 20)", f"b.largest({name!r}, {megabytes} << 20)"):
                without = "sys.modules['rtoml'] = None; " if parser == "tomllib" else ""
                call = f"import sys; {without}from benchmarks import toml_bounds as b; print(b.measure({make}))"
                done = subprocess.run([sys.executable, "-c", call], check=False, capture_output=True, text=True)  # noqa: S603  our own program
                print(f"{name:32} {parser:8} {done.stdout.strip() or done.stderr[-200:]}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

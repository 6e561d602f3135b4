"""How things are measured: side by side in one run, in turns, as medians. Absolute times alone say little."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
import timeit
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


# The peak of this very program, in kB. Not `resource.getrusage()`: on Linux that counts the parent it was forked from.
TELL_PEAK = """
import os, re
if os.path.exists('/proc/self/status'):
    print(re.search(r'VmHWM:\\s+([0-9]+)', open('/proc/self/status').read())[1])
"""


class Spent(NamedTuple):
    """What a process spent: seconds by the clock, and its peak memory in bytes."""

    seconds: float
    memory: float


def medians(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the median of the seconds that each contender says it took, in turns."""
    return {name: statistics.median(times) for name, times in in_turns(contenders, rounds).items()}


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what each contender says it took, in each round.

    They take turns, so that a busy machine is busy for all of them, each time in another order: who comes behind a
    client that leaves a lot to clean up would pay for it every time.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
    order = random.Random(0)  # noqa: S311  nothing secret
    for _ in range(rounds):
        for name in order.sample(list(contenders), len(contenders)):
            taken[name].append(contenders[name]())
    return taken


def per_call(call: Callable[[], object], calls: int = 20_000, repeats: int = 7) -> float:
    """Return the seconds that a call takes: the median of some repeats."""
    return statistics.median(timeit.repeat(call, number=calls, repeat=repeats)) / calls


def processes(codes: Mapping[str, str], rounds: int, arguments: Sequence[str] = ()) -> dict[str, Spent]:
    """Return the median seconds and peak memory of fresh interpreters that run each code, in turns."""
    spent: dict[str, list[Spent]] = {name: [] for name in codes}
    for turn in range(rounds + 1):
        for name, code in codes.items():
            one = process(code, arguments)
            if turn:  # the first compiles what was not compiled
                spent[name].append(one)
    return {
        name: Spent(statistics.median(s.seconds for s in all_), statistics.median(s.memory for s in all_))
        for name, all_ in spent.items()
    }


def import_times(modules: Sequence[str], rounds: int) -> list[float]:
    """Return the median seconds that each import takes in a fresh interpreter, one after the other."""
    code = "import time\n" + "".join(
        f"t = time.perf_counter()\nimport {module}\nprint(time.perf_counter() - t)\n" for module in modules
    )
    command = [sys.executable, "-c", code]
    outputs = [
        subprocess.check_output(command, env=_environment(), text=True)  # noqa: S603  this interpreter
        for _ in range(rounds + 1)
    ]
    return [statistics.median(map(float, times)) for times in zip(*(out.split() for out in outputs[1:]), strict=True)]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def process(code: str, arguments: Sequence[str] = ()) -> Spent:
    """Run `code` in a fresh interpreter and return what it spent.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-c", code + TELL_PEAK, *arguments]
    begin = time.perf_counter()
    answer = subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, check=True)  # noqa: S603  this interpreter
    return Spent(time.perf_counter() - begin, int(answer.stdout or 0) * 1024)

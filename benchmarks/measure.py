"""How things are measured: side by side in one run, in turns. What counts are the ratios; absolute times say little."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
import timeit
from functools import partial
from operator import truediv
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

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


class Figure(NamedTuple):
    """What was measured of one contender: the median, and the median of its ratios to the first one, round by round.

    A virtual machine may run at half of its speed for minutes: the medians of a run then compare a quick minute of one
    contender to a slow one of another. Two that are measured in the same round share the speed.
    """

    value: float
    ratio: float


def figures(taken: Mapping[str, Sequence[float]], scale: float = 1) -> dict[str, Figure]:
    """Return the figures of what each contender took in each round, times `scale`."""
    reference = next(iter(taken.values()))
    ratios = {name: map(truediv, times, reference) for name, times in taken.items()}
    return {name: Figure(scale * statistics.median(taken[name]), statistics.median(ratios[name])) for name in taken}


def in_turns(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Return what each contender says it took, in each round.

    They take turns, so that a busy machine is busy for all of them, each time in another order: who comes behind a
    client that leaves a lot to clean up would pay for it every time.
    """
    taken: dict[str, list[T]] = {name: [] for name in contenders}
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


def processes(codes: Mapping[str, str], rounds: int, arguments: Sequence[str] = ()) -> dict[str, list[Spent]]:
    """Return what fresh interpreters that run each code spend, in each round."""
    return in_turns({name: partial(process, code, arguments) for name, code in codes.items()}, rounds)


def import_times(modules: Sequence[str], rounds: int) -> list[tuple[float, ...]]:
    """Return the seconds that each import takes in fresh interpreters, one after the other: those of each module."""
    code = "import time\n" + "".join(
        f"t = time.perf_counter()\nimport {module}\nprint(time.perf_counter() - t)\n" for module in modules
    )
    command = [sys.executable, "-c", code]
    outputs = [
        subprocess.check_output(command, env=_environment(), text=True)  # noqa: S603  this interpreter
        for _ in range(rounds + 1)
    ]
    return list(zip(*(map(float, out.split()) for out in outputs[1:]), strict=True))


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

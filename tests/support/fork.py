"""Work in a forked child."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 30  # seconds


def needs_fork(test: Callable[..., None]) -> Callable[..., None]:
    """Skip a test where the system does not fork, and ignore the warning of a fork beside other threads.

    CPython 3.12 and newer warn. The child does not need the threads of its parent, such as those of servers.
    """
    quiet = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    skipped = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    marked: Callable[..., None] = skipped(quiet(test))
    return marked


def in_a_child(work: Callable[[], object]) -> str:
    """Return what `work` returns in a forked child, as text.

    The child ends without the clean-up of its parent, and after 30 seconds at the latest.

    Raises:
        AssertionError: `work` raised, or did not end in time.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(WAIT)
            os.write(writing, b"returned" + str(work()).encode())
        except BaseException as e:  # noqa: BLE001  the child must not run the parent's tests on
            os.write(writing, b"raised" + repr(e).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123  a descriptor
        result = pipe.read().decode()
    os.waitpid(child, 0)
    if not result.startswith("returned"):
        raise AssertionError(f"the child did not return: {result or 'it was ended'}")
    return result.removeprefix("returned")

"""Two clocks that freezegun and time-machine do not stop.

While Python's clock is frozen, certificates must be valid by the clock that OpenSSL reads, and waiting must end. Both
libraries patch `time` and `datetime`, but neither the file system nor ``CLOCK_MONOTONIC``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import tempfile
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.Lock()


def now() -> dt.datetime:
    """Return the time of the operating system, aware, as it stamps a new file."""
    with tempfile.TemporaryFile() as file:
        return dt.datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, dt.UTC)


def steady() -> float:
    """Return seconds on a clock that only goes forward."""
    if hasattr(time, "clock_gettime"):
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.perf_counter()  # Windows: time-machine does not patch it, freezegun does


@contextlib.contextmanager
def genuine_datetime() -> Iterator[None]:
    """Put back the class `datetime.datetime`, where freezegun has replaced it, for a moment.

    `cryptography` keeps the class that it meets first. With freezegun's it could make no certificate when the clock
    runs again.
    """
    found = dt.datetime
    genuine = next(each for each in found.__mro__ if type(each) is type and each.__name__ == "datetime")
    if found is genuine:
        yield
        return
    with _lock:
        dt.datetime = genuine  # type: ignore[assignment,misc]  # as freezegun does
        try:
            yield
        finally:
            dt.datetime = found  # type: ignore[misc]  # as above

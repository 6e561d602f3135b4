"""Two clocks that freezegun and time-machine do not stop.

Certificates must be valid by the clock that OpenSSL reads, and waiting must end, while Python's clock is frozen. Both
libraries patch the functions of `time` and `datetime`; they do not patch the file system, and not ``CLOCK_MONOTONIC``.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import time

__all__ = ["now", "steady"]


def now() -> dt.datetime:
    """Return the time of the operating system, aware, as it stamps a new file."""
    with tempfile.TemporaryFile() as file:
        return dt.datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, dt.UTC)


def steady() -> float:
    """Return seconds on a clock that only goes forward."""
    if hasattr(time, "clock_gettime"):
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.perf_counter()  # Windows: time-machine does not patch it, freezegun does

"""`JSONLinesReporter`: appends reports to a file, one line each.

Rules for the next maintainer:

- Several processes may write. A line is one `write()` on a file opened to append, which POSIX does not interleave. The
  file is opened for each line: a rotation by another process, a fork or a pickle needs no care.
- The lock is taken on the file to rename: a process that comes too late finds another file under the name, and does not
  rotate that one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinned_requests.core.report import ViolationReport


class JSONLinesReporter:
    """Appends each report to a file, as one line of JSON (RFC 7469 §3), in the thread of the request.

    A file that would grow beyond `max_bytes` is renamed to `path.1`, that to `path.2` and so on, and the oldest one is
    removed. New files can be read by their owner alone. A failure to write is an `OSError`, which a session logs.

    Several processes may share a path on POSIX. On Windows a file that another process has open is not rotated, and
    lines of two processes may mix.

    Args:
        path: of the file; its folder must exist.
        max_bytes: size from which the file is rotated. A single longer report gets a file of its own.
        backups: number of older files to keep, 1 or more.

    Raises:
        PolicyError: a value is out of range.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = 10_000_000, backups: int = 3) -> None:
        for name, value in (("max_bytes", max_bytes), ("backups", backups)):
            if type(value) is not int or value < 1:
                raise PolicyError(f"'{name}' is {show(value)}; give a number from 1 on")
        self.path = os.fspath(path)
        self.max_bytes = max_bytes
        self.backups = backups

    def __call__(self, report: ViolationReport) -> None:
        """Append a report.

        Raises:
            OSError: the file cannot be written.
        """
        line = report.to_json().encode() + b"\n"
        if self._is_full(len(line)):
            self._rotate(len(line))
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if os.write(file, line) < len(line):
                os.write(file, b"\n")  # the next report begins a line
                raise OSError(errno.ENOSPC, "not all of the report could be written", self.path)
        finally:
            os.close(file)

    def __repr__(self) -> str:
        return f"JSONLinesReporter({self.path!r}, max_bytes={self.max_bytes}, backups={self.backups})"

    def _is_full(self, room: int) -> bool:
        """Return whether the file is not empty, and has no room for so many bytes."""
        try:
            size = os.stat(self.path).st_size  # noqa: PTH116  once a report: a Path costs more than the call
        except FileNotFoundError:
            return False
        return size > 0 and self.max_bytes - room < size

    def _rotate(self, room: int) -> None:
        # BlockingIOError: another process has locked it; the file grows a little, and no request waits.
        with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(self.path):
            if self._is_full(room):
                names = [self.path, *(f"{self.path}.{number}" for number in range(1, self.backups + 1))]
                for older, name in zip(names[:0:-1], names[-2::-1], strict=True):
                    _rename(name, older)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Lock the file that is `path` now; raise an error if another process renames it."""
    if sys.platform == "win32":  # where no open file can be renamed
        yield
    else:
        file = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back when the file is closed
            if not os.path.samestat(os.fstat(file), os.stat(path)):  # noqa: PTH116  beside fstat
                raise FileNotFoundError(path)
            yield
        finally:
            os.close(file)


def _rename(name: str, older: str) -> None:
    try:
        os.replace(name, older)  # noqa: PTH105  as everything here
    except FileNotFoundError:
        return
    except PermissionError:
        if sys.platform != "win32":  # where another process has it open; the file grows until that closes it
            raise

"""How a policy is had anew: by calling a function, or by looking at a file.

A `Loader` has two ways: `load()` gets the policy whatever it costs, `poll()` may say that it is `UNCHANGED`. What they
raise is the caller's to handle.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

UNCHANGED = object()
TICK = 2_000_000_000  # ns, of the coarsest clock of a file system: what was written since may have been written again


class Loader:
    """Calls a function.

    Args:
        function: takes nothing, returns a policy, a mapping of host patterns to pins, or the text of a policy.
        initial: the policy to begin with, before the function is called; None: it is called first.
    """

    def __init__(self, function: Callable[[], Any], initial: PinPolicy | None = None) -> None:
        self._function = function
        self.initial = initial

    def load(self) -> Any:
        """Return what the function returns."""
        return self._function()

    def poll(self) -> Any:
        """Return what the function returns: it alone knows whether there is something new."""
        return self.load()


class FileLoader(Loader):
    """Reads a file, and notices when it is another one or has been written to.

    One that took the place of the last (a rename, or a symbolic link that points elsewhere, as in a Kubernetes volume)
    is complete and read at once. One that was written in place may be half there: it is read once it has stood still
    from one look to the next.

    Args:
        path: of a `.toml` or `.json` file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._path = Path(path)
        except TypeError:
            raise PolicyError(f"{show(path)} is no path; give that of a .toml or .json file") from None
        self.initial = None
        self._taken: tuple[int, ...] | None = None
        self._growing: tuple[int, ...] | None = None
        self._is_settled = False

    def poll(self) -> Any:
        """Return the policy, or `UNCHANGED` where the file is the same as before, or still being written."""
        identity = self._identity()
        if identity == self._taken:
            return UNCHANGED if self._is_settled else self.load()
        is_same_file = self._taken is not None and identity[:2] == self._taken[:2]
        if is_same_file and identity != self._growing:
            self._growing = identity
            return UNCHANGED
        return self.load()

    def load(self) -> PinPolicy:
        """Return the policy that the file holds now."""
        before = self._identity()
        now = time.time_ns()
        policy = PinPolicy.from_file(self._path)
        if self._identity() != before:
            raise PolicyError(f"{show(str(self._path))} was changed while it was read; it will be read again")
        self._taken, self._is_settled = before, max(before[-2:]) < now - TICK
        return policy

    def _identity(self) -> tuple[int, ...]:
        """Return what changes when the file is replaced (device, inode) or written to (size, times in ns)."""
        try:
            status = self._path.stat()
        except ValueError:  # a null byte
            raise PolicyError(f"{show(str(self._path))} is no path; give that of a .toml or .json file") from None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

"""How a policy is loaded: by calling a function, or by reading a file."""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

TICK = 2_000_000_000  # ns, of the coarsest file system clock: a file this young may change and keep its times


class Start(NamedTuple):
    """What a store begins with, before its source is asked."""

    policy: PinPolicy
    error: PolicyError | None = None  # for `last_error`
    loaded: float | None = None  # when the policy was last known to be good, in seconds since the epoch; None: shipped


class Loader:
    """Calls a function that returns a policy, a mapping of host patterns to pins, or the text of a policy."""

    start: Start | None = None  # None: the store begins with the policy that `load()` returns
    version: str | None = None  # of a signed policy: the one that was loaded last, or that the store begins with
    warning: PolicyError | None = None  # what an operator should know of a load that succeeded
    is_shared: bool = True  # whether many machines ask the same source, over a network
    name: str  # for metrics

    def __init__(self, function: Callable[[], Any], start: Start | None = None) -> None:
        self._function = function
        self.start = start
        module, name = (getattr(function, key, "") for key in ("__module__", "__qualname__"))
        self.name = f"{module}.{name}" if module and name else type(function).__name__

    @staticmethod
    def of(source: Any) -> Loader:
        """Return `source` if it is a loader, or a loader that calls it."""
        if isinstance(source, Loader):
            return source
        if callable(source):
            return Loader(source)
        raise PolicyError(
            f"invalid source of policies {show(source)}: give a PinPolicy, a mapping of host patterns to pins, or a "
            "callable that returns one of these or the text of a policy"
        )

    def load(self) -> PinPolicy:
        """Return the policy, or raise `PolicyError` or any error of the source."""
        value = self._function()
        if isinstance(value, PinPolicy):
            return value
        if isinstance(value, Mapping):
            return PinPolicy(value)
        if isinstance(value, (str, bytes)):
            return PinPolicy.from_text(value)
        raise PolicyError(
            f"the source returned {show(value)}: return a PinPolicy, a mapping of host patterns to pins, or the text "
            "of a policy"
        )

    def poll(self) -> PinPolicy | None:
        """Return the policy, or None if the loader knows that nothing has changed since the last time."""
        return self.load()


class FileLoader(Loader):
    """Reads a `.toml` or `.json` file.

    A file that took the place of the last one (by a rename, or by a symbolic link, as in a Kubernetes volume) is
    complete and read at once. A file that is written in place is read once two polls have found it unchanged.
    """

    is_shared = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._path = Path(path)
        except TypeError:
            raise PolicyError(f"invalid path {show(path)}: give that of a .toml or .json file") from None
        self.name = str(self._path)
        self._taken: tuple[int, ...] | None = None
        self._growing: tuple[int, ...] | None = None
        self._is_settled = False

    def poll(self) -> PinPolicy | None:
        """Return the policy, or None if the file is unchanged or still being written."""
        identity = self._identity()
        if identity == self._taken:
            return None if self._is_settled else self.load()
        is_same_file = self._taken is not None and identity[:2] == self._taken[:2]
        if is_same_file and identity != self._growing:
            self._growing = identity
            return None
        return self.load()

    def load(self) -> PinPolicy:
        """Return the policy in the file now."""
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
            raise PolicyError(f"invalid path {show(str(self._path))}: give that of a .toml or .json file") from None
        if not stat.S_ISREG(status.st_mode):  # a FIFO would be waited for
            raise PolicyError(f"{show(str(self._path))} is not a regular file")
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

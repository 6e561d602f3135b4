"""`PrivateFolder`: the files of a cache, where other users of the machine may write beside it.

Rules for the next maintainer:

- Only a regular file of this user which others cannot write is read. Links are not followed, nor is a FIFO waited for.
- A file is written under a name that cannot be guessed, and renamed: a link under a known name would overwrite another
  file of the user.
- Every name is looked up in the folder that was checked, by its descriptor, where the system has that.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 20_000_000  # bytes: several times the largest download
_OTHERS_WRITE = 0o022
_LEFT = "tmp-"  # how temporary names begin
_BY_DESCRIPTOR = os.open in os.supports_dir_fd
# Not on Windows, where files have no owner either.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


class PrivateFolder:
    """A folder of this user alone; use `opened()`. Without a descriptor, files are found by their paths."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def opened(cls, path: Path, *, make: bool) -> Iterator[PrivateFolder]:
        """Open a folder, and make it first if it is missing and `make` is set.

        Raises:
            FileNotFoundError: it is missing.
            OSError: it cannot be opened or made; it is a link, or belongs to another user.
        """
        if make:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
        if not _BY_DESCRIPTOR:
            if not path.is_dir():
                raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path))
            yield cls(path, None)
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
        try:
            status = os.fstat(descriptor)
            _demand_own(status, path)
            if status.st_mode & 0o077:
                os.fchmod(descriptor, 0o700)
            yield cls(path, descriptor)
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if it is missing; raise `OSError` if it must not be read."""
        try:
            file = os.open(self._name(name), os.O_RDONLY | _NO_LINK | _NO_WAIT, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        with open(file, "rb") as stream:  # noqa: PTH123  a descriptor
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file", name)
            _demand_own(status, name)
            if _BY_DESCRIPTOR and status.st_mode & _OTHERS_WRITE:
                raise PermissionError(errno.EPERM, "other users can write it", name)
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES} bytes", name)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely, or raise `OSError`."""
        temporary = f"{_LEFT}{secrets.token_hex(16)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
        file = os.open(self._name(temporary), flags, 0o600, dir_fd=self._descriptor)
        try:
            with open(file, "wb") as stream:  # noqa: PTH123  a descriptor
                stream.write(data)
            replace = partial(
                os.replace,
                self._name(temporary),
                self._name(name),
                src_dir_fd=self._descriptor,
                dst_dir_fd=self._descriptor,
            )
            try:
                replace()
            except IsADirectoryError:
                self._clear_way(name)
                replace()
        except BaseException:
            with suppress(OSError):
                self._remove(temporary)
            raise

    def clear_left(self) -> None:
        """Remove what a killed process has left. The caller holds the lock of the folder."""
        place = self.path if self._descriptor is None else self._descriptor
        for name in os.listdir(place):  # noqa: PTH208  a Path has no descriptor
            if name.startswith(_LEFT):
                with suppress(OSError):
                    self._remove(name)

    def lock_file(self) -> Path:
        """Return the path of a file to lock. Anything but a regular file in its place is removed."""
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(self._name(".lock"), dir_fd=self._descriptor).st_mode):  # type: ignore[call-overload,unused-ignore]  # for Windows
                self._clear_way(".lock")
        return self.path / ".lock"

    def _clear_way(self, name: str) -> None:
        path = self._name(name)
        if stat.S_ISDIR(os.stat(path, dir_fd=self._descriptor, follow_symlinks=False).st_mode):
            shutil.rmtree(path, dir_fd=self._descriptor)
        else:
            self._remove(name)

    def _remove(self, name: str) -> None:
        os.unlink(self._name(name), dir_fd=self._descriptor)

    def _name(self, name: str) -> str:
        return name if self._descriptor is not None else str(self.path / name)


def _demand_own(status: os.stat_result, name: object) -> None:
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", str(name))

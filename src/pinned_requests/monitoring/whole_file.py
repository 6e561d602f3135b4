"""Files that other programs read at any moment: they find the old content or the new, never a part of either."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MODE = 0o644  # before the umask: node_exporter runs as another user


def write_whole(path: Path, data: bytes, check: Callable[[Path], object] | None = None) -> None:
    """Write a file, in place of one that is there, whose mode stays; a device or a pipe is written to.

    A link is followed, and stays a link.

    Args:
        path: of the file.
        data: what it will hold.
        check: called as late as can be with the path behind links; what it raises keeps the file that is there.

    Raises:
        OSError: it cannot be written; what was there is as it was. Its `filename` is `path`.
    """
    place = Path(os.path.realpath(path))
    try:
        if check is None and place.exists() and not place.is_file():
            place.write_bytes(data)
        else:
            _replace(place, data, check)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a temporary name says nothing to people
        raise


def _replace(place: Path, data: bytes, check: Callable[[Path], object] | None) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)  # O_EXCL, not guessable
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123  a descriptor is not a path
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        Path(name).chmod(place.stat().st_mode & 0o777 if place.exists() else _MODE & ~_umask())
        if check is not None:
            check(place)
        Path(name).replace(place)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    with suppress(OSError):  # not every file system can, and Windows does not
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _umask() -> int:
    mask = os.umask(0o077)  # there is no way to read it alone
    os.umask(mask)
    return mask

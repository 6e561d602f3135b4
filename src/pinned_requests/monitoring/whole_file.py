"""Files that other programs read at any moment: they find the old content or the new, never a part of either."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_MODE = 0o644  # before the umask: node_exporter runs as another user


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, in place of one that is there; a device or a pipe is written to.

    A link is followed, and stays a link.

    Raises:
        OSError: it cannot be written; what was there is as it was. Its `filename` is `path`.
    """
    place = Path(os.path.realpath(path))
    try:
        if place.exists() and not place.is_file():
            place.write_bytes(data)
            return
        _replace(place, data)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a temporary name says nothing to people
        raise


def _replace(place: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)  # O_EXCL, not guessable
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123  a descriptor is not a path
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        Path(name).chmod(place.stat().st_mode & 0o777 if place.exists() else _MODE & ~_umask())
        Path(name).replace(place)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _umask() -> int:
    mask = os.umask(0o077)  # there is no way to read it alone
    os.umask(mask)
    return mask

"""Files that are written: new ones never overwrite, a policy is replaced whole or not at all.

A private key is created with mode 0600 by `create()`, and by nothing else: others can read it at no moment.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show
from pinned_requests.monitoring.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# O_EXCL follows no link, and never opens another user's file. Windows would change line feeds.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
SECRET, PUBLIC = 0o600, 0o644  # modes, before the umask


class NewFile(NamedTuple):
    """A file to create."""

    path: Path
    data: bytes
    mode: int = PUBLIC

    def __repr__(self) -> str:
        return f"<NewFile {show(str(self.path))}>"


def check_new(paths: Sequence[Path]) -> None:
    """Make sure, before work is done for files, that none of them exists. `create()` checks again.

    Raises:
        FileExistsError: one does, be it as a link that leads nowhere.
        PolicyError: two are the same.
    """
    for path in paths:
        if os.path.lexists(path):
            raise _exists(path)
    if len({os.path.abspath(path) for path in paths}) != len(paths):  # noqa: PTH100  resolve() would follow links
        raise PolicyError(f"{', '.join(show(str(path)) for path in paths)} must be different files")


def create(files: Sequence[NewFile]) -> None:
    """Write files that do not exist yet, all or none.

    Raises:
        FileExistsError: one exists.
        OSError: one cannot be written.
    """
    written: list[Path] = []
    try:
        for file in files:
            descriptor = os.open(file.path, _NEW, file.mode)
            written.append(file.path)
            with open(descriptor, "wb") as stream:  # noqa: PTH123  a descriptor is not a path
                stream.write(file.data)
                stream.flush()
                os.fsync(descriptor)  # a backup key is of no use if only its pin survives
    except BaseException as error:
        remove(written)
        if isinstance(error, FileExistsError):
            raise _exists(files[len(written)].path) from None
        if isinstance(error, OSError) and error.filename is None:  # of `write`, as on a full disk
            error.filename = str(files[len(written) - 1].path)
        raise


def remove(paths: Sequence[Path]) -> None:
    """Remove files that were just created, where they still are."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Replace the content of a file, as `write_whole()` does; what another program has written meanwhile is not lost.

    Raises:
        PolicyError: it holds something else than `old`.
        OSError: it cannot be written; it is as it was.
    """

    def check(place: Path) -> None:
        if place.read_bytes() != old:
            raise PolicyError(f"{show(str(place))} was changed by another program meanwhile; run the command again")

    write_whole(path, new, check)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "it exists, and is not overwritten; name another, or move it away", str(path))

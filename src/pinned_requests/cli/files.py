"""Files that the commands write. They never overwrite, and several are written all or none."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.cli.output import CommandError
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# O_EXCL follows no link, and never opens somebody else's file. Windows would change line feeds.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
SECRET, PUBLIC = 0o600, 0o644  # modes, before the umask


class NewFile(NamedTuple):
    """A file that is to be written."""

    path: Path
    data: bytes
    mode: int = PUBLIC


def check_new(paths: Sequence[Path]) -> None:
    """Make sure that none of these exists, before work is done for them. What counts is `create()`.

    Raises:
        CommandError: one does, be it as a link that leads nowhere, or two are the same.
    """
    for path in paths:
        if os.path.lexists(path):
            raise CommandError(_exists(path))
    if len({os.path.abspath(path) for path in paths}) != len(paths):  # noqa: PTH100  resolve() would follow links
        raise CommandError(f"{', '.join(show(str(path)) for path in paths)} must be different files")


def create(files: Sequence[NewFile]) -> None:
    """Write files that do not exist yet. Where one fails, those before it are removed again.

    Raises:
        CommandError: one exists.
        OSError: one cannot be written.
    """
    written: list[Path] = []
    try:
        for file in files:
            descriptor = os.open(file.path, _NEW, file.mode)
            written.append(file.path)
            with open(descriptor, "wb") as stream:  # noqa: PTH123  a descriptor is no path
                stream.write(file.data)
                stream.flush()
                os.fsync(descriptor)  # a backup key is of no use if only its pin survives
    except BaseException as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        if isinstance(error, FileExistsError):
            raise CommandError(_exists(files[len(written)].path)) from None
        raise


def _exists(path: Path) -> str:
    return f"{show(str(path))} exists, and is not overwritten; name another, or move it away"

"""The order in which the files of a repository may change, so that it is sound for clients at every moment.

A file is written before the one that refers to it, and `timestamp.json` after these. A new root comes last if the root
before it also vouches for everything else, as after a rotation with the old key at hand. If the old key is lost, the
new root must come before the timestamp; clients that look in between keep their last good policy.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuf.api.metadata import Root

    from pinned_requests.publishing.state import State


def roots_come_last(state: State, old_root: Root) -> bool:
    """Return whether an older root accepts the signatures of every role, so that newer roots may come last."""
    return all(
        old_root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        for role, metadata in state.by_role()
    )


def write(path: Path, data: bytes) -> None:
    """Write a file for a web server to read, completely or not at all.

    Raises:
        OSError: it cannot be written; the old file, if any, is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise

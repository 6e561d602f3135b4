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

from pinned_requests.publishing.state import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tuf.api.metadata import Root

    from pinned_requests.publishing.state import State


def ordered(paths: Collection[str], state: State, old_roots: Sequence[Root]) -> list[str]:
    """Return the paths of a state in the order in which they may change, for clients that have one of the old roots.

    Apart from roots and timestamp, each path is given before the one that refers to it.
    """
    roots = [path for path in paths if _is_root(path)]
    others = [path for path in paths if not _is_root(path) and path != TIMESTAMP]
    timestamp = [path for path in paths if path == TIMESTAMP]
    is_accepted = old_roots and all(
        root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        for root in old_roots
        for role, metadata in state.by_role()
    )
    return [*others, *timestamp, *roots] if is_accepted else [*others, *roots, *timestamp]


def _is_root(path: str) -> bool:
    return path.startswith("metadata/") and path.endswith(".root.json")


def write(path: Path, data: bytes) -> None:
    """Write a file for a web server to read, completely or not at all."""
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

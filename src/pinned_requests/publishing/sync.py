"""Writes and copies the files of a repository, so that it is sound for clients at every moment.

A file is written before the one that refers to it, and `timestamp.json` after these. A new root comes last if the root
before it also vouches for everything else, as after a rotation with the old key at hand. If the old key is lost, the
new root must come before the timestamp; clients that look in between keep their last good policy.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock
from tuf.api.exceptions import RepositoryError

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show
from pinned_requests.publishing.state import TIMESTAMP, State, check_repository, load

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tuf.api.metadata import Root

_LOCK_WAIT = 60.0  # seconds


class SyncError(Exception):
    """A copy would take something newer away from clients, or mix two repositories."""


class Copied(NamedTuple):
    """A file, by its path in the repository."""

    name: str
    data: bytes


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a repository: a file beside its folder, since everything in the folder is served."""
    resolved = folder.resolve()
    return FileLock(resolved.parent / f".{resolved.name}.lock", timeout=_LOCK_WAIT)


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


def in_order(folder: Path, destination: Path | None = None) -> list[Copied]:
    """Return the files that clients need, in the order in which they may be copied.

    Other files of the copy may stay there, and its roots must.

    Args:
        folder: the repository.
        destination: the copy, if it is a folder here: files that it has are left out, and the order suits its roots.
            None: all files, for a copy that is at most one root behind.

    Raises:
        SyncError: the destination has a newer state, or is of another repository.
        PolicyError: `folder` is not a repository, or the destination is inside of it.
        RepositoryError: the repository does not verify.
        OSError: a file cannot be read.
    """
    check_repository(folder)
    if destination is not None and destination.resolve().is_relative_to(folder.resolve()):
        raise PolicyError(f"{show(str(destination))} lies in {show(str(folder))}, which is to be copied")
    with lock_of(folder):
        state = load(lambda name: (folder / name).read_bytes())
        known = state.roots[-2:]  # those that the clients of the copy may have
        if destination is not None:
            version = _roots_of(destination)
            if version > len(state.roots):
                raise SyncError(
                    f"{show(str(destination))} has a newer root than the repository; copy from the newest one"
                )
            known = state.roots[max(version, 1) - 1 :]
        roots = [f"metadata/{root.version}.root.json" for root in state.roots]
        names = ordered([*state.files(), *roots, TIMESTAMP], state, known)
        files = [Copied(name, (folder / name).read_bytes()) for name in names]
    return files if destination is None else _missing(files, state, destination)


def copy(folder: Path, destination: Path) -> list[str]:
    """Copy a repository to another folder, and return the paths that were written. Raises as `in_order()`."""
    files = in_order(folder, destination)
    for file in files:
        write(destination / file.name, file.data)
    return [file.name for file in files]


def _roots_of(destination: Path) -> int:
    """Return how many roots a copy has without a gap."""
    version = 0
    while (destination / f"metadata/{version + 1}.root.json").is_file():
        version += 1
    return version


def _missing(files: list[Copied], state: State, destination: Path) -> list[Copied]:
    missing = []
    for file in files:
        path = destination / file.name
        there = path.read_bytes() if path.is_file() else None
        if there == file.data:
            continue
        if there is not None and file.name != TIMESTAMP:
            raise SyncError(f"{show(str(path))} differs from that of the repository: it is the copy of another one")
        missing.append(file)
    if (destination / TIMESTAMP).is_file() and any(file.name == TIMESTAMP for file in missing):
        try:
            there_now = load(lambda name: (destination / name).read_bytes()).timestamp.signed.version
        except (RepositoryError, OSError):
            return missing  # the copy is not whole, and this mends it
        if there_now > state.timestamp.signed.version:
            raise SyncError(
                f"{show(str(destination))} has a newer timestamp than the repository; copy from the newest one"
            )
    return missing

"""`PolicyFile`: a policy, its file and its history, read and written together; `clients_of()`: who has which policy."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import MAX_NOTE
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.policy_text import MAX_SIZE
from pinned_requests.core.text import escape, show
from pinned_requests.editing.document import edited
from pinned_requests.editing.files import NewFile, create, remove, replace
from pinned_requests.editing.history import History, history_path, read_history, record
from pinned_requests.monitoring.serving import Version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

_PUBLISHED = "the published policy"


class PolicyFile(NamedTuple):
    """A policy as it stands in a file."""

    path: Path
    data: bytes  # what the file holds
    policy: PinPolicy  # what that says
    history: History  # its versions; the last is `policy`

    @classmethod
    def read(cls, path: Path, now: datetime) -> PolicyFile:
        """Read a policy and its history.

        Raises:
            PolicyError: either cannot be read as what it is.
            OSError: a file cannot be read.
        """
        policy = PinPolicy.from_file(path)
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
        if PinPolicy.from_text(data) != policy:
            raise PolicyError(f"{show(str(path))} is being written by another program; run the command again")
        return cls(path, data, policy, read_history(path, policy, now))

    def edited(self, new: PinPolicy) -> str:
        """Return the file's text, changed so that it says `new`.

        Raises:
            PolicyError: as `editing.document.edited()`, naming the file.
        """
        try:
            return edited(self.data.decode("utf-8-sig"), new)
        except PolicyError as error:
            raise PolicyError(f"{show(str(self.path))}: {error}") from None

    def write(self, new: PinPolicy, now: datetime, files: Sequence[NewFile] = ()) -> None:
        """Write the policy `new` into the file, its history, and new files such as the key of a pin: all or nothing.

        Raises:
            PolicyError: the file was changed by another program since it was read.
            FileExistsError: one of `files` exists.
            OSError: a file cannot be written.
        """
        text = self.edited(new).encode()
        place = history_path(self.path)
        before = place.read_bytes() if place.exists() else None
        create(files)
        try:
            # First: a version that never came into force is harmless there, one that is missing is not.
            record(self.path, self.history, new, now)
            replace(self.path, self.data, text)
        except BaseException:
            remove([file.path for file in files])
            with suppress(OSError, PolicyError):
                if before is None:
                    remove([place])
                else:
                    replace(place, place.read_bytes(), before)
            raise


def note_of(role: str, what: str, seen: str, now: datetime) -> str:
    """Return the note of a pin that a command writes: `leaf: CN=api.example.com, seen 2026-11-25`.

    What does not fit into a note is cut from `what`, which is escaped here.
    """
    end = f", {seen} {now:%Y-%m-%d}"
    return f"{role}: {escape(what, MAX_NOTE - len(role) - 2 - len(end))}{end}"


class Clients(NamedTuple):
    """The policies that clients may have."""

    versions: tuple[Version, ...]  # oldest first; the last is the newest that a client can take
    is_complete: bool  # whether no other was before the first
    unpublished: PolicyFile | None = None  # what is newer than what the repository serves


def clients_of(files: Sequence[PolicyFile], published: PinPolicy | None, now: datetime) -> Clients:
    """Return the policies that clients may have.

    Args:
        files: newest first. With more than one, they are taken for all that clients may have; the history of the first
            says when it took the place of the others.
        published: what a repository serves, if there is one.
        now: aware UTC.

    Raises:
        PolicyError: there is neither.
    """
    if not files:
        if published is None:
            raise PolicyError("name the policy that clients have")
        return Clients((Version(published, now, _PUBLISHED),), is_complete=False)
    newest, *older = files
    versions = (
        *(Version(each.policy, each.history.versions[-1].since, escape(str(each.path))) for each in reversed(older)),
        *newest.history.versions,
    )
    is_complete = bool(older) or newest.history.is_complete
    if published is None:
        return Clients(versions, is_complete)
    last = max((at for at, each in enumerate(versions) if each.policy == published), default=None)
    if last is None:  # it is none of the files: it counts from now on
        return Clients((*versions, Version(published, now, _PUBLISHED)), is_complete)
    return Clients(versions[: last + 1], is_complete, newest if last + 1 < len(versions) else None)

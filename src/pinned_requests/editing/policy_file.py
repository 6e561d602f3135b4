"""`PolicyFile`: a policy, its file and its history, read together and written together."""

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

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path


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

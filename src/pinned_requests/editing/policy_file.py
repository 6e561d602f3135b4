"""`PolicyFile`: a policy, its file and its history, read and written together; `clients_of()`: who has which policy.

The history has the versions of a policy and when each was written, in a file beside it (`pins.toml.history`). Commands
that write a policy add to it. A date is that of the writing: `max_client_age` covers what follows, the release and the
slowest client. What is not known, as without a history, counts as a policy that refuses.
"""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core import policy_text
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import MAX_NOTE
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.editing.document import edited
from pinned_requests.editing.files import NewFile, create, remove, replace
from pinned_requests.monitoring.serving import Version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PUBLISHED = "the published policy"
_KEPT = timedelta(days=400)  # a version that was replaced longer ago is dropped; `--max-client-age` may ask for as much


class PolicyFile(NamedTuple):
    """A policy as it stands in a file."""

    path: Path
    data: bytes  # what the file holds
    policy: PinPolicy  # what that says
    history: History  # the last version is `policy`

    @classmethod
    def read(cls, path: Path, now: datetime) -> PolicyFile:
        """Read a policy and its history.

        Raises:
            PolicyError: either cannot be read as what it is.
            OSError: a file cannot be read.
        """
        policy = PinPolicy.from_file(path)
        with path.open("rb") as file:
            data = file.read(policy_text.MAX_SIZE + 1)
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


class History(NamedTuple):
    """The versions of a policy."""

    versions: tuple[Version, ...]  # oldest first; the last is the policy as it is now
    is_complete: bool  # whether nothing was before the first


def history_path(path: Path) -> Path:
    """Return the path of the history of a policy."""
    return path.with_name(f"{path.name}.history")


def read_history(path: Path, policy: PinPolicy, now: datetime) -> History:
    """Return the history of the policy that a file holds. One that is not in it counts from the date of its file.

    Raises:
        PolicyError: the history cannot be read as one.
        OSError: a file cannot be read.
    """
    try:
        recorded = _parse_history(_read_text(history_path(path)), path)
    except FileNotFoundError:
        recorded = History((), is_complete=False)
    versions = list(recorded.versions)
    if not versions or versions[-1].policy != policy:
        since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if versions and versions[-1].since is not None and since < versions[-1].since:
            since = now  # an older file was put back, at an unknown time
        versions.append(Version(policy, since))
    versions[-1] = versions[-1]._replace(name=escape(str(path)))
    return History(tuple(versions), recorded.is_complete)


def first_record(path: Path, policy: PinPolicy, now: datetime) -> NewFile:
    """Return the history of a new policy: nothing was before it."""
    return NewFile(history_path(path), _bytes_of(History((Version(policy, now),), is_complete=True)))


def record(path: Path, before: History, policy: PinPolicy, now: datetime) -> None:
    """Add a version, written now, to the history `before` of a policy's file.

    Raises:
        OSError: it cannot be written.
    """
    versions = [*before.versions, Version(policy, now)]
    while len(versions) > 1 and versions[1].since is not None and versions[1].since < now - _KEPT:
        del versions[0]
    write_history(path, History(tuple(versions), before.is_complete and versions[0] == before.versions[0]))


def write_history(path: Path, history: History) -> None:
    """Write the history of a policy's file, such as one with a version that was edited by hand.

    Raises:
        OSError: it cannot be written.
    """
    new = _bytes_of(history)
    place = history_path(path)
    try:
        old = place.read_bytes()
    except FileNotFoundError:
        create([NewFile(place, new)])
    else:
        replace(place, old, new)


def _bytes_of(history: History) -> bytes:
    lines = []
    for at, each in enumerate(history.versions):
        line: dict[str, Any] = {"written": each.since and each.since.isoformat().replace("+00:00", "Z")}
        if at == 0 and history.is_complete:
            line["first"] = True
        lines.append(json.dumps({**line, "policy": json.loads(each.policy.to_json())}) + "\n")
    return "".join(lines).encode()


def _parse_history(text: str, path: Path) -> History:
    name = show(str(history_path(path)))
    versions: list[Version] = []
    is_complete = False
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            value = policy_text.load_json(line)
            policy = PinPolicy.from_json(json.dumps(value["policy"]))
            since = datetime.fromisoformat(value["written"])
            if since.utcoffset() is None:
                raise PolicyError("a date without a time zone")
        except (KeyError, TypeError, ValueError, RecursionError):  # PolicyError is a ValueError
            raise PolicyError(
                f"line {number} of {name} is not a version of a policy; move the file away, and no history is assumed"
            ) from None
        is_complete = is_complete or (number == 1 and value.get("first") is True)
        versions.append(Version(policy, since.astimezone(UTC), f"the policy of {since:%Y-%m-%d %H:%M} UTC"))
    if any(later.since < earlier.since for earlier, later in itertools.pairwise(versions)):  # type: ignore[operator]  # each has one
        raise PolicyError(f"the dates in {name} are not in order; move the file away, and no history is assumed")
    return History(tuple(versions), is_complete)


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(policy_text.MAX_SIZE + 1)
    if len(data) > policy_text.MAX_SIZE:
        raise PolicyError(f"{show(str(path))} is larger than {policy_text.MAX_SIZE >> 20} MB; move it away")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise PolicyError(f"{show(str(path))} is not in UTF-8; move it away") from None


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

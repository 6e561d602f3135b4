"""The history of a policy: its versions and when each was written, in a file beside it (`pins.toml.history`).

Commands that write a policy add to it. A date is that of the writing: `max_client_age` covers what follows, the release
and the slowest client. What is not known, as without a history, counts as a policy that refuses.
"""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core import policy_text
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.editing.files import NewFile, create, replace
from pinned_requests.monitoring.serving import Version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_KEPT = timedelta(days=400)  # a version that was replaced longer ago is dropped; `--max-client-age` may ask for as much


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
        recorded = _parse(_read(history_path(path)), path)
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
    """Return the history of a policy that is new: nothing was before it."""
    return NewFile(history_path(path), _text([Version(policy, now)], is_complete=True).encode())


def record(path: Path, before: History, policy: PinPolicy, now: datetime) -> None:
    """Add a version, written now, to the history `before` of a policy's file.

    Raises:
        OSError: it cannot be written.
    """
    versions = [*before.versions, Version(policy, now)]
    while len(versions) > 1 and versions[1].since is not None and versions[1].since < now - _KEPT:
        del versions[0]
    keep(path, History(tuple(versions), before.is_complete and versions[0] == before.versions[0]))


def keep(path: Path, history: History) -> None:
    """Write the history of a policy's file, such as one with a version that was edited by hand.

    Raises:
        OSError: it cannot be written.
    """
    new = _text(history.versions, is_complete=history.is_complete).encode()
    place = history_path(path)
    try:
        old = place.read_bytes()
    except FileNotFoundError:
        create([NewFile(place, new)])
    else:
        replace(place, old, new)


def _text(versions: Sequence[Version], *, is_complete: bool) -> str:
    lines = []
    for at, each in enumerate(versions):
        line: dict[str, Any] = {"written": each.since and each.since.isoformat().replace("+00:00", "Z")}
        if at == 0 and is_complete:
            line["first"] = True
        lines.append(json.dumps({**line, "policy": json.loads(each.policy.to_json())}) + "\n")
    return "".join(lines)


def _parse(text: str, path: Path) -> History:
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


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(policy_text.MAX_SIZE + 1)
    if len(data) > policy_text.MAX_SIZE:
        raise PolicyError(f"{show(str(path))} is larger than {policy_text.MAX_SIZE >> 20} MB; move it away")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise PolicyError(f"{show(str(path))} is not in UTF-8; move it away") from None

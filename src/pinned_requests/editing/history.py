"""The history of a policy: its versions and when each was written, in a file beside it (`pins.toml.history`).

Commands that write a policy add to it. Without it the policies that clients may still have are
unknown, and `can-serve` assumes the worst.

Rules for the next maintainer:

- What is not known counts as a policy that refuses: a missing history, a policy that was edited by hand a moment ago.
- A date is that of the writing. `max_client_age` covers what follows: the release, and the slowest client.
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

SUFFIX = ".history"
KEPT = timedelta(days=400)  # a version that was replaced longer ago is dropped; `--max-client-age` may ask for as much


class History(NamedTuple):
    """The versions of a policy.

    Attributes:
        versions: oldest first; the last is the policy as it is now.
        is_complete: whether nothing was before the first.
    """

    versions: tuple[Version, ...]
    is_complete: bool


def history_path(path: Path) -> Path:
    """Return the path of the history of a policy."""
    return path.with_name(path.name + SUFFIX)


def read_history(path: Path, policy: PinPolicy, now: datetime) -> History:
    """Return the history of a policy's file. A policy that is not in it counts from the date of its file.

    Args:
        path: of the policy.
        policy: what the file holds.
        now: aware UTC.

    Raises:
        PolicyError: the history cannot be read as one.
        OSError: a file cannot be read.
    """
    try:
        text = _read(history_path(path))
    except FileNotFoundError:
        return History((Version(policy, _written(path), escape(str(path))),), is_complete=False)
    recorded = _parse(text, path)
    versions, is_complete = list(recorded.versions), recorded.is_complete
    if not versions or versions[-1].policy != policy:
        since = _written(path)
        if versions and versions[-1].since is not None and since < versions[-1].since:
            since = now  # an older file was put back, at an unknown time
        versions.append(Version(policy, since, escape(str(path))))
    versions[-1] = versions[-1]._replace(name=escape(str(path)))
    return History(tuple(versions), is_complete)


def first_record(path: Path, policy: PinPolicy, now: datetime) -> NewFile:
    """Return the history of a policy that is new: nothing was before it."""
    return NewFile(history_path(path), _text([Version(policy, now)], is_complete=True).encode())


def record(path: Path, before: History, policy: PinPolicy, now: datetime) -> None:
    """Add a version to the history of a policy.

    Args:
        path: of the policy.
        before: what `read_history()` returned for the policy that this one replaces.
        policy: the new version.
        now: aware UTC; when it was written.

    Raises:
        OSError: the history cannot be written.
    """
    versions = [*before.versions, Version(policy, now)]
    oldest = now - KEPT
    while len(versions) > 1 and versions[1].since is not None and versions[1].since < oldest:
        del versions[0]
    keep(path, History(tuple(versions), before.is_complete and versions[0] == before.versions[0]))


def keep(path: Path, history: History) -> None:
    """Write the history of a policy, such as one that has a version that was edited by hand.

    Args:
        path: of the policy.
        history: all versions.

    Raises:
        OSError: the history cannot be written.
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
        line["policy"] = json.loads(each.policy.to_json())
        lines.append(json.dumps(line) + "\n")
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


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)

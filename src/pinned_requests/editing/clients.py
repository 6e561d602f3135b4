"""Which policies clients may have: the history of a file, older files, and what a repository serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape
from pinned_requests.monitoring.serving import Version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.editing.policy_file import PolicyFile

_PUBLISHED = "the published policy"


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

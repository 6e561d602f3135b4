"""How `pinned-requests repo` shows what a policy changes, and what it would break."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests import PinPolicy, PolicyError
from pinned_requests.cli.output import Row, complain, show_json, show_table
from pinned_requests.core.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pinned_requests.core.difference import Difference
    from pinned_requests.publishing.review import LookUp, Review
    from pinned_requests.publishing.state import State
    from pinned_requests.publishing.status import Status

_SOON = timedelta(days=30)  # for pins that expire


class Reviewed(NamedTuple):
    """A review, and what else is doubtful of the policy."""

    review: Review
    doubts: tuple[tuple[str, str, str], ...]  # place, kind, text

    def document(self) -> dict[str, Any]:
        """Return the JSON."""
        doubts = [{"place": place, "kind": kind, "text": text} for place, kind, text in self.doubts]
        return {**self.review.document(), "doubts": doubts}


def review(
    new: PinPolicy,
    state: State | None,
    target: str,
    read: Callable[[str], bytes],
    look_up: LookUp | None = None,
) -> Reviewed:
    """Review a policy against the published one of the same name, and lint it."""
    from tuf.api.exceptions import RepositoryError

    from pinned_requests.editing.doubts import doubts
    from pinned_requests.publishing import review as library
    from pinned_requests.publishing.state import policy_of

    old = unreadable = None
    try:
        old = None if state is None else policy_of(state, target, read)
    except (PolicyError, RepositoryError, OSError) as e:  # the new policy may be the cure
        unreadable = escape(str(e))
    now = datetime.now(UTC)
    found = library.review(old, new, now, look_up, unreadable=unreadable)
    refused = {(each.place, each.kind) for each in found.lockouts}
    linted = ((place, finding.kind, finding.text) for place, finding in doubts(new, now, _SOON))
    return Reviewed(found, tuple(each for each in linted if each[:2] not in refused))


def looking(timeout: float, proxy: str | None, ca_bundle: str | None) -> LookUp:
    """Return a function that gets the chain of a live server."""
    from pinned_requests.monitoring.fetch import fetch
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import ServerError, Target
    from pinned_requests.publishing.review import UnseenError

    route = Route(timeout, proxy, ca_bundle).check()

    def look_up(host: str, port: int) -> Any:
        try:
            return fetch(Target(host, port), route)
        except ServerError as e:
            raise UnseenError(e.reason) from None

    return look_up


def show_review(reviewed: Reviewed) -> None:
    """Print what changes, and what is doubtful."""
    _show_difference(reviewed.review.difference)
    if reviewed.doubts:
        rows = [Row(place, [f"{kind}: {text}"]) for place, kind, text in reviewed.doubts]
        show_table("Doubtful:", ("host pattern", "doubtful"), rows)
    if reviewed.review.not_seen:
        print(f"Not checked live, being patterns: {', '.join(reviewed.review.not_seen)}.")


def is_refused(reviewed: Reviewed | None, *, is_forced: bool) -> bool:
    """Say on stderr what would lock clients out, and return whether that ends the command."""
    lockouts = () if reviewed is None else reviewed.review.lockouts
    for each in lockouts:
        complain(str(each))
    if not lockouts or is_forced:
        return False
    complain("nothing is published; mend the policy, or publish all the same with --force")
    return True


def show_status(status: Status, *, as_json: bool) -> None:
    """Print what a repository says, and its findings on stderr."""
    if as_json:
        show_json(status.document())
        return
    rows = []
    for role in status.roles:
        keys = ", ".join(
            f"{key.keyid[:12]}{f' ({key.holder})' if key.holder else ''}{'' if key.has_signed else ', not signed'}"
            for key in role.keys
        )
        lines = [
            f"version {role.version}, {role.state}: expires {role.expires:%Y-%m-%d %H:%M} UTC",
            f"{role.threshold} of {len(role.keys)} must sign: {keys}",
        ]
        rows.append(Row(role.role, lines, is_good=role.state == "ok"))
    for name, policy in status.policies.items():
        lines = [policy] if isinstance(policy, str) else [*_hosts(policy)]
        rows.append(Row(name, lines, is_good=isinstance(policy, PinPolicy)))
    show_table(None, ("role or policy", "now"), rows)
    for finding in status.findings:
        complain(finding)


def _show_difference(difference: Difference) -> None:
    kinds = {"gained": difference.gained, "lost": difference.lost, "changed": difference.changed}
    rows = [
        Row(f"{host} ({kind})", [*map(str, changes)])
        for kind, hosts in kinds.items()
        for host, changes in hosts.items()
    ]
    if difference.policy:
        rows.append(Row("whole policy (changed)", [*map(str, difference.policy)]))
    if rows:
        show_table("Changes to the published policy:", ("host pattern", "changes"), rows)
    else:
        print("The published policy is the same.")


def _hosts(policy: PinPolicy) -> Iterable[str]:
    for host, pins in policy.hosts.items():
        if pins.is_exempt:
            yield f"{host}  exempt"
            continue
        expires = "" if pins.expires is None else f"; expires {pins.expires:%Y-%m-%d %H:%M} UTC"
        yield f"{host}  {', '.join(pin.describe() for pin in (*pins.pins, *pins.backup_pins))}{expires}"
    for pin in policy.blocked_pins:
        yield f"blocked  {pin.describe()}"
    yield f"unpinned_hosts  {policy.unpinned_hosts}"

"""Where a rotation stands: the policy, its history and the live servers → what is next, and what must wait. Pure.

The rule (RFC 7469 §4.3): a client must know a key before a server shows it, and no server may show a key that a client
no longer accepts. Not checked: servers that no address leads to now, such as a stand-by, and other hosts of a pattern.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.editing import changes
from pinned_requests.monitoring.serving import MAX_CLIENT_AGE, Serving, can_serve, refusal_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.editing.policy_file import History
    from pinned_requests.monitoring.fetch import Served


class UnsafeStepError(ValueError):
    """The step would lock clients out. The text says why, and where known from when on it is safe."""


class Stage(Enum):
    """The stage of a rotation."""

    UNREACHED = "unreached"
    MISMATCH = "mismatch"
    SWITCHING = "switching"
    SWITCHED = "switched"
    RETIRING = "retiring"
    NO_RESERVE = "no-reserve"
    READY = "ready"
    WAITING = "waiting"


class NotYet(NamedTuple):
    """A step that would lock clients out."""

    step: str  # what must not be done
    why: str  # half a sentence
    until: datetime | None  # when it becomes safe; None: that depends on something else than time


class Status(NamedTuple):
    """Where the rotation of a host stands."""

    host: str  # in canonical form
    port: int
    pattern: str  # the entry of the policy that decides about it
    stage: Stage
    servers: tuple[Served, ...]
    in_use: tuple[Pin, ...]  # accepted keys that servers present as a leaf
    above: tuple[Pin, ...]  # accepted pins above the leaf, or of whole certificates, that servers present
    retired: tuple[Pin, ...]  # pins in `pins` that no server presents
    reserve: tuple[Serving, ...]  # backup pins that no server presents, and whether each may be served
    not_yet: tuple[NotYet, ...]

    @property
    def served_keys(self) -> dict[Pin, list[str]]:
        """The keys that servers present as a leaf, accepted or not, and where."""
        keys: dict[Pin, list[str]] = {}
        for server in self.servers:
            if server.key is not None:
                keys.setdefault(server.key, []).append(server.place)
        return keys


def status_of(  # noqa: PLR0913  the place, what is known of the clients, and what is served
    host: str,
    port: int,
    history: History,
    servers: Sequence[Served],
    *,
    now: datetime,
    max_client_age: timedelta = MAX_CLIENT_AGE,
) -> Status:
    """Say where the rotation of a host stands; the last version of the history is the policy in force.

    Raises:
        PolicyError: the policy has no entry for the host, or exempts it.
    """
    policy = history.versions[-1].policy
    pattern = changes.entry_of(policy, host, port)
    pins = policy.hosts[pattern]
    leaves = {pin for server in servers if server.chain for pin in server.chain[0].pins}
    others = {pin for server in servers for pin in server.pins} - leaves
    accepted = tuple(dict.fromkeys((*pins.pins, *pins.backup_pins)))
    reserve = tuple(
        can_serve(
            [[pin]],
            host,
            port,
            history.versions,
            now=now,
            max_client_age=max_client_age,
            is_complete=history.is_complete,
        )
        for pin in pins.backup_pins
        if pin not in leaves | others
    )
    status = Status(
        host=host,
        port=port,
        pattern=pattern,
        stage=Stage.UNREACHED,
        servers=tuple(servers),
        in_use=tuple(pin for pin in accepted if pin in leaves),
        above=tuple(pin for pin in accepted if pin in others),
        retired=tuple(pin for pin in pins.pins if pin not in leaves | others),
        reserve=reserve,
        not_yet=(),
    )
    status = status._replace(stage=_stage(status, policy))
    return status._replace(not_yet=tuple(_not_yet(status, policy)))


def check_finish(status: Status, policy: PinPolicy, dropped: Sequence[Pin], *, is_stolen: bool) -> None:
    """Make sure that pins can be dropped from a policy without a client being refused.

    Raises:
        UnsafeStepError: a server could not be asked, or still presents one of them; or no key in reserve would be left,
            which does not matter for a stolen key.
        PolicyError: one of them is not a pin of the host, or no pin would be left.
    """
    for server in status.servers:
        if not server.chain:
            raise UnsafeStepError(
                f"{server.place} could not be asked ({server.problem}): it may still have the old key"
            )
    pins = policy.hosts[status.pattern]
    for pin in dropped:
        if pin not in pins.accepted:
            raise PolicyError(f"{pin} is not a pin of {status.pattern}")
        at = [server.place for server in status.servers if pin in server.pins]
        if at:
            safe = status.reserve[0] if status.reserve else None
            raise UnsafeStepError(
                f"{pin.describe(pins.accepted)} is still served at {', '.join(at)}{_replacement(safe)}"
            )
    if not is_stolen and all(each.pin in dropped for each in status.reserve):
        raise UnsafeStepError(f"no key in reserve would be left for {status.pattern}; run 'rotate next' first")
    left = changes.without(policy, status.pattern, dropped)
    for server in status.servers:
        if why := refusal_of(left, status.host, status.port, server.pins):
            raise UnsafeStepError(f"{server.place} serves {server.key}, and the policy without the old pin {why}")


def _replacement(reserve: Serving | None) -> str:
    if reserve is None:
        return "; give it another key of the policy first"
    if reserve.safe_from is None:
        return f"; give it another key first, and not {reserve.pin} yet: since when clients know it is unknown"
    return f"; give it {reserve.pin} first, which is safe from {reserve.safe_from:%Y-%m-%d %H:%M} UTC on"


def _stage(status: Status, policy: PinPolicy) -> Stage:  # noqa: PLR0911  one return a stage
    answered = [server for server in status.servers if server.chain]
    if not answered:
        return Stage.UNREACHED
    if any(refusal_of(policy, status.host, status.port, server.pins) for server in answered):
        return Stage.MISMATCH
    if len(status.served_keys) > 1:
        return Stage.SWITCHING
    if set(policy.hosts[status.pattern].backup_pins) & set(status.in_use):
        return Stage.SWITCHED
    if not status.reserve:
        return Stage.NO_RESERVE
    if status.retired:
        return Stage.RETIRING
    return Stage.READY if any(each.is_safe for each in status.reserve) else Stage.WAITING


def _not_yet(status: Status, policy: PinPolicy) -> list[NotYet]:
    found = [
        NotYet(f"serve {each.pin}", f"{each.refusals[-1].name} {each.refusals[-1].why}", each.safe_from)
        for each in status.reserve
        if not each.is_safe
    ]
    found += [
        NotYet("drop a pin", f"{server.place} could not be asked: {server.problem}", None)
        for server in status.servers
        if not server.chain
    ]
    # Where a key in reserve may be served already, no date stands in the way, but the server's change of key.
    waiting = None if any(each.is_safe for each in status.reserve) else status.reserve
    soonest = min((each.safe_from for each in waiting or () if each.safe_from), default=None)
    for pin in policy.hosts[status.pattern].pins:
        at = [server.place for server in status.servers if server.chain and pin in server.chain[0].pins]
        if at:
            found.append(NotYet(f"drop {pin}", f"it is served at {', '.join(at)}", soonest))
    return found

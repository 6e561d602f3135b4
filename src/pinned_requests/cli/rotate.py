"""`pinned-requests rotate`: the steps of a rotation, each of which knows where the rotation stands."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.cli.asking import write
from pinned_requests.cli.output import CommandError, Row, complain, rfc3339, show_json, show_table
from pinned_requests.core.host import HostPattern
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import escape
from pinned_requests.editing import changes
from pinned_requests.editing.backup import csr_path, make_backup_key
from pinned_requests.editing.files import SECRET, NewFile, check_new
from pinned_requests.editing.history import keep
from pinned_requests.editing.policy_file import PolicyFile, note_of
from pinned_requests.editing.rotation import NotYet, Stage, Status, UnsafeStepError, check_finish, status_of
from pinned_requests.monitoring.served import look_at_all
from pinned_requests.monitoring.target import Target, read_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from pinned_requests.monitoring.route import Route

_SAID = {
    Stage.UNREACHED: "no server answers",
    Stage.MISMATCH: "a server presents a key that the policy does not accept: clients refuse it",
    Stage.SWITCHING: "the servers present different keys: the switch is under way",
    Stage.SWITCHED: "a backup key is in use, and no pin says so yet",
    Stage.RETIRING: "the policy accepts keys that no server presents",
    Stage.NO_RESERVE: "no key is in reserve: the next loss of the key locks every client out",
    Stage.WAITING: "a key is in reserve, and not every client knows it yet",
    Stage.READY: "a key is in reserve, and every client knows it",
}
_BAD = frozenset((Stage.UNREACHED, Stage.MISMATCH))


class RefusedError(CommandError):
    """A step that would lock clients out is not taken. That is a finding."""

    exit_code = 1


class Place(NamedTuple):
    """The policy and the host that a rotation is about, and how the host is reached."""

    path: Path
    host: str
    route: Route
    max_client_age: timedelta


class Look(NamedTuple):
    """What one look at the policy and the servers found."""

    file: PolicyFile
    target: Target
    status: Status
    now: datetime


def look(place: Place) -> Look:
    """Read the policy, ask the servers, and say where the rotation stands.

    Raises:
        PolicyError: the policy or the host is wrong, or the policy has no pins for it.
        RouteError: the proxy or the CA bundle is wrong.
        OSError: the policy cannot be read.
    """
    now = datetime.now(UTC)
    target = read_target(place.host)
    file = PolicyFile.read(place.path, now)
    changes.entry_of(file.policy, target.host, target.port)  # before a connection is made
    servers = look_at_all(target, place.route)
    status = status_of(target.host, target.port, file.history, servers, now=now, max_client_age=place.max_client_age)
    return Look(file, target, status, now)


def status(place: Place, *, as_json: bool) -> int:
    """Show where a rotation stands, what is next, and what must wait.

    Returns:
        1 where clients are refused or no server answers, else 0.
    """
    seen = look(place)
    if as_json:
        show_json(_document(seen, place))
    else:
        show_table(None, ("about", "found"), _rows(seen, place))
    return 1 if seen.status.stage in _BAD else 0


def prepare(place: Place, key: Path | None, key_type: str, *, is_agreed: bool, as_json: bool) -> int:
    """Make the next backup key and its CSR, and write its pin into the policy; what is served becomes a pin.

    Args:
        place: the policy and the host.
        key: path of the new key; None for one that has host and date.
        key_type: one of `editing.backup.KEY_TYPES`.
        is_agreed: whether to write without asking.
        as_json: whether to print JSON.

    Raises:
        RefusedError: a server presents a key that the policy does not accept, or none answers.
    """
    seen = look(place)
    status = seen.status
    if status.stage in _BAD:
        raise RefusedError(f"{_SAID[status.stage]}; see '{_command('rotate status', place)}'")
    key = key or Path(f"{status.host.replace(':', '-')}-{seen.now:%Y%m%d}.key")
    csr = csr_path(key)
    check_new([key, csr])
    made = make_backup_key([status.host], key_type)
    pin = made.pin.with_note(note_of("backup", key.name, "made", seen.now))
    new = changes.with_backup(seen.file.policy, status.pattern, pin, status.in_use)
    files = [NewFile(key, made.key_pem, SECRET), NewFile(csr, made.csr_pem)]
    shown = write(seen.file, new, seen.now, files, is_agreed=is_agreed, as_json=as_json)
    safe = seen.now + place.max_client_age
    if as_json:
        show_json(
            {
                "policy": str(place.path),
                "host": str(seen.target),
                "backup_key": str(key),
                "backup_csr": str(csr),
                "backup_pin": str(pin),
                "may_be_served_from": rfc3339(safe),
                "difference": shown,
            }
        )
        return 0
    print(f"Keep {escape(str(key))} offline, with {escape(str(csr))}.")
    print(f"Publish {escape(str(place.path))} now. Do not serve the new key before {safe:%Y-%m-%d %H:%M} UTC.")
    return 0


def finish(place: Place, pins: Sequence[str], *, is_stolen: bool, is_agreed: bool, as_json: bool) -> int:
    """Drop the old pin, once no server presents it; a stolen key is blocked as well.

    Args:
        place: the policy and the host.
        pins: the pins to drop; none: the one that no server presents.
        is_stolen: whether the old key is compromised.
        is_agreed: whether to write without asking.
        as_json: whether to print JSON.

    Raises:
        RefusedError: a client would be refused.
        CommandError: nothing, or more than one pin, could be meant.
    """
    seen = look(place)
    policy, status = seen.file.policy, seen.status
    listed = policy.hosts[status.pattern]
    dropped = [Pin.parse(text) for text in pins] or list(status.retired)
    if not dropped:
        held = [each for each in status.not_yet if each.step.startswith("drop")]
        why = f": {held[0].why}" if held else ""
        raise RefusedError(f"there is no old pin to drop{why}; see '{_command('rotate status', place)}'")
    if len(dropped) > 1 and not pins:
        shown = ", ".join(pin.describe() for pin in dropped)
        raise CommandError(f"no server presents {shown}; name those to drop by --pin")
    dropped = [next((own for own in (*listed.pins, *listed.backup_pins) if own == pin), pin) for pin in dropped]
    try:
        check_finish(status, policy, dropped, is_stolen=is_stolen)
    except UnsafeStepError as error:
        raise RefusedError(str(error)) from None
    for warning in _others(status):
        complain(f"WARNING: {warning}")
    new = changes.without(policy, status.pattern, dropped)
    if is_stolen:
        new = changes.blocking(new, dropped)
    shown = write(seen.file, new, seen.now, is_agreed=is_agreed, as_json=as_json)
    accepted_until = seen.now + place.max_client_age
    if as_json:
        show_json(
            {
                "policy": str(place.path),
                "host": str(seen.target),
                "dropped": [str(pin) for pin in dropped],
                "blocked": is_stolen,
                "accepted_by_old_policies_until": rfc3339(accepted_until),
                "difference": shown,
            }
        )
        return 0
    print(f"Publish {escape(str(place.path))} now.")
    if is_stolen:
        print(f"A client that has an older policy accepts the stolen key until {accepted_until:%Y-%m-%d %H:%M} UTC.")
    return 0


def record(path: Path, *, as_json: bool) -> int:
    """Write a policy that was edited by hand into its history.

    Raises:
        PolicyError: the policy or its history is wrong.
        OSError: the policy cannot be read, or the history not be written.
    """
    file = PolicyFile.read(path, datetime.now(UTC))
    keep(path, file.history)
    newest = file.history.versions[-1]
    if as_json:
        versions = [{"written": rfc3339(each.since), "hosts": len(each.policy.hosts)} for each in file.history.versions]
        show_json({"policy": str(path), "is_complete": file.history.is_complete, "versions": versions})
        return 0
    since = "an unknown time" if newest.since is None else f"{newest.since:%Y-%m-%d %H:%M} UTC"
    print(f"{escape(str(path))} is recorded, as written at {since} (versions: {len(file.history.versions)}).")
    return 0


def _rows(seen: Look, place: Place) -> list[Row]:
    status = seen.status
    pins = seen.file.policy.hosts[status.pattern]
    listed = (*pins.pins, *pins.backup_pins)
    about = [_SAID[status.stage], *_others(status)]
    rows = [Row(str(seen.target), about, is_good=status.stage not in _BAD)]
    served = []
    for pin, places in status.served_keys.items():
        known = "" if pin in pins.accepted or status.above else "  NOT ACCEPTED"
        served += [f"{pin.describe(listed)}{known}", f"  at {', '.join(places)}"]
    served += [f"{server.place}: {server.problem}" for server in status.servers if not server.chain]
    rows.append(Row("served", served))
    if status.above:
        rows.append(Row("pinned above the leaf", [pin.describe() for pin in status.above]))
    if status.retired:
        rows.append(Row("accepted, and served nowhere", [pin.describe() for pin in status.retired]))
    reserve = []
    for each in status.reserve:
        reserve.append(each.pin.describe(listed))
        since = "at an unknown time" if each.known_since is None else f"since {each.known_since:%Y-%m-%d %H:%M} UTC"
        reserve.append(f"  in the policy {since}; {_when(each.is_safe, each.safe_from)}")
    rows.append(Row("in reserve", reserve or ["nothing"]))
    rows.append(Row("next", _next(status, place)))
    if status.not_yet:
        rows.append(Row("not yet", [line for each in status.not_yet for line in _lines_of(each)]))
    return rows


def _others(status: Status) -> list[str]:
    """Say what was not asked: the other hosts of a pattern."""
    if HostPattern.parse(status.pattern).kind == "exact":
        return []
    return [f"the entry is {status.pattern}: its other hosts may have other keys, and were not asked"]


def _lines_of(waiting: NotYet) -> list[str]:
    until = "" if waiting.until is None else f"; safe from {waiting.until:%Y-%m-%d %H:%M} UTC on"
    return [waiting.step, f"  {waiting.why}{until}"]


def _when(is_safe: bool, safe_from: datetime | None) -> str:  # noqa: FBT001  half of an answer
    if is_safe:
        return "it may be served"
    return "not to be served yet" if safe_from is None else f"it may be served from {safe_from:%Y-%m-%d %H:%M} UTC on"


def _next(status: Status, place: Place) -> list[str]:
    advice = {
        Stage.UNREACHED: ["get the server to answer, or name another by --connect-to"],
        Stage.MISMATCH: [
            "put a key back that the policy accepts; if the change is right, and clients can be told:",
            f"  {_command('repin', place)}",
        ],
        Stage.SWITCHING: ["give every server the same key, one that the policy accepts; then look again"],
        Stage.SWITCHED: [_command("rotate next", place)],
        Stage.NO_RESERVE: [_command("rotate next", place)],
        Stage.RETIRING: [f"when no server is to go back: {_command('rotate finish', place)}"],
        Stage.WAITING: ["nothing: renew certificates with the key that is served"],
        Stage.READY: ["nothing; the key in reserve may be served at any time"],
    }
    return advice[status.stage]


def _command(name: str, place: Place) -> str:
    """Return a command that can be pasted as it is."""
    path, host = shlex.quote(str(place.path)), shlex.quote(place.host)
    if name == "repin":
        return escape(f"pinned-requests repin {host} --policy {path}")
    return escape(f"pinned-requests {name} {path} {host}")


def _document(seen: Look, place: Place) -> dict[str, Any]:
    status = seen.status
    is_pattern = HostPattern.parse(status.pattern).kind != "exact"
    return {
        "policy": str(place.path),
        "host": str(seen.target),
        "pattern": status.pattern,
        "is_pattern": is_pattern,
        "stage": status.stage.value,
        "served": [
            {"place": each.place, "pin": each.key and str(each.key), "problem": each.problem} for each in status.servers
        ],
        "in_use": [str(pin) for pin in status.in_use],
        "above": [str(pin) for pin in status.above],
        "retired": [str(pin) for pin in status.retired],
        "reserve": [
            {
                "pin": str(each.pin),
                "known_since": rfc3339(each.known_since),
                "may_be_served": each.is_safe,
                "may_be_served_from": rfc3339(each.safe_from),
            }
            for each in status.reserve
        ],
        "next": _next(status, place),
        "not_yet": [{"step": each.step, "why": each.why, "until": rfc3339(each.until)} for each in status.not_yet],
    }

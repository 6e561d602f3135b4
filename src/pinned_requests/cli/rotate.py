"""`pinned-requests rotate`: the steps of a rotation, each of which knows where the rotation stands."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests import Pin
from pinned_requests.cli.output import (
    MAX_SENTENCE,
    CommandError,
    RefusedError,
    Row,
    complain,
    rfc3339,
    show_json,
    show_table,
    write,
)
from pinned_requests.core.host import HostPattern, spell_host
from pinned_requests.core.text import escape
from pinned_requests.editing import changes
from pinned_requests.editing.backup import csr_path, key_path, make_backup_key
from pinned_requests.editing.files import check_new
from pinned_requests.editing.policy_file import PolicyFile, write_history
from pinned_requests.editing.rotation import Stage, Status, UnsafeStepError, check_finish, status_of
from pinned_requests.monitoring.fetch import look_at_all
from pinned_requests.monitoring.target import read_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

    from pinned_requests.editing.rotation import NotYet
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.serving import Serving
    from pinned_requests.monitoring.target import Target

_SAID = {
    Stage.UNREACHED: "no server answers with a valid certificate",
    Stage.MISMATCH: "a server presents a key that the policy does not accept: clients refuse it",
    Stage.SWITCHING: "the servers present different keys: the switch is under way",
    Stage.SWITCHED: "a backup key is in use, and no pin says so yet",
    Stage.RETIRING: "the policy accepts keys that no server presents",
    Stage.NO_RESERVE: "no key is in reserve: the next loss of the key locks every client out",
    Stage.WAITING: "a key is in reserve, and not every client knows it yet",
    Stage.READY: "a key is in reserve, and every client knows it",
}
_BAD = frozenset((Stage.UNREACHED, Stage.MISMATCH))


class Place(NamedTuple):
    """The policy and the host of a rotation, and how the host is reached."""

    path: Path
    host: str
    route: Route
    max_client_age: timedelta


class _Look(NamedTuple):
    """What a look at the policy and the servers found."""

    place: Place
    file: PolicyFile
    target: Target
    status: Status
    now: datetime


def _look(place: Place) -> _Look:
    now = datetime.now(UTC)
    target = read_target(place.host)
    file = PolicyFile.read(place.path, now)
    changes.entry_of(file.policy, target.host, target.port)  # before a connection is made
    servers = look_at_all(target, place.route)
    status = status_of(target.host, target.port, file.history, servers, now=now, max_client_age=place.max_client_age)
    return _Look(place, file, target, status, now)


def status(place: Place, *, as_json: bool) -> int:
    """Show where a rotation stands. Returns 1 where clients are refused or no server answers, else 0."""
    seen = _look(place)
    if as_json:
        show_json(_document(seen))
    else:
        show_table(None, ("about", "found"), _rows(seen))
    return 1 if seen.status.stage in _BAD else 0


def prepare(place: Place, key: Path | None, key_type: str, *, is_agreed: bool, as_json: bool) -> int:
    """Make the next backup key and its CSR, and write its pin into the policy; what is served becomes a pin."""
    seen = _look(place)
    status = seen.status
    if status.stage in _BAD:
        raise RefusedError(f"{_SAID[status.stage]}; see '{_command_line('rotate status', place)}'")
    path = key or key_path(status.host, seen.now)
    check_new([path, csr_path(path)])
    made = make_backup_key([status.host], key_type, path, seen.now)
    new = changes.with_backup(seen.file.policy, status.pattern, made.pin, status.in_use)
    shown = write(seen.file, new, seen.now, made.files, is_agreed=is_agreed, as_json=as_json)
    safe = seen.now + place.max_client_age
    if as_json:
        show_json(
            {
                "policy": str(place.path),
                "host": str(seen.target),
                **made.document(),
                "may_be_served_from": rfc3339(safe),
                "difference": shown,
            }
        )
    else:
        print(f"Keep {escape(str(path))} offline, with {escape(str(made.csr))}.")
        print(f"Publish {escape(str(place.path))} now. Do not serve the new key before {safe:%Y-%m-%d %H:%M} UTC.")
    return 0


def finish(place: Place, pins: Sequence[str], *, is_stolen: bool, is_agreed: bool, as_json: bool) -> int:
    """Drop the old pins (those named, or the one that no server presents); a stolen key is blocked as well."""
    seen = _look(place)
    policy, status = seen.file.policy, seen.status
    listed = policy.hosts[status.pattern]
    dropped = [Pin.parse(text) for text in pins] or list(status.retired)
    if not dropped:
        held = [each for each in status.not_yet if each.step.startswith("drop")]
        why = f": {held[0].why}" if held else ""
        raise RefusedError(f"there is no old pin to drop{why}; see '{_command_line('rotate status', place)}'")
    if len(dropped) > 1 and not pins:
        shown = ", ".join(pin.describe() for pin in dropped)
        raise CommandError(f"no server presents {shown}; name those to drop by --pin")
    dropped = [next((own for own in (*listed.pins, *listed.backup_pins) if own == pin), pin) for pin in dropped]
    try:
        check_finish(status, policy, dropped, is_stolen=is_stolen)
    except UnsafeStepError as error:
        raise RefusedError(str(error)) from None
    for warning in _other_hosts(status):
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
    """Write a policy that was edited by hand into its history."""
    file = PolicyFile.read(path, datetime.now(UTC))
    write_history(path, file.history)
    versions = file.history.versions
    if as_json:
        written = [{"written": rfc3339(each.since), "hosts": len(each.policy.hosts)} for each in versions]
        show_json({"policy": str(path), "is_complete": file.history.is_complete, "versions": written})
    else:
        since = "an unknown time" if versions[-1].since is None else f"{versions[-1].since:%Y-%m-%d %H:%M} UTC"
        print(f"{escape(str(path))} is recorded, as written at {since} (versions: {len(versions)}).")
    return 0


def _rows(seen: _Look) -> list[Row]:
    status = seen.status
    pins = seen.file.policy.hosts[status.pattern]
    listed = (*pins.pins, *pins.backup_pins)
    about = [_SAID[status.stage], *_other_hosts(status)]
    rows = [Row(str(seen.target), about, is_good=status.stage not in _BAD)]
    served = []
    for pin, places in status.served_keys.items():
        known = "" if pin in pins.accepted or status.above else "  NOT ACCEPTED"
        served += [f"{pin.describe(listed)}{known}", f"  at {', '.join(places)}"]
    served += [f"{server.place}: {server.problem}" for server in status.servers if not server.chain]
    rows.append(Row("served", served))
    if status.above:
        rows.append(Row("pinned above the leaf", [pin.describe() for pin in status.above]))
    if status.retired and all(server.chain for server in status.servers):
        rows.append(Row("accepted, and served nowhere", [pin.describe() for pin in status.retired]))
    reserve = []
    for each in status.reserve:
        reserve.append(each.pin.describe(listed))
        since = "at an unknown time" if each.known_since is None else f"since {each.known_since:%Y-%m-%d %H:%M} UTC"
        reserve.append(f"  in the policy {since}; {_when(each)}")
    rows.append(Row("in reserve", reserve or ["nothing"]))
    rows.append(Row("next", _next(seen)))
    if status.not_yet:
        rows.append(Row("not yet", [line for each in status.not_yet for line in _lines_of(each)]))
    return rows


def _other_hosts(status: Status) -> list[str]:
    if HostPattern.parse(status.pattern).kind == "exact":
        return []
    return [f"the entry is {status.pattern}: its other hosts may have other keys, and were not asked"]


def _lines_of(waiting: NotYet) -> list[str]:
    # What is served is dropped after a change of key: the date is that from which another may be served.
    what = "another key may be served" if waiting.step.startswith("drop") else "safe"
    until = "" if waiting.until is None else f"; {what} from {waiting.until:%Y-%m-%d %H:%M} UTC on"
    return [waiting.step, f"  {waiting.why}{until}"]


def _when(key: Serving) -> str:
    if key.is_safe:
        return "it may be served"
    if key.safe_from is None:
        return "not to be served yet"
    return f"it may be served from {key.safe_from:%Y-%m-%d %H:%M} UTC on"


def _next(seen: _Look) -> list[str]:
    place = seen.place
    advice = {
        Stage.UNREACHED: [
            "mend the server, or name another by --connect-to; if its leaf is pinned without a CA, give --insecure"
        ],
        Stage.MISMATCH: [
            "put a key back that the policy accepts; if the change is right, and clients can be told:",
            f"  {_command_line('repin', place)}",
        ],
        Stage.SWITCHING: ["give every server the same key, one that the policy accepts; then look again"],
        Stage.SWITCHED: [_command_line("rotate next", place)],
        Stage.NO_RESERVE: [_command_line("rotate next", place)],
        Stage.RETIRING: [f"when no server is to go back: {_command_line('rotate finish', place)}"],
        Stage.WAITING: ["nothing: renew certificates with the key that is served"],
        Stage.READY: ["nothing; the key in reserve may be served at any time"],
    }
    return advice[seen.status.stage]


def _command_line(name: str, place: Place) -> str:
    """Return a command to paste, with the options of this one; but for a proxy, whose URL may hold a password."""
    path, host, route = str(place.path), place.host, place.route
    words = ["repin", host, "--policy", path] if name == "repin" else [*name.split(), path, host]
    if route.ca_bundle is not None:
        words += ["--ca-bundle", route.ca_bundle]
    if route.is_insecure and name != "repin":
        words.append("--insecure")
    if name != "repin":
        for target, addresses in route.connect_to.items():
            words += [word for each in addresses for word in ("--connect-to", f"{target}:{spell_host(each)}")]
    return escape(shlex.join(["pinned-requests", *words]), MAX_SENTENCE)


def _document(seen: _Look) -> dict[str, Any]:
    status = seen.status
    return {
        "policy": str(seen.place.path),
        "host": str(seen.target),
        "pattern": status.pattern,
        "is_pattern": bool(_other_hosts(status)),
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
        "next": _next(seen),
        "not_yet": [{"step": each.step, "why": each.why, "until": rfc3339(each.until)} for each in status.not_yet],
    }

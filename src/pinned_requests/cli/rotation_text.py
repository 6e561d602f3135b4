"""What `pinned-requests rotate` says: where a rotation stands, and the commands that it advises."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.cli.output import MAX_SENTENCE, Row, rfc3339
from pinned_requests.core.host import HostPattern
from pinned_requests.core.text import escape
from pinned_requests.editing.rotation import NotYet, Stage, Status

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from pinned_requests.editing.policy_file import PolicyFile
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import Target

SAID = {
    Stage.UNREACHED: "no server answers with a valid certificate",
    Stage.MISMATCH: "a server presents a key that the policy does not accept: clients refuse it",
    Stage.SWITCHING: "the servers present different keys: the switch is under way",
    Stage.SWITCHED: "a backup key is in use, and no pin says so yet",
    Stage.RETIRING: "the policy accepts keys that no server presents",
    Stage.NO_RESERVE: "no key is in reserve: the next loss of the key locks every client out",
    Stage.WAITING: "a key is in reserve, and not every client knows it yet",
    Stage.READY: "a key is in reserve, and every client knows it",
}
BAD = frozenset((Stage.UNREACHED, Stage.MISMATCH))


class Place(NamedTuple):
    """The policy and the host of a rotation, and how the host is reached."""

    path: Path
    host: str
    route: Route
    max_client_age: timedelta


class Look(NamedTuple):
    """What a look at the policy and the servers found."""

    file: PolicyFile
    target: Target
    status: Status
    now: datetime


def rows_of(seen: Look, place: Place) -> list[Row]:
    """Return for people what is served, what is in reserve, what is next, and what must wait."""
    status = seen.status
    pins = seen.file.policy.hosts[status.pattern]
    listed = (*pins.pins, *pins.backup_pins)
    about = [SAID[status.stage], *other_hosts(status)]
    rows = [Row(str(seen.target), about, is_good=status.stage not in BAD)]
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
        reserve.append(f"  in the policy {since}; {_when(each.is_safe, each.safe_from)}")
    rows.append(Row("in reserve", reserve or ["nothing"]))
    rows.append(Row("next", _next(status, place)))
    if status.not_yet:
        rows.append(Row("not yet", [line for each in status.not_yet for line in _lines_of(each)]))
    return rows


def other_hosts(status: Status) -> list[str]:
    """Say that the other hosts of a pattern were not asked."""
    if HostPattern.parse(status.pattern).kind == "exact":
        return []
    return [f"the entry is {status.pattern}: its other hosts may have other keys, and were not asked"]


def _lines_of(waiting: NotYet) -> list[str]:
    # What is served is dropped after a change of key: the date is that from which another may be served.
    what = "another key may be served" if waiting.step.startswith("drop") else "safe"
    until = "" if waiting.until is None else f"; {what} from {waiting.until:%Y-%m-%d %H:%M} UTC on"
    return [waiting.step, f"  {waiting.why}{until}"]


def _when(is_safe: bool, safe_from: datetime | None) -> str:  # noqa: FBT001  half of an answer
    if is_safe:
        return "it may be served"
    return "not to be served yet" if safe_from is None else f"it may be served from {safe_from:%Y-%m-%d %H:%M} UTC on"


def _next(status: Status, place: Place) -> list[str]:
    advice = {
        Stage.UNREACHED: [
            "mend the server, or name another by --connect-to; if its leaf is pinned without a CA, give --insecure"
        ],
        Stage.MISMATCH: [
            "put a key back that the policy accepts; if the change is right, and clients can be told:",
            f"  {command_line('repin', place)}",
        ],
        Stage.SWITCHING: ["give every server the same key, one that the policy accepts; then look again"],
        Stage.SWITCHED: [command_line("rotate next", place)],
        Stage.NO_RESERVE: [command_line("rotate next", place)],
        Stage.RETIRING: [f"when no server is to go back: {command_line('rotate finish', place)}"],
        Stage.WAITING: ["nothing: renew certificates with the key that is served"],
        Stage.READY: ["nothing; the key in reserve may be served at any time"],
    }
    return advice[status.stage]


def command_line(name: str, place: Place) -> str:
    """Return a command to paste, with the options of this one; but for a proxy, whose URL may hold a password."""
    path, host, route = str(place.path), place.host, place.route
    words = ["repin", host, "--policy", path] if name == "repin" else [*name.split(), path, host]
    if route.ca_bundle is not None:
        words += ["--ca-bundle", route.ca_bundle]
    if route.is_insecure and name != "repin":
        words.append("--insecure")
    if name != "repin":
        for target, addresses in route.connect_to.items():
            places = (f"[{each}]" if ":" in each else each for each in addresses)
            words += [word for each in places for word in ("--connect-to", f"{target}:{each}")]
    return escape(shlex.join(["pinned-requests", *words]), MAX_SENTENCE)


def document_of(seen: Look, place: Place) -> dict[str, Any]:
    """Return the JSON."""
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

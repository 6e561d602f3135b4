"""`pinned-requests block`: adds compromised keys to a policy's `blocked_pins`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pinned_requests.cli.inputs import read_bounded
from pinned_requests.cli.output import complain, show_json, write
from pinned_requests.core.der import MAX_SIZE
from pinned_requests.core.errors import PinFormatError, PolicyError
from pinned_requests.core.pin import Pin, find_keys
from pinned_requests.core.text import escape, show
from pinned_requests.editing import changes
from pinned_requests.editing.policy_file import PolicyFile, note_of
from pinned_requests.monitoring.fetch import fetch
from pinned_requests.monitoring.target import read_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.monitoring.route import Route


def block(what: Sequence[str], policy: Path, route: Route, *, is_agreed: bool, as_json: bool) -> int:
    """Block keys for every host of a policy: pins, the first key in each file, the leaf's key of each `HOST[:PORT]`."""
    now = datetime.now(UTC)
    file = PolicyFile.read(policy, now)
    pins = list(dict.fromkeys(_read(text, route, now) for text in what))
    new = [pin for pin in pins if pin not in file.policy.blocked]
    if not new:
        if as_json:
            show_json({"policy": str(policy), "blocked": [], "accepted_for": {}, "difference": ""})
        else:
            print(f"Nothing to do: {escape(str(policy))} blocks {', '.join(map(str, pins))} already.")
        return 0
    hosts = file.policy.hosts
    accepted = {pin: names for pin in new if (names := [name for name, each in hosts.items() if pin in each.accepted])}
    for pin, names in accepted.items():
        complain(f"{pin} is accepted for {', '.join(names)}: clients will refuse these hosts wherever they serve it")
    shown = write(file, changes.blocking(file.policy, new), now, is_agreed=is_agreed, as_json=as_json)
    if as_json:
        show_json(
            {
                "policy": str(policy),
                "blocked": [str(pin) for pin in new],
                "accepted_for": {str(pin): names for pin, names in accepted.items()},
                "difference": shown,
            }
        )
    else:
        print(f"Publish {escape(str(policy))} now.")
    return 0


def _read(text: str, route: Route, now: datetime) -> Pin:
    try:
        return Pin.parse(text)
    except PinFormatError as error:
        fault = error
    path = Path(text)
    if "/" in text or path.exists():
        found = next(find_keys(read_bounded(text, MAX_SIZE)), None)
        if found is None:
            raise PolicyError(f"{show(text)} has no certificate, certification request or key")
        return found.pin.with_note(note_of("blocked", path.name, "on", now))
    if "sha256" in text.lower():  # a pin that is misspelt, and not a host
        raise fault
    target = read_target(text)
    leaf = fetch(target, route.without_verification()).certificates[0]
    return leaf.spki_pin.with_note(note_of(f"blocked, seen at {target}", leaf.subject, "on", now))

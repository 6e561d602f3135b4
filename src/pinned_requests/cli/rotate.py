"""`pinned-requests rotate`: the steps of a rotation, each of which knows where the rotation stands."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pinned_requests.cli.asking import write
from pinned_requests.cli.output import CommandError, RefusedError, complain, rfc3339, show_json, show_table
from pinned_requests.cli.rotation_text import (
    BAD,
    SAID,
    Look,
    Place,
    command_line,
    document_of,
    other_hosts,
    rows_of,
)
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import escape
from pinned_requests.editing import changes
from pinned_requests.editing.backup import csr_path, make_backup_key
from pinned_requests.editing.files import SECRET, NewFile, check_new
from pinned_requests.editing.history import keep
from pinned_requests.editing.policy_file import PolicyFile, note_of
from pinned_requests.editing.rotation import UnsafeStepError, check_finish, status_of
from pinned_requests.monitoring.served import look_at_all
from pinned_requests.monitoring.target import read_target

if TYPE_CHECKING:
    from collections.abc import Sequence


def look(place: Place) -> Look:
    """Read the policy, ask the servers, and return where the rotation stands."""
    now = datetime.now(UTC)
    target = read_target(place.host)
    file = PolicyFile.read(place.path, now)
    changes.entry_of(file.policy, target.host, target.port)  # before a connection is made
    servers = look_at_all(target, place.route)
    status = status_of(target.host, target.port, file.history, servers, now=now, max_client_age=place.max_client_age)
    return Look(file, target, status, now)


def status(place: Place, *, as_json: bool) -> int:
    """Show where a rotation stands. Returns 1 where clients are refused or no server answers, else 0."""
    seen = look(place)
    if as_json:
        show_json(document_of(seen, place))
    else:
        show_table(None, ("about", "found"), rows_of(seen, place))
    return 1 if seen.status.stage in BAD else 0


def prepare(place: Place, key: Path | None, key_type: str, *, is_agreed: bool, as_json: bool) -> int:
    """Make the next backup key and its CSR, and write its pin into the policy; what is served becomes a pin."""
    seen = look(place)
    status = seen.status
    if status.stage in BAD:
        raise RefusedError(f"{SAID[status.stage]}; see '{command_line('rotate status', place)}'")
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
    """Drop the old pins (those named, or the one that no server presents); a stolen key is blocked as well."""
    seen = look(place)
    policy, status = seen.file.policy, seen.status
    listed = policy.hosts[status.pattern]
    dropped = [Pin.parse(text) for text in pins] or list(status.retired)
    if not dropped:
        held = [each for each in status.not_yet if each.step.startswith("drop")]
        why = f": {held[0].why}" if held else ""
        raise RefusedError(f"there is no old pin to drop{why}; see '{command_line('rotate status', place)}'")
    if len(dropped) > 1 and not pins:
        shown = ", ".join(pin.describe() for pin in dropped)
        raise CommandError(f"no server presents {shown}; name those to drop by --pin")
    dropped = [next((own for own in (*listed.pins, *listed.backup_pins) if own == pin), pin) for pin in dropped]
    try:
        check_finish(status, policy, dropped, is_stolen=is_stolen)
    except UnsafeStepError as error:
        raise RefusedError(str(error)) from None
    for warning in other_hosts(status):
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
    keep(path, file.history)
    newest = file.history.versions[-1]
    if as_json:
        versions = [{"written": rfc3339(each.since), "hosts": len(each.policy.hosts)} for each in file.history.versions]
        show_json({"policy": str(path), "is_complete": file.history.is_complete, "versions": versions})
        return 0
    since = "an unknown time" if newest.since is None else f"{newest.since:%Y-%m-%d %H:%M} UTC"
    print(f"{escape(str(path))} is recorded, as written at {since} (versions: {len(file.history.versions)}).")
    return 0

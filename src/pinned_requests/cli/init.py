"""`pinned-requests init`: a policy for live hosts, new or added to one that is there, and a backup key for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.cli.output import CommandError, Row, complain, show_json, show_table, write
from pinned_requests.core.text import escape, show
from pinned_requests.editing import changes
from pinned_requests.editing.backup import csr_path, key_path, make_backup_key
from pinned_requests.editing.files import NewFile, check_new, create
from pinned_requests.editing.policy_file import PolicyFile, first_record, history_path, note_of
from pinned_requests.monitoring.fetch import fetch
from pinned_requests.monitoring.target import read_target
from pinned_requests.monitoring.trust_store import doubts_about

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.editing.backup import BackupKey
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import Target

_PINNED_DEPTHS = ("leaf", "issuer")


class _Seen(NamedTuple):
    """A host, the certificates to pin (leaf first), and why they may be an interceptor's."""

    target: Target
    chain: tuple[SeenCertificate, ...]
    doubts: tuple[str, ...]

    @property
    def by_role(self) -> list[tuple[str, SeenCertificate]]:
        return list(zip(_PINNED_DEPTHS, self.chain, strict=False))

    def pins(self, backup: Pin, now: datetime) -> PinSet:
        pins = [each.spki_pin.with_note(note_of(role, each.subject, "seen", now)) for role, each in self.by_role]
        return PinSet(pins, backup_pins=backup)


def init(hosts: Sequence[str], output: Path, backup_key: Path, key_type: str, route: Route, *, as_json: bool) -> int:
    """Write a new policy. Every host must be reached, with a valid certificate, before anything is written."""
    text = {".toml": PinPolicy.to_toml, ".json": PinPolicy.to_json}.get(output.suffix.lower())
    if text is None:
        raise CommandError(f"{show(str(output))} is not the path of a policy; give that of a .toml or .json file")
    check_new([output, history_path(output), backup_key, csr_path(backup_key)])
    seen = _look(hosts, route)
    now = datetime.now(UTC)
    key = make_backup_key((each.target.host for each in seen), key_type, backup_key, now)
    new = PinPolicy({each.target.pattern: each.pins(key.pin, now) for each in seen})
    create([*key.files, first_record(output, new, now), NewFile(output, text(new).encode())])
    _report(output, seen, key, None, as_json=as_json)
    return 0


def add(
    hosts: Sequence[str],
    policy: Path,
    backup_key: Path | None,
    key_type: str,
    route: Route,
    *,
    is_agreed: bool,
    as_json: bool,
) -> int:
    """Add hosts to a policy. What is in its file stays, comments included."""
    file = PolicyFile.read(policy, datetime.now(UTC))
    targets = [read_target(text) for text in hosts]
    changes.check_absent(file.policy, [target.pattern for target in targets])  # before a connection is made
    path = backup_key or key_path(targets[0].host, datetime.now(UTC))
    check_new([path, csr_path(path)])
    seen = _look(hosts, route)
    now = datetime.now(UTC)
    key = make_backup_key((each.target.host for each in seen), key_type, path, now)
    new = changes.with_hosts(file.policy, {each.target.pattern: each.pins(key.pin, now) for each in seen})
    shown = write(file, new, now, key.files, is_agreed=is_agreed, as_json=as_json)
    _report(policy, seen, key, shown, as_json=as_json)
    return 0


def _look(hosts: Sequence[str], route: Route) -> list[_Seen]:
    found = []
    for target in dict.fromkeys(map(read_target, hosts)):
        chain = fetch(target, route)
        seen = _Seen(target, chain.certificates[: len(_PINNED_DEPTHS)], doubts_about(target, route, chain))
        for doubt in seen.doubts:
            complain(
                f"WARNING: {target}: {doubt}. This may be an interceptor's key. Compare the fingerprint with the one "
                f"that the server itself shows: {seen.chain[0].certificate_pin.spelled('fingerprint')}"
            )
        found.append(seen)
    return found


def _report(path: Path, seen: Sequence[_Seen], new: BackupKey, difference: str | None, *, as_json: bool) -> None:
    if as_json:
        document = {
            "policy": str(path),
            **new.document(),
            "hosts": {each.target.pattern: [str(s.spki_pin) for s in each.chain] for each in seen},
            "doubts": {each.target.pattern: list(each.doubts) for each in seen if each.doubts},
        }
        show_json(document if difference is None else {**document, "difference": difference})
        return
    key, rows = escape(str(new.path)), []
    for each in seen:
        lines = [line for name, found in each.by_role for line in (f"{name}: {found.subject}", str(found.spki_pin))]
        rows.append(Row(each.target.pattern, [*lines, f"backup: {key}", str(new.pin)]))
    show_table(f"{escape(str(path))} (hosts: {len(rows)})", ("host", "pins"), rows)
    print(f"Keep {key} offline, with {escape(str(new.csr))}, until the key in use must go.")

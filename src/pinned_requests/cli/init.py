"""`pinned-requests init`: a policy for live hosts, new or added to one that is there, and a backup key for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests import PinPolicy, PinSet
from pinned_requests.cli.asking import write
from pinned_requests.cli.output import CommandError, Row, complain, show_json, show_table
from pinned_requests.core.text import escape, show
from pinned_requests.editing import changes
from pinned_requests.editing.backup import BackupKey, csr_path, make_backup_key
from pinned_requests.editing.files import SECRET, NewFile, check_new, create
from pinned_requests.editing.history import first_record, history_path
from pinned_requests.editing.policy_file import PolicyFile, note_of
from pinned_requests.monitoring.fetch import fetch
from pinned_requests.monitoring.first_contact import doubts_about
from pinned_requests.monitoring.target import read_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.core.chain import SeenCertificate
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


class _Made(NamedTuple):
    """A backup key, where it goes, and when it was made."""

    key: BackupKey
    path: Path
    now: datetime

    @property
    def csr(self) -> Path:
        return csr_path(self.path)

    @property
    def files(self) -> list[NewFile]:
        return [NewFile(self.path, self.key.key_pem, SECRET), NewFile(self.csr, self.key.csr_pem)]

    def pins_for(self, seen: _Seen) -> PinSet:
        pins = [each.spki_pin.with_note(note_of(role, each.subject, "seen", self.now)) for role, each in seen.by_role]
        return PinSet(pins, backup_pins=self.key.pin.with_note(note_of("backup", self.path.name, "made", self.now)))


def init(hosts: Sequence[str], output: Path, backup_key: Path, key_type: str, route: Route, *, as_json: bool) -> int:
    """Write a policy with the pins of leaf and issuer of each host, and a backup key with its request.

    Every host must be reached, with a valid certificate, before anything is written.
    """
    text = {".toml": PinPolicy.to_toml, ".json": PinPolicy.to_json}.get(output.suffix.lower())
    if text is None:
        raise CommandError(f"{show(str(output))} is not the path of a policy; give that of a .toml or .json file")
    check_new([output, history_path(output), backup_key, csr_path(backup_key)])
    seen = _look(hosts, route)
    made = _make(seen, backup_key, key_type)
    policy = PinPolicy({each.target.pattern: made.pins_for(each) for each in seen})
    history = first_record(output, policy, made.now)
    create([*made.files, history, NewFile(output, text(policy).encode())])
    _report(output, seen, made, None, as_json=as_json)
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
    """Add hosts to a policy, and make a backup key for them. What is in the file stays, comments included."""
    now = datetime.now(UTC)
    file = PolicyFile.read(policy, now)
    targets = [read_target(text) for text in hosts]
    changes.check_absent(file.policy, [target.pattern for target in targets])  # before a connection is made
    path = backup_key or Path(f"{targets[0].host.replace(':', '-')}-{now:%Y%m%d}.key")
    check_new([path, csr_path(path)])
    seen = _look(hosts, route)
    made = _make(seen, path, key_type)
    new = changes.with_hosts(file.policy, {each.target.pattern: made.pins_for(each) for each in seen})
    shown = write(file, new, made.now, made.files, is_agreed=is_agreed, as_json=as_json)
    _report(policy, seen, made, shown, as_json=as_json)
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


def _make(seen: Sequence[_Seen], path: Path, key_type: str) -> _Made:
    hosts = list(dict.fromkeys(each.target.host for each in seen))
    return _Made(make_backup_key(hosts, key_type), path, datetime.now(UTC))


def _report(path: Path, seen: Sequence[_Seen], made: _Made, difference: str | None, *, as_json: bool) -> None:
    key, csr = escape(str(made.path)), escape(str(made.csr))
    if as_json:
        document = {
            "policy": str(path),
            "backup_key": str(made.path),
            "backup_csr": str(made.csr),
            "backup_pin": str(made.key.pin),
            "hosts": {each.target.pattern: [str(s.spki_pin) for s in each.chain] for each in seen},
            "doubts": {each.target.pattern: list(each.doubts) for each in seen if each.doubts},
        }
        show_json(document if difference is None else {**document, "difference": difference})
        return
    rows = []
    for each in seen:
        lines = [line for name, found in each.by_role for line in (f"{name}: {found.subject}", str(found.spki_pin))]
        rows.append(Row(each.target.pattern, [*lines, f"backup: {key}", str(made.key.pin)]))
    show_table(f"{escape(str(path))} (hosts: {len(rows)})", ("host", "pins"), rows)
    print(f"Keep {key} offline, with {csr}, until the key in use must go.")

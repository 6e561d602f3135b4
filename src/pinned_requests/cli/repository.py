"""`Repository`: a TUF repository of one policy or several: a folder of static files for any web server or bucket.

    metadata/N.root.json  N.targets.json  N.snapshot.json  timestamp.json
    targets/HASH.NAME

Rules for the next maintainer:

- A change is made and verified in memory. Only what a client would accept is written.
- The order of writing keeps the folder whole for clients at every moment, also where the machine dies half-way: what is
  pointed to comes before what points to it, and `timestamp.json` after all of that. A new root comes last if its
  predecessor vouches for everything else, too, which is why a changed role is signed with the old key and the new one.
  If the old key is lost, the root has to come before the timestamp.
- The current state is what `timestamp.json` leads to. Files beyond that are of a change that was never completed.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from pinned_requests.cli.signing import SigningError
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from securesystemslib.signer import Key

    from pinned_requests.cli.signing import KeyRing
    from pinned_requests.core.policy import PinPolicy

ROLES = ("root", "targets", "snapshot", "timestamp")
DAYS = {"root": 365, "targets": 180, "snapshot": 30, "timestamp": 7}
_DAYS_FIELD = "x-pinned-requests-days"  # in each role's own metadata, signed: how long its next version is to be valid
_NO_DAYS: Mapping[str, int] = MappingProxyType({})
_NO_TARGETS: Mapping[str, bytes] = MappingProxyType({})
_HASHES = ["sha256"]
_LOCK_WAIT = 60.0  # seconds


class RoleKeys(NamedTuple):
    """The public keys of a role, and how many of them must sign."""

    keys: tuple[Key, ...]
    threshold: int


class Repository:
    """A repository in a folder, and the keys at hand to change it.

    Args:
        folder: what is published.
        ring: the keys.

    Every method that changes it raises `SigningError` where keys are missing, `RepositoryError` where what is there
    does not verify, and `OSError`; it then has changed nothing that a client sees.
    """

    def __init__(self, folder: Path, ring: KeyRing) -> None:
        self._folder = folder
        self._metadata = folder / "metadata"
        self._targets = folder / "targets"
        self._ring = ring

    def prepare(self) -> None:
        """Make sure that a repository can be made, before keys are made for it. What counts is `create()`.

        Raises:
            PolicyError: there is one already.
            OSError: the folder cannot be made, or not be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._check_new()

    def create(self, roles: Mapping[str, RoleKeys], days: Mapping[str, int]) -> Path:
        """Make a repository without a policy, and return the path of the root metadata for clients to ship.

        Args:
            roles: the keys of each role.
            days: role → days of validity, where they are not those of `DAYS`.

        Raises:
            PolicyError: there is one already.
        """
        root = Metadata(Root(consistent_snapshot=True))
        for role, (keys, threshold) in roles.items():
            for key in keys:
                root.signed.add_key(key, role)
            root.signed.roles[role].threshold = threshold
        state = _State(root, Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp()))
        for role, metadata in state.by_role():
            metadata.signed.unrecognized_fields[_DAYS_FIELD] = days.get(role, DAYS[role])
            metadata.signed.version = 0  # what is signed for the first time is version 1
        self.prepare()
        with self._locked():
            self._check_new()
            self._change(state, set(ROLES), None)
        return self._metadata / "1.root.json"

    def publish(self, name: str, policy: PinPolicy, days: Mapping[str, int]) -> int:
        """Publish a policy as JSON, in place of the one of the same name, and return the new version of the targets.

        Args:
            name: of the target, such as `pins.json`.
            policy: which is valid, as every `PinPolicy` is.
            days: role → days of validity from now on, for roles that this signs.
        """
        data = policy.to_json().encode()
        target = TargetFile.from_data(name, data, _HASHES)
        with self._opened() as state:
            state.targets.signed.targets[name] = target
            (path,) = target.get_prefixed_paths()
            self._change(state, {"targets", "snapshot", "timestamp"}, state.root.signed, days, {path: data})
        return int(state.targets.signed.version)

    def refresh(self, also: Iterable[str], days: Mapping[str, int]) -> list[str]:
        """Sign the timestamp anew, and the snapshot where less than half of its days are left.

        Args:
            also: further roles to sign anew, whose keys must be at hand.
            days: role → days of validity from now on, for roles that this signs.

        Returns:
            The roles that were signed.
        """
        with self._opened() as state:
            roles = {"timestamp", *also}
            if _left(state.snapshot.signed) < timedelta(days=_days(state.snapshot.signed)) / 2:
                roles.add("snapshot")
            if "targets" in roles:
                roles.add("snapshot")
            self._change(state, roles, state.root.signed, days)
        return [role for role in ROLES if role in roles]

    def rotate_key(
        self, role: str, make: Callable[[], Key], old: str | None, days: Mapping[str, int]
    ) -> tuple[str, str]:
        """Put a key in the place of another, and return the ids of the old one and the new one.

        Args:
            role: whose key it is.
            make: makes the new key and returns its public half; it is called when all else is clear.
            old: the beginning of the old key's id; None where the role has one key only.
            days: role → days of validity from now on, for roles that this signs.

        Raises:
            PolicyError: `old` does not name exactly one key of the role.
        """
        with self._opened() as state:
            old_root = deepcopy(state.root.signed)
            matching = [keyid for keyid in old_root.roles[role].keyids if keyid.startswith(old or "")]
            if len(matching) != 1:
                keys = ", ".join(keyid[:12] for keyid in old_root.roles[role].keyids)
                raise PolicyError(f"name the key of {role} that is to go by the beginning of its id, one of: {keys}")
            state.root.signed.revoke_key(matching[0], role)
            # Everything that points to what is signed anew is signed anew.
            changed = {"root"} if role == "root" else {"root", *ROLES[ROLES.index(role) :]}
            self._check_at_hand("root", old_root)
            for each in changed:
                self._check_at_hand(each, state.root.signed, new=int(each == role))
            new = make()
            state.root.signed.add_key(new, role)
            self._change(state, changed, old_root, days)
        return matching[0], new.keyid

    def needs_attention(self) -> dict[str, datetime]:
        """Return the roles of which less than a quarter of the days are left, and when they expire."""
        return {
            role: metadata.signed.expires
            for role, metadata in self._load().by_role()
            if _left(metadata.signed) < timedelta(days=_days(metadata.signed)) / 4
        }

    def _load(self) -> _State:
        """Read the current state, and verify it as a client would, but for expiry: that is what we are here to mend."""
        version = 1
        while (self._metadata / f"{version + 1}.root.json").exists():
            version += 1
        root = self._read(Root, f"{version}.root.json")
        timestamp = self._read(Timestamp, "timestamp.json")
        meta = timestamp.signed.snapshot_meta
        snapshot = self._read(Snapshot, f"{meta.version}.snapshot.json", meta)
        meta = snapshot.signed.meta["targets.json"]
        targets = self._read(Targets, f"{meta.version}.targets.json", meta)
        state = _State(root, targets, snapshot, timestamp)
        for role, metadata in state.by_role():
            root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        return state

    def _read(self, kind: type[Any], name: str, meta: MetaFile | None = None) -> Metadata[Any]:
        data = (self._metadata / name).read_bytes()
        if meta is not None:
            meta.verify_length_and_hashes(data)
        metadata = Metadata[Any].from_bytes(data)
        if metadata.signed.type != kind.type:
            raise RepositoryError(f"{name} is of type {metadata.signed.type}")
        return metadata

    def _change(
        self,
        state: _State,
        roles: set[str],
        old_root: Root | None,
        days: Mapping[str, int] = _NO_DAYS,
        targets: Mapping[str, bytes] = _NO_TARGETS,
    ) -> None:
        """Sign `roles` anew, and write them and `targets`. `old_root` is the one that clients have by now."""
        new_root = state.root.signed
        judges = [new_root] if old_root is None else [new_root, old_root]
        pending: dict[str, bytes] = {}
        for role, metadata in state.by_role():
            if role not in roles:
                continue
            if role == "snapshot" and "targets" in roles:
                state.snapshot.signed.meta["targets.json"] = _meta_file(state.targets)
            if role == "timestamp" and "snapshot" in roles:
                state.timestamp.signed.snapshot_meta = _meta_file(state.snapshot)
            self._sign(role, metadata, judges, days.get(role))
            name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
            pending[name] = metadata.to_bytes()
        for path, data in targets.items():
            _write(self._targets / path, data)
        for name in _in_order(pending, state, old_root):
            _write(self._metadata / name, pending[name])

    def _sign(self, role: str, metadata: Metadata[Any], judges: list[Root], days: int | None) -> None:
        signed = metadata.signed
        if days is not None:
            signed.unrecognized_fields[_DAYS_FIELD] = days
        signed.version = self._next_version(signed)
        signed.expires = (datetime.now(UTC) + timedelta(days=_days(signed))).replace(microsecond=0)
        metadata.signatures.clear()
        keys = {keyid: judge.keys[keyid] for judge in judges for keyid in judge.roles[role].keyids}
        missing = []
        for keyid, key in keys.items():
            signer = self._ring.signer(key)
            if signer is None:
                missing.append(f"{role}-{keyid[:12]}")
                continue
            try:
                metadata.sign(signer, append=True)
            except UnsignedMetadataError as e:
                raise SigningError(f"the key {role}-{keyid[:12]} does not sign: {e}") from e
        # The old root's word is needed for a new root; for the others it decides on the order only.
        for judge in judges if role == "root" else judges[:1]:
            result = judge.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
            if not result:
                raise _too_few(role, len(result.signed), result.threshold, missing)

    def _check_at_hand(self, role: str, root: Root, new: int = 0) -> None:
        """Raise `SigningError` unless enough keys of a role are at hand, with `new` that are still to be made."""
        keyids, threshold = root.roles[role].keyids, root.roles[role].threshold
        missing = [f"{role}-{keyid[:12]}" for keyid in keyids if self._ring.signer(root.keys[keyid]) is None]
        if len(keyids) - len(missing) + new < threshold:
            raise _too_few(role, len(keyids) - len(missing) + new, threshold, missing)

    @staticmethod
    def _next_version(signed: Any) -> int:
        return int(signed.version) + 1

    @contextmanager
    def _opened(self) -> Iterator[_State]:
        self._check_exists()
        with self._locked():
            yield self._load()

    def _check_new(self) -> None:
        if self._metadata.exists():
            raise PolicyError(f"{show(str(self._metadata))} exists: there is a repository, which is not touched")

    def _check_exists(self) -> None:
        if not (self._metadata / "1.root.json").is_file():
            raise PolicyError(f"{show(str(self._folder))} is no repository; make one with 'pinned-requests repo init'")

    def _locked(self) -> FileLock:
        return FileLock(self._folder / ".lock", timeout=_LOCK_WAIT)


class _State(NamedTuple):
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def by_role(self) -> Iterator[tuple[str, Metadata[Any]]]:
        return zip(ROLES, self, strict=True)


def _too_few(role: str, signed: int, threshold: int, missing: list[str]) -> SigningError:
    return SigningError(
        f"{role} would have {signed} of the {threshold} signatures that it needs; the key folders hold no "
        f"{', '.join(missing)}"
    )


def _in_order(pending: Mapping[str, bytes], state: _State, old_root: Root | None) -> list[str]:
    """Return the names of the files in the order in which they may be written."""
    names = [name for name in pending if not name.endswith(".root.json")]  # targets, snapshot, timestamp
    for root in (name for name in pending if name.endswith(".root.json")):
        is_last = old_root is not None and all(
            old_root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
            for role, metadata in state.by_role()
        )
        names.insert(len(names) if is_last else max(len(names) - 1, 0), root)
    return names


def _meta_file(metadata: Metadata[Any]) -> MetaFile:
    return MetaFile.from_data(metadata.signed.version, metadata.to_bytes(), _HASHES)


def _days(signed: Any) -> int:
    days = signed.unrecognized_fields.get(_DAYS_FIELD)
    return days if type(days) is int and days > 0 else DAYS[signed.type]


def _left(signed: Any) -> timedelta:
    left: timedelta = signed.expires - datetime.now(UTC)
    return left


def _write(path: Path, data: bytes) -> None:
    """Write a file for a web server to read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise

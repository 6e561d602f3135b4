"""`Repository`: a TUF repository of policies, in a folder of static files for any web server or bucket.

Rules for the next maintainer:

- A change is made and verified in memory. Only what a client would accept is written, in the order of `order.py`.
- A changed role is signed with the old key and the new one, so that clients with either root accept it.
- The lock file is beside the folder, never in it: everything in the folder is served.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock
from tuf.api.metadata import Metadata, Root

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show
from pinned_requests.publishing.comparison import apply, keys_of
from pinned_requests.publishing.keys import SigningError, label_of
from pinned_requests.publishing.order import roots_come_last, write
from pinned_requests.publishing.proposal import ProposalError, target_of
from pinned_requests.publishing.state import (
    FIRST_ROOT,
    ROLES,
    State,
    before_first,
    check_repository,
    days_of,
    file_name,
    is_due,
    load,
    meta_file,
    renew,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from securesystemslib.signer import Key

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.publishing.keys import KeyRing
    from pinned_requests.publishing.proposal import Proposal

_LOCK_WAIT = 60.0  # seconds


class RoleKeys(NamedTuple):
    """The public keys of a role, and how many of them must sign."""

    keys: tuple[Key, ...]
    threshold: int


def new_root(roles: Mapping[str, RoleKeys]) -> Metadata[Root]:
    """Return unsigned root metadata with these keys.

    Raises:
        PolicyError: a role has a key twice.
    """
    root = Metadata(Root())
    for role, (keys, threshold) in roles.items():
        for key in keys:
            if key.keyid in root.signed.roles[role].keyids:
                raise PolicyError(f"{role} has the key {label_of(role, key)} twice; give each key once")
            root.signed.add_key(key, role)
        root.signed.roles[role].threshold = threshold
    return root


class Repository:
    """A repository in a folder, and the keys at hand to change it.

    Every method that changes the repository raises `SigningError` if keys are missing, `RepositoryError` if the present
    state does not verify, `filelock.Timeout` if another process changes it for longer than a minute, and `OSError`;
    nothing has then changed for clients. Its `days` are role → days of validity from now on, for the roles that it
    signs; default: as before.
    """

    def __init__(self, folder: Path, ring: KeyRing) -> None:
        self._folder = folder
        self._ring = ring

    def read(self, name: str) -> bytes:
        """Return the content of a file, by its path in the repository."""
        return (self._folder / name).read_bytes()

    def load(self) -> State:
        """Return the current state; see `state.load()`.

        Raises:
            PolicyError: the folder is not a repository.
        """
        check_repository(self._folder)
        return load(self.read)

    def prepare(self) -> None:
        """Check that a repository can be made, before keys are made for it.

        Raises:
            PolicyError: there is one already.
            OSError: the folder cannot be made or written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with lock_of(self._folder):
            self._check_new()

    def create(self, roles: Mapping[str, RoleKeys], days: Mapping[str, int]) -> Path:
        """Make a repository without a policy, and return the path of the root metadata for clients to ship.

        Raises:
            PolicyError: there is one already.
        """
        state = before_first(new_root(roles), days)
        self.prepare()
        with lock_of(self._folder):
            self._check_new()
            self._change(state, set(ROLES), None, days)
        return self._folder / FIRST_ROOT

    def publish(self, name: str, policy: PinPolicy, days: Mapping[str, int], *, after: int | None = None) -> int:
        """Publish a policy as JSON, and return the new version of the targets.

        What the policy does to clients is not checked here: see `review.py`.

        Args:
            name: of the target, such as `pins.json`; a policy of that name is replaced.
            policy: the policy.
            days: see the class.
            after: the version of the targets that the policy was reviewed against; None: any.

        Raises:
            ProposalError: the repository has been changed since that version.
            PolicyError: the name cannot be that of a target.
        """
        data = policy.to_json().encode()
        target = target_of(name, data)
        with self._opened() as state:
            if after is not None and state.targets.signed.version != after:
                raise ProposalError("the repository was changed during the review; publish again")
            state.targets.signed.targets[name] = target
            (path,) = target.get_prefixed_paths()
            self._change(state, {"targets", "snapshot", "timestamp"}, state.root.signed, days, {path: data})
        return int(state.targets.signed.version)

    def merge(self, proposal: Proposal, days: Mapping[str, int]) -> State:
        """Publish a proposal that enough people have signed, sign snapshot and timestamp, and return the new state.

        Raises:
            ProposalError: it is not for the current state, or was tampered with.
            PolicyError: there is no repository, and this is not the proposal of a first one; or the other way round.
        """
        if proposal.is_first:
            self.prepare()
        else:
            check_repository(self._folder)
        with lock_of(self._folder):
            if proposal.is_first:
                self._check_new()
            state = None if proposal.is_first else load(self.read)
            merged = apply(proposal, state, datetime.now(UTC))
            old_root = None if state is None else state.root.signed
            presigned = set(proposal.metadata())
            roles = presigned | {"snapshot", "timestamp"}
            self._change(merged, roles, old_root, days, proposal.files(), presigned)
        return merged

    def refresh(self, also: Iterable[str], days: Mapping[str, int]) -> list[str]:
        """Sign the timestamp, other roles, and the snapshot if half of its days are over; return what was signed."""
        with self._opened() as state:
            roles = {"timestamp", *also}
            snapshot = state.snapshot.signed
            half = timedelta(days=days_of(snapshot)) / 2
            if "targets" in roles or snapshot.expires - datetime.now(UTC) < half:
                roles.add("snapshot")
            self._change(state, roles, state.root.signed, days)
        return [role for role in ROLES if role in roles]

    def rotate_key(
        self, role: str, make: Callable[[], Key], old: str | None, days: Mapping[str, int]
    ) -> tuple[str, str]:
        """Replace a key, and return the ids of the old one and the new one.

        Args:
            role: whose key it is.
            make: makes the new key and returns its public half; called when everything else is certain.
            old: the beginning of the old key's id; None: the role's only key.
            days: see the class.

        Raises:
            PolicyError: `old` does not name exactly one key of the role.
        """
        with self._opened() as state:
            old_root = deepcopy(state.root.signed)
            matching = [keyid for keyid in old_root.roles[role].keyids if keyid.startswith(old or "")]
            if len(matching) != 1:
                keys = ", ".join(keyid[:12] for keyid in old_root.roles[role].keyids)
                raise PolicyError(f"{len(matching)} keys of {role} match; give the beginning of one id, of: {keys}")
            state.root.signed.revoke_key(matching[0], role)
            # What refers to a role that is signed again is signed again, too.
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
        now = datetime.now(UTC)
        return {
            role: metadata.signed.expires for role, metadata in self.load().by_role() if is_due(metadata.signed, now)
        }

    def _change(  # noqa: PLR0913, PLR0917  the parts of one change
        self,
        state: State,
        roles: set[str],
        old_root: Root | None,
        days: Mapping[str, int],
        targets: Mapping[str, bytes] | None = None,
        presigned: Iterable[str] = (),
    ) -> None:
        """Sign `roles`, except those `presigned`, and write them and `targets`. Clients have `old_root` now."""
        judges = [state.root.signed] if old_root is None else [state.root.signed, old_root]
        pending: dict[str, bytes] = {}
        for role, metadata in state.by_role():
            if role not in roles:
                continue
            if role == "snapshot" and "targets" in roles:
                state.snapshot.signed.meta["targets.json"] = meta_file(state.targets)
            if role == "timestamp" and "snapshot" in roles:
                state.timestamp.signed.snapshot_meta = meta_file(state.snapshot)
            if role in presigned:
                _check_signed(role, metadata, judges, [])
            else:
                self._sign(role, metadata, judges, days.get(role))
            pending[file_name(metadata.signed)] = metadata.to_bytes()
        # A role that the new root gives other keys may not be among those signed.
        state.verify()
        for path, data in (targets or {}).items():
            write(self._folder / "targets" / path, data)
        for name in _in_order(pending, state, old_root):
            write(self._folder / "metadata" / name, pending[name])

    def _sign(self, role: str, metadata: Metadata[Any], judges: list[Root], days: int | None) -> None:
        renew(metadata.signed, days)
        metadata.signatures.clear()
        _, missing = self._ring.sign(role, metadata, keys_of(role, judges).values())
        _check_signed(role, metadata, judges, missing)

    def _check_at_hand(self, role: str, root: Root, new: int = 0) -> None:
        """Raise `SigningError` unless enough keys of a role are at hand, with `new` that are still to be made."""
        keys, threshold = keys_of(role, [root]).values(), root.roles[role].threshold
        missing = [label_of(role, key) for key in keys if self._ring.signer(key) is None]
        found = len(keys) - len(missing) + new
        if found < threshold:
            raise _too_few(role, found, threshold, missing)

    @contextmanager
    def _opened(self) -> Iterator[State]:
        check_repository(self._folder)
        with lock_of(self._folder):
            yield load(self.read)

    def _check_new(self) -> None:
        if (self._folder / "metadata").exists():
            raise PolicyError(f"{show(str(self._folder / 'metadata'))} exists: this is a repository already")


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a repository, a file beside its folder."""
    resolved = folder.resolve()
    return FileLock(resolved.parent / f".{resolved.name}.lock", timeout=_LOCK_WAIT)


def _check_signed(role: str, metadata: Metadata[Any], judges: list[Root], missing: list[str]) -> None:
    # A new root needs the signatures of the old root's keys, too; for the other roles they decide the order only.
    for judge in judges if role == "root" else judges[:1]:
        result = judge.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        if not result:
            unsigned = missing or [label_of(role, key) for key in result.unsigned.values()]
            raise _too_few(role, len(result.signed), result.threshold, unsigned)


def _too_few(role: str, signed: int, threshold: int, missing: list[str]) -> SigningError:
    return SigningError(
        f"{role} would have {signed} of the {threshold} signatures that it needs; not signed by {', '.join(missing)}"
    )


def _in_order(pending: Mapping[str, bytes], state: State, old_root: Root | None) -> list[str]:
    """Return the names of the files in the order in which they are written."""
    roots = [name for name in pending if name.endswith(".root.json")]
    others = [name for name in pending if name not in roots]  # targets, snapshot, timestamp
    if old_root is not None and roots_come_last(state, old_root):
        return [*others, *roots]
    return [*others[:-1], *roots, *others[-1:]]

"""`Repository`: a TUF repository of policies, in a folder of static files for any web server or bucket.

Rules for the next maintainer:

- A change is made and verified in memory. Only what a client would accept is written, in the order of `sync.py`.
- A changed role is signed with the old key and the new one, so that clients with either root accept it.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import Metadata, Root

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show
from pinned_requests.publishing.keys import SigningError, label_of
from pinned_requests.publishing.proposal import ProposalError, apply, keys_of, target_of
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
from pinned_requests.publishing.sync import lock_of, ordered, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from securesystemslib.signer import Key

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.publishing.keys import KeyRing, RoleKeys
    from pinned_requests.publishing.proposal import Proposal


def new_root(roles: Mapping[str, RoleKeys]) -> Metadata[Root]:
    """Return unsigned root metadata with these keys."""
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

    After any error of a method, among them `filelock.Timeout` if another process changes the repository for longer than
    a minute, nothing has changed for clients. `days` are role → days of validity from now on, for the roles that a
    method signs; default: as before.
    """

    def __init__(self, folder: Path, ring: KeyRing) -> None:
        self._folder = folder
        self._ring = ring

    def read(self, name: str) -> bytes:
        """Return the content of a file, by its path in the repository."""
        return (self._folder / name).read_bytes()

    def load(self) -> State:
        """Return the current state; see `state.load()`."""
        check_repository(self._folder)
        return load(self.read)

    def prepare(self) -> None:
        """Check that a repository can be made, before keys are made for it."""
        with self._made():
            pass

    def create(self, roles: Mapping[str, RoleKeys], days: Mapping[str, int]) -> Path:
        """Make a repository without a policy, and return the path of the root metadata to ship."""
        state = before_first(new_root(roles), days)
        with self._made():
            self._change(state, set(ROLES), None, days)
        return self._folder / FIRST_ROOT

    def publish(self, name: str, policy: PinPolicy, days: Mapping[str, int], *, after: int | None = None) -> int:
        """Publish a policy as JSON, in place of one of that name, and return the new version of the targets.

        What the policy does to clients is not checked here: see `review.py`. `after` is the version of the targets that
        it was reviewed against; if the repository was changed since, this is a `ProposalError`.
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
        """Publish a proposal that enough people have signed, sign snapshot and timestamp, and return the new state."""
        opened: AbstractContextManager[State | None] = self._made() if proposal.is_first else self._opened()
        with opened as state:
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

        `make` returns the public half of the new key; it is called when everything else is certain. `old` is the
        beginning of the old key's id, or None for the role's only key.
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
        """Return the roles to sign again soon, and when they expire; see `is_due()`."""
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
        old_roots = [] if old_root is None else [old_root]
        judges = [state.root.signed, *old_roots]
        pending = {f"targets/{path}": data for path, data in (targets or {}).items()}
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
            pending[f"metadata/{file_name(metadata.signed)}"] = metadata.to_bytes()
        # The new root may give other keys to a role that is not signed now.
        state.verify()
        for path in ordered(pending, state, old_roots):
            write(self._folder / path, pending[path])

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

    @contextmanager
    def _made(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with lock_of(self._folder):
            if (self._folder / "metadata").exists():
                raise PolicyError(f"{show(str(self._folder / 'metadata'))} exists: this is a repository already")
            yield


def _check_signed(role: str, metadata: Metadata[Any], judges: list[Root], missing: list[str]) -> None:
    # For other roles than root, the signatures of the old root's keys only decide the order.
    for judge in judges if role == "root" else judges[:1]:
        result = judge.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        if not result:
            unsigned = missing or [label_of(role, key) for key in result.unsigned.values()]
            raise _too_few(role, len(result.signed), result.threshold, unsigned)


def _too_few(role: str, signed: int, threshold: int, missing: list[str]) -> SigningError:
    return SigningError(
        f"{role} would have {signed} of the {threshold} signatures that it needs; not signed by {', '.join(missing)}"
    )

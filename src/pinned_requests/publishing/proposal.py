"""`Proposal`: a change of a repository on its way between people who sign it, as one JSON file.

It has the next metadata of `root`, of `targets` or of both, with the signatures so far, and the policy if that changes.
Snapshot and timestamp are not in it: they are signed by who publishes, when the proposal is complete.

Rules for the next maintainer:

- The file is not trusted. It is compared with the state of the repository each time: by each signer and by who merges.
  Metadata that differs from the current one in more than the proposal shows is refused.
- What counts is a valid signature by a key of the role. All other signatures are dropped, and never published.
- A proposal is for the next version of what it changes, and for no later one: an old proposal cannot be replayed.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.publishing.keys import SigningError, has_own_id, label_of, read_public
from pinned_requests.publishing.state import DAYS, DAYS_FIELD, HASHES, ROLES, State, check_target_name, days_of, renew

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from securesystemslib.signer import Key

    from pinned_requests.publishing.keys import KeyRing

PROPOSED = ("root", "targets")  # the roles of people; those of machines are signed when the proposal is merged
MAX_BYTES = 20_000_000  # bytes of a proposal: several times the largest metadata and policy
MAX_DAYS = 36_500  # days of validity
_FORMAT = "pinned-requests-proposal-1"


class ProposalError(Exception):
    """A proposal is not for the present state of the repository, or is not what it says."""


@dataclass(frozen=True)
class Signatures:
    """Who has signed a role of a proposal.

    Attributes:
        role: the role.
        signed: labels of the keys with a valid signature.
        missing: labels of the other keys that may sign.
        needed: the threshold, the higher one if two roots must agree.
        is_met: whether the signatures are enough.
    """

    role: str
    signed: tuple[str, ...]
    missing: tuple[str, ...]
    needed: int
    is_met: bool


@dataclass(frozen=True)
class Proposal:
    """A change that people sign.

    Attributes:
        root: the next root metadata, or None if it stays.
        targets: the next targets metadata, or None if they stay.
        name: of the target that gets a new policy, or None.
        policy: that policy, as JSON, or None.
    """

    root: Metadata[Root] | None = None
    targets: Metadata[Targets] | None = None
    name: str | None = None
    policy: bytes | None = None

    @property
    def is_first(self) -> bool:
        """Whether it is for a repository that does not exist yet."""
        return self.root is not None and self.root.signed.version == 1

    def metadata(self) -> dict[str, Metadata[Any]]:
        """Return role → metadata, for the roles that it changes."""
        return {role: each for role, each in zip(PROPOSED, (self.root, self.targets), strict=True) if each is not None}

    def files(self) -> dict[str, bytes]:
        """Return path below `targets/` → content, of the policy that it changes."""
        if self.policy is None or self.name is None:
            return {}
        return {_target(self.name, self.policy).get_prefixed_paths()[0]: self.policy}

    def new_policy(self) -> PinPolicy | None:
        """Return the policy that it would publish, or None.

        Raises:
            PolicyError: it is not a valid policy.
        """
        return None if self.policy is None else PinPolicy.from_json(self.policy)

    def to_bytes(self) -> bytes:
        """Return the content of its file."""
        document = {
            "format": _FORMAT,
            "target": self.name,
            "policy": None if self.policy is None else self.policy.decode(),
            "metadata": {role: metadata.to_dict() for role, metadata in self.metadata().items()},
        }
        return json.dumps(document, indent=2).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Proposal:
        """Return the proposal in a file. Nothing of it is verified: see `apply()`.

        Raises:
            PolicyError: it is not a proposal.
        """
        try:
            return cls(**_fields(json.loads(data)))
        except (ValueError, KeyError, TypeError, RecursionError, RepositoryError) as e:
            raise PolicyError(f"not a proposal: {escape(str(e))}") from None


def first(root: Metadata[Root], days: Mapping[str, int]) -> Proposal:
    """Return the proposal of a new repository, without a policy.

    Args:
        root: with the keys of all roles.
        days: role → days of validity; default: `state.DAYS`.
    """
    targets = Metadata(Targets())
    for role, metadata in (("root", root), ("targets", targets)):
        metadata.signed.version = 0
        renew(metadata.signed, days.get(role, DAYS[role]))
    return Proposal(root, targets)


def propose(
    state: State,
    days: Mapping[str, int],
    *,
    policy: tuple[str, PinPolicy] | None = None,
    renewed: Iterable[str] = (),
    exchanged: tuple[str, str, Key] | None = None,
) -> Proposal:
    """Return an unsigned proposal to change a repository.

    Args:
        state: the present state.
        days: role → days of validity from now on, for root and targets.
        policy: the name of a target, and its new policy.
        renewed: roles, of root and targets, to be signed again before they expire.
        exchanged: a role, the id of one of its keys, and the key that replaces it.

    Raises:
        PolicyError: nothing would change, or the new key is one of the role's already.
    """
    roles = set(renewed)
    root, targets = deepcopy(state.root), deepcopy(state.targets)
    if exchanged is not None:
        role, old, new = exchanged
        if new.keyid in root.signed.roles[role].keyids:
            raise PolicyError(f"{label_of(role, new)} is a key of {role} already; make a new one")
        root.signed.revoke_key(old, role)
        root.signed.add_key(new, role)
        roles |= {"root", role} & set(PROPOSED)
    name = data = None
    if policy is not None:
        name, content = policy
        data = content.to_json().encode()
        targets.signed.targets[name] = _target(name, data)
        roles.add("targets")
    if not roles:
        raise PolicyError("the proposal would change nothing; give a policy, a role to renew or a key to exchange")
    for role, metadata in (("root", root), ("targets", targets)):
        if role in roles:
            renew(metadata.signed, days.get(role))
            metadata.signatures.clear()
    return Proposal(root if "root" in roles else None, targets if "targets" in roles else None, name, data)


def exchange(state: State, keyid: str, public: Path) -> tuple[str, str, Key]:
    """Return the role and id of a key that is to go, and the key of another holder for the same role.

    Args:
        state: the present state.
        keyid: the beginning of the id of the key that is to go.
        public: path of the new holder's `public.json`.

    Raises:
        PolicyError: no key or several match.
        SigningError, OSError: as `read_public()`.
    """
    root = state.root.signed
    matching = [(role, each) for role in ROLES for each in root.roles[role].keyids if each.startswith(keyid)]
    if len(matching) != 1:
        raise PolicyError(f"{len(matching)} keys have an id that begins with {show(keyid)}; give more of it")
    role, old = matching[0]
    new = [key for key in read_public(public).get(role, ()) if key.keyid not in root.roles[role].keyids]
    if len(new) != 1:
        raise PolicyError(f"{show(str(public))} has {len(new)} new keys for {role}, and must have one")
    return role, old, new[0]


def apply(proposal: Proposal, state: State | None, now: datetime) -> State:
    """Return the state that a proposal leads to, after a comparison with the present one.

    Signatures are not checked here; see `signatures()`. Snapshot and timestamp are as before.

    Args:
        proposal: which is not trusted.
        state: the present state, which is; None if there is no repository yet.
        now: aware.

    Raises:
        ProposalError: the proposal is for another version, has expired, or changes more than it shows.
        PolicyError: its policy is not valid.
    """
    if state is None:
        state = _nothing(proposal)
    proposal.new_policy()
    root, targets = proposal.root, proposal.targets
    if proposal.policy is not None and targets is None:
        raise ProposalError("the proposal has a policy, and no targets metadata that names it")
    if root is not None:
        _check_root(root.signed, state.root.signed, now)
    if targets is not None:
        expected = deepcopy(state.targets.signed)
        if proposal.name is not None and proposal.policy is not None:
            expected.targets[proposal.name] = _target(proposal.name, proposal.policy)
        _check_next(targets.signed, expected, now)
    return state._replace(root=root or state.root, targets=targets or state.targets)


def sign(proposal: Proposal, state: State | None, ring: KeyRing, now: datetime) -> list[str]:
    """Sign a proposal with the keys at hand, and return the labels of those that signed.

    Args:
        proposal: which gets the signatures.
        state: the present state; None if there is no repository yet.
        ring: the keys.
        now: aware.

    Raises:
        ProposalError: as `apply()`.
        SigningError: no key at hand may sign it, or one does not sign.
    """
    applied = apply(proposal, state, now)
    labels = []
    for role, metadata in proposal.metadata().items():
        for key in _keys(role, _judges(role, applied, state)).values():
            signer = ring.signer(key)
            if signer is None:
                continue
            try:
                metadata.sign(signer, append=True)
            except UnsignedMetadataError as e:
                raise SigningError(f"the key {label_of(role, key)} does not sign: {e}") from e
            labels.append(label_of(role, key))
    if not labels:
        roles = " and ".join(proposal.metadata())
        raise SigningError(f"the key folders have no key that signs {roles} in this repository")
    return labels


def join(copies: Sequence[Proposal], state: State | None, now: datetime) -> Proposal:
    """Return one proposal with the valid signatures of all copies.

    Args:
        copies: the same proposal, signed by different people.
        state: the present state; None if there is no repository yet.
        now: aware.

    Raises:
        ProposalError: as `apply()`; or a copy is of another proposal, or was changed.
    """
    joined = copies[0]
    for copy in copies[1:]:
        if _unsigned(copy) != _unsigned(joined):
            raise ProposalError("the files are not copies of one proposal: what was signed differs")
    applied = apply(joined, state, now)
    metadata: dict[str, Any] = {}
    for role, first_of_role in joined.metadata().items():
        metadata[role] = Metadata(first_of_role.signed)
        keys = _keys(role, _judges(role, applied, state))
        for copy in copies:
            metadata[role].signatures |= _valid(copy.metadata()[role], keys)
    return replace(joined, **metadata)


def signatures(proposal: Proposal, state: State | None, now: datetime) -> list[Signatures]:
    """Return who has signed each role of a proposal.

    Raises:
        ProposalError: as `apply()`.
    """
    applied = apply(proposal, state, now)
    found = []
    for role, metadata in proposal.metadata().items():
        judges = _judges(role, applied, state)
        keys = _keys(role, judges)
        valid = _valid(metadata, keys)
        results = [judge.get_verification_result(role, metadata.signed_bytes, metadata.signatures) for judge in judges]
        found.append(
            Signatures(
                role,
                tuple(label_of(role, key) for keyid, key in keys.items() if keyid in valid),
                tuple(label_of(role, key) for keyid, key in keys.items() if keyid not in valid),
                max(result.threshold for result in results),
                is_met=all(results),
            )
        )
    return found


def changes_of_keys(proposal: Proposal, state: State | None) -> list[str]:
    """Return what a proposal changes about keys and thresholds, one sentence each."""
    if proposal.root is None:
        return []
    new, old = proposal.root.signed, None if state is None else state.root.signed
    lines = []
    for role in ROLES:
        before = {} if old is None else _keys(role, [old])
        after = _keys(role, [new])
        lines += [f"{label_of(role, key)} signs no more" for keyid, key in before.items() if keyid not in after]
        lines += [f"{label_of(role, key)} is a new key" for keyid, key in after.items() if keyid not in before]
        threshold = new.roles[role].threshold
        if old is None or old.roles[role].threshold != threshold:
            lines.append(f"{role} needs {threshold} of {len(after)} signatures")
    return lines


def _fields(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    name, text, parts = (document[field] for field in ("target", "policy", "metadata"))
    if not (isinstance(name, str) and isinstance(text, str)) and (name, text) != (None, None):
        raise ValueError("target and policy belong together")
    if not isinstance(parts, dict) or not parts or not parts.keys() <= set(PROPOSED):
        raise ValueError(f"its metadata is not of {' and '.join(PROPOSED)}")
    fields: dict[str, Any] = {"name": name, "policy": None if text is None else text.encode()}
    for role, part in parts.items():
        metadata = Metadata[Any].from_bytes(json.dumps(part).encode())
        if metadata.signed.type != role:
            raise ValueError(f"what is called {role} is of another type")
        fields[role] = metadata
    return fields


def _nothing(proposal: Proposal) -> State:
    """Return the state before the first one. Its root has no keys, and vouches for nothing."""
    if not proposal.is_first or proposal.targets is None:
        raise ProposalError("the proposal is for a repository that exists; give that one")
    state = State(Metadata(Root()), Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp()))
    for role, metadata in state.by_role():
        metadata.signed.version = 0
        metadata.signed.unrecognized_fields[DAYS_FIELD] = DAYS[role]
    state.root.signed.consistent_snapshot = True
    return state


def _check_root(proposed: Root, current: Root, now: datetime) -> None:
    """Refuse a root that differs in more than keys and thresholds, or that counts one key twice."""
    expected = deepcopy(current)
    expected.keys, expected.roles = proposed.keys, proposed.roles
    _check_next(proposed, expected, now)
    if set(proposed.roles) != set(ROLES):
        raise ProposalError(f"the proposed root has the roles {escape(', '.join(map(str, proposed.roles)))}")
    for keyid, key in proposed.keys.items():
        if current.keys.get(keyid) != key and not has_own_id(key):
            raise ProposalError(f"the id of the proposed key {escape(keyid[:12])} is not that of the key")


def _check_next(proposed: Any, expected: Any, now: datetime) -> None:
    """Refuse metadata that is not the next version, has expired, or differs from what is expected."""
    version, following = proposed.version, expected.version + 1
    if version != following:
        raise ProposalError(
            f"the proposal has version {version} of the {proposed.type}, and the next one is {following}: it is older "
            "than the repository, or of another one; propose the change again"
        )
    if proposed.expires <= now:
        raise ProposalError(f"the proposed {proposed.type} expired on {proposed.expires:%Y-%m-%d}; propose it again")
    if proposed.expires > now + timedelta(days=MAX_DAYS):
        raise ProposalError(f"the proposed {proposed.type} expires in more than {MAX_DAYS} days")
    expected = deepcopy(expected)
    expected.version, expected.expires = version, proposed.expires
    expected.unrecognized_fields[DAYS_FIELD] = proposed.unrecognized_fields.get(DAYS_FIELD)
    if expected != proposed:
        raise ProposalError(
            f"the proposed {proposed.type} changes more than the proposal shows: it was tampered with, or made by "
            "another program"
        )
    if days_of(proposed) > MAX_DAYS:
        raise ProposalError(f"the proposed {proposed.type} is to be valid for more than {MAX_DAYS} days")


def _judges(role: str, applied: State, state: State | None) -> list[Root]:
    """Return the roots that must accept a role: for a new root the old one as well."""
    new = applied.root.signed
    return [new, state.root.signed] if role == "root" and state is not None else [new]


def _keys(role: str, judges: Iterable[Root]) -> dict[str, Key]:
    return {keyid: judge.keys[keyid] for judge in judges for keyid in judge.roles[role].keyids}


def _valid(metadata: Metadata[Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return key id → signature, of those that are valid."""
    return dict(_each_valid(metadata, keys))


def _each_valid(metadata: Metadata[Any], keys: Mapping[str, Key]) -> Iterator[tuple[str, Any]]:
    for keyid, key in keys.items():
        signature = metadata.signatures.get(keyid)
        if signature is None:
            continue
        try:
            key.verify_signature(signature, metadata.signed_bytes)
        except (UnverifiedSignatureError, VerificationError):
            continue
        yield keyid, signature


def _unsigned(proposal: Proposal) -> tuple[object, ...]:
    return proposal.name, proposal.policy, {role: each.signed_bytes for role, each in proposal.metadata().items()}


def _target(name: str, data: bytes) -> TargetFile:
    check_target_name(name)
    return TargetFile.from_data(name, data, HASHES)

"""`Proposal`: a change of a repository that several people sign, as one JSON file.

It has the next metadata of `root`, `targets` or both, with the signatures so far, and the policy if that changes. The
file is not trusted. Each signer, and the publisher who merges it, computes the next metadata from the repository's
state and from what people are shown (policy, keys, thresholds, expiry), and it must equal the proposed one (`apply()`):
a proposal changes nothing else. Its version must be the next one, so that an old proposal cannot be replayed.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.publishing.keys import has_own_id, label_of, read_public
from pinned_requests.publishing.state import (
    DAYS_FIELD,
    HASHES,
    ROLES,
    State,
    before_first,
    check_target_name,
    days_of,
    renew,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from securesystemslib.signer import Key
    from tuf.api.metadata import Targets

PROPOSED = ("root", "targets")  # the roles of people; those of machines are signed when the proposal is merged
MAX_BYTES = 20_000_000  # bytes of a proposal: several times the largest metadata and policy
MAX_DAYS = 36_500  # days of validity
_FORMAT = "pinned-requests-proposal-1"


class ProposalError(Exception):
    """A proposal is not for the present state of the repository, or is not what it says."""


@dataclass(frozen=True)
class Proposal:
    """A change that people sign."""

    root: Metadata[Root] | None = None  # None: it stays
    targets: Metadata[Targets] | None = None  # None: they stay
    name: str | None = None  # of the target that gets a new policy
    policy: bytes | None = None  # in JSON

    @property
    def is_first(self) -> bool:
        """Whether the repository does not exist yet."""
        return self.root is not None and self.root.signed.version == 1

    def metadata(self) -> dict[str, Metadata[Any]]:
        """Return the metadata of the roles that it changes."""
        return {role: each for role, each in zip(PROPOSED, (self.root, self.targets), strict=True) if each is not None}

    def files(self) -> dict[str, bytes]:
        """Return path below `targets/` → content of the new policy."""
        if self.policy is None or self.name is None:
            return {}
        return {target_of(self.name, self.policy).get_prefixed_paths()[0]: self.policy}

    def new_policy(self) -> PinPolicy | None:
        """Return the new policy, if there is one, or raise `PolicyError`."""
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
        """Return the proposal in a file. Nothing of it is verified: see `apply()`."""
        try:
            return cls(**_fields(json.loads(data)))
        except (ValueError, KeyError, TypeError, RecursionError, RepositoryError) as e:
            raise PolicyError(f"not a proposal: {escape(str(e))}") from None


def first(root: Metadata[Root], days: Mapping[str, int]) -> Proposal:
    """Return the proposal of a new repository, without a policy; see `state.before_first()`."""
    state = before_first(root, days)
    for metadata in (state.root, state.targets):
        renew(metadata.signed, None)
    return Proposal(state.root, state.targets)


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
        state: the present one.
        days: role → days of validity from now on.
        policy: the name of a target, and its new policy.
        renewed: the roles of `PROPOSED` to sign again.
        exchanged: a role, the id of one of its keys, and the key that replaces it; see `exchange()`.
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
        targets.signed.targets[name] = target_of(name, data)
        roles.add("targets")
    if not roles:
        raise PolicyError("the proposal would change nothing; give a policy, a role to renew or a key to exchange")
    for role, metadata in (("root", root), ("targets", targets)):
        if role in roles:
            renew(metadata.signed, days.get(role))
            metadata.signatures.clear()
    return Proposal(root if "root" in roles else None, targets if "targets" in roles else None, name, data)


def exchange(state: State, keyid: str, public: Path) -> tuple[str, str, Key]:
    """Return the role and id of the key whose id begins with `keyid`, and the new holder's key from `public.json`."""
    root = state.root.signed
    matching = [(role, each) for role in ROLES for each in root.roles[role].keyids if each.startswith(keyid)]
    if len(matching) != 1:
        raise PolicyError(f"{len(matching)} keys have an id that begins with {show(keyid)}; give more of it")
    role, old = matching[0]
    new = [key for key in read_public(public).get(role, ()) if key.keyid not in root.roles[role].keyids]
    if len(new) != 1:
        raise PolicyError(f"{show(str(public))} has {len(new)} new keys for {role}, and must have one")
    return role, old, new[0]


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


def target_of(name: str, data: bytes) -> TargetFile:
    """Return what the targets metadata says of a policy."""
    check_target_name(name)
    return TargetFile.from_data(name, data, HASHES)


def apply(proposal: Proposal, state: State | None, now: datetime) -> State:
    """Return the state that a proposal leads to, from the present one (None: there is no repository yet).

    Signatures are not checked here; see `signatures()`.

    Raises:
        ProposalError: the proposal is for another version, has expired, or changes more than it shows.
        PolicyError: its policy is not valid.
    """
    if state is None:
        if not proposal.is_first or proposal.targets is None:
            raise ProposalError("the proposal is for a repository that exists; give that one")
        state = before_first(Metadata(Root()), {})  # without keys: it vouches for nothing
    proposal.new_policy()
    root, targets = proposal.root, proposal.targets
    if proposal.policy is not None and targets is None:
        raise ProposalError("the proposal has a policy, and no targets metadata that names it")
    if root is not None:
        _check_root(root.signed, state.root.signed, now)
    if targets is not None:
        expected = deepcopy(state.targets.signed)
        if proposal.name is not None and proposal.policy is not None:
            expected.targets[proposal.name] = target_of(proposal.name, proposal.policy)
        _check_next(targets.signed, expected, now)
    return state._replace(root=root or state.root, targets=targets or state.targets)


def changes_of_keys(proposal: Proposal, state: State | None) -> list[str]:
    """Return what a proposal changes about keys and thresholds, in one sentence each."""
    if proposal.root is None:
        return []
    new, old = proposal.root.signed, None if state is None else state.root.signed
    lines = []
    for role in ROLES:
        before = {} if old is None else keys_of(role, [old])
        after = keys_of(role, [new])
        lines += [f"{label_of(role, key)} signs no more" for keyid, key in before.items() if keyid not in after]
        # The whole id: people compare it, and the beginning of one can be forged.
        lines += [f"{label_of(role, key)} is a new key: {keyid}" for keyid, key in after.items() if keyid not in before]
        threshold = new.roles[role].threshold
        if old is None or old.roles[role].threshold != threshold:
            lines.append(f"{role} needs {threshold} of {len(after)} signatures")
    return lines


def _check_root(proposed: Root, current: Root, now: datetime) -> None:
    """Refuse a root that differs in more than keys and thresholds, or that counts one key twice."""
    expected = deepcopy(current)
    expected.keys, expected.roles = proposed.keys, proposed.roles
    _check_next(proposed, expected, now)
    if set(proposed.roles) != set(ROLES):
        raise ProposalError(f"the proposed root has the roles {escape(', '.join(map(str, proposed.roles)))}")
    for name, role in proposed.roles.items():
        if not set(role.keyids) <= proposed.keys.keys():
            raise ProposalError(f"the proposed root has a key for {name} that it does not show")
    for keyid, key in proposed.keys.items():
        if current.keys.get(keyid) != key and not has_own_id(key):
            raise ProposalError(f"the id of the proposed key {escape(keyid[:12])} is not that of the key")


def _check_next(proposed: Any, expected: Any, now: datetime) -> None:
    """Refuse metadata that is not the next version, has expired, or differs from `expected`, a copy that is changed."""
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
    expected.version, expected.expires = version, proposed.expires
    expected.unrecognized_fields[DAYS_FIELD] = proposed.unrecognized_fields.get(DAYS_FIELD)
    if expected != proposed:
        raise ProposalError(
            f"the proposed {proposed.type} changes more than the proposal shows: it was tampered with, or made by "
            "another program"
        )
    if days_of(proposed) > MAX_DAYS:
        raise ProposalError(f"the proposed {proposed.type} is to be valid for more than {MAX_DAYS} days")


def judges_of(role: str, applied: State, state: State | None) -> list[Root]:
    """Return the roots that must accept a role: for a new root the old one as well."""
    new = applied.root.signed
    return [new, state.root.signed] if role == "root" and state is not None else [new]


def signers_of(role: str, applied: State, state: State | None) -> dict[str, Key]:
    """Return the keys that may sign a role: also old ones, so that clients with the old root accept the signatures."""
    return keys_of(role, [applied.root.signed] + ([] if state is None else [state.root.signed]))


def keys_of(role: str, judges: Iterable[Root]) -> dict[str, Key]:
    """Return the keys of a role in some roots, by their ids, without those that a root names and does not show."""
    named = ((judge, keyid) for judge in judges for keyid in judge.roles[role].keyids)
    return {keyid: judge.keys[keyid] for judge, keyid in named if keyid in judge.keys}

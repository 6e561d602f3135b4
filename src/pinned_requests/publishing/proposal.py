"""`Proposal`: a change of a repository that several people sign, as one JSON file.

It has the next metadata of `root`, `targets` or both, with the signatures so far, and the policy if that changes. The
file is not trusted: each signer, and the publisher who merges it, compares it with the repository (`comparison.py`).
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.publishing.keys import label_of, read_public
from pinned_requests.publishing.state import HASHES, ROLES, before_first, check_target_name, renew

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from securesystemslib.signer import Key
    from tuf.api.metadata import Targets

    from pinned_requests.publishing.state import State

PROPOSED = ("root", "targets")  # the roles of people; those of machines are signed when the proposal is merged
MAX_BYTES = 20_000_000  # bytes of a proposal: several times the largest metadata and policy
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

"""Checks that a proposal changes what people are shown of it, and nothing else.

The state is trusted, the proposal is not. The next metadata is computed from the state and from what people are shown
(policy, keys, thresholds, expiry) and must equal the proposed metadata. Its version must be the next one, so that an
old proposal cannot be replayed.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import Metadata, Root

from pinned_requests.core.text import escape
from pinned_requests.publishing.keys import has_own_id, label_of
from pinned_requests.publishing.proposal import ProposalError, target_of
from pinned_requests.publishing.state import DAYS_FIELD, ROLES, State, before_first, days_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securesystemslib.signer import Key

    from pinned_requests.publishing.proposal import Proposal

MAX_DAYS = 36_500  # days of validity


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


def judges_of(role: str, applied: State, state: State | None) -> list[Root]:
    """Return the roots that must accept a role: for a new root the old one as well."""
    new = applied.root.signed
    return [new, state.root.signed] if role == "root" and state is not None else [new]


def signers_of(role: str, applied: State, state: State | None) -> dict[str, Key]:
    """Return the keys that may sign a role: also old ones, so that clients with the old root accept the signatures."""
    return keys_of(role, [applied.root.signed] + ([] if state is None else [state.root.signed]))


def keys_of(role: str, judges: Iterable[Root]) -> dict[str, Key]:
    """Return the keys of a role in some roots, by their ids."""
    return {keyid: judge.keys[keyid] for judge in judges for keyid in judge.roles[role].keyids}

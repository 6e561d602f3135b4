"""The signatures of a proposal: added by their holders, collected from copies, and counted.

Only a valid signature by a key of the role counts. Others are dropped, and never published. The root that a signer
trusts is the first one that was shown, remembered in the key folder as a host key by SSH.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from pinned_requests.core.text import escape, show
from pinned_requests.publishing.keys import SigningError, label_of
from pinned_requests.publishing.proposal import Proposal, ProposalError, apply, judges_of, signers_of
from pinned_requests.publishing.state import load
from pinned_requests.publishing.sync import write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from securesystemslib.signer import Key

    from pinned_requests.publishing.keys import KeyRing
    from pinned_requests.publishing.state import State

REMEMBERED = "root.json"  # in a key folder


@dataclass(frozen=True)
class Signatures:
    """Who has signed a role of a proposal, by the labels of their keys."""

    role: str
    signed: tuple[str, ...]
    missing: tuple[str, ...]
    needed: int  # the threshold, the higher one if two roots must agree
    is_met: bool


def sign(proposal: Proposal, state: State | None, ring: KeyRing, now: datetime) -> list[str]:
    """Add signatures to a proposal by the keys at hand, and return the labels of these keys."""
    applied = apply(proposal, state, now)
    labels = []
    for role, metadata in proposal.metadata().items():
        labels += ring.sign(role, metadata, signers_of(role, applied, state).values())[0]
    if not labels:
        roles = " and ".join(proposal.metadata())
        raise SigningError(f"the key folders have no key that signs {roles} in this repository")
    return labels


def join(copies: Sequence[Proposal], state: State | None, now: datetime) -> Proposal:
    """Return one proposal with the valid signatures of all copies; raise `ProposalError` if what was signed differs."""
    joined = copies[0]
    for copy in copies[1:]:
        if _unsigned(copy) != _unsigned(joined):
            raise ProposalError("the files are not copies of one proposal: what was signed differs")
    applied = apply(joined, state, now)
    metadata: dict[str, Any] = {}
    for role, first_of_role in joined.metadata().items():
        metadata[role] = Metadata(first_of_role.signed)
        keys = signers_of(role, applied, state)
        for copy in copies:
            metadata[role].signatures |= _valid(copy.metadata()[role], keys)
    return replace(joined, **metadata)


def signatures(proposal: Proposal, state: State | None, now: datetime) -> list[Signatures]:
    """Return who has signed each role of a proposal."""
    applied = apply(proposal, state, now)
    found = []
    for role, metadata in proposal.metadata().items():
        judges = judges_of(role, applied, state)
        keys = signers_of(role, applied, state)
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


def load_for_signing(read: Callable[[str], bytes], folders: Sequence[Path], root: bytes | None) -> State:
    """Read and verify the current state from `root`, or from the root that the signer's key folders remember.

    Raises:
        ProposalError: the repository is not the one that was signed for before.
    """
    remembered = next((path for folder in folders if (path := folder / REMEMBERED).is_file()), None)
    if root is not None or remembered is None:
        return load(read, root)
    try:
        return load(read, remembered.read_bytes())
    except RepositoryError as e:
        raise ProposalError(
            f"this is not the repository that was signed for before ({escape(str(e))}); if it is meant to be another "
            f"one, remove {show(str(remembered))}"
        ) from None


def remember(state: State, folders: Sequence[Path]) -> None:
    """Let key folders remember the root of a state, unless they remember a newer one."""
    for folder in folders:
        path = folder / REMEMBERED
        known = Metadata[Root].from_bytes(path.read_bytes()).signed.version if path.is_file() else 0
        if state.root.signed.version > known:
            write(path, state.root.to_bytes())


def _valid(metadata: Metadata[Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return the valid signatures, by key id."""
    valid = {}
    for keyid, key in keys.items():
        signature = metadata.signatures.get(keyid)
        if signature is None:
            continue
        try:
            key.verify_signature(signature, metadata.signed_bytes)
        except (UnverifiedSignatureError, VerificationError):
            continue
        valid[keyid] = signature
    return valid


def _unsigned(proposal: Proposal) -> tuple[object, ...]:
    return proposal.name, proposal.policy, {role: each.signed_bytes for role, each in proposal.metadata().items()}

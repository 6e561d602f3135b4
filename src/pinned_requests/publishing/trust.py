"""The root that a signer trusts: the first one that was shown, remembered in the key folder as a host key by SSH."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from pinned_requests.core.text import escape, show
from pinned_requests.publishing.order import write
from pinned_requests.publishing.proposal import ProposalError
from pinned_requests.publishing.state import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pinned_requests.publishing.state import State

REMEMBERED = "root.json"  # in a key folder


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

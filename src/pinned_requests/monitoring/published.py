"""The policy that a repository of signed policies serves now, as its clients verify it. No key is needed."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from pinned_requests.core.policy import PinPolicy


def published_policy(url: str, root: str | os.PathLike[str], target: str = "pins.json") -> PinPolicy:
    """Return the policy of a repository. Whether older clients have taken it is not checked.

    Args:
        url: of the folder that holds `metadata/` and `targets/`.
        root: path of the root metadata that clients ship.
        target: the name of the policy in the repository.

    Raises:
        RemotePolicyError: the repository cannot be reached, or does not verify.
        PolicyError: the URL, the root or the name is wrong.
        OSError: `root` cannot be read.
        ImportError: the extra `remote` is not installed.
    """
    from pinned_requests.sources.tuf.client import SignedPolicy  # noqa: PLC0415  of the extra `remote`

    base = url.rstrip("/")
    with tempfile.TemporaryDirectory(prefix="pinned-requests-") as folder:
        signed = SignedPolicy(
            f"{base}/metadata/", f"{base}/targets/", root=root, target=target, cache_dir=folder, shipped=None
        )
        return signed.load()

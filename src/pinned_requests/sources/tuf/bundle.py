"""`Bundle`: the last good policy and all the metadata that proves it, in one file, for a start without network.

python-tuf keeps the newest metadata that it has seen, file by file. That protects from a rollback, but it can be newer
than the policy: an attacker may let metadata pass and hold back the target. So a complete set is kept as well.

Rules for the next maintainer:

- The file is not trusted. Everything in it is verified from the root that the application ships, each time.
- Expiry is reported, not enforced; the caller decides. The last good policy is newer than the one in the package, even
  when it has expired: an attacker who cuts the client off and waits must not bring the older one back.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tuf.api.exceptions import BadVersionNumberError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from pinned_requests.core.text import show
from pinned_requests.sources.tuf.errors import RemotePolicyError


class Bundle(NamedTuple):
    """The metadata and the policy, as texts from the repository.

    Attributes:
        roots: the roots that follow the one in the package, in order.
        shipped: the hash of the policy that the application shipped when this was saved. No signature covers it.
        saved: when, in seconds since the epoch. No signature covers it.
    """

    roots: list[str]
    timestamp: str
    snapshot: str
    targets: str
    policy: str
    shipped: str
    saved: float

    @property
    def version(self) -> str:
        """The number of the policy: the version of the targets metadata that names it."""
        return str(Metadata[Targets].from_bytes(self.targets.encode()).signed.version)

    def verify(self, root: bytes, target: str) -> list[str]:
        """Verify everything, from the root in the package to the policy.

        Args:
            root: the trusted root metadata.
            target: the name of the policy in the repository.

        Returns:
            The roles whose metadata has expired.

        Raises:
            RepositoryError: a signature, a version, a length or a hash is wrong.
            RemotePolicyError: the target is missing. Delegated targets do not count.
        """
        trusted, _ = _follow(Metadata[Root].from_bytes(root).signed, self.roots)
        timestamp = _signed(trusted, Timestamp, self.timestamp)
        timestamp.snapshot_meta.verify_length_and_hashes(self.snapshot.encode())
        snapshot = _signed(trusted, Snapshot, self.snapshot, timestamp.snapshot_meta.version)
        meta = snapshot.meta["targets.json"]
        meta.verify_length_and_hashes(self.targets.encode())
        targets = _signed(trusted, Targets, self.targets, meta.version)
        if target not in targets.targets:
            raise RemotePolicyError("target", f"the repository's own targets do not include {show(target)}")
        targets.targets[target].verify_length_and_hashes(self.policy.encode())
        now = datetime.now(UTC)
        return [each.type for each in (trusted, timestamp, snapshot, targets) if each.is_expired(now)]

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Return the content of a file, not verified.

        Raises:
            RepositoryError: it is not a bundle.
        """
        try:
            bundle = cls(**json.loads(data))
            roots, *texts, saved = bundle
            is_sound = type(roots) is list and all(type(text) is str for text in [*roots, *texts])
        except (ValueError, TypeError, RecursionError):
            is_sound = False
        if not is_sound or type(saved) is not float:
            raise RepositoryError("the cached policy is damaged")
        return bundle

    def dump(self) -> bytes:
        """Return the content of a file."""
        return json.dumps(self._asdict()).encode()


def valid_roots(root: bytes, texts: list[str]) -> list[str]:
    """Return the roots that follow `root` and are signed as they must be, in order."""
    return _follow(Metadata[Root].from_bytes(root).signed, texts)[1]


def _follow(root: Root, texts: list[str]) -> tuple[Root, list[str]]:
    """Follow the roots as far as they are valid, as python-tuf does, and return the last valid one, and all of them.

    The signatures on the other roles decide whether it is new enough.
    """
    followed = []
    for text in texts:
        try:
            metadata = Metadata[Root].from_bytes(text.encode())
            new = metadata.signed
            if new.version <= root.version:
                continue  # saved by an older release of the application
            if new.type != Root.type or new.version != root.version + 1:
                break
            for judge in (root, new):
                judge.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, UnicodeError):
            break
        root = new
        followed.append(text)
    return root, followed


def _signed(root: Root, kind: type[Any], text: str, version: int | None = None) -> Any:
    metadata = Metadata[Any].from_bytes(text.encode())
    signed = metadata.signed
    if signed.type != kind.type:
        raise RepositoryError(f"{kind.type} metadata has the type {signed.type}")
    root.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    if version is not None and signed.version != version:
        raise BadVersionNumberError(f"{kind.type} has version {signed.version} instead of {version}")
    return signed

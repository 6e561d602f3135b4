"""Metadata without python-tuf's folder: in memory for an update, and in a `Bundle` for a start without network.

Rules for the next maintainer:

- A bundle is not trusted. Everything in it is verified from the root that the application ships, each time.
- Its expiry is reported, not enforced. An expired policy is still newer than the shipped one: an attacker who cuts the
  client off and waits must not bring that one back.
- Four methods of `MemoryUpdater` are private in python-tuf. `tests/attacks/test_remote_cache.py` and the rollbacks in
  `test_remote_policy.py` fail if they are not called.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tuf.api.exceptions import BadVersionNumberError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from pinned_requests.core.text import show
from pinned_requests.sources.tuf.errors import RemotePolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ROOT = 512_000  # bytes, as in python-tuf
_CONFIG = UpdaterConfig(root_max_length=MAX_ROOT, max_root_rotations=256, max_delegations=8)
_NOWHERE = os.devnull  # has no files, so that no root is read from the disk


class MemoryUpdater(Updater):
    """Updates from a repository.

    Args:
        seen: role → newest metadata; it is changed.
        roots: the roots that follow the bootstrap root are added to it, in order.
        arguments: passed to `Updater`.
    """

    def __init__(self, seen: dict[str, str], roots: list[str], **arguments: Any) -> None:
        self._seen, self._roots = seen, roots
        self._is_begun = False
        super().__init__(_NOWHERE, config=_CONFIG, **arguments)
        self._is_begun = True

    def _load_local_metadata(self, rolename: str) -> bytes:
        if rolename not in self._seen:
            raise FileNotFoundError(rolename)
        return self._seen[rolename].encode()

    def _persist_metadata(self, rolename: str, data: bytes) -> None:
        self._seen[rolename] = data.decode()

    def _persist_root(self, version: int, data: bytes) -> None:  # noqa: ARG002  the signature of python-tuf
        if self._is_begun:
            self._roots.append(data.decode())

    def _update_root_symlink(self) -> None:
        pass


class Bundle(NamedTuple):
    """A policy and its metadata, as texts from the repository.

    `MemoryUpdater` may have seen newer metadata: an attacker may let metadata pass and hold back the target.
    """

    roots: list[str]  # that follow the shipped one, in order
    timestamp: str
    snapshot: str
    targets: str
    policy: str
    shipped: str  # the hash of the shipped policy when this was saved; not signed
    saved: float  # seconds since the epoch; not signed

    @property
    def version(self) -> str:
        """The number of the policy: the version of the targets metadata."""
        return str(Metadata[Targets].from_bytes(self.targets.encode()).signed.version)

    def verify(self, root: bytes, target: str) -> list[str]:
        """Verify everything, from the shipped root to the policy, and return the roles whose metadata has expired.

        Raises:
            RepositoryError: a signature, a version, a length or a hash is wrong.
            RemotePolicyError: the target is missing. Delegated targets do not count.
        """
        trusted, _ = follow_roots(root, self.roots)
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
        """Return the bundle in a file, not verified, or raise `RepositoryError`."""
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
        """Return the content of its file."""
        return json.dumps(self._asdict()).encode()


def follow_roots(first: bytes, texts: list[str]) -> tuple[Root, list[str]]:
    """Follow the roots as far as they are valid, as python-tuf does; return the last one, and the texts of all."""
    root, followed = Metadata[Root].from_bytes(first).signed, []
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


@contextmanager
def quiet() -> Iterator[None]:
    """Keep python-tuf's INFO records of this thread out of the log: no operator needs them."""
    own = threading.get_ident()

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO or record.thread != own

    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("tuf.")]
    for logger in loggers:
        logger.addFilter(is_wanted)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_wanted)

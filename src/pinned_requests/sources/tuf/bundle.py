"""`Bundle`: the last good policy with all the metadata that proves it, in one file, for a start without network.

python-tuf keeps the newest metadata that it has seen, file by file. That protects from a rollback, and may be ahead of
the policy, where somebody lets metadata pass and holds back the target. So what was good as a whole is kept as a whole.

Rules for the next maintainer:

- The file is not trusted: all that is in it is verified from the root that the application ships, each time.
- Expiry is reported and not enforced. An expired policy that was good is newer than the one in the package, and to fall
  back to that is what somebody who cuts the client off and waits would want. Who uses the bundle decides.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

from tuf.api.exceptions import BadVersionNumberError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from pinned_requests.core.text import show
from pinned_requests.sources.tuf.errors import RemotePolicyError

MAX_BYTES = 20_000_000  # bytes: more than the largest metadata and policy that are fetched, several times over


class Bundle(NamedTuple):
    """Metadata as text, as it came from the repository, and the policy.

    Attributes:
        roots: those that follow the one in the package, in order.
        shipped: what tells the policy that the application shipped when this was saved from any other.
        saved: seconds since the epoch. Like `shipped`, a note to ourselves: no signature covers it.
    """

    roots: list[str]
    timestamp: str
    snapshot: str
    targets: str
    policy: str
    shipped: str
    saved: float

    def verify(self, root: bytes, target: str) -> list[str]:
        """Verify all of it, from the root in the package to the policy.

        Args:
            root: the trusted root metadata.
            target: the name of the policy in the repository.

        Returns:
            The roles whose metadata has expired.

        Raises:
            RepositoryError: a signature, a version, a length or a hash is not what it must be.
            RemotePolicyError: the target is missing. Delegated targets are not looked at.
        """
        trusted = _newest(Metadata[Root].from_bytes(root).signed, self.roots)
        timestamp = _signed(trusted, Timestamp, self.timestamp)
        timestamp.snapshot_meta.verify_length_and_hashes(self.snapshot.encode())
        snapshot = _signed(trusted, Snapshot, self.snapshot, timestamp.snapshot_meta.version)
        meta = snapshot.meta["targets.json"]
        meta.verify_length_and_hashes(self.targets.encode())
        targets = _signed(trusted, Targets, self.targets, meta.version)
        if target not in targets.targets:
            raise RemotePolicyError("target", f"the repository's own targets hold no {show(target)}")
        targets.targets[target].verify_length_and_hashes(self.policy.encode())
        now = datetime.now(timezone.utc)
        return [each.type for each in (trusted, timestamp, snapshot, targets) if each.is_expired(now)]

    @classmethod
    def load(cls, path: Path) -> Bundle | None:
        """Return what a file holds, not verified, or None where there is no file.

        Raises:
            OSError: it cannot be read.
            RepositoryError: it holds something else.
        """
        try:
            with path.open("rb") as file:
                values = json.loads(file.read(MAX_BYTES))
            bundle = cls(**values)
            roots, *texts, saved = bundle
            is_sound = type(roots) is list and all(type(text) is str for text in [*roots, *texts])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError):
            is_sound = False
        if not is_sound or type(saved) is not float:
            raise RepositoryError(f"{path.name} is damaged")
        return bundle

    @classmethod
    def collect(cls, folder: Path, root: bytes, policy: str, shipped: str) -> Bundle:
        """Make one of what python-tuf has just verified and left in its folder.

        Raises:
            OSError: a file cannot be read.
        """
        version = Metadata[Root].from_bytes(root).signed.version
        roots = []
        while (path := folder / "root_history" / f"{version + 1}.root.json").exists():
            roots.append(path.read_bytes().decode())  # not read_text(): that one changes line ends, and so hashes
            version += 1
        timestamp, snapshot, targets = (
            (folder / f"{role}.json").read_bytes().decode() for role in ("timestamp", "snapshot", "targets")
        )
        return cls(roots, timestamp, snapshot, targets, policy, shipped, time.time())

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        temporary = NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False)  # noqa: SIM115  see below
        try:
            with temporary:
                json.dump(self._asdict(), temporary)
            Path(temporary.name).replace(path)
        except OSError:
            with suppress(OSError):
                Path(temporary.name).unlink()
            raise


def _newest(root: Root, texts: list[str]) -> Root:
    """Follow the roots as far as they hold, as python-tuf does; whether that is far enough, the signatures tell."""
    for text in texts:
        metadata = Metadata[Root].from_bytes(text.encode())
        new = metadata.signed
        if new.version <= root.version:
            continue  # an older release of the application kept it
        try:
            if new.type != Root.type or new.version != root.version + 1:
                break
            for judge in (root, new):
                judge.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        except RepositoryError:
            break
        root = new
    return root


def _signed(root: Root, kind: type[Any], text: str, version: int | None = None) -> Any:
    metadata = Metadata[Any].from_bytes(text.encode())
    signed = metadata.signed
    if signed.type != kind.type:
        raise RepositoryError(f"{kind.type} metadata is of type {signed.type}")
    root.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    if version is not None and signed.version != version:
        raise BadVersionNumberError(f"{kind.type} is of version {signed.version}, not {version}")
    return signed

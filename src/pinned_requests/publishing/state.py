"""`State`: the metadata of a repository as `timestamp.json` leads to it, read from a folder or from the web.

    metadata/N.root.json  N.targets.json  N.snapshot.json  timestamp.json
    targets/HASH.NAME

It is verified as by a client: every root by the one before it, each role by the newest root, each file by the metadata
that refers to it. Expiry is not enforced: an expired repository must be readable to be mended. Other files belong to a
change that was never completed.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from tuf.api.exceptions import BadVersionNumberError, DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show
from pinned_requests.sources.tuf.errors import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ROLES = ("root", "targets", "snapshot", "timestamp")
DAYS = {"root": 365, "targets": 180, "snapshot": 30, "timestamp": 7}
DAYS_FIELD = "x-pinned-requests-days"  # in each role's own metadata, signed: days of validity of its next version
HASHES = ["sha256"]
FIRST_ROOT, TIMESTAMP = "metadata/1.root.json", "metadata/timestamp.json"
_TARGET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.json", re.ASCII)  # a file in `targets/` itself, on any system
MAX_ROOTS = 10_000  # a server with endless roots must not keep a reader busy
_MISSING = frozenset({403, 404})  # what web servers and buckets answer for a file that does not exist


class State(NamedTuple):
    """The newest metadata of each role."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]
    roots: tuple[Root, ...] = ()  # that were read, from the trusted one to `root`

    def by_role(self) -> Iterator[tuple[str, Metadata[Any]]]:
        """Yield each role with its metadata, in the order of `ROLES`."""
        return zip(ROLES, (self.root, self.targets, self.snapshot, self.timestamp), strict=True)

    def verify(self) -> None:
        """Verify the signatures of every role by the root, or raise `RepositoryError`."""
        for role, metadata in self.by_role():
            self.root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)

    def files(self) -> list[str]:
        """Return the paths that a client needs, without roots and timestamp, each before the one that refers to it."""
        targets = self.targets.signed
        paths = [f"targets/{path}" for target in targets.targets.values() for path in target.get_prefixed_paths()]
        return [*paths, *(f"metadata/{file_name(each.signed)}" for each in (self.targets, self.snapshot))]


def before_first(root: Metadata[Root], days: Mapping[str, int]) -> State:
    """Return the state that comes before the first one: of version 0, valid for so many days (default: `DAYS`)."""
    state = State(root, Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp()))
    for role, metadata in state.by_role():
        metadata.signed.version = 0
        metadata.signed.unrecognized_fields[DAYS_FIELD] = days.get(role, DAYS[role])
    return state


def load(read: Callable[[str], bytes], trusted_root: bytes | None = None) -> State:
    """Read and verify the current state.

    Args:
        read: returns a file of the repository, or raises `FileNotFoundError`.
        trusted_root: root metadata to begin with; None: the repository's own first one, which nothing vouches for.
    """
    roots = _roots(read, read(FIRST_ROOT) if trusted_root is None else trusted_root)
    root = roots[-1]
    timestamp = _read(read, Timestamp, TIMESTAMP)
    meta = timestamp.signed.snapshot_meta
    snapshot = _read(read, Snapshot, f"metadata/{meta.version}.snapshot.json", meta)
    if "targets.json" not in snapshot.signed.meta:
        raise RepositoryError("the snapshot does not name targets.json")
    meta = snapshot.signed.meta["targets.json"]
    targets = _read(read, Targets, f"metadata/{meta.version}.targets.json", meta)
    state = State(root, targets, snapshot, timestamp, tuple(each.signed for each in roots))
    state.verify()
    return state


def is_url(text: str) -> bool:
    """Return whether the place of a repository is a URL, not a folder."""
    return text.startswith(("https://", "http://"))


@contextmanager
def reading(url: str, ca_bundle: str | None = None) -> Iterator[Callable[[str], bytes]]:
    """Return a function that reads the files of a repository, in a `with` block, with the bounds of the client.

    The function raises `FileNotFoundError` for a missing file, and `RemotePolicyError` for other failures.

    Args:
        url: of the folder that has `metadata/` and `targets/`.
        ca_bundle: path of the CA certificates to trust; None: as requests.
    """
    from pinned_requests.sources.tuf.fetcher import MAX_BYTES, BoundedFetcher  # noqa: PLC0415  a folder needs none

    if "?" in url or "#" in url or "@" in url:
        raise PolicyError(f"invalid URL {show(url)}: give that of a folder, without user, query and fragment")
    base = url.rstrip("/")
    with BoundedFetcher(ca_bundle or True) as fetcher:

        def read(name: str) -> bytes:
            try:
                return bytes(fetcher.download_bytes(f"{base}/{name}", MAX_BYTES))
            except DownloadError as e:
                if isinstance(e, DownloadHTTPError) and e.status_code in _MISSING:
                    raise FileNotFoundError(f"{base}/{name} is missing (HTTP status {e.status_code})") from None
                raise explain(e, f"{base}/{name}") from None

        yield read


def policy_of(state: State, name: str, read: Callable[[str], bytes]) -> PinPolicy | None:
    """Return a published policy, or None if there is no target of that name; see `read_policy()`."""
    target = state.targets.signed.targets.get(name)
    return None if target is None else read_policy(target, read)


def read_policy(target: TargetFile, read: Callable[[str], bytes]) -> PinPolicy:
    """Return the policy of a target, or raise `RepositoryError` if the file is not the signed one."""
    data = read(f"targets/{target.get_prefixed_paths()[0]}")
    target.verify_length_and_hashes(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise PolicyError(f"the published {show(target.path)} is not UTF-8 text") from None
    return PinPolicy.from_toml(text) if target.path.endswith(".toml") else PinPolicy.from_json(text)


def check_repository(folder: Path) -> None:
    """Raise `PolicyError` if a folder is not a repository. Its metadata is not read."""
    if not (folder / FIRST_ROOT).is_file():
        raise PolicyError(f"{show(str(folder))} is not a repository; make one with 'pinned-requests repo init'")


def check_target_name(name: str) -> None:
    """Raise `PolicyError` if a target cannot be a policy of this library, in `targets/` itself."""
    if not _TARGET.fullmatch(name):
        raise PolicyError(
            f"invalid target {show(name)}: give a name of ASCII letters, digits, '.', '_' and '-' that ends in .json"
        )


def file_name(signed: Any) -> str:
    """Return the name of a metadata file."""
    return "timestamp.json" if signed.type == Timestamp.type else f"{signed.version}.{signed.type}.json"


def meta_file(metadata: Metadata[Any]) -> MetaFile:
    """Return a reference to metadata: its version, length and hash."""
    return MetaFile.from_data(metadata.signed.version, metadata.to_bytes(), HASHES)


def days_of(signed: Any) -> int:
    """Return for how many days the next version of a role is valid."""
    days = signed.unrecognized_fields.get(DAYS_FIELD)
    return days if type(days) is int and days > 0 else DAYS[signed.type]


def is_due(signed: Any, now: datetime) -> bool:
    """Return whether less than a quarter of a role's days are left."""
    left: timedelta = signed.expires - now
    return left < timedelta(days=days_of(signed)) / 4


def renew(signed: Any, days: int | None) -> None:
    """Turn metadata into its next version, valid from now on for so many days (None: as many as before)."""
    if days is not None:
        signed.unrecognized_fields[DAYS_FIELD] = days
    signed.version += 1
    signed.expires = (datetime.now(UTC) + timedelta(days=days_of(signed))).replace(microsecond=0)


def _roots(read: Callable[[str], bytes], first: bytes) -> list[Metadata[Root]]:
    roots = [_metadata(Root, first, "the first root")]
    version = roots[0].signed.version
    roots[0].signed.verify_delegate(Root.type, roots[0].signed_bytes, roots[0].signatures)
    for following in range(version + 1, version + MAX_ROOTS):
        name = f"metadata/{following}.root.json"
        try:
            data = read(name)
        except FileNotFoundError:
            return roots
        root = _metadata(Root, data, name)
        if root.signed.version != following:
            raise BadVersionNumberError(f"{name} has version {root.signed.version}")
        for judge in (roots[-1].signed, root.signed):
            judge.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        roots.append(root)
    raise RepositoryError(f"there are more than {MAX_ROOTS} roots")


def _read(read: Callable[[str], bytes], kind: type[Any], name: str, meta: MetaFile | None = None) -> Metadata[Any]:
    data = read(name)
    if meta is not None:
        meta.verify_length_and_hashes(data)
    metadata = _metadata(kind, data, name)
    if meta is not None and metadata.signed.version != meta.version:
        raise BadVersionNumberError(f"{name} has version {metadata.signed.version}")
    return metadata


def _metadata(kind: type[Any], data: bytes, name: str) -> Metadata[Any]:
    metadata = Metadata[Any].from_bytes(data)
    if metadata.signed.type != kind.type:
        raise RepositoryError(f"{name} has the type {show(metadata.signed.type)}")
    return metadata

"""`SignedPolicy`: loads the policy of a TUF repository.

Rules for the next maintainer:

- Trust begins with the root that the application ships, at every start. A cached root only links it to a newer one.
- The policy is parsed from the bytes whose hash was checked. No file is read again after its check.
- A new policy replaces the last good one only after all its metadata was verified *and* it was parsed.
- The cache is memory over a restart. Without one the same checks are made, in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.sources.loaders import Loader, Start
from pinned_requests.sources.tuf.errors import RemotePolicyError, explain
from pinned_requests.sources.tuf.folder import PrivateFolder

try:
    from filelock import FileLock
    from filelock import Timeout as LockTimeout
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root, TargetFile

    from pinned_requests.sources.tuf import fetcher
    from pinned_requests.sources.tuf.metadata import Bundle, MemoryUpdater, follow_roots, quiet
except ImportError as e:
    raise ImportError(
        f"signed remote policies need the extra 'remote' ({e}); run: pip install 'pinned-requests[remote]'"
    ) from e

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from pinned_requests.core.pinset import PinsLike

    Resource = bytes | str | os.PathLike[str] | Traversable

_TARGET = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)  # needs no quoting in a URL
_SEEN = "seen.json"  # the newest metadata that was seen, also if its policy could not be had
_FORGETS = "the policy is verified and used in memory, and a restart forgets which versions were seen"


class SignedPolicy(Loader):
    """Loads a policy from a TUF repository and verifies it; see `PolicyStore.from_tuf()`. It pickles.

    The store begins (`start`) with the last good policy if it still verifies, else with the shipped one. Expired
    metadata still counts, unless the application has since been released with another policy, which is then newer.
    """

    def __init__(  # noqa: PLR0913  what a repository consists of
        self,
        metadata_url: str,
        targets_url: str,
        *,
        root: Resource,
        target: str,
        cache_dir: str | os.PathLike[str] | None,
        shipped: PinPolicy | Mapping[str, PinsLike] | Resource | None,
        verify: bool | str | os.PathLike[str] = True,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        self._metadata_url = _folder_url("metadata_url", metadata_url)
        self._targets_url = _folder_url("targets_url", targets_url)
        self.name = self._metadata_url
        self._root = _trusted_root(root)
        self._target = _target_name(target)
        self._shipped = _shipped(shipped)
        self._connection = _verification(verify), _proxies(proxies)
        self._fingerprint = hashlib.sha256(self._shipped.to_json().encode()).hexdigest() if self._shipped else ""
        # Repositories in one folder would delete each other's memory of the versions seen.
        name = hashlib.sha256(self._metadata_url.encode()).hexdigest()[:16]
        self._folder = None if cache_dir is None else Path(cache_dir).absolute() / name
        # A file for each policy of a repository.
        self._good = f"good-{hashlib.sha256(self._target.encode()).hexdigest()[:16]}.json"
        self._memory: dict[str, bytes] = {}  # the same files: the disk may be full, read-only or emptied
        self._unwritten: set[str] = set()  # names of which the disk has an older file, or none
        self.start = self._from_cache()

    def load(self) -> PinPolicy:
        """Update from the repository and return its policy, or raise `RemotePolicyError`."""
        self.warning = None
        downloads = fetcher.BoundedFetcher(*self._connection)
        try:
            with ExitStack() as opened:
                folder = self._open(opened)
                opened.enter_context(downloads)
                opened.enter_context(quiet())
                return self._update(downloads, folder)
        except LockTimeout:
            raise RemotePolicyError(
                "cache", f"another process has been using {show(str(self._folder))} for {fetcher.DEADLINE:g} seconds"
            ) from None
        except Exception as e:
            raise explain(e, downloads.url) from e

    def _open(self, opened: ExitStack) -> PrivateFolder | None:
        """Return the locked folder, or None if none can be used; `warning` then says why."""
        if self._folder is None:
            self._forgets("there is no cache directory")
            return None
        try:
            folder = opened.enter_context(PrivateFolder.opened(self._folder, make=True))
            # Two processes would each write over what the other has seen.
            opened.enter_context(FileLock(folder.lock_file(), timeout=fetcher.DEADLINE, mode=0o600))
            folder.clear_left()
        except LockTimeout:
            raise
        except (OSError, ValueError) as e:  # a null byte in the path
            self._forgets(f"the cache directory {show(str(self._folder))} cannot be used: {escape(str(e))}")
            return None
        return folder

    def _forgets(self, why: str) -> None:
        self.warning = RemotePolicyError("cache", f"{why}; {_FORGETS}")

    def _read(self, folder: PrivateFolder | None, name: str) -> bytes | None:
        """Return what was kept on the disk, or in memory if that is newer or the disk cannot be read."""
        data = None
        if folder is not None and name not in self._unwritten:
            with suppress(OSError):
                data = folder.read(name)
        return self._memory.get(name) if data is None else data

    def _keep(self, folder: PrivateFolder | None, name: str, data: bytes) -> None:
        self._memory[name] = data
        self._unwritten.add(name)
        if folder is not None:
            try:
                folder.write(name, data)
            except OSError as e:
                self._forgets(f"{show(str(folder.path / name))} cannot be written: {escape(str(e))}")
            else:
                self._unwritten.discard(name)  # which a copy shares

    def _from_cache(self) -> Start | None:
        try:
            data = self._last_good()
            if data is None:
                return self._from_release(None)
            with quiet():
                bundle = Bundle.parse(data)
                expired = bundle.verify(self._root, self._target)
            policy = self._parse(bundle.policy)
        except Exception as e:  # noqa: BLE001  a damaged file makes python-tuf raise anything
            error = explain(e, "the cache")
            return self._from_release(RemotePolicyError("cache", f"the cache is not used: {error}"))
        self.version = bundle.version
        if not expired:
            return Start(policy, None, bundle.saved)
        text = f"the cached metadata of {', '.join(expired)} has expired, and nothing newer has come yet"
        if bundle.shipped != self._fingerprint:
            return self._from_release(RemotePolicyError("freeze", f"{text}; the policy of this release is in force"))
        return Start(policy, RemotePolicyError("freeze", f"{text}; the last good policy stays in force"), bundle.saved)

    def _last_good(self) -> bytes | None:
        if self._folder is not None:
            with suppress(FileNotFoundError), PrivateFolder.opened(self._folder, make=False) as folder:
                return folder.read(self._good)
        return None

    def _from_release(self, error: RemotePolicyError | None) -> Start | None:
        self.version = None
        return None if self._shipped is None else Start(self._shipped, error)

    def _update(self, downloads: fetcher.BoundedFetcher, folder: PrivateFolder | None) -> PinPolicy:
        seen, roots = self._seen(folder)
        try:
            updater = MemoryUpdater(
                seen,
                roots,
                metadata_base_url=self._metadata_url,
                target_base_url=self._targets_url,
                fetcher=downloads,
                bootstrap=roots[-1].encode() if roots else self._root,
            )
            updater.refresh()
            info = updater.get_targetinfo(self._target)
        finally:
            self._keep(folder, _SEEN, json.dumps([seen, roots]).encode())
        if info is None:
            raise RemotePolicyError("target", f"the repository does not have the target {show(self._target)}")
        text = self._kept(folder, info)
        if text is None:
            text = self._download(downloads, info, roots)
        policy = self._parse(text)
        timestamp, snapshot, targets = (seen[role] for role in ("timestamp", "snapshot", "targets"))
        bundle = Bundle(roots, timestamp, snapshot, targets, text, self._fingerprint, time.time())
        bundle.verify(self._root, self._target)
        self._keep(folder, self._good, bundle.dump())
        self.version = bundle.version
        return policy

    def _seen(self, folder: PrivateFolder | None) -> tuple[dict[str, str], list[str]]:
        """Return the newest metadata seen of each role, not verified, and the roots that follow the shipped one."""
        try:
            seen, roots = json.loads(self._read(folder, _SEEN) or b"[{}, []]")
            if all(type(text) is str for text in [*seen, *seen.values(), *roots]):
                json.dumps([seen, roots], ensure_ascii=False).encode()  # half a surrogate would fail later
                return seen, follow_roots(self._root, roots)[1]
        except Exception:  # noqa: BLE001, S110  a damaged file makes python-tuf raise anything; then it is forgotten
            pass
        return {}, []

    def _kept(self, folder: PrivateFolder | None, info: TargetFile) -> str | None:
        """Return the text of the last good policy if it is still the signed one."""
        try:
            bundle = Bundle.parse(self._read(folder, self._good) or b"")
            info.verify_length_and_hashes(bundle.policy.encode())
        except (RepositoryError, ValueError):
            return None  # the caller downloads it
        return bundle.policy

    def _download(self, downloads: fetcher.BoundedFetcher, info: TargetFile, roots: list[str]) -> str:
        root = Metadata[Root].from_bytes(roots[-1].encode() if roots else self._root).signed
        folder, slash, name = info.path.rpartition("/")
        if root.consistent_snapshot:  # the name of the file then begins with its hash
            name = f"{next(iter(info.hashes.values()))}.{name}"
        data = downloads.download_bytes(f"{self._targets_url}{folder}{slash}{name}", info.length)
        info.verify_length_and_hashes(data)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise RemotePolicyError("policy", f"the signed target {show(self._target)} is not UTF-8 text") from None

    def _parse(self, text: str) -> PinPolicy:
        read = PinPolicy.from_toml if self._target.endswith(".toml") else PinPolicy.from_json
        try:
            return read(text)
        except PolicyError as e:
            raise RemotePolicyError(
                "policy", f"the signed target {show(self._target)} is not a valid policy: {e}"
            ) from e


def _folder_url(name: str, url: object) -> str:
    if not isinstance(url, str):
        raise PolicyError(f"invalid {name} {show(url)}: give the URL of a folder")
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in {"https", "http"} and parts.hostname and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.query or parts.fragment or "@" in parts.netloc:
        raise PolicyError(
            f"invalid {name} {show(url)}: give the https:// URL of a folder, without user, query and fragment. File "
            "names are appended to it, and errors show it"
        )
    return url if url.endswith("/") else f"{url}/"


def _trusted_root(root: Resource) -> bytes:
    file = Path(root) if isinstance(root, (str, os.PathLike)) else root
    data = file if isinstance(file, bytes) else file.read_bytes()
    problem = "it is the metadata of another role"
    try:
        metadata = Metadata[Root].from_bytes(data)
        if metadata.signed.type == Root.type:
            metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
            return data
    except RepositoryError as e:
        problem = escape(str(e))
    raise PolicyError(
        f"'root' is not root metadata signed by its own keys ({problem}): give the N.root.json of the repository"
    )


def _target_name(name: object) -> str:
    if not isinstance(name, str) or not _TARGET.fullmatch(name) or {".", ".."} & set(name.split("/")):
        raise PolicyError(
            f"invalid target {show(name)}: give the name of a file in the repository, such as 'pins.json'"
        )
    return name


def _shipped(policy: PinPolicy | Mapping[str, PinsLike] | Resource | None) -> PinPolicy | None:
    if policy is None or isinstance(policy, PinPolicy):
        return policy
    if isinstance(policy, (str, os.PathLike)):
        return PinPolicy.from_file(policy)
    if isinstance(policy, bytes) or not hasattr(policy, "read_bytes"):
        return PinPolicy.from_mapping(policy)  # type: ignore[arg-type]  # it refuses what is not a mapping
    resource: Traversable = policy  # type: ignore[assignment]  # as was just seen
    parse = PinPolicy.from_toml if resource.name.lower().endswith(".toml") else PinPolicy.from_json
    try:
        return parse(resource.read_bytes())
    except PolicyError as e:
        raise type(e)(f"{show(resource.name)}: {e}") from None


def _verification(verify: object) -> bool | str:
    if verify is True:
        return True
    if isinstance(verify, (str, os.PathLike)) and Path(verify).exists():
        return os.fspath(verify)
    raise PolicyError(f"invalid verify={show(verify)}: give True, or the path of a file or folder of CA certificates")


def _proxies(proxies: object) -> dict[str, str] | None:
    if proxies is None:
        return None
    if isinstance(proxies, Mapping) and all(isinstance(text, str) for pair in proxies.items() for text in pair):
        return dict(proxies)
    raise PolicyError("invalid proxies: give a mapping of schemes to the URLs of proxies, as for requests")

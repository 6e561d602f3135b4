"""`SignedPolicy`: loads the policy of a TUF repository.

Rules for the next maintainer:

- Trust begins with the root that the application ships, at every start. The cache is verified from there; a cached root
  is never trusted by itself, it only links that root to a newer one.
- The policy is parsed from the bytes in memory whose hash was checked. No file is read again after its check.
- A new policy replaces the last good one only after all its metadata was verified *and* it was parsed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.sources.loaders import Loader, Start
from pinned_requests.sources.tuf.errors import RemotePolicyError, explain

try:
    from filelock import FileLock
    from filelock import Timeout as LockTimeout
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root, TargetFile
    from tuf.ngclient import Updater, UpdaterConfig

    from pinned_requests.sources.tuf import fetcher
    from pinned_requests.sources.tuf.bundle import Bundle
except ImportError as e:
    raise ImportError(
        f"signed remote policies need the extra 'remote' ({e}); run: pip install 'pinned-requests[remote]'"
    ) from e

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ROOT = 512_000  # bytes, as in python-tuf
_CONFIG = UpdaterConfig(root_max_length=_MAX_ROOT, max_root_rotations=256, max_delegations=8)
_TARGET = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)  # needs no quoting in a URL
_BROKEN = (FileExistsError, NotADirectoryError, IsADirectoryError)  # a file in place of a folder, or the reverse


class SignedPolicy(Loader):
    """Loads a policy from a TUF repository and verifies it. It pickles.

    The store begins (`start`) with the last good policy if it still verifies, else with the shipped one. Metadata that
    has expired does not make the last good policy worse than the shipped one, unless the application has since been
    released with another: then that one is newer.

    Args:
        metadata_url: the folder of the repository's metadata, `https://` or `http://`.
        targets_url: the folder of its targets.
        root: the trusted root metadata that the application ships: its bytes, or a path.
        target: the name of the policy in the repository; `.toml` for TOML, anything else is JSON.
        cache_dir: a folder of the application; it is created if it is missing. Processes and repositories may share it.
        shipped: the policy that the application ships: a `PinPolicy`, a mapping or the path of a file.

    Raises:
        PolicyError: a URL, the root, the target's name or the shipped policy is wrong.
        OSError: a file cannot be read.
        ImportError: the extra `remote` is not installed.
    """

    def __init__(  # noqa: PLR0913  what a repository consists of
        self,
        metadata_url: str,
        targets_url: str,
        *,
        root: bytes | str | os.PathLike[str],
        target: str,
        cache_dir: str | os.PathLike[str],
        shipped: PinPolicy | Mapping[str, Any] | str | os.PathLike[str] | None,
    ) -> None:
        self._metadata_url = _folder_url("metadata_url", metadata_url)
        self._targets_url = _folder_url("targets_url", targets_url)
        self.name = self._metadata_url
        self._root = _trusted_root(root)
        self._target = _target_name(target)
        self._shipped = _shipped(shipped)
        self._fingerprint = hashlib.sha256(self._shipped.to_json().encode()).hexdigest() if self._shipped else ""
        # A folder for each repository: in one folder, each would delete the other's memory of the versions it has seen.
        name = hashlib.sha256(self._metadata_url.encode()).hexdigest()[:16]
        self._folder = Path(cache_dir).absolute() / name
        # A file for each policy of a repository.
        self._bundle = self._folder / f"good-{hashlib.sha256(self._target.encode()).hexdigest()[:16]}.json"
        self.start = self._from_cache()

    def load(self) -> PinPolicy:
        """Update from the repository and return its policy.

        Raises:
            RemotePolicyError: the update failed, or the signed target is not a policy. The last good policy stays.
        """
        downloads = fetcher.BoundedFetcher()
        try:
            self._make_folder()
            # python-tuf does not support two processes in one folder.
            with FileLock(self._folder / ".lock", timeout=fetcher.DEADLINE, mode=0o600), downloads:
                try:
                    return self._update(downloads)
                except _BROKEN:
                    self._clear()
                    return self._update(downloads)
        except LockTimeout:
            raise RemotePolicyError(
                "cache", f"another process has been using {show(str(self._folder))} for {fetcher.DEADLINE:g} seconds"
            ) from None
        except Exception as e:
            raise explain(e, downloads.name) from e

    def _from_cache(self) -> Start | None:
        try:
            bundle = Bundle.load(self._bundle)
            if bundle is None:
                return self._from_release(None)
            expired = bundle.verify(self._root, self._target)
            policy = self._parse(bundle.policy)
        except Exception as e:  # noqa: BLE001  a damaged file makes python-tuf raise anything
            error = explain(e, "the cache")
            return self._from_release(RemotePolicyError("cache", f"the cache is not used: {error}"))
        version = bundle.version
        if not expired:
            self.version = version
            return Start(policy, None, bundle.saved)
        text = f"the cached metadata of {', '.join(expired)} has expired, and nothing newer has come yet"
        if bundle.shipped != self._fingerprint:
            return self._from_release(RemotePolicyError("freeze", f"{text}; the policy of this release is in force"))
        self.version = version
        return Start(policy, RemotePolicyError("freeze", f"{text}; the last good policy stays in force"), bundle.saved)

    def _from_release(self, error: RemotePolicyError | None) -> Start | None:
        return None if self._shipped is None else Start(self._shipped, error)

    def _update(self, downloads: fetcher.BoundedFetcher) -> PinPolicy:
        for left in self._folder.glob("tmp*"):  # left by a process that was killed
            left.unlink(missing_ok=True)
        updater = Updater(
            str(self._folder),
            self._metadata_url,
            target_base_url=self._targets_url,
            fetcher=downloads,
            config=_CONFIG,
            bootstrap=self._root,
        )
        updater.refresh()
        info = updater.get_targetinfo(self._target)
        if info is None:
            raise RemotePolicyError("target", f"the repository does not have the target {show(self._target)}")
        text = self._kept(info)
        if text is None:
            text = self._download(updater, info)
        policy = self._parse(text)
        bundle = Bundle.collect(self._folder, self._root, text, self._fingerprint)
        bundle.verify(self._root, self._target)
        bundle.save(self._bundle)
        self.version = bundle.version
        return policy

    def _kept(self, info: TargetFile) -> str | None:
        """Return the text of the last good policy if it is still the signed one, else None."""
        try:
            bundle = Bundle.load(self._bundle)
            if bundle is not None:
                info.verify_length_and_hashes(bundle.policy.encode())
                return bundle.policy
        except (OSError, RepositoryError, ValueError):
            pass  # it is another one or damaged, and the caller downloads it
        return None

    def _download(self, updater: Updater, info: TargetFile) -> str:
        path = self._folder / f"target-{os.getpid()}"
        try:
            updater.download_target(info, str(path))
            data = path.read_bytes()
        finally:
            path.unlink(missing_ok=True)
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

    def _make_folder(self) -> None:
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def _clear(self) -> None:
        """Empty the folder, which python-tuf cannot use as it is. The last good policy and the lock stay."""
        for path in self._folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in {".lock", self._bundle.name}:
                path.unlink()


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


def _trusted_root(root: bytes | str | os.PathLike[str]) -> bytes:
    data = root if isinstance(root, bytes) else Path(root).read_bytes()
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


def _shipped(policy: PinPolicy | Mapping[str, Any] | str | os.PathLike[str] | None) -> PinPolicy | None:
    if policy is None or isinstance(policy, PinPolicy):
        return policy
    if isinstance(policy, (str, os.PathLike)):
        return PinPolicy.from_file(policy)
    return PinPolicy.from_mapping(policy)

"""Attacks on the cache of a signed remote policy: nothing on the disk is believed that does not verify."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from pinned_requests import PinPolicy, PinSet
from pinned_requests.sources.tuf import RemotePolicyError, fetcher
from pinned_requests.sources.tuf import folder as folder_module
from pinned_requests.sources.tuf.folder import PrivateFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pinned_requests.testing import Response
    from support.publisher import Publisher

EVIL = PinPolicy({"evil.example.com": PinSet.exempt()})


class CachedClient:
    """A client with the old policy in its cache, and a network that is down."""

    def __init__(self, publisher: Publisher, policies: Sequence[PinPolicy]) -> None:
        self.publisher = publisher
        self.shipped, self.old, self.new = policies
        publisher.publish(self.old)
        publisher.store()
        publisher.forged = Down()
        (self.folder,) = (publisher.base / "cache").iterdir()
        (self.bundle,) = self.folder.glob("good-*.json")

    def edit(self, **changes: Any) -> None:
        """Change fields of the bundle."""
        self.bundle.write_text(json.dumps({**json.loads(self.bundle.read_text()), **changes}))

    def refused(self) -> None:
        """Start: the shipped policy is in force, and the error says why."""
        store = self.publisher.store(shipped=self.shipped)
        assert isinstance(store.last_error, RemotePolicyError)
        assert store.last_error.check == "cache"
        assert store.current == self.shipped

    def recovered(self) -> None:
        """Let the network come back: the client takes what is published."""
        self.publisher.forged = {}
        store = self.publisher.store(shipped=self.shipped)
        store.refresh()
        assert (store.current, store.last_error) == (self.old, None)


class Down(dict[str, "Response | bytes"]):
    """Every path is forged, with nothing of use."""

    def get(self, *_: object) -> Any:
        """Return the one answer."""
        return b"the network is down"


@pytest.fixture
def client(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> CachedClient:
    """Set the scene."""
    return CachedClient(publishing(), policies)


def test_an_honest_cache(client: CachedClient) -> None:
    """The twin of all others: the old policy is in force after a restart without network, and no error."""
    store = client.publisher.store(shipped=client.shipped)
    assert (store.last_error, store.current) == (None, client.old)
    client.recovered()


def test_the_policy_is_edited(client: CachedClient) -> None:
    """Its hash is in the signed targets."""
    client.edit(policy=EVIL.to_json())
    client.refused()
    client.recovered()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("field", ["expires", "version"])
def test_metadata_is_edited(client: CachedClient, role: str, field: str) -> None:
    """Its signature, or its hash in the metadata above, tells."""
    metadata = json.loads(json.loads(client.bundle.read_text())[role])
    metadata["signed"][field] = {"expires": "2099-01-01T00:00:00Z", "version": 9}[field]
    client.edit(**{role: json.dumps(metadata, separators=(",", ":"))})
    client.refused()
    client.recovered()


def test_signatures_are_removed(client: CachedClient) -> None:
    """Nothing is believed for standing in the cache."""
    metadata = json.loads(json.loads(client.bundle.read_text())["timestamp"])
    metadata["signatures"] = []
    client.edit(timestamp=json.dumps(metadata))
    client.refused()
    client.recovered()


def test_an_older_policy_with_its_own_metadata(client: CachedClient) -> None:
    """All of it is well signed, and not what the timestamp leads to."""
    older = json.loads(client.bundle.read_text())
    client.publisher.forged = {}
    client.publisher.publish(client.new)
    client.publisher.store().refresh()
    client.publisher.publish(client.old)
    client.publisher.store().refresh()
    client.publisher.forged = Down()
    client.edit(**{name: older[name] for name in ("snapshot", "targets", "policy")})
    client.refused()
    client.recovered()


def test_a_whole_repository_of_somebody_else(client: CachedClient, publishing: Callable[..., Publisher]) -> None:
    """The attacker puts a sound bundle of his own repository there, with his roots: trust begins in the package."""
    other = publishing()
    other.rotate("root")
    other.publish(EVIL)
    other.store()
    (bundle,) = (other.base / "cache").glob("*/good-*.json")
    shutil.copy(bundle, client.bundle)
    client.refused()
    client.recovered()


def test_a_system_without_descriptors_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows: files are found by their paths."""
    monkeypatch.setattr(folder_module, "_BY_DESCRIPTOR", False)
    place = tmp_path / "cache" / "folder"
    with pytest.raises(FileNotFoundError), PrivateFolder.opened(place, make=False):
        pass
    with PrivateFolder.opened(place, make=True) as folder:
        folder.write("a", b"1")
        (place / "b").mkdir()
        folder.write("b", b"2")
        (place / "tmp-left").touch()
        folder.clear_left()
        assert [folder.read(name) for name in ("a", "b", "c")] == [b"1", b"2", None]
        assert folder.lock_file() == place / ".lock"
    assert sorted(path.name for path in place.iterdir()) == ["a", "b"]


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read."""
    monkeypatch.setattr(folder_module, "MAX_BYTES", 10)
    with PrivateFolder.opened(tmp_path / "folder", make=True) as folder:
        folder.write("a", bytes(11))
        with pytest.raises(OSError, match="larger"):
            folder.read("a")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00\xff",
        b"{}",
        b"[1]",
        b"[" * 100_000,
        b'{"roots": 1, "timestamp": 1, "snapshot": 1, "targets": 1, "policy": 1, "shipped": 1, "saved": 1}',
        b'{"roots":["\\ud800"],"timestamp":"","snapshot":"","targets":"","policy":"","shipped":"","saved":1.0}',
    ],
    ids=["empty", "binary", "object", "list", "deep", "types", "surrogate"],
)
def test_a_damaged_bundle(client: CachedClient, damage: bytes) -> None:
    """Whatever stands there, the client starts, and gets over it."""
    client.bundle.write_bytes(damage)
    client.refused()
    client.recovered()


def test_without_a_shipped_policy_nothing_is_invented(client: CachedClient) -> None:
    """With a cache that does not verify, no network and no shipped policy, there is no store."""
    client.edit(policy=EVIL.to_json())
    with pytest.raises(RemotePolicyError):
        client.publisher.store()
    client.recovered()


def to_folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.unlink()
    path.mkdir()
    (path / "file").write_bytes(b"")


def to_fifo(path: Path) -> None:
    """Put a FIFO in the place of a file: who opens it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def to_link(path: Path) -> None:
    """Put a link to another file of the user's in the place of a file."""
    path.unlink()
    path.symlink_to(path.parent.parent.parent / "victim")


def to_dangling_link(path: Path) -> None:
    """Put a link to nowhere in the place of a file."""
    path.unlink()
    path.symlink_to(path.parent.parent.parent / "absent")


def to_foreign_file(path: Path) -> None:
    """Give the file to another user."""
    os.chown(path, 65534, -1)


def to_writable_file(path: Path) -> None:
    """Let others write it."""
    path.chmod(0o666)


DAMAGES = [to_folder, to_fifo, to_link, to_dangling_link, to_writable_file]
if hasattr(os, "geteuid") and os.geteuid() == 0:
    DAMAGES.append(to_foreign_file)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_stands_in_the_place_of_a_file(client: CachedClient, damage: Callable[[Path], None]) -> None:
    """It is not read, not followed, not waited for; the file is made again, and the victim stays as it is."""
    victim = client.publisher.base / "victim"
    victim.write_text("of the user")
    for name in ("seen.json", client.bundle.name, ".lock"):
        (client.folder / name).touch()
        damage(client.folder / name)
    store = client.publisher.store(shipped=client.shipped)
    assert store.current == client.shipped
    assert store.last_error is not None
    client.recovered()
    assert victim.read_text() == "of the user"
    assert not (client.publisher.base / "absent").exists()
    for name in ("seen.json", client.bundle.name):
        status = (client.folder / name).lstat()
        assert (stat.S_ISREG(status.st_mode), status.st_mode & 0o777) == (True, 0o600)
    client.publisher.forged = Down()
    assert client.publisher.store(shipped=client.shipped).current == client.old


def test_a_folder_that_is_a_link(client: CachedClient) -> None:
    """Nothing is read or written behind it; the policy is used in memory."""
    elsewhere = client.publisher.base / "elsewhere"
    client.folder.rename(elsewhere)
    client.folder.symlink_to(elsewhere)
    before = {path: path.stat().st_mtime_ns for path in elsewhere.iterdir()}
    unused(client)
    assert {path: path.stat().st_mtime_ns for path in elsewhere.iterdir()} == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a folder away")
def test_a_folder_of_another_user(client: CachedClient) -> None:
    """It was there first, in a place where anybody may make folders."""
    os.chown(client.folder, 65534, -1)
    unused(client)


def unused(client: CachedClient) -> None:
    """Start and update: the cache is not used, which `last_error` says."""
    client.refused()
    client.publisher.forged = {}
    store = client.publisher.store(shipped=client.shipped)
    store.refresh()
    assert store.current == client.old
    assert isinstance(store.last_error, RemotePolicyError)
    assert store.last_error.check == "cache"


def test_a_temporary_name_that_was_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has 128 random bits. If it is there all the same, nothing is written through it."""
    victim = tmp_path / "victim"
    victim.write_text("of the user")
    names: list[str] = []
    with PrivateFolder.opened(tmp_path / "folder", make=True) as folder:
        original = os.replace

        def noting(source: str, *args: Any, **kwargs: Any) -> None:
            names.append(source)
            original(source, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", noting)
            folder.write("a", b"1")
            folder.write("a", b"2")
        assert len(set(names)) == 2
        assert all(len(name) == len("tmp-") + 32 for name in names)
        monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
        (tmp_path / "folder" / "tmp-guessed").symlink_to(victim)
        with pytest.raises(FileExistsError):
            folder.write("a", b"3")
        assert folder.read("a") == b"2"
    assert victim.read_text() == "of the user"


@pytest.mark.parametrize(
    "damage",
    [b"", b"{}", b"[1, 2]", b"[{}, [3]]", b'[{"timestamp": 3}, []]', b"[" * 100_000, b'[{"timestamp": "\\ud800"}, []]'],
    ids=["empty", "object", "numbers", "root", "role", "deep", "surrogate"],
)
def test_damaged_memory_of_versions(client: CachedClient, damage: bytes) -> None:
    """It is forgotten."""
    (client.folder / "seen.json").write_bytes(damage)
    client.recovered()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "\x00"])
def test_damaged_metadata_that_was_seen(client: CachedClient, role: str, text: str) -> None:
    """It is fetched again, whatever has become of it."""
    path = client.folder / "seen.json"
    seen, roots = json.loads(path.read_text())
    path.write_text(json.dumps([{**seen, role: text}, roots]))
    client.recovered()


def test_a_newer_root_in_the_cache_that_nobody_signed(
    client: CachedClient, publishing: Callable[..., Publisher]
) -> None:
    """A root of somebody else, put behind the shipped one, is no step to anywhere."""
    other = publishing()
    other.rotate("root")
    path = client.folder / "seen.json"
    seen, _ = json.loads(path.read_text())
    path.write_text(json.dumps([seen, [other.newest("2.root.json").read_text()]]))
    client.recovered()


def test_a_date_in_the_future(client: CachedClient) -> None:
    """The date is not signed, or the clock was wrong: the age is unknown, and `max_age` refuses until it is known."""
    client.edit(saved=time.time() + 1e6)
    store = client.publisher.store(shipped=client.shipped, max_age=1e6)
    assert (store.loaded_at, store.age) == (None, math.inf)
    assert store.current.outdated is not None
    client.publisher.forged = {}
    store.refresh()
    assert store.current == client.old


def test_a_policy_in_force_survives_the_loss_of_the_cache(client: CachedClient) -> None:
    """The running process keeps what it has, and fills the cache again."""
    client.publisher.forged = {}
    store = client.publisher.store(shipped=client.shipped)
    shutil.rmtree(client.folder)
    assert store.current == client.old
    store.refresh()
    assert store.current == client.old
    assert client.bundle.is_file()


def test_a_process_that_never_lets_go(client: CachedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the lock for ever keeps the client from updates, not from its policy, and it says so."""
    client.publisher.forged = {}
    store = client.publisher.store(shipped=client.shipped, refresh_after=1e6)
    monkeypatch.setattr(fetcher, "DEADLINE", 0.3)
    with FileLock(client.folder / ".lock"):
        with pytest.raises(RemotePolicyError) as caught:
            store.refresh()
        assert (caught.value.check, store.last_error) == ("cache", caught.value)
    monkeypatch.undo()
    store.refresh()
    assert (store.current, store.last_error) == (client.old, None)


def test_the_cache_is_private(client: CachedClient) -> None:
    """Nobody else can look into it or write there."""
    for path in (client.folder, client.folder.parent):
        assert path.stat().st_mode & 0o777 == 0o700

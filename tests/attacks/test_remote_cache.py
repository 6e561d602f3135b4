"""Attacks on the cache of a signed remote policy: nothing on the disk is believed that does not verify."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from pinned_requests import PinPolicy, PinSet
from pinned_requests.sources.tuf import RemotePolicyError, fetcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

EVIL = PinPolicy({"evil.example.com": PinSet.exempt()})


class Scene:
    """A client with the old policy in its cache, and a network that is down."""

    def __init__(self, publisher: Any, policies: Sequence[PinPolicy]) -> None:
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


class Down(dict[str, Any]):
    """Every path is forged, with nothing of use."""

    def get(self, *_: Any) -> Any:
        """Return the one answer."""
        return b"the network is down"


@pytest.fixture
def scene(publishing: Callable[..., Any], policies: Sequence[PinPolicy]) -> Scene:
    """Set the scene."""
    return Scene(publishing(), policies)


def test_an_honest_cache(scene: Scene) -> None:
    """The twin of all others: the old policy is in force after a restart without network, and no error."""
    store = scene.publisher.store(shipped=scene.shipped)
    assert (store.last_error, store.current) == (None, scene.old)
    scene.recovered()


def test_the_policy_is_edited(scene: Scene) -> None:
    """Its hash is in the signed targets."""
    scene.edit(policy=EVIL.to_json())
    scene.refused()
    scene.recovered()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("field", ["expires", "version"])
def test_metadata_is_edited(scene: Scene, role: str, field: str) -> None:
    """Its signature, or its hash in the metadata above, tells."""
    metadata = json.loads(json.loads(scene.bundle.read_text())[role])
    metadata["signed"][field] = {"expires": "2099-01-01T00:00:00Z", "version": 9}[field]
    scene.edit(**{role: json.dumps(metadata, separators=(",", ":"))})
    scene.refused()
    scene.recovered()


def test_signatures_are_removed(scene: Scene) -> None:
    """Nothing is believed for standing in the cache."""
    metadata = json.loads(json.loads(scene.bundle.read_text())["timestamp"])
    metadata["signatures"] = []
    scene.edit(timestamp=json.dumps(metadata))
    scene.refused()
    scene.recovered()


def test_an_older_policy_with_its_own_metadata(scene: Scene) -> None:
    """All of it is well signed, and not what the timestamp leads to."""
    older = json.loads(scene.bundle.read_text())
    scene.publisher.forged = {}
    scene.publisher.publish(scene.new)
    scene.publisher.store().refresh()
    scene.publisher.publish(scene.old)
    scene.publisher.store().refresh()
    scene.publisher.forged = Down()
    scene.edit(**{name: older[name] for name in ("snapshot", "targets", "policy")})
    scene.refused()
    scene.recovered()


def test_a_whole_repository_of_somebody_else(scene: Scene, publishing: Callable[..., Any]) -> None:
    """The attacker puts a sound bundle of his own repository there, with his roots: trust begins in the package."""
    other = publishing()
    other.rotate("root")
    other.publish(EVIL)
    other.store()
    (bundle,) = (other.base / "cache").glob("*/good-*.json")
    shutil.copy(bundle, scene.bundle)
    scene.refused()
    scene.recovered()


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
def test_a_damaged_bundle(scene: Scene, damage: bytes) -> None:
    """Whatever stands there, the client starts, and gets over it."""
    scene.bundle.write_bytes(damage)
    scene.refused()
    scene.recovered()


def test_without_a_shipped_policy_nothing_is_invented(scene: Scene) -> None:
    """With a cache that does not verify, no network and no shipped policy, there is no store."""
    scene.edit(policy=EVIL.to_json())
    with pytest.raises(RemotePolicyError):
        scene.publisher.store()
    scene.recovered()


def to_folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.unlink()
    path.mkdir()


def to_file(path: Path) -> None:
    """Put a file in the place of a folder."""
    shutil.rmtree(path)
    path.write_bytes(b"")


def to_rubbish(path: Path) -> None:
    """Put something else in the place of metadata."""
    path.write_bytes(b"[" * 100_000)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("timestamp.json", to_rubbish),
        ("snapshot.json", to_rubbish),
        ("targets.json", to_rubbish),
        ("root_history/1.root.json", to_rubbish),
        ("timestamp.json", to_folder),
        ("snapshot.json", to_folder),
        ("root.json", to_folder),
        ("root_history", to_file),
        ("root_history/1.root.json", to_folder),
    ],
)
def test_damaged_metadata_of_the_updater(scene: Scene, name: str, damage: Callable[[Path], None]) -> None:
    """What python-tuf keeps is made anew, whatever has become of it."""
    damage(scene.folder / name)
    scene.recovered()


def test_a_newer_root_in_the_cache_that_nobody_signed(scene: Scene, publishing: Callable[..., Any]) -> None:
    """A root of somebody else, put behind the shipped one, is no step to anywhere."""
    other = publishing()
    other.rotate("root")
    shutil.copy(other.newest("2.root.json"), scene.folder / "root_history" / "2.root.json")
    scene.recovered()


def test_a_policy_in_force_survives_the_loss_of_the_cache(scene: Scene) -> None:
    """The running process keeps what it has, and fills the cache again."""
    scene.publisher.forged = {}
    store = scene.publisher.store(shipped=scene.shipped)
    shutil.rmtree(scene.folder)
    assert store.current == scene.old
    store.refresh()
    assert store.current == scene.old
    assert scene.bundle.is_file()


def test_a_process_that_never_lets_go(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the lock for ever keeps the client from updates, not from its policy, and it says so."""
    scene.publisher.forged = {}
    store = scene.publisher.store(shipped=scene.shipped, refresh_after=1e6)
    monkeypatch.setattr(fetcher, "DEADLINE", 0.3)
    with FileLock(scene.folder / ".lock"):
        with pytest.raises(RemotePolicyError) as caught:
            store.refresh()
        assert (caught.value.check, store.last_error) == ("cache", caught.value)
    monkeypatch.undo()
    store.refresh()
    assert (store.current, store.last_error) == (scene.old, None)


def test_the_cache_is_private(scene: Scene) -> None:
    """Nobody else can look into it or write there."""
    for path in (scene.folder, scene.folder.parent):
        assert path.stat().st_mode & 0o777 == 0o700

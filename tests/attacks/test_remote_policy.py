"""Attacks on a signed remote policy, over real HTTP: the old policy stays, and the error names the check.

In each test the client has the old policy, the publisher has signed a new one, and an attacker who controls the network
answers something of his own. The honest twin: as soon as he is gone, the client takes the new policy.
"""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import PinPolicy, PinSet, PolicyStore
from pinned_requests.publishing import state as state_module
from pinned_requests.publishing.keys import KeyRing
from pinned_requests.publishing.repository import Repository
from pinned_requests.publishing.state import State
from pinned_requests.sources.tuf import RemotePolicyError
from pinned_requests.testing import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Scene:
    """A publisher who has published the old policy, and a client who has it."""

    def __init__(self, publisher: Any, old: PinPolicy, new: PinPolicy) -> None:
        self.publisher, self.old, self.new = publisher, old, new
        publisher.publish(old)
        self.store: PolicyStore = publisher.store()
        assert self.store.current == old

    def refused(self, check: str) -> None:
        """Refresh, which must fail by this check and leave the old policy in force."""
        with pytest.raises(RemotePolicyError) as caught:
            self.store.refresh()
        assert caught.value.check == check
        assert self.store.last_error is caught.value
        assert self.store.current == self.old

    def honest(self) -> None:
        """Let the attacker go: the client takes the new policy."""
        self.publisher.forged.clear()
        self.store.refresh()
        assert self.store.last_error is None
        assert self.store.current == self.new


@pytest.fixture
def scene(publishing: Callable[..., Any], policies: Sequence[PinPolicy]) -> Scene:
    """Set the scene, with one key for each role."""
    return Scene(publishing(), *policies[1:])


def tampered(path: Path, **changes: Any) -> bytes:
    """Return signed metadata with fields of its signed part changed, of the same length, and its old signatures."""
    metadata = json.loads(path.read_bytes())
    metadata["signed"].update(changes)
    return json.dumps(metadata, separators=(",", ":")).encode()


def test_a_tampered_target(scene: Scene) -> None:
    """The policy itself is changed: the hash in the signed targets tells."""
    publisher = scene.publisher
    publisher.publish(scene.new)
    target = publisher.newest(".pins.json")
    publisher.forge(target, target.read_bytes().replace(b"new.", b"bad."))
    scene.refused("mix-and-match")
    scene.honest()


@pytest.mark.parametrize(
    ("role", "check"), [("timestamp", "signature"), ("snapshot", "mix-and-match"), ("targets", "mix-and-match")]
)
def test_tampered_metadata(scene: Scene, role: str, check: str) -> None:
    """A signed field is changed: the signature fails, or the hash that the metadata above holds."""
    publisher = scene.publisher
    publisher.publish(scene.new)
    path = publisher.newest(f"{role}.json")
    publisher.forge(path, tampered(path, expires="2099-01-01T00:00:00Z"))
    scene.refused(check)
    scene.honest()


def test_a_tampered_root(scene: Scene) -> None:
    """The attacker puts a root of his own in the place of the next one."""
    publisher = scene.publisher
    publisher.rotate("timestamp")
    publisher.publish(scene.new)
    path = publisher.newest(".root.json")
    publisher.forge(path, tampered(path, expires="2099-01-01T00:00:00Z"))
    scene.refused("signature")
    scene.honest()


@pytest.mark.parametrize("role", ["timestamp", "root"])
def test_unsigned_metadata(scene: Scene, role: str) -> None:
    """Metadata without any signature."""
    publisher = scene.publisher
    publisher.rotate("root")
    publisher.publish(scene.new)
    path = publisher.newest(f"{role}.json")
    publisher.forge(path, json.dumps({**json.loads(path.read_bytes()), "signatures": []}).encode())
    scene.refused("signature")
    scene.honest()


def test_one_key_where_two_must_sign(
    publishing: Callable[..., Any], policies: Sequence[PinPolicy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief has the online keys and one of two targets keys, and signs a policy of his own with them."""
    publisher = publishing(targets=(2, 2))
    scene = Scene(publisher, *policies[1:])
    honest = publisher.folder
    stolen = publisher.base / "stolen"
    shutil.copytree(honest, stolen)
    thief = CarelessRepository(stolen, KeyRing(publisher.key_folders[:1], lambda _: ""))
    with monkeypatch.context() as patch:
        patch.setattr(State, "verify", lambda _: None)
        thief.publish("pins.json", PinPolicy({"thief.example.com": PinSet.exempt()}), {})
    publisher.folder = stolen
    scene.refused("signature")
    publisher.folder = honest
    # As many versions as the thief's, and one more: the client has seen his timestamp, which was signed well.
    publisher.publish(scene.new)
    publisher.publish(scene.new)
    scene.honest()


class CarelessRepository(Repository):
    """Signs with whatever keys there are, and does not care whether they are enough."""

    def _sign(self, role: str, metadata: Any, judges: Any, days: Any) -> None:
        generous = deepcopy(judges)
        for judge in generous:
            judge.roles[role].threshold = 1
        super()._sign(role, metadata, generous, days)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_rollback(scene: Scene, *, is_restarted: bool) -> None:
    """The attacker replays what was signed before: the client remembers what it has seen, also over a restart."""
    publisher, honest = scene.publisher, scene.publisher.folder
    before = publisher.base / "before"
    shutil.copytree(honest, before)
    publisher.publish(scene.new)
    scene.store.refresh()
    publisher.folder = before
    if is_restarted:
        scene.store = publisher.store()
    scene.old = scene.new  # what is in force, and must stay
    scene.refused("rollback")
    publisher.folder = honest
    scene.honest()


def test_a_rollback_with_the_clock_set_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the clock in the past nothing seems expired, but version numbers tell all the same."""
    publisher, honest = scene.publisher, scene.publisher.folder
    before = publisher.base / "before"
    shutil.copytree(honest, before)
    publisher.publish(scene.new)
    scene.store.refresh()
    set_clock(monkeypatch, timedelta(days=-3650))
    publisher.folder = before
    scene.store = publisher.store()
    scene.old = scene.new
    scene.refused("rollback")
    publisher.folder = honest
    scene.honest()


def test_expired_metadata(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is served is signed, newer, and expired."""
    publisher = scene.publisher
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "days_of", lambda signed: -1 if signed.type == "timestamp" else 7)
        publisher.publish(scene.new)
    scene.refused("freeze")
    publisher.repository.refresh((), {"timestamp": 1})
    scene.honest()


def test_a_freeze(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacker serves what was newest once; when that expires, the client says so."""
    publisher, honest = scene.publisher, scene.publisher.folder
    frozen = publisher.base / "frozen"
    shutil.copytree(honest, frozen)
    publisher.publish(scene.new)
    publisher.folder = frozen
    scene.store.refresh()
    assert (scene.store.current, scene.store.last_error) == (scene.old, None)  # he may do that for so long
    with monkeypatch.context() as patch:
        set_clock(patch, timedelta(days=8))
        scene.refused("freeze")
    publisher.folder = honest
    scene.honest()


def set_clock(monkeypatch: pytest.MonkeyPatch, offset: timedelta) -> None:
    """Set the clock of the client off."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC).astimezone(tz) + offset

    class Module:
        datetime = Clock
        timezone = timezone

    monkeypatch.setattr("tuf.ngclient._internal.trusted_metadata_set.datetime", Module)
    monkeypatch.setattr("pinned_requests.sources.tuf.bundle.datetime", Clock)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mix_and_match(scene: Scene, role: str) -> None:
    """New metadata is served together with old metadata, each of it well signed."""
    publisher = scene.publisher
    old = publisher.newest(f".{role}.json").read_bytes()
    publisher.publish(scene.new)
    publisher.forge(publisher.newest(f".{role}.json"), old)
    scene.refused("mix-and-match")
    scene.honest()


def test_the_repository_of_another_application(scene: Scene, publishing: Callable[..., Any]) -> None:
    """A whole and sound repository, signed with other keys."""
    other = publishing()
    other.publish(PinPolicy({"other.example.com": PinSet.exempt()}))
    other.publish(PinPolicy({"other.example.com": PinSet.exempt()}))
    honest = scene.publisher.folder
    scene.publisher.publish(scene.new)
    scene.publisher.folder = other.folder
    scene.refused("signature")
    scene.publisher.folder = honest
    scene.honest()


def test_a_redirect_is_not_followed(scene: Scene) -> None:
    """The attacker sends the client elsewhere, such as to a server inside its own network."""
    publisher = scene.publisher
    publisher.publish(scene.new)
    inside = publisher.server.url("/inside", host="127.0.0.1")
    publisher.forge(publisher.newest("timestamp.json"), Response(302, (("Location", inside),)))
    scene.refused("network")
    assert "/inside" not in [request.path for request in publisher.server.requests]
    scene.honest()


@pytest.mark.parametrize(
    "metadata",
    [b"", b"\xff\xfe", b"[" * 20_000, b"{}", b'{"signed": {"_type": "timestamp"}, "signatures": [1]}', b"null"],
    ids=["empty", "no-utf8", "deep", "object", "half", "null"],
)
def test_what_is_no_metadata(scene: Scene, metadata: bytes) -> None:
    """Whatever comes for the timestamp ends in an error of ours."""
    publisher = scene.publisher
    publisher.publish(scene.new)
    publisher.forge(publisher.newest("timestamp.json"), metadata)
    scene.refused("size" if len(metadata) > 16384 else "format")
    scene.honest()


@pytest.mark.parametrize("text", ["{}", "no policy", '{"hosts": {"*": []}}'])
def test_a_signed_target_that_is_no_policy(scene: Scene, text: str) -> None:
    """A publisher's mistake is signed as well as anything else: it is not taken, and the cache keeps the old policy."""

    class Mistake:
        @staticmethod
        def to_json() -> str:
            return text

    scene.publisher.publish(Mistake())
    scene.refused("policy")
    assert scene.publisher.store().current == scene.old
    scene.publisher.publish(scene.new)
    scene.honest()


def test_a_target_that_is_held_back(scene: Scene, policies: Sequence[PinPolicy]) -> None:
    """The metadata passes and the policy does not: after a restart the last good one is in force, not the shipped."""
    publisher = scene.publisher
    publisher.publish(scene.new)
    publisher.forge(publisher.newest(".pins.json"), Response(503))
    scene.refused("network")
    assert publisher.store(shipped=policies[0]).current == scene.old
    scene.honest()


def test_cookies_are_not_kept(scene: Scene) -> None:
    """A server cannot mark its clients."""
    publisher = scene.publisher
    publisher.publish(scene.new)
    newest = publisher.newest("timestamp.json")
    publisher.forge(newest, Response(200, (("Set-Cookie", "id=1; Path=/"),), newest.read_bytes()))
    scene.store.refresh()
    assert all(request.header("Cookie") is None for request in publisher.server.requests)

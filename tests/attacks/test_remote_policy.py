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
    from datetime import tzinfo
    from pathlib import Path
    from typing import Any

    from tuf.api.metadata import Metadata, Root

    from support.publisher import Publisher


class Subscription:
    """A publisher who has published the old policy, and a client who has it."""

    def __init__(self, publisher: Publisher, old: PinPolicy, new: PinPolicy) -> None:
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
def subscription(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> Subscription:
    """Make the subscription, with one key for each role."""
    return Subscription(publishing(), *policies[1:])


def tampered(path: Path, **changes: Any) -> bytes:
    """Return signed metadata with fields of its signed part changed, of the same length, and its old signatures."""
    metadata = json.loads(path.read_bytes())
    metadata["signed"].update(changes)
    return json.dumps(metadata, separators=(",", ":")).encode()


def test_a_tampered_target(subscription: Subscription) -> None:
    """The policy itself is changed: the hash in the signed targets tells."""
    publisher = subscription.publisher
    publisher.publish(subscription.new)
    target = publisher.newest(".pins.json")
    publisher.forge(target, target.read_bytes().replace(b"new.", b"bad."))
    subscription.refused("mix-and-match")
    subscription.honest()


@pytest.mark.parametrize(
    ("role", "check"), [("timestamp", "signature"), ("snapshot", "mix-and-match"), ("targets", "mix-and-match")]
)
def test_tampered_metadata(subscription: Subscription, role: str, check: str) -> None:
    """A signed field is changed: the signature fails, or the hash that the metadata above holds."""
    publisher = subscription.publisher
    publisher.publish(subscription.new)
    path = publisher.newest(f"{role}.json")
    publisher.forge(path, tampered(path, expires="2099-01-01T00:00:00Z"))
    subscription.refused(check)
    subscription.honest()


def test_a_tampered_root(subscription: Subscription) -> None:
    """The attacker puts a root of his own in the place of the next one."""
    publisher = subscription.publisher
    publisher.rotate("timestamp")
    publisher.publish(subscription.new)
    path = publisher.newest(".root.json")
    publisher.forge(path, tampered(path, expires="2099-01-01T00:00:00Z"))
    subscription.refused("signature")
    subscription.honest()


@pytest.mark.parametrize("role", ["timestamp", "root"])
def test_unsigned_metadata(subscription: Subscription, role: str) -> None:
    """Metadata without any signature."""
    publisher = subscription.publisher
    publisher.rotate("root")
    publisher.publish(subscription.new)
    path = publisher.newest(f"{role}.json")
    publisher.forge(path, json.dumps({**json.loads(path.read_bytes()), "signatures": []}).encode())
    subscription.refused("signature")
    subscription.honest()


def test_one_key_where_two_must_sign(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief has the online keys and one of two targets keys, and signs a policy of his own with them."""
    publisher = publishing(targets=(2, 2))
    subscription = Subscription(publisher, *policies[1:])
    honest = publisher.folder
    stolen = publisher.base / "stolen"
    shutil.copytree(honest, stolen)
    thief = CarelessRepository(stolen, KeyRing(publisher.key_folders[:1], lambda _: ""))
    with monkeypatch.context() as patch:
        patch.setattr(State, "verify", lambda _: None)
        thief.publish("pins.json", PinPolicy({"thief.example.com": PinSet.exempt()}), {})
    publisher.folder = stolen
    subscription.refused("signature")
    publisher.folder = honest
    # As many versions as the thief's, and one more: the client has seen his timestamp, which was signed well.
    publisher.publish(subscription.new)
    publisher.publish(subscription.new)
    subscription.honest()


class CarelessRepository(Repository):
    """Signs with whatever keys there are, and does not care whether they are enough."""

    def _sign(self, role: str, metadata: Metadata[Any], judges: list[Root], days: int | None) -> None:
        generous = deepcopy(judges)
        for judge in generous:
            judge.roles[role].threshold = 1
        super()._sign(role, metadata, generous, days)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_rollback(subscription: Subscription, *, is_restarted: bool) -> None:
    """The attacker replays what was signed before: the client remembers what it has seen, also over a restart."""
    publisher, honest = subscription.publisher, subscription.publisher.folder
    before = publisher.base / "before"
    shutil.copytree(honest, before)
    publisher.publish(subscription.new)
    subscription.store.refresh()
    publisher.folder = before
    if is_restarted:
        subscription.store = publisher.store()
    subscription.old = subscription.new  # what is in force, and must stay
    subscription.refused("rollback")
    publisher.folder = honest
    subscription.honest()


def test_a_rollback_with_the_clock_set_back(subscription: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the clock in the past nothing seems expired, but version numbers tell all the same."""
    publisher, honest = subscription.publisher, subscription.publisher.folder
    before = publisher.base / "before"
    shutil.copytree(honest, before)
    publisher.publish(subscription.new)
    subscription.store.refresh()
    set_clock(monkeypatch, timedelta(days=-3650))
    publisher.folder = before
    subscription.store = publisher.store()
    subscription.old = subscription.new
    subscription.refused("rollback")
    publisher.folder = honest
    subscription.honest()


def test_expired_metadata(subscription: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is served is signed, newer, and expired."""
    publisher = subscription.publisher
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "days_of", lambda signed: -1 if signed.type == "timestamp" else 7)
        publisher.publish(subscription.new)
    subscription.refused("freeze")
    publisher.repository.refresh((), {"timestamp": 1})
    subscription.honest()


def test_a_freeze(subscription: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacker serves what was newest once; when that expires, the client says so."""
    publisher, honest = subscription.publisher, subscription.publisher.folder
    frozen = publisher.base / "frozen"
    shutil.copytree(honest, frozen)
    publisher.publish(subscription.new)
    publisher.folder = frozen
    subscription.store.refresh()
    assert (subscription.store.current, subscription.store.last_error) == (
        subscription.old,
        None,
    )  # he may do that for so long
    with monkeypatch.context() as patch:
        set_clock(patch, timedelta(days=8))
        subscription.refused("freeze")
    publisher.folder = honest
    subscription.honest()


def set_clock(monkeypatch: pytest.MonkeyPatch, offset: timedelta) -> None:
    """Set the clock of the client off."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(UTC).astimezone(tz) + offset

    class Module:
        datetime = Clock
        timezone = timezone

    monkeypatch.setattr("tuf.ngclient._internal.trusted_metadata_set.datetime", Module)
    monkeypatch.setattr("pinned_requests.sources.tuf.metadata.datetime", Clock)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mix_and_match(subscription: Subscription, role: str) -> None:
    """New metadata is served together with old metadata, each of it well signed."""
    publisher = subscription.publisher
    old = publisher.newest(f".{role}.json").read_bytes()
    publisher.publish(subscription.new)
    publisher.forge(publisher.newest(f".{role}.json"), old)
    subscription.refused("mix-and-match")
    subscription.honest()


def test_the_repository_of_another_application(
    subscription: Subscription, publishing: Callable[..., Publisher]
) -> None:
    """A whole and sound repository, signed with other keys."""
    other = publishing()
    other.publish(PinPolicy({"other.example.com": PinSet.exempt()}))
    other.publish(PinPolicy({"other.example.com": PinSet.exempt()}))
    honest = subscription.publisher.folder
    subscription.publisher.publish(subscription.new)
    subscription.publisher.folder = other.folder
    subscription.refused("signature")
    subscription.publisher.folder = honest
    subscription.honest()


def test_a_redirect_is_not_followed(subscription: Subscription) -> None:
    """The attacker sends the client elsewhere, such as to a server inside its own network."""
    publisher = subscription.publisher
    publisher.publish(subscription.new)
    inside = publisher.server.url("/inside", host="127.0.0.1")
    publisher.forge(publisher.newest("timestamp.json"), Response(302, (("Location", inside),)))
    subscription.refused("network")
    assert "/inside" not in [request.path for request in publisher.server.requests]
    subscription.honest()


@pytest.mark.parametrize(
    "metadata",
    [b"", b"\xff\xfe", b"[" * 20_000, b"{}", b'{"signed": {"_type": "timestamp"}, "signatures": [1]}', b"null"],
    ids=["empty", "no-utf8", "deep", "object", "half", "null"],
)
def test_what_is_no_metadata(subscription: Subscription, metadata: bytes) -> None:
    """Whatever comes for the timestamp ends in an error of ours."""
    publisher = subscription.publisher
    publisher.publish(subscription.new)
    publisher.forge(publisher.newest("timestamp.json"), metadata)
    subscription.refused("size" if len(metadata) > 16384 else "format")
    subscription.honest()


@pytest.mark.parametrize("text", ["{}", "no policy", '{"hosts": {"*": []}}'])
def test_a_signed_target_that_is_no_policy(subscription: Subscription, text: str) -> None:
    """A publisher's mistake is signed as well as anything else: it is not taken, and the cache keeps the old policy."""

    class Mistake(PinPolicy):
        def to_json(self) -> str:
            return text

    subscription.publisher.publish(Mistake(subscription.new.hosts))
    subscription.refused("policy")
    assert subscription.publisher.store().current == subscription.old
    subscription.publisher.publish(subscription.new)
    subscription.honest()


def test_a_target_that_is_held_back(subscription: Subscription, policies: Sequence[PinPolicy]) -> None:
    """The metadata passes and the policy does not: after a restart the last good one is in force, not the shipped."""
    publisher = subscription.publisher
    publisher.publish(subscription.new)
    publisher.forge(publisher.newest(".pins.json"), Response(503))
    subscription.refused("network")
    assert publisher.store(shipped=policies[0]).current == subscription.old
    subscription.honest()


def test_cookies_are_not_kept(subscription: Subscription) -> None:
    """A server cannot mark its clients."""
    publisher = subscription.publisher
    publisher.publish(subscription.new)
    newest = publisher.newest("timestamp.json")
    publisher.forge(newest, Response(200, (("Set-Cookie", "id=1; Path=/"),), newest.read_bytes()))
    subscription.store.refresh()
    assert all(request.header("Cookie") is None for request in publisher.server.requests)

"""Two years of 47-day certificates, two servers, and 10,000 clients that take each policy up to 90 days late.

An operator who does what `rotate status` says locks nobody out. One who does not is told so, with the date from which
the step is safe: before that date the clients that would be refused are counted.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pytest

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError
from pinned_requests.core.chain import Chain, SeenCertificate
from pinned_requests.core.verdict import evaluate
from pinned_requests.editing import changes
from pinned_requests.editing.policy_file import History
from pinned_requests.editing.rotation import Stage, Status, UnsafeStepError, check_finish, status_of
from pinned_requests.monitoring.fetch import Served
from pinned_requests.monitoring.serving import Version, can_serve

HOST = "api.example.com"
START = datetime(2029, 3, 15, tzinfo=UTC)
DAY = timedelta(days=1)
RENEWAL = 40  # days: a week before the end of 47
LATEST = 90 * DAY
CLIENTS = 10_000


def key(number: int) -> Pin:
    """The pin of a key."""
    return Pin("spki", number.to_bytes(32, "big"))


@lru_cache
def certificate(pin: Pin) -> SeenCertificate:
    """A certificate of a key."""
    return SeenCertificate("CN=api.example.com", pin, Pin("cert", pin.digest), frozenset([pin]), False, b"")  # noqa: FBT003  a field


class World:
    """The policy's versions, what the servers serve, and the clients."""

    def __init__(self, *reserve: Pin) -> None:
        self.now = START
        first = PinPolicy({HOST: PinSet([key(0)], backup_pins=reserve)})
        self.versions = [Version(first, START)]
        self.served = [key(0), key(0)]
        dice = random.Random(47)  # noqa: S311  not a secret
        self.delays = sorted([timedelta(0), *(dice.random() * LATEST for _ in range(CLIENTS - 2)), LATEST])
        self.refused = self.asked = 0
        self.believed = LATEST  # what the operator takes the slowest client for

    @property
    def policy(self) -> PinPolicy:
        """The newest policy."""
        return self.versions[-1].policy

    @property
    def history(self) -> History:
        """As the command line knows it."""
        return History(tuple(self.versions), is_complete=True)

    def write(self, policy: PinPolicy) -> None:
        """Write the next version."""
        self.versions.append(Version(policy, self.now))

    def status(self) -> Status:
        """As `rotate status` says it."""
        servers = [Served(f"192.0.2.{at}", (certificate(pin),)) for at, pin in enumerate(self.served)]
        return status_of(HOST, 443, self.history, servers, now=self.now, max_client_age=self.believed)

    def requests(self) -> int:
        """Let every client ask every server once, and return how many requests were refused."""
        refused, older = 0, 0
        for version in reversed(self.versions):
            # Who takes policies no later than this has it, or a newer one.
            late = (
                CLIENTS
                if version is self.versions[0]
                else bisect_left(self.delays, self.now - version.since + DAY / 1e6)  # type: ignore[operator]  # each has one
            )
            holders, older = max(0, late - older), max(late, older)
            for pin in self.served:
                verdict = evaluate(
                    version.policy, HOST, Chain((certificate(pin),), is_verified=True), self.now, port=443
                )
                refused += 0 if verdict.is_allowed else holders
        self.asked += CLIENTS * len(self.served)
        self.refused += refused
        return refused


def follow(world: World) -> tuple[int, set[Stage]]:
    """Do for 730 days what `rotate status` says; return how many keys were made, and the stages that came up."""
    keys, stages = 2, set()
    for day in range(730):
        world.now = START + day * DAY
        status = world.status()
        stages.add(status.stage)
        if day % RENEWAL == 0 and status.stage is Stage.READY:
            world.served[0] = next(each.pin for each in status.reserve if each.is_safe)
        elif status.stage is Stage.SWITCHING:  # the second server follows a day later
            world.served[1] = world.served[0]
        elif status.stage is Stage.SWITCHED:
            world.write(changes.with_backup(world.policy, HOST, key(keys), world.served))
            keys += 1
        elif status.stage is Stage.RETIRING:
            check_finish(status, world.policy, status.retired, is_stolen=False)
            world.write(changes.without(world.policy, HOST, status.retired))
        world.requests()
    return keys, stages


def test_the_operator_who_follows() -> None:
    """730 days and 14.6 million requests: none is refused, and the key is changed whenever it may be."""
    world = World(key(1))
    keys, stages = follow(world)
    assert (world.refused, world.asked) == (0, 730 * CLIENTS * 2)
    assert stages == {Stage.READY, Stage.SWITCHING, Stage.SWITCHED, Stage.RETIRING, Stage.WAITING}
    assert keys == 9  # at every third renewal: the clients need 90 days, and a renewal comes every 40
    assert len(world.policy.hosts[HOST].accepted) == 2


def test_an_operator_who_takes_the_clients_for_faster() -> None:
    """With 30 days as the age of the slowest client, the same operator locks clients out."""
    world = World(key(1))
    world.believed = 30 * DAY
    follow(world)
    assert world.refused > 0


def test_a_new_key_at_each_renewal() -> None:
    """With three keys in reserve the key changes at each renewal, and no request is refused."""
    world, keys, changed = World(key(1), key(2), key(3)), 4, 0
    for day in range(730):
        world.now = START + day * DAY
        status = world.status()
        if day and day % RENEWAL == 0:
            assert status.stage is Stage.READY
            safe = next(each.pin for each in status.reserve if each.is_safe)
            world.served = [safe, safe]
            changed += 1
        elif status.stage is Stage.SWITCHED:
            world.write(changes.with_backup(world.policy, HOST, key(keys), world.served))
            keys += 1
        elif status.stage is Stage.RETIRING:
            check_finish(status, world.policy, status.retired, is_stolen=False)
            world.write(changes.without(world.policy, HOST, status.retired))
        world.requests()
    assert (world.refused, changed) == (0, 18)


def test_a_renewal_with_a_new_key() -> None:
    """What certbot does by default: `can-serve` says no, with what to publish; served all the same, all are refused."""
    world = World(key(1))
    world.now = START + RENEWAL * DAY
    answer = can_serve([[key(9)]], HOST, 443, world.versions, now=world.now, is_complete=True)
    assert (answer.is_safe, answer.safe_from) == (False, None)
    world.served = [key(9), key(9)]
    assert world.status().stage is Stage.MISMATCH
    assert world.requests() == 2 * CLIENTS


def test_a_key_that_is_served_too_early() -> None:
    """The date is exact: the day before it a client is refused, and from it on none."""
    world = World(key(1))
    world.now = START + 100 * DAY
    world.write(changes.with_backup(world.policy, HOST, key(2), world.served))
    world.now += DAY
    status = world.status()
    [waiting] = [each for each in status.not_yet if each.step == f"serve {key(2)}"]
    assert waiting.until == START + 190 * DAY
    world.served = [key(2), key(2)]
    assert world.requests() > CLIENTS
    world.now = START + 190 * DAY - timedelta(seconds=1)
    assert world.requests() == 2  # the slowest client, at both servers
    world.now = START + 190 * DAY
    assert world.requests() == 0
    assert can_serve([[key(2)]], HOST, 443, world.versions, now=world.now, is_complete=True).is_safe


def test_a_pin_that_is_dropped_too_early() -> None:
    """While a server shows the key, `rotate finish` refuses, with the date from which another may be served."""
    world = World(key(1))
    world.now = START + 10 * DAY
    world.write(changes.with_backup(world.policy, HOST, key(2), world.served))
    world.write(changes.without(world.policy, HOST, [key(1)]))
    with pytest.raises(UnsafeStepError, match=r"still served at 192\.0\.2\.0, 192\.0\.2\.1; .* safe from 2029-06-23"):
        check_finish(world.status(), world.policy, [key(0)], is_stolen=False)
    with pytest.raises(UnsafeStepError, match="still served"):
        check_finish(world.status(), world.policy, [key(0)], is_stolen=True)
    world.write(changes.with_backup(world.policy, HOST, key(3), world.served))
    world.write(changes.without(world.policy, HOST, [key(0)]))
    assert world.requests() > 0


@pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")
def test_finish_while_one_server_is_behind() -> None:
    """One server that has the old key, or does not answer, stands in the way; so does an empty reserve."""
    world = World(key(1))
    world.served = [key(1), key(0)]
    with pytest.raises(UnsafeStepError, match=r"still served at 192\.0\.2\.1; give it another key of the policy first"):
        check_finish(world.status(), world.policy, [key(0)], is_stolen=False)
    world.served = [key(1), key(1)]
    with pytest.raises(UnsafeStepError, match="no key in reserve"):
        check_finish(world.status(), world.policy, [key(0)], is_stolen=False)
    check_finish(world.status(), world.policy, [key(0)], is_stolen=True)
    silent = status_of(
        HOST, 443, world.history, [Served("192.0.2.7", (), "no answer"), Served("h", (certificate(key(1)),))], now=START
    )
    with pytest.raises(UnsafeStepError, match=r"192\.0\.2\.7 could not be asked"):
        check_finish(silent, world.policy, [key(0)], is_stolen=True)
    with pytest.raises(PolicyError, match="is not a pin of"):
        check_finish(world.status(), world.policy, [key(7)], is_stolen=True)

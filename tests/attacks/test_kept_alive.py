"""A connection that is open was good when it was opened: each request it is to carry is looked at anew.

Rule for the next maintainer: the toll is taken before and after the request that is refused; the difference is what got
through.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
import requests

from pinned_requests import (
    BlockedKeyError,
    InsecureURLError,
    Pin,
    PinMismatchError,
    PinnedAdapter,
    PinnedSession,
    PinningError,
    PinPolicy,
    PinSet,
    PinsExpiredError,
    PolicyStore,
    UnpinnedHostError,
)
from pinned_requests.enforcement import guard
from pinned_requests.testing import Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing import Authority, TLSServer
    from support.scene import Scene

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

NEVER = "2999-01-01T00:00:00Z"


@pytest.fixture(params=["session", "adapter"])
def session_with(request: pytest.FixtureRequest, scene: Scene) -> Callable[[PolicyStore], requests.Session]:
    """A function that makes a session on a store: a `PinnedSession`, or a plain one with a `PinnedAdapter`."""

    def make(store: PolicyStore) -> requests.Session:
        if request.param == "session":
            return scene.trusting(PinnedSession(store))
        session = requests.Session()
        session.mount("https://", PinnedAdapter(store))
        session.mount("http://", PinnedAdapter(store))
        return scene.trusting(session)

    return make


def pins_of(scene: Scene, credential: Credential | Authority, **fields: Any) -> PinSet:
    """Pin a credential's key."""
    return PinSet([Pin.from_certificate(credential.certificate)], [scene.backup], **fields)


def refused_without_a_byte(
    scene: Scene, server: TLSServer, error: type[PinningError], send: Callable[[], object]
) -> int:
    """Send a request that must be refused, and return how many handshakes it took."""
    before = scene.toll(server)
    with pytest.raises(error) as caught:
        send()
    assert type(caught.value) is error
    after = scene.toll(server)
    assert after.application_bytes == before.application_bytes
    assert server.open_connections == 0
    return int(after.handshakes - before.handshakes)


def test_the_policy_drops_the_key(scene: Scene, session_with: Callable[[PolicyStore], requests.Session]) -> None:
    """The server's key is not pinned any more: the open connection is closed, one fresh one tried, and refused."""
    store = PolicyStore({"localhost": pins_of(scene, scene.honest)})
    session, server = session_with(store), scene.serve(scene.honest)
    for _ in range(2):
        assert session.get(server.url()).text == "ok"
    assert scene.toll(server)[:2] == (1, 1)

    store.set({"localhost": pins_of(scene, scene.attacker)})
    for _ in range(2):
        assert refused_without_a_byte(scene, server, PinMismatchError, lambda: session.get(server.url())) == 1

    store.set({"localhost": pins_of(scene, scene.honest)})
    assert session.get(server.url()).text == "ok"


def test_the_policy_blocks_the_key(scene: Scene, session_with: Callable[[PolicyStore], requests.Session]) -> None:
    """The key is known to be compromised since the connection was opened, though it is pinned as well."""
    store = PolicyStore({"localhost": pins_of(scene, scene.honest)})
    session, server = session_with(store), scene.serve(scene.honest)
    assert session.get(server.url()).text == "ok"
    for depth in (0, 1, 2):
        blocked = [Pin.from_certificate(scene.honest.chain[depth])]
        store.set({"localhost": pins_of(scene, scene.honest, blocked_pins=blocked, report_only=True)})
        assert refused_without_a_byte(scene, server, BlockedKeyError, lambda: session.get(server.url())) == 1
        store.set({"localhost": pins_of(scene, scene.honest)})
        assert session.get(server.url()).text == "ok"


def test_the_key_was_rotated(scene: Scene, session_with: Callable[[PolicyStore], requests.Session]) -> None:
    """The server got a new key, and then the policy: one fresh handshake, and the request succeeds on it."""
    renewed = scene.intermediate.issue("localhost")
    store = PolicyStore({"localhost": pins_of(scene, scene.honest)})
    session, server = session_with(store), scene.serve(scene.honest)
    assert session.get(server.url()).text == "ok"
    server.credential = renewed
    assert session.get(server.url()).text == "ok"  # on the connection that is open
    assert scene.toll(server)[:2] == (1, 1)

    store.set({"localhost": pins_of(scene, renewed)})
    assert session.get(server.url()).text == "ok"
    assert session.get(server.url()).text == "ok"
    assert scene.toll(server)[:2] == (2, 2)
    assert [request.peer == server.requests[0].peer for request in server.requests] == [True, True, False, False]


def test_the_attacker_cuts_the_connection(
    scene: Scene, session_with: Callable[[PolicyStore], requests.Session]
) -> None:
    """The man in the middle lets the first connection through and takes the second: it is a new one, and looked at."""
    store = PolicyStore({"localhost": pins_of(scene, scene.honest)})
    session, server = session_with(store), scene.serve(scene.honest)
    assert session.get(server.url(), headers={"Connection": "close"}).text == "ok"
    server.credential = scene.attacker
    assert refused_without_a_byte(scene, server, PinMismatchError, lambda: session.get(server.url())) == 1
    server.credential = scene.honest
    assert session.get(server.url()).text == "ok"


def test_the_pins_expire(
    scene: Scene, session_with: Callable[[PolicyStore], requests.Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pins of an open connection expire, and the policy blocks the host then: no handshake is made."""
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    store = PolicyStore({"localhost": pins_of(scene, scene.honest, expires=expires, on_expiry="block")})
    session, server = session_with(store), scene.serve(scene.honest)
    assert session.get(server.url()).text == "ok"

    monkeypatch.setattr(guard, "_now", lambda: expires - dt.timedelta(microseconds=1))
    assert session.get(server.url()).text == "ok"
    before = scene.toll(server)
    assert before[:2] == (1, 1)
    monkeypatch.setattr(guard, "_now", lambda: expires)
    with pytest.raises(PinsExpiredError):
        session.get(server.url())
    assert scene.toll(server) == before

    store.set({"localhost": pins_of(scene, scene.honest, expires=NEVER, on_expiry="block")})
    assert session.get(server.url()).text == "ok"


def test_the_pins_expire_and_fall_back(
    scene: Scene, session_with: Callable[[PolicyStore], requests.Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default expired pins fall back to CA validation, which an unverified connection has not had."""
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    store = PolicyStore({"localhost": pins_of(scene, scene.honest, expires=expires)})
    session, server = session_with(store), scene.serve(scene.honest)
    assert session.get(server.url(), verify=False).text == "ok"
    monkeypatch.setattr(guard, "_now", lambda: expires)
    assert refused_without_a_byte(scene, server, PinsExpiredError, lambda: session.get(server.url(), verify=False)) == 1
    assert session.get(server.url()).text == "ok"


def test_the_host_gets_pinned(scene: Scene, session_with: Callable[[PolicyStore], requests.Session]) -> None:
    """A connection from the time when the host had no pins is evaluated once it has, and has none to show."""
    store = PolicyStore(PinPolicy({"elsewhere.example.com": PinSet.exempt()}, unpinned_hosts="allow"))
    session, mitm = session_with(store), scene.serve(scene.attacker)
    assert session.get(mitm.url()).text == "ok"

    store.set({"localhost": pins_of(scene, scene.honest)})
    assert refused_without_a_byte(scene, mitm, PinMismatchError, lambda: session.get(mitm.url())) == 1
    mitm.credential = scene.honest
    assert session.get(mitm.url()).text == "ok"


def test_an_open_connection_satisfies_new_pins(
    scene: Scene, session_with: Callable[[PolicyStore], requests.Session]
) -> None:
    """The honest twin: what satisfies the new policy goes on without another handshake."""
    store = PolicyStore(PinPolicy({"elsewhere.example.com": PinSet.exempt()}, unpinned_hosts="allow"))
    session, server = session_with(store), scene.serve(scene.honest)
    for policy in ({"localhost": pins_of(scene, scene.honest)}, {"**.localhost": pins_of(scene, scene.intermediate)}):
        assert session.get(server.url()).text == "ok"
        store.set(policy)
    assert session.get(server.url()).text == "ok"
    assert scene.toll(server)[:2] == (1, 1)


def test_the_policy_closes_itself_to_unpinned_hosts(
    scene: Scene, session_with: Callable[[PolicyStore], requests.Session]
) -> None:
    """Unpinned hosts were allowed, by https and by http, and are not any more."""
    store = PolicyStore(PinPolicy({"elsewhere.example.com": PinSet.exempt()}, unpinned_hosts="allow"))
    session, server, plain = session_with(store), scene.serve(scene.attacker), scene.serve(None)
    assert session.get(server.url()).text == session.get(plain.url()).text == "ok"
    before = scene.toll(server), scene.toll(plain)

    store.set({"elsewhere.example.com": pins_of(scene, scene.honest)})
    with pytest.raises(UnpinnedHostError):
        session.get(server.url())
    with pytest.raises(InsecureURLError):
        session.get(plain.url())
    store.set(PinPolicy({"localhost": pins_of(scene, scene.honest)}, unpinned_hosts="allow"))
    with pytest.raises(InsecureURLError):
        session.get(plain.url())
    assert (scene.toll(server), scene.toll(plain)) == before


@pytest.mark.parametrize("falsy", [False, 0, "", [], None], ids=repr)
def test_an_unverified_request_does_not_weaken_a_verified_one(
    scene: Scene, session_with: Callable[[PolicyStore], requests.Session], falsy: Any
) -> None:
    """A connection made under any falsy `verify`, which requests takes for False, is not used for one that verifies."""
    appliance = Credential.self_signed("localhost")
    session, server = session_with(PolicyStore({"localhost": pins_of(scene, appliance)})), scene.serve(appliance)

    def unverified() -> requests.Response:
        if falsy is not None:
            return session.get(server.url(), verify=falsy)
        session.verify = False
        try:
            return session.get(server.url())
        finally:
            session.verify = scene.bundle

    assert unverified().text == "ok"
    for verify in (scene.bundle, True, scene.bundle):
        before = scene.toll(server)
        with pytest.raises(requests.exceptions.SSLError) as caught:
            session.get(server.url(), verify=verify)
        assert not isinstance(caught.value, PinningError)  # the certificate is not trusted
        after = scene.toll(server)
        assert (after.handshakes, after.application_bytes) == (before.handshakes, before.application_bytes)
        assert unverified().text == "ok"


@pytest.mark.parametrize("falsy", [False, 0, "", []], ids=repr)
def test_a_verified_request_does_not_strengthen_an_unverified_one(
    scene: Scene, session_with: Callable[[PolicyStore], requests.Session], falsy: Any
) -> None:
    """The other way round: the CA that is pinned counts for the verified request alone."""
    store = PolicyStore({"localhost": pins_of(scene, scene.intermediate)})
    session, server = session_with(store), scene.serve(scene.honest)
    for _ in range(2):
        assert session.get(server.url()).text == "ok"
        before = scene.toll(server)
        with pytest.raises(PinMismatchError):
            session.get(server.url(), verify=falsy)
        assert scene.toll(server).application_bytes == before.application_bytes


def test_a_session_that_was_mounted_upon_another(scene: Scene) -> None:
    """One adapter on two sessions: a connection that one opened is evaluated for the other as well."""
    store = PolicyStore({"localhost": pins_of(scene, scene.honest)})
    adapter = PinnedAdapter(store)
    first, second = scene.trusting(requests.Session()), scene.trusting(requests.Session())
    for session in (first, second):
        session.mount("https://", adapter)
    server = scene.serve(scene.honest)
    assert first.get(server.url()).text == second.get(server.url()).text == "ok"
    assert scene.toll(server)[:2] == (1, 1)
    store.set({"localhost": pins_of(scene, scene.attacker)})
    assert refused_without_a_byte(scene, server, PinMismatchError, lambda: second.get(server.url())) == 1

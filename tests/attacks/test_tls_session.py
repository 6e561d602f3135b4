"""A `PinnedSession` that is given a `PinnedSSLContext`: both must accept, and a refusal is that of a session."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import requests
from urllib3 import Retry

from pinned_requests import (
    Pin,
    PinMismatchError,
    PinnedPoolManager,
    PinnedSession,
    PinnedSSLContext,
    PinSet,
    PolicyStore,
    UnpinnedHostError,
    pinning_error,
)
from pinned_requests.core.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.testing import Credential
    from support.scene import Scene


def pins_of(scene: Scene, *credentials: Credential) -> dict[str, PinSet]:
    """Pin keys for localhost."""
    return {"localhost": PinSet([Pin.from_certificate(each.certificate) for each in credentials], [scene.backup])}


def session_of(scene: Scene, store: PolicyStore | Mapping[str, PinsLike], **options: Any) -> PinnedSession:
    """Make a session that accepts either server, with a context that decides by another store."""
    context = PinnedSSLContext(store, cafile=scene.bundle)
    return PinnedSession(pins_of(scene, scene.honest, scene.attacker), ssl_context=context, **options)


@pytest.mark.parametrize("max_retries", [0, 5, Retry(5, backoff_factor=10)])
def test_a_refusal_of_the_context_is_the_public_error(scene: Scene, max_retries: int | Retry) -> None:
    """urllib3 would retry the error of ssl, and report it under another name. There is one handshake."""
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with session_of(scene, pins_of(scene, scene.honest), max_retries=max_retries) as session:
        with pytest.raises(PinMismatchError) as caught:
            session.get(mitm.url())
        assert caught.value.request.url == mitm.url()
        assert scene.toll(mitm) == (1, 1, 0)
        assert session.get(server.url()).status_code == 200


def test_a_host_that_the_context_does_not_know(scene: Scene) -> None:
    """It is refused before the handshake."""
    server = scene.serve(scene.honest)
    with session_of(scene, {"other.example.com": PinSet.exempt()}) as session, pytest.raises(UnpinnedHostError):
        session.get(server.url())
    assert scene.toll(server) == (1, 0, 0)


def test_check_tells_of_a_refusal_of_the_context(scene: Scene) -> None:
    """As a value."""
    mitm = scene.serve(scene.attacker)
    with session_of(scene, pins_of(scene, scene.honest)) as session:
        found = session.check(mitm.url())
    assert (found.outcome, found.chain[0].der) == (Outcome.MISMATCH, scene.attacker.certificate_der)
    assert scene.toll(mitm).application_bytes == 0


def test_a_changed_policy_of_the_context_holds_for_a_pooled_connection(scene: Scene) -> None:
    """The connection is closed, and one fresh handshake is tried, as after a change of the session's own policy."""
    server = scene.serve(scene.honest)
    store = PolicyStore(pins_of(scene, scene.honest))
    with session_of(scene, store) as session:
        session.get(server.url())
        session.get(server.url())
        before = scene.toll(server)
        assert before.handshakes == 1
        store.set(pins_of(scene, scene.attacker))
        with pytest.raises(PinMismatchError):
            session.get(server.url())
        assert scene.toll(server) == (2, 2, before.application_bytes)


@pytest.mark.parametrize("max_retries", [0, 5])
def test_a_policy_swap_in_the_middle_of_an_upload(scene: Scene, max_retries: int) -> None:
    """The public error, with the request, and no further handshake. The session follows another store."""
    server = scene.serve(scene.honest)
    store = PolicyStore(pins_of(scene, scene.honest))

    def parts() -> Iterator[bytes]:
        yield b"\xfe" * 100
        store.set(pins_of(scene, scene.attacker))
        yield b"\xff" * 100

    with session_of(scene, store, max_retries=max_retries) as session:
        with pytest.raises(PinMismatchError) as caught:
            session.put(server.url(), data=parts())
        assert caught.value.request.url == server.url()
        assert scene.toll(server)[:2] == (1, 1)
        assert b"\xfe" in server.received
        assert b"\xff" not in server.received
        store.set(pins_of(scene, scene.honest))
        assert session.get(server.url()).status_code == 200


def test_a_pool_manager(scene: Scene) -> None:
    """The same at the level of urllib3."""
    mitm = scene.serve(scene.attacker)
    context = PinnedSSLContext(pins_of(scene, scene.honest), cafile=scene.bundle)
    manager = PinnedPoolManager(pins_of(scene, scene.honest, scene.attacker), ssl_context=context)
    with manager, pytest.raises(PinMismatchError):
        manager.request("GET", mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)


@pytest.mark.parametrize("verify", [True, False])
def test_plain_requests_with_the_context(scene: Scene, verify: bool) -> None:  # noqa: FBT001  a parameter
    """It writes into the context that it is given; nothing of that lets the attacker in."""
    mitm = scene.serve(scene.attacker)
    context = PinnedSSLContext(pins_of(scene, scene.honest), cafile=scene.bundle)

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            return super().init_poolmanager(*args, **kwargs, ssl_context=context)

    with requests.Session() as session:
        session.mount("https://", Adapter())
        with pytest.raises((requests.exceptions.SSLError, ValueError, ssl.SSLError)) as caught:
            session.get(mitm.url(), verify=scene.bundle if verify else False)
    assert isinstance(pinning_error(caught.value), PinMismatchError) is verify
    assert scene.toll(mitm).application_bytes == 0

"""All pins were lost and the source has new ones: the next connection gets through, and an attacker gets no byte.

Each way to connect waits for one look at the source before it refuses; what must not block looks beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
import requests

from pinned_requests import (
    PinMismatchError,
    PinnedPoolManager,
    PinnedSession,
    PinnedSSLContext,
    PinPolicy,
    PolicyStore,
)
from pinned_requests.testing import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scene import Scene

BOUND = 30.0  # seconds, so that a test that waits for it in vain is seen
PATIENCE = 3.0  # seconds, in which a connection without a wait is refused on a busy machine


class Source:
    """Holds pins of a key that is lost, and then those of the honest server."""

    def __init__(self, scene: Scene) -> None:
        self.lost = PinPolicy({"localhost": scene.pins_of(scene.intermediate.issue("localhost"))})
        self.found = PinPolicy({"localhost": scene.pins_of(scene.honest)})
        self.calls = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.store = PolicyStore(self, refresh_after=3600, confirm_refusals=BOUND)

    def __call__(self) -> PinPolicy:
        """Answer."""
        self.calls += 1
        self.go_on.wait(BOUND)
        return self.lost if self.calls == 1 else self.found


@pytest.fixture
def source(scene: Scene) -> Source:
    """Make the source; the policy in force has the lost pins."""
    return Source(scene)


def by_session(scene: Scene, store: PolicyStore, port: int) -> None:
    """Get a page with requests."""
    with PinnedSession(store) as session:
        session.verify = scene.bundle
        assert session.get(f"https://localhost:{port}/").status_code == 200


def by_manager(scene: Scene, store: PolicyStore, port: int) -> None:
    """Get a page with urllib3."""
    with PinnedPoolManager(store, ca_certs=scene.bundle) as manager:
        assert manager.request("GET", f"https://localhost:{port}/", retries=False).status == 200


def by_socket(scene: Scene, store: PolicyStore, port: int) -> None:
    """Get a page over a blocking socket."""
    context = PinnedSSLContext(store, cafile=scene.bundle)
    plain = socket.create_connection(("127.0.0.1", port), 10)
    with plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert tls.recv(12) == b"HTTP/1.1 200"


def by_asyncio(scene: Scene, store: PolicyStore, port: int) -> None:
    """Get a page by `wrap_bio()`."""

    async def talk() -> bytes:
        context = PinnedSSLContext(store, cafile=scene.bundle)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            return await reader.read(12)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    assert asyncio.run(talk()) == b"HTTP/1.1 200"


def by_polling(scene: Scene, store: PolicyStore, port: int) -> None:
    """Get a page over a socket that does not block."""
    context = PinnedSSLContext(store, cafile=scene.bundle)
    plain = socket.create_connection(("127.0.0.1", port), 10)
    plain.setblocking(False)  # noqa: FBT003  the signature of socket
    with plain, context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False) as tls:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                tls.do_handshake()
                break
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                time.sleep(0.001)
        tls.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


WAITING = [by_session, by_manager, by_socket]


@pytest.mark.parametrize("connect", WAITING)
def test_the_next_connection_gets_through(
    scene: Scene, source: Source, connect: Callable[[Scene, PolicyStore, int], object]
) -> None:
    """By one handshake."""
    server = scene.serve(scene.honest, handler=lambda _: Response())
    connect(scene, source.store, server.port)
    assert (source.calls, scene.toll(server).handshakes) == (2, 1)


@pytest.mark.parametrize("connect", WAITING)
def test_an_attacker_gets_nothing(
    scene: Scene, source: Source, connect: Callable[[Scene, PolicyStore, int], object]
) -> None:
    """The newest policy confirms the refusal; one handshake, one look, no byte."""
    mitm = scene.serve(scene.attacker, handler=lambda _: Response())
    for _ in range(3):
        with pytest.raises(PinMismatchError):
            connect(scene, source.store, mitm.port)
    assert source.calls == 2
    toll = scene.toll(mitm)
    assert (toll.connections, toll.application_bytes) == (3, 0)
    server = scene.serve(scene.honest, handler=lambda _: Response())
    connect(scene, source.store, server.port)


@pytest.mark.parametrize("connect", [by_asyncio, by_polling])
def test_what_must_not_block_does_not_wait(
    scene: Scene, source: Source, connect: Callable[[Scene, PolicyStore, int], object]
) -> None:
    """It is refused at once, the look goes on beside, and the next connection gets through."""
    server = scene.serve(scene.honest, handler=lambda _: Response())
    source.go_on.clear()
    begin = time.monotonic()
    with pytest.raises(PinMismatchError):
        connect(scene, source.store, server.port)
    assert time.monotonic() - begin < PATIENCE
    source.go_on.set()
    while source.store.current is not source.found:
        time.sleep(0.005)
    connect(scene, source.store, server.port)
    assert scene.toll(server).application_bytes > 0


def test_a_kept_connection_is_replaced_by_one_to_the_new_key(scene: Scene) -> None:
    """The policy has become outdated while the connection was idle; the source is healthy."""
    policy = PinPolicy({"localhost": scene.pins_of(scene.honest)})
    store = PolicyStore(lambda: policy, refresh_after=3600, max_age=7200)
    server = scene.serve(scene.honest, handler=lambda _: Response())
    with PinnedSession(store) as session:
        session.verify = scene.bundle
        for _ in range(3):
            assert session.get(f"https://localhost:{server.port}/").status_code == 200
            steady, wall = store._loaded
            store._loaded = steady - 1e6, wall - 1e6
            store._refresher._schedule._early = None


def test_a_blocked_key_is_refused_at_once(scene: Scene, source: Source) -> None:
    """Whatever the look would bring."""
    policy = PinPolicy({"localhost": scene.pins_of(scene.honest)}, blocked_pins=scene.pins_of(scene.honest)[:1])
    source.store.set(policy)
    server = scene.serve(scene.honest, handler=lambda _: Response())
    source.go_on.clear()
    begin = time.monotonic()
    with pytest.raises(requests.exceptions.SSLError):
        by_session(scene, source.store, server.port)
    assert time.monotonic() - begin < PATIENCE
    assert scene.toll(server).application_bytes == 0
    source.go_on.set()

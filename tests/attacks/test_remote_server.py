"""Attacks by the server that a signed remote policy is fetched from: too much, too slowly, without an end.

Each has its honest twin, and what is counted is what the attacker could make the client take: bytes and seconds.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import PolicyStore
from pinned_requests.sources.tuf import RemotePolicyError, fetcher

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pinned_requests import PinPolicy
    from pinned_requests.testing import Request, Response
    from support.publisher import Publisher
    from support.scene import Scene

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
DEADLINE = 1.0  # seconds, in place of a minute
MOST = 1_000_000  # bytes that the client may have taken: its own bound, and what the sockets hold


class Flood:
    """A server that answers every request with pieces, as long as the client takes them."""

    def __init__(
        self, pieces: Callable[[], Iterable[bytes]], pause: float, context: ssl.SSLContext | None = None
    ) -> None:
        self.sent = 0
        self._pieces, self._pause, self._context = pieces, pause, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        """Close everything. What a client has left open keeps a thread alive, which is an error."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as at_the_end, contextlib.suppress(OSError):
            at_the_end.callback(client.close)
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
                at_the_end.callback(client.close)
            request = client.recv(65536)
            if b".root.json" in request:  # there is no newer root: on with the timestamp
                client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            for piece in self._pieces():
                client.sendall(piece)
                self.sent += len(piece)
                time.sleep(self._pause)


@pytest.fixture
def flooding() -> Iterator[Callable[..., Flood]]:
    """Start servers that end with the test."""
    with contextlib.ExitStack() as at_the_end:

        def start(pieces: Callable[[], Iterable[bytes]], pause: float = 0.0, **options: Any) -> Flood:
            flood = Flood(pieces, pause, **options)
            at_the_end.callback(flood.stop)
            return flood

        yield start


def client_of(url: str, publisher: Publisher, policies: Sequence[PinPolicy]) -> PolicyStore:
    """Make a store that has the shipped policy and asks this server."""
    return PolicyStore.from_tuf(
        url, url, root=publisher.root, cache_dir=publisher.base / "other-cache", shipped=policies[0]
    )


def refused(store: PolicyStore, check: str, policy: PinPolicy) -> float:
    """Refresh, which must fail by this check and leave the policy in force, and return the seconds that it took."""
    began = time.monotonic()
    with pytest.raises(RemotePolicyError) as caught:
        store.refresh()
    assert caught.value.check == check
    assert store.last_error is caught.value
    assert store.current == policy
    return time.monotonic() - began


ENDLESS = {
    "body": lambda: itertools.chain([HEAD], itertools.repeat(b" " * 4096)),
    "announced": lambda: itertools.chain(
        [HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 9999999999\r\n\r\n")], itertools.repeat(b" " * 4096)
    ),
    "chunks": lambda: itertools.chain(
        [HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")],
        itertools.repeat(b"1000\r\n" + b" " * 4096 + b"\r\n"),
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_response(
    flooding: Callable[..., Flood], publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], kind: str
) -> None:
    """A response without an end is left after as many bytes as a timestamp may have."""
    flood = flooding(ENDLESS[kind])
    store = client_of(flood.url, publishing(), policies)
    refused(store, "size", policies[0])
    flood.stop()
    assert flood.sent < MOST * 8  # most of it stands in the buffers of the two sockets
    store.set(policies[1])


SLOW = {
    "status line": lambda: iter(lambda: b"H", b""),
    "headers": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\nX-Slow: "], itertools.repeat(b"a")),
    "body": lambda: itertools.chain([HEAD], itertools.repeat(b" ")),
    "announced body": lambda: itertools.chain(
        [HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 9999\r\n\r\n")], itertools.repeat(b" ")
    ),
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_loris(
    flooding: Callable[..., Flood],
    publishing: Callable[..., Publisher],
    policies: Sequence[PinPolicy],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """A byte now and then keeps every single read from timing out: the whole has a deadline."""
    monkeypatch.setattr(fetcher, "DEADLINE", DEADLINE)
    store = client_of(flooding(SLOW[kind], pause=0.05).url, publishing(), policies)
    assert refused(store, "slow", policies[0]) < 3 * DEADLINE


def test_a_slow_loris_over_tls(
    flooding: Callable[..., Flood],
    publishing: Callable[..., Publisher],
    policies: Sequence[PinPolicy],
    monkeypatch: pytest.MonkeyPatch,
    scene: Scene,
) -> None:
    """The connection is cut below TLS, while another thread reads from it."""
    monkeypatch.setattr(fetcher, "DEADLINE", DEADLINE)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", scene.bundle)
    flood = flooding(SLOW["headers"], pause=0.05, context=scene.honest.server_context())
    assert refused(client_of(flood.url, publishing(), policies), "slow", policies[0]) < 3 * DEADLINE


def test_a_server_that_says_nothing(
    flooding: Callable[..., Flood],
    publishing: Callable[..., Publisher],
    policies: Sequence[PinPolicy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Silence is cut by the time-out of a read, before the deadline."""
    monkeypatch.setattr(fetcher, "READ", 0.2)
    monkeypatch.setattr(fetcher, "DEADLINE", 20.0)

    def pieces() -> Iterable[bytes]:
        time.sleep(1)
        return [b""]

    store = client_of(flooding(pieces).url, publishing(), policies)
    assert refused(store, "slow", policies[0]) < 3 * DEADLINE


def test_a_server_that_is_slow_and_honest(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The honest twin: each answer takes a while, and all of them are within the deadline."""
    publisher = publishing()
    publisher.publish(policies[1])
    answer = publisher.server.handler
    assert callable(answer)

    def slowly(request: Request) -> Response:
        time.sleep(0.1)
        return answer(request)

    publisher.server.handler = slowly
    monkeypatch.setattr(fetcher, "DEADLINE", 10.0)
    assert publisher.store(shipped=policies[0]).current == policies[0]
    assert publisher.store().current == policies[1]


@pytest.mark.parametrize("name", ["timestamp", "pins"])
def test_an_oversized_file(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], name: str) -> None:
    """Metadata is bounded by our limits, a target by its signed length; a byte more is too much."""
    publisher = publishing()
    publisher.publish(policies[1])
    store = publisher.store()
    publisher.publish(policies[2])
    path = publisher.newest(f"{name}.json")
    publisher.forge(path, path.read_bytes() + b" " * 20_000)
    refused(store, "size", policies[1])
    publisher.forged.clear()
    store.refresh()
    assert store.current == policies[2]


def test_a_signed_length_beyond_all_measure(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stolen online key may sign any length: our own limit holds all the same."""
    publisher = publishing()
    publisher.publish(policies[1])
    store = publisher.store()
    publisher.publish(policies[2])
    monkeypatch.setattr(fetcher, "MAX_BYTES", 100)
    refused(store, "size", policies[1])
    monkeypatch.undo()
    store.refresh()
    assert store.current == policies[2]


def test_what_comes_compressed_is_not_unfolded(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]
) -> None:
    """A bomb of ten megabytes in ten kilobytes stays as it came, and is no metadata."""
    import gzip  # noqa: PLC0415  here only

    from pinned_requests.testing import Response  # noqa: PLC0415  as above

    publisher = publishing()
    publisher.publish(policies[1])
    store = publisher.store()
    publisher.publish(policies[2])
    bomb = gzip.compress(b" " * 10_000_000)
    publisher.forge(publisher.newest("timestamp.json"), Response(200, (("Content-Encoding", "gzip"),), bomb))
    refused(store, "format", policies[1])
    publisher.forged.clear()
    store.refresh()
    assert store.current == policies[2]

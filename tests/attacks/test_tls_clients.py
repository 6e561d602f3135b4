"""Real clients with a `PinnedSSLContext`: the policy changes while they talk, and proxies stand in the way.

Rules for the next maintainer:

- What counts is what the servers got, as in the other attacks.
- The honest server and the man in the middle are both ones that a plain context would talk to.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import http.client
import socket
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from pinned_requests import (
    BlockedKeyError,
    Pin,
    PinMismatchError,
    PinnedSession,
    PinnedSSLContext,
    PinSet,
    PinsExpiredError,
    pinning_error,
)
from pinned_requests.core.verdict import Outcome
from support.waiting import wait_until

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from typing import Self

    from pinned_requests import ViolationReport
    from pinned_requests.testing import Credential
    from support.lab import Certificates
    from support.scene import Scene

FIRST, SECOND = b"\xfe" * 500, b"\xff" * 500  # the parts of an upload
SECRET = {"Authorization": "Bearer the-secret-token"}


def pins_of(scene: Scene, credential: Credential, **fields: Any) -> dict[str, PinSet]:
    """Pin a key for localhost."""
    return {"localhost": PinSet([Pin.from_certificate(credential.certificate)], [scene.backup], **fields)}


def pinned(scene: Scene, pins: Mapping[str, PinSet] | None = None, **options: Any) -> PinnedSSLContext:
    """Make a context that trusts the root and has some pins, by default the honest server's."""
    return PinnedSSLContext(pins or pins_of(scene, scene.honest), cafile=scene.bundle, **options)


def parts(between: Callable[[], object]) -> Iterator[bytes]:
    """Generate the body of an upload, in the middle of which something happens."""
    yield FIRST
    between()
    yield SECOND


async def parts_in_a_loop(between: Callable[[], object]) -> AsyncIterator[bytes]:
    """Generate the same for an asynchronous client, which gets the time to send the first part."""
    yield FIRST
    await asyncio.sleep(0.01)
    between()
    yield SECOND


def upload_by_httpx(context: PinnedSSLContext, url: str, between: Callable[[], object]) -> int:
    """Upload, and return the status of the answer."""
    with httpx.Client(verify=context) as client:
        return client.post(url, content=parts(between)).status_code


def upload_by_async_httpx(context: PinnedSSLContext, url: str, between: Callable[[], object]) -> int:
    """Upload, and return the status of the answer."""

    async def upload() -> int:
        async with httpx.AsyncClient(verify=context) as client:
            return (await client.post(url, content=parts_in_a_loop(between))).status_code

    return asyncio.run(upload())


def upload_by_aiohttp(context: PinnedSSLContext, url: str, between: Callable[[], object]) -> int:
    """Upload, and return the status of the answer."""

    async def upload() -> int:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.post(url, data=parts_in_a_loop(between)) as response,
        ):
            return response.status

    return asyncio.run(upload())


def upload_by_http_client(context: PinnedSSLContext, url: str, between: Callable[[], object]) -> int:
    """Upload, and return the status of the answer."""
    with contextlib.closing(http.client.HTTPSConnection(url.split("/")[2], context=context)) as connection:
        connection.request("POST", "/", parts(between))
        return connection.getresponse().status


def upload_by_a_session(context: PinnedSSLContext, url: str, between: Callable[[], object]) -> int:
    """Upload by a session that follows the same store, and return the status of the answer."""
    with PinnedSession(context.store, ssl_context=context) as session:
        return session.post(url, data=parts(between)).status_code


UPLOADS = [
    upload_by_httpx,
    upload_by_async_httpx,
    upload_by_aiohttp,
    upload_by_http_client,
    upload_by_a_session,
]


@pytest.mark.parametrize("upload", UPLOADS)
def test_a_policy_swap_stops_an_upload(
    scene: Scene, upload: Callable[[PinnedSSLContext, str, Callable[[], object]], int]
) -> None:
    """The key is not pinned any more: the rest of the body stays here, and no retry brings it to the server."""
    server = scene.serve(scene.honest)
    context = pinned(scene)
    with pytest.raises(Exception) as caught:  # noqa: PT011  each client has an error of its own
        upload(context, server.url(), lambda: context.store.set(pins_of(scene, scene.attacker)))
    assert isinstance(pinning_error(caught.value), PinMismatchError)
    scene.toll(server)
    assert FIRST in server.received
    assert SECOND[:1] not in server.received


@pytest.mark.parametrize("upload", UPLOADS)
def test_there_and_back_in_an_upload(
    scene: Scene, upload: Callable[[PinnedSSLContext, str, Callable[[], object]], int]
) -> None:
    """What counts at a write is the policy in force. It accepts the key again."""
    server = scene.serve(scene.honest)
    context = pinned(scene)
    before = context.store.current

    def swap() -> None:
        context.store.set(pins_of(scene, scene.attacker))
        context.store.set(before)

    assert upload(context, server.url(), swap) == 200
    assert scene.toll(server).handshakes == 1
    assert FIRST in server.received
    assert SECOND in server.received


class H2Server:
    """Speaks HTTP/2 on one connection. It ends the streams of requests for `/short`, and leaves the others open."""

    def __init__(self, context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["h2"])
        self.paths: list[str] = []
        self.received = 0  # decrypted bytes
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        sock, _ = self._listener.accept()
        with contextlib.suppress(OSError), sock, self._context.wrap_socket(sock, server_side=True) as tls:
            connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            connection.initiate_connection()
            tls.sendall(connection.data_to_send())
            while data := tls.recv(1 << 16):
                self.received += len(data)
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self._answer(connection, event)
                tls.sendall(connection.data_to_send())

    def _answer(self, connection: h2.connection.H2Connection, event: h2.events.RequestReceived) -> None:
        path = dict(event.headers)[b":path"].decode()
        self.paths.append(path)
        connection.send_headers(event.stream_id, [(":status", "200")])
        connection.send_data(event.stream_id, b"part", end_stream=path == "/short")


@pytest.mark.parametrize("back", [False, True])
def test_a_policy_swap_with_streams_of_http2_open(scene: Scene, back: bool) -> None:  # noqa: FBT001  a parameter
    """The streams share a connection, which carries no further request; there and back, it carries the next."""
    context = pinned(scene)
    before = context.store.current

    async def talk(server: H2Server) -> None:
        async with (
            httpx.AsyncClient(verify=context, http2=True, timeout=5) as client,
            client.stream("GET", f"{server.url}/1") as one,
            client.stream("GET", f"{server.url}/2") as two,
        ):
            assert await anext(one.aiter_bytes()) == await anext(two.aiter_bytes()) == b"part"
            await asyncio.sleep(0.1)  # until what the client acknowledges has arrived
            context.store.set(pins_of(scene, scene.attacker))
            counted.append(server.received)
            if back:
                context.store.set(before)
            assert (await client.get(f"{server.url}/short")).http_version == "HTTP/2"

    counted: list[int] = []
    with H2Server(scene.honest.server_context()) as server:
        if back:
            asyncio.run(talk(server))
            assert server.paths == ["/1", "/2", "/short"]
            return
        with pytest.raises(PinMismatchError):  # httpx lets it through as it is, where a connection is open
            asyncio.run(talk(server))
    assert server.paths == ["/1", "/2"]
    assert counted == [server.received]


@pytest.mark.parametrize("change", ["blocked", "expired"])
def test_a_kept_alive_connection_is_refused(scene: Scene, change: str) -> None:
    """A key that is blocked, and pins that have expired, since the last request."""
    server = scene.serve(scene.honest)
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    context = pinned(scene, pins_of(scene, scene.honest, expires=expires, on_expiry="block"))
    with httpx.Client(verify=context) as client:
        for _ in range(2):
            assert client.get(server.url()).status_code == 200
        before = scene.toll(server)
        assert before.handshakes == 1
        if change == "blocked":
            issuer = Pin.from_certificate(scene.intermediate.certificate)
            context.store.set(pins_of(scene, scene.honest, blocked_pins=[issuer]))
        else:
            wait_until(lambda: dt.datetime.now(dt.UTC) > expires)
        for _ in range(2):
            with pytest.raises(httpx.TransportError) as caught:
                client.get(server.url(), headers=SECRET)
            assert type(pinning_error(caught.value)).__bases__[0] is (
                BlockedKeyError if change == "blocked" else PinsExpiredError
            )
    assert scene.toll(server).application_bytes == before.application_bytes


def test_report_only_is_reported_once_a_connection(scene: Scene) -> None:
    """However many requests it carries."""
    reports: list[ViolationReport] = []
    server = scene.serve(scene.attacker)
    context = pinned(scene, pins_of(scene, scene.honest, report_only=True), on_violation=reports.append)
    for connections in (1, 2):
        with httpx.Client(verify=context) as client:
            for _ in range(3):
                assert client.get(server.url()).status_code == 200
        assert [report.outcome for report in reports] == [Outcome.MISMATCH] * connections


def test_retries_of_httpx_bring_nothing(scene: Scene) -> None:
    """Nothing at this level can stop them. Each is a handshake, and no byte."""
    mitm = scene.serve(scene.attacker)
    transport = httpx.HTTPTransport(verify=pinned(scene), retries=2)
    with httpx.Client(transport=transport) as client, pytest.raises(httpx.ConnectError) as caught:
        client.post(mitm.url(), headers=SECRET)
    assert isinstance(pinning_error(caught.value), PinMismatchError)
    assert scene.toll(mitm) == (3, 3, 0)


class Way(NamedTuple):
    """A proxy, and a context that pins it and the origin."""

    url: str
    context: PinnedSSLContext


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    """A proxy that is spoken to in the clear, and one that is spoken TLS to: then there is TLS in TLS."""
    found: str = request.param
    return found


@pytest.fixture(scope="session")
def proxy_ports(
    cast: Certificates, start_proxy: Callable[..., int], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, int], Credential]:
    """Start proxy.py twice, and return the ports, and the certificate of the one with TLS."""
    folder: Path = tmp_path_factory.mktemp("tls-proxy")
    credential = cast.intermediate.issue("127.0.0.1")
    (folder / "chain.pem").write_bytes(credential.served_pem)
    (folder / "key.pem").write_bytes(credential.key_pem)
    options = ("--cert-file", str(folder / "chain.pem"), "--key-file", str(folder / "key.pem"))
    return {"http": start_proxy(), "https": start_proxy(*options)}, credential


@pytest.fixture
def way(scene: Scene, scheme: str, proxy_ports: tuple[dict[str, int], Credential]) -> Way:
    """The proxy has a key of its own, and a host of its own in the policy."""
    ports, credential = proxy_ports
    proxy_pins = PinSet([Pin.from_certificate(credential.certificate)], [scene.backup])
    context = pinned(scene, {**pins_of(scene, scene.honest), "127.0.0.1": proxy_pins})
    return Way(f"{scheme}://127.0.0.1:{ports[scheme]}", context)


def through_httpx(way: Way, url: str) -> int:
    """Return the status of the answer."""
    proxy = httpx.Proxy(way.url, ssl_context=way.context if way.url.startswith("https") else None)
    with httpx.Client(verify=way.context, proxy=proxy) as client:
        return client.get(url, headers=SECRET).status_code


def through_async_httpx(way: Way, url: str) -> int:
    """Return the status of the answer."""

    async def get() -> int:
        proxy = httpx.Proxy(way.url, ssl_context=way.context if way.url.startswith("https") else None)
        async with httpx.AsyncClient(verify=way.context, proxy=proxy) as client:
            return (await client.get(url, headers=SECRET)).status_code

    return asyncio.run(get())


def through_aiohttp(way: Way, url: str) -> int:
    """Return the status of the answer."""

    async def get() -> int:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=way.context)) as session,
            session.get(url, headers=SECRET, proxy=way.url) as response,
        ):
            return response.status

    return asyncio.run(get())


@pytest.mark.parametrize("get", [through_httpx, through_async_httpx, through_aiohttp])
def test_through_a_proxy(scene: Scene, way: Way, get: Callable[[Way, str], int]) -> None:
    """The origin's own chain counts."""
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(Exception) as caught:  # noqa: PT011  each client has an error of its own
        get(way, mitm.url())
    refusal = pinning_error(caught.value)
    assert isinstance(refusal, PinMismatchError)
    assert refusal.host == "localhost"
    assert scene.toll(mitm).application_bytes == 0
    assert get(way, server.url()) == 200
    assert scene.toll(server).handshakes == 1


@pytest.mark.parametrize("get", [through_httpx, through_async_httpx, through_aiohttp])
def test_a_proxy_with_another_key(scene: Scene, get: Callable[[Way, str], int]) -> None:
    """It does not even learn the origin's name."""
    mitm = scene.serve(scene.attacker)
    pins = pins_of(scene, scene.honest)
    context = pinned(scene, {**pins, "127.0.0.1": pins["localhost"]})
    with pytest.raises(Exception) as caught:  # noqa: PT011  each client has an error of its own
        get(Way(mitm.url("", host="127.0.0.1"), context), "https://localhost/")
    refusal = pinning_error(caught.value)
    assert isinstance(refusal, PinMismatchError)
    assert refusal.host == "127.0.0.1"
    assert scene.toll(mitm).application_bytes == 0


def refused_by_http_client(context: PinnedSSLContext, url: str) -> None:
    """Leave the connection to the reference count."""
    http.client.HTTPSConnection(url.split("/")[2], context=context).request("GET", "/", headers=SECRET)


def refused_by_urllib(context: PinnedSSLContext, url: str) -> None:
    """Open a URL."""
    urllib.request.urlopen(url, context=context)  # noqa: S310  of a server of the test


def refused_by_httpx(context: PinnedSSLContext, url: str) -> None:
    """Get a page."""
    with httpx.Client(verify=context) as client:
        client.get(url, headers=SECRET)


def in_a_loop(main: Callable[[], Awaitable[object]]) -> None:
    """Run a client of asyncio, whose loop tells nobody of an error."""

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, details: told.append(details))
        await main()

    told: list[dict[str, Any]] = []
    try:
        asyncio.run(run())
    finally:
        assert told == []


def refused_by_asyncio(context: PinnedSSLContext, url: str) -> None:
    """Connect."""
    port = int(url.split("/")[2].partition(":")[2])
    in_a_loop(lambda: asyncio.open_connection("localhost", port, ssl=context))


def refused_by_async_httpx(context: PinnedSSLContext, url: str) -> None:
    """Get a page."""

    async def get() -> None:
        async with httpx.AsyncClient(verify=context) as client:
            await client.get(url, headers=SECRET)

    in_a_loop(get)


def refused_by_aiohttp(context: PinnedSSLContext, url: str) -> None:
    """Get a page."""

    async def get() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            await session.get(url, headers=SECRET)

    in_a_loop(get)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
@pytest.mark.parametrize(
    "client",
    [
        refused_by_http_client,
        refused_by_urllib,
        refused_by_httpx,
        refused_by_asyncio,
        refused_by_async_httpx,
        refused_by_aiohttp,
    ],
)
def test_a_refused_client_leaves_nothing_behind(scene: Scene, client: Callable[[PinnedSSLContext, str], None]) -> None:
    """No descriptor stays open while the garbage collector is off, and no handler of the loop is called."""
    mitm = scene.serve(scene.attacker)
    context = pinned(scene)

    def refuse() -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011  each client has an error of its own
            client(context, mitm.url())
        assert isinstance(pinning_error(caught.value), PinMismatchError)

    def descriptors() -> int:
        scene.toll(mitm)
        return len(list(Path("/proc/self/fd").iterdir()))

    refuse()
    gc.collect()
    before = descriptors()
    gc.disable()
    try:
        for _ in range(3):
            refuse()
        assert descriptors() <= before
    finally:
        gc.enable()
    assert scene.toll(mitm).application_bytes == 0

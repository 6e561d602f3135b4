"""The lab judges clients with a `PinnedSSLContext`: httpx, aiohttp, asyncio, `http.client` and websockets."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest

from pinned_requests import PinnedSSLContext, PinSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing import MITMLab

HOST = "api.example.com"
URL = f"https://{HOST}/things"
SECRET = {"Authorization": "Bearer the-secret-token"}
THINGS = b'{"things": ["anvil"]}'


def with_httpx(context: ssl.SSLContext) -> bytes:
    """httpx, as most programs use it."""
    with httpx.Client(verify=context, timeout=1) as client:
        return client.get(URL, headers=SECRET).content


def with_async_httpx(context: ssl.SSLContext) -> bytes:
    """The asynchronous one, by which TLS is made on memory buffers."""

    async def get() -> bytes:
        async with httpx.AsyncClient(verify=context, http2=True, timeout=1) as client:
            return (await client.get(URL, headers=SECRET)).content

    return asyncio.run(get())


def with_aiohttp(context: ssl.SSLContext, *, allow_redirects: bool = False) -> bytes:
    """A client that does not follow redirects, which aiohttp does by itself, also to `http://`."""

    async def get() -> bytes:
        connector = aiohttp.TCPConnector(ssl=context)
        timeout = aiohttp.ClientTimeout(1)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=SECRET) as session,
            session.get(URL, allow_redirects=allow_redirects) as response,
        ):
            return await response.read()

    return asyncio.run(get())


def with_asyncio(context: ssl.SSLContext) -> bytes:
    """The streams of asyncio."""

    async def get() -> bytes:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(HOST, 443, ssl=context)
        try:
            writer.write(f"GET /things HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            return (await reader.read()).partition(b"\r\n\r\n")[2]
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return asyncio.run(get())


def with_http_client(context: ssl.SSLContext) -> bytes:
    """The standard library's client."""
    connection = http.client.HTTPSConnection(HOST, context=context, timeout=1)
    with contextlib.closing(connection):
        connection.request("GET", "/things", headers=SECRET)
        return connection.getresponse().read()


def with_websockets(context: ssl.SSLContext) -> bytes:
    """A WebSocket. The server has none, and answers by HTTP."""
    websockets: Any = pytest.importorskip("websockets", reason="websockets is not installed (extra `clients`)")

    async def get() -> bytes:
        try:
            async with websockets.connect(f"wss://{HOST}/things", ssl=context, open_timeout=1, proxy=None):
                raise AssertionError
        except websockets.exceptions.InvalidStatus as error:
            body: bytes = error.response.body
            return body

    return asyncio.run(get())


CLIENTS = [with_httpx, with_async_httpx, with_aiohttp, with_asyncio, with_http_client, with_websockets]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_attacker_is_refused(mitm_lab: MITMLab, client: Callable[[ssl.SSLContext], bytes]) -> None:
    """The honest server is believed, with the key in use and with the backup key."""
    api = mitm_lab.honest(HOST, {"/things": THINGS.decode()})
    pins = PinSet(api.pins, backup_pins=api.backup_pins, blocked_pins=[mitm_lab.revoked_pin])
    context = PinnedSSLContext({HOST: pins}, port=443)
    mitm_lab.audit(lambda: client(context), HOST).assert_rejected()
    with api:
        assert client(context) == THINGS
        api.rotate()
        assert client(context) == THINGS


@pytest.mark.parametrize("client", CLIENTS)
def test_without_pins_the_client_is_fooled(mitm_lab: MITMLab, client: Callable[[ssl.SSLContext], bytes]) -> None:
    """The same clients with a plain context: the lab is not blind."""
    context = ssl.create_default_context()
    audit = mitm_lab.audit(lambda: client(context), HOST, attackers=["trusted-ca", "self-signed"])
    assert [each.verdict for each in audit] == ["accepted", "rejected"]


def test_a_context_sees_no_redirect(mitm_lab: MITMLab) -> None:
    """As its documentation says: a client that follows the server to `http://` is out of its sight."""
    api = mitm_lab.honest(HOST)
    context = PinnedSSLContext({HOST: PinSet(api.pins, backup_pins=api.backup_pins)})
    audit = mitm_lab.audit(lambda: with_aiohttp(context, allow_redirects=True), HOST, attackers=["downgrade"])
    assert [each.verdict for each in audit] == ["accepted"]

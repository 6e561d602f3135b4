"""Two fixed ports on loopback behind which the lab's servers take turns: the host's address, and an explicit proxy.

Rules for the next maintainer:

- Nothing leaves the machine: bytes go to the one server of the lab that is shown, or nowhere.
- The gateway never speaks TLS. What the server sees is what the client sent, to the byte, and the end of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pinned_requests.core.host import HostError, normalize_host
from pinned_requests.testing.clock import steady
from pinned_requests.testing.server.connection import is_ready

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    _Relay = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

__all__ = ["Gateway"]

_CHUNK = 65536  # bytes read at a time
_STOP = 5.0  # seconds for the thread to end, which it does at once
_LOOK = 0.005  # seconds between two looks at the connections
_CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_ELSEWHERE = b"HTTP/1.1 502 This proxy of a test leads to one host\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Gateway:
    """Relays connections to the server of the lab that is shown.

    Args:
        host: the host that the lab stands in for, as `normalize_host` returns it.
        direct: listening sockets for clients that take them for the host.
        proxy: a listening socket for clients that take it for their proxy.

    Attributes:
        port: of the server that is shown, on 127.0.0.1.
        is_tunneling: whether that server answers CONNECT itself, as an attacker that is a proxy does.
    """

    def __init__(self, host: str, direct: Sequence[socket.socket], proxy: socket.socket, port: int) -> None:
        self.port = port
        self.is_tunneling = False
        self._host = host
        self._direct = direct
        self._proxy = proxy
        self._loop = asyncio.new_event_loop()
        self._relays: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="lab:gateway", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the listeners and all connections."""
        with contextlib.suppress(RuntimeError):  # it has been stopped
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP)

    def settle(self, timeout: float) -> None:
        """Wait until clients that have ended are gone: all that they sent has reached the server then.

        Args:
            timeout: seconds to wait at most, for clients that are still there.
        """
        deadline = steady() + timeout
        while steady() < deadline and (self._relays or self._has_backlog()):
            threading.Event().wait(_LOOK)

    def disconnect(self) -> None:
        """Cut all connections: the server that is shown is about to change."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(_STOP)

    def _has_backlog(self) -> bool:
        return any(is_ready(each, selectors.EVENT_READ, timeout=0) for each in (*self._direct, self._proxy))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        servers = [await asyncio.start_server(self._begin(self._relay), sock=each) for each in self._direct]
        servers.append(await asyncio.start_server(self._begin(self._relay_proxied), sock=self._proxy))
        await self._stopping.wait()
        for server in servers:
            server.close()
        await self._cut()

    def _begin(self, relay: _Relay) -> _Relay:
        async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None or self._stopping.is_set():
                writer.transport.abort()
                return
            self._relays.add(task)
            try:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await relay(reader, writer)
            finally:
                self._relays.discard(task)
                writer.close()

        return begin

    async def _cut(self) -> None:
        relays = list(self._relays)
        for each in relays:
            each.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
        """Pass on what either side sends, until both have said their last."""
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            server_writer.write(first)
            pumps = [asyncio.ensure_future(_pump(*ends)) for ends in ((reader, server_writer), (server_reader, writer))]
            try:
                await asyncio.gather(*pumps)  # the first error ends both
            finally:
                for each in pumps:
                    each.cancel()
        finally:
            server_writer.close()

    async def _relay_proxied(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client that takes this for its proxy (RFC 9110 §9.3.6; RFC 9112 §3.2.2 for plain HTTP)."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return
        method, target = (*head.decode("latin-1").split(maxsplit=2), "", "")[:2]
        is_tunnel = method == "CONNECT"
        if not self._is_host(target.rpartition(":")[0] if is_tunnel else _host_of(target)):
            writer.write(_ELSEWHERE)
            await writer.drain()
        elif is_tunnel and not self.is_tunneling:
            writer.write(_CONNECTED)
            await self._relay(reader, writer)
        else:
            await self._relay(reader, writer, head)

    def _is_host(self, name: str) -> bool:
        try:
            return normalize_host(name) == self._host
        except HostError:
            return False


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and then its end.

    Raises:
        OSError: a side is gone.
    """
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):  # closed by the other direction
        writer.write_eof()

"""What a `PinnedSSLContext` costs, to the same client with a plain context. Run: `python -m benchmarks.contexts`."""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
import tempfile
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import httpx

from benchmarks.contenders import CLOSE, OTHER_PIN
from benchmarks.measure import figures, in_turns
from benchmarks.server import running
from pinned_requests import Pin, PinnedSSLContext, PinPolicy, PinSet, PolicyStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.server import Target

WRITES = 500  # of one byte, in one measurement
KEPT = 20  # requests over a kept-alive connection, in one measurement


def timed(call: Callable[[], object], calls: int = 1) -> Callable[[], float]:
    """Return a function that returns the seconds that a call takes."""

    def measure() -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - begin) / calls

    return measure


def handshake(context: ssl.SSLContext, target: Target) -> ssl.SSLSocket:
    """Connect, and make a handshake."""
    address = urlsplit(target.url)
    sock = socket.create_connection((address.hostname, address.port or 443))
    return context.wrap_socket(sock, server_hostname=address.hostname)


def one_handshake(context: ssl.SSLContext, target: Target) -> None:
    """Connect, make a handshake, and close."""
    handshake(context, target).close()


def write_on_a_socket(context: ssl.SSLContext, target: Target) -> Callable[[], float]:
    """Return what measures a write on an open socket: the server reads a body without an end."""
    tls = handshake(context, target)
    tls.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
    return timed(lambda: tls.send(b"x"), WRITES)


def write_on_an_object(context: ssl.SSLContext, target: Target) -> Callable[[], float]:
    """Return what measures a write on an object with memory buffers."""
    address = urlsplit(target.url)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=address.hostname)
    with socket.create_connection((address.hostname, address.port or 443)) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(1 << 16))
    write = timed(lambda: tls.write(b"x"), WRITES)

    def measure() -> float:
        seconds = write()
        outgoing.read()  # so that the buffer does not grow
        return seconds

    return measure


def main() -> None:
    """Measure side by side, in turns, and print medians and their ratio; of writes, the shortest times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contexts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="measurements of each (100)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as target:
        pins = {"localhost": PinSet([Pin.from_certificate(target.leaf)], [OTHER_PIN])}
        plain = ssl.create_default_context(cafile=target.bundle)
        contexts: dict[str, ssl.SSLContext] = {"plain": plain, "pinned": PinnedSSLContext(pins, cafile=target.bundle)}
        compare("handshake", {n: timed(partial(one_handshake, c, target)) for n, c in contexts.items()}, rounds)
        for name, task in of_httpx(contexts, target).items():
            compare(f"httpx, {name}", task, rounds)
        loop = asyncio.new_event_loop()
        sessions = {name: loop.run_until_complete(session_of(context)) for name, context in contexts.items()}
        for name, task in of_aiohttp(sessions, target, loop).items():
            compare(f"aiohttp, {name}", task, rounds)
        for session in sessions.values():
            loop.run_until_complete(session.close())
        loop.close()
        for kind, policy in policies(pins["localhost"]).items():
            contexts["pinned"] = PinnedSSLContext(policy, cafile=target.bundle)
            for open_one in (write_on_a_socket, write_on_an_object):
                title = f"{open_one.__name__}, {kind}".replace("_", " ")
                tasks = {name: open_one(context, target) for name, context in contexts.items()}
                compare_writes(title, tasks, rounds * 20)


def policies(pins: PinSet) -> dict[str, Any]:
    """Return the kinds of policies that a write looks at in different ways."""
    expiring = PinSet(pins.pins, pins.backup_pins, expires=datetime.now(UTC) + timedelta(days=90))
    policy = PinPolicy({"localhost": pins})
    return {
        "fixed": policy,
        "expiring": PinPolicy({"localhost": expiring}),
        "followed": PolicyStore(lambda: policy, refresh_after=3600, max_age=86400),
    }


def of_httpx(contexts: dict[str, Any], target: Target) -> dict[str, dict[str, Callable[[], float]]]:
    """Return what to measure with httpx."""
    clients = {name: httpx.Client(verify=context) for name, context in contexts.items()}
    return {
        "new connection": {n: timed(partial(c.get, target.url, headers=CLOSE)) for n, c in clients.items()},
        "kept alive": {n: timed(partial(c.get, target.url), KEPT) for n, c in clients.items()},
    }


async def session_of(context: Any) -> Any:
    """Return a session of aiohttp."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


def of_aiohttp(sessions: dict[str, Any], target: Target, loop: Any) -> dict[str, dict[str, Callable[[], float]]]:
    """Return what to measure with aiohttp."""

    async def get(session: Any, headers: Any) -> None:
        async with session.get(target.url, headers=headers) as response:
            await response.read()

    def run(session: Any, headers: Any) -> None:
        loop.run_until_complete(get(session, headers))

    return {
        "new connection": {n: timed(partial(run, s, CLOSE)) for n, s in sessions.items()},
        "kept alive": {n: timed(partial(run, s, None), KEPT) for n, s in sessions.items()},
    }


def compare(title: str, tasks: dict[str, Callable[[], float]], rounds: int) -> None:
    """Print the medians of both, and the ratio round by round."""
    plain, pinned = figures(in_turns(tasks, rounds), 1e6).values()
    print(f"{title:40} {plain.value:9.2f} µs {pinned.value:9.2f} µs {pinned.ratio:6.3f} x", flush=True)


def compare_writes(title: str, tasks: dict[str, Callable[[], float]], rounds: int) -> None:
    """Print the shortest times of both, and the difference: the machine adds more to a write than what is measured."""
    plain, pinned = (min(times) * 1e6 for times in in_turns(tasks, rounds).values())
    print(f"{title:40} {plain:9.2f} µs {pinned:9.2f} µs {(pinned - plain) * 1e3:+9.0f} ns", flush=True)


if __name__ == "__main__":
    main()

"""The clients of the scoreboard, each as its documentation shows it, and set to follow redirects where it can.

Rules for the next maintainer:

- A client gets what its users would give it: pins, and a CA. It gets no help against an attacker.
- Those of other processes come to the lab by an option of theirs that replaces a name's address, not by another URL.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import urllib3

from pinned_requests import PinnedPoolManager, PinnedSession, PinnedSSLContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing import HonestServer, MITMLab

    Make = Callable[["Lab"], Callable[["Place"], object]]

HOST = "api.example.com"
URL = f"https://{HOST}/things"
HEADERS = {"Authorization": "Bearer the-secret-token"}
NODE = Path(__file__).with_name("scoreboard_node.js")
ONCE = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=2)


@dataclass(frozen=True)
class Lab:
    """What a client is made from."""

    lab: MITMLab
    server: HonestServer

    @property
    def policy(self) -> dict[str, Any]:
        """The policy of the pinned clients."""
        pins = {"pins": self.server.pins, "backup_pins": self.server.backup_pins, "blocked_pins": self.lab.blocked_pins}
        return {HOST: pins}

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate of the host."""
        return self.server.fingerprints[0].digest

    @property
    def spki(self) -> list[str]:
        """SHA-256 of the keys of the host, in base64."""
        return [str(pin).partition("/")[2] for pin in self.server.pins]


@dataclass(frozen=True)
class Place:
    """Where a client finds the server, for one request."""

    port: int
    proxy: str
    """The URL of a proxy that it is to use; empty: none."""
    seconds: float
    """How long it waits."""


@dataclass(frozen=True)
class Client:
    """A client of the scoreboard."""

    group: str
    make: Make
    program: str = ""
    """The program that it needs."""

    @property
    def is_here(self) -> bool:
        """Whether the program is on this machine."""
        return not self.program or shutil.which(self.program) is not None


def _requests(_: Lab) -> Callable[[Place], object]:
    return lambda place: requests.get(URL, headers=HEADERS, timeout=place.seconds)


def _session(session: requests.Session) -> Callable[[Place], object]:
    return lambda place: session.get(URL, headers=HEADERS, timeout=place.seconds)


def _fingerprint_adapter(lab: Lab) -> Callable[[Place], object]:
    from requests_toolbelt.adapters.fingerprint import FingerprintAdapter  # noqa: PLC0415  of the bench group

    session = requests.Session()
    session.mount("https://", FingerprintAdapter(lab.fingerprint.hex()))
    return _session(session)


def _manager(manager: urllib3.PoolManager) -> Callable[[Place], object]:
    return lambda place: manager.request("GET", URL, headers=HEADERS, timeout=place.seconds, retries=ONCE)


def _httpx(verify: ssl.SSLContext) -> Callable[[Place], object]:
    import httpx  # noqa: PLC0415  of the bench group

    def get(place: Place) -> None:
        with httpx.Client(verify=verify, timeout=place.seconds, follow_redirects=True) as client:
            client.get(URL, headers=HEADERS)

    return get


def _aiohttp(tls: Any) -> Callable[[Place], object]:
    import aiohttp  # noqa: PLC0415  of the bench group

    async def get(place: Place) -> None:
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=tls)
        timeout = aiohttp.ClientTimeout(place.seconds)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=True) as session,
            session.get(URL, headers=HEADERS) as response,
        ):
            await response.read()

    return lambda place: asyncio.run(get(place))


def _aiohttp_fingerprint(lab: Lab) -> Callable[[Place], object]:
    import aiohttp  # noqa: PLC0415  of the bench group

    return _aiohttp(aiohttp.Fingerprint(lab.fingerprint))


def _pycurl(lab: Lab) -> Callable[[Place], object]:
    import pycurl  # noqa: PLC0415  of the bench group

    def get(place: Place) -> None:
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, URL)
        curl.setopt(pycurl.CAINFO, lab.lab.ca_file)
        curl.setopt(pycurl.PINNEDPUBLICKEY, _curl_pins(lab))
        curl.setopt(pycurl.FOLLOWLOCATION, 1)
        curl.setopt(pycurl.TIMEOUT_MS, int(1000 * place.seconds))
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in HEADERS.items()])
        curl.setopt(pycurl.WRITEFUNCTION, len)
        if place.proxy:
            curl.setopt(pycurl.PROXY, place.proxy)
        else:
            curl.setopt(pycurl.CONNECT_TO, [f"::127.0.0.1:{place.port}"])
        try:
            curl.perform()
        finally:
            curl.close()

    return get


def _curl(lab: Lab, *options: str) -> Callable[[Place], object]:
    def get(place: Place) -> None:
        way = ("--proxy", place.proxy) if place.proxy else ("--connect-to", f"::127.0.0.1:{place.port}")
        fields = [part for name, value in HEADERS.items() for part in ("--header", f"{name}: {value}")]
        _run("curl", "-sSL", "--cacert", lab.lab.ca_file, "-m", str(place.seconds), *way, *fields, *options, URL)

    return get


def _curl_pins(lab: Lab) -> str:
    return ";".join(f"sha256//{each}" for each in lab.spki)


def _node(lab: Lab, way: str) -> Callable[[Place], object]:
    # Over TLS 1.3 Node.js refuses before it sends its Finished, and the server cannot tell that from a lost connection.
    def get(place: Place) -> None:
        wait = str(int(1000 * place.seconds))
        arguments = ("--tls-max-v1.2", str(NODE), way, str(place.port), HOST, ",".join(lab.spki), wait)
        _run("node", *arguments, NODE_EXTRA_CA_CERTS=lab.lab.ca_file)

    return get


def _run(program: str, *arguments: str, **environment: str) -> None:
    path = shutil.which(program) or program
    command = [path, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  clients of this file
    if done.returncode:
        raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr.strip()}")


NO_PINS, OTHERS, OURS = "Without pins", "With the pins that other libraries offer", "With pinned_requests"

CLIENTS: dict[str, Client] = {
    "requests": Client(NO_PINS, _requests),
    "httpx": Client(NO_PINS, lambda _: _httpx(ssl.create_default_context())),
    "aiohttp": Client(NO_PINS, lambda _: _aiohttp(True)),  # noqa: FBT003  the argument's default
    "urllib3": Client(NO_PINS, lambda _: _manager(urllib3.PoolManager())),
    "curl": Client(NO_PINS, _curl, "curl"),
    "Node.js": Client(NO_PINS, lambda lab: _node(lab, "plain"), "node"),
    "urllib3 `assert_fingerprint`": Client(
        OTHERS, lambda lab: _manager(urllib3.PoolManager(assert_fingerprint=lab.fingerprint.hex()))
    ),
    "requests-toolbelt `FingerprintAdapter`": Client(OTHERS, _fingerprint_adapter),
    "aiohttp `Fingerprint`": Client(OTHERS, _aiohttp_fingerprint),
    "pycurl `PINNEDPUBLICKEY`": Client(OTHERS, _pycurl),
    "curl `--pinnedpubkey`": Client(OTHERS, lambda lab: _curl(lab, "--pinnedpubkey", _curl_pins(lab)), "curl"),
    "Node.js `secureConnect`": Client(OTHERS, lambda lab: _node(lab, "secureConnect"), "node"),
    "Node.js `checkServerIdentity`": Client(OTHERS, lambda lab: _node(lab, "checkServerIdentity"), "node"),
    "`PinnedSession`": Client(OURS, lambda lab: _session(PinnedSession(lab.policy))),
    "`PinnedPoolManager`": Client(OURS, lambda lab: _manager(PinnedPoolManager(lab.policy))),
    "`PinnedSSLContext`, in httpx": Client(OURS, lambda lab: _httpx(PinnedSSLContext(lab.policy))),
    "`PinnedSSLContext`, in aiohttp": Client(OURS, lambda lab: _aiohttp(PinnedSSLContext(lab.policy))),
}

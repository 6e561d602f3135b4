"""The clients that are compared, each in its usual pinned form where it has one."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import ssl
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from requests.adapters import HTTPAdapter

from pinned_requests import Pin, PinnedPoolManager, PinnedSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.server import Target

OTHER_PIN = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="  # stands for the backup key
CLOSE = {"Connection": "close"}


class Client(Protocol):
    """A session, or what a library has in its place."""

    def get(self, *, close: bool = False) -> object:
        """Fetch the target's page; with `close` over a connection that is closed afterwards."""

    def end(self) -> None:
        """Close all connections."""


class OfRequests:
    """A session of requests', of any kind."""

    def __init__(self, target: Target, session: requests.Session) -> None:
        session.verify = target.bundle
        self.session = session
        self.url = target.url

    def get(self, *, close: bool = False) -> object:
        """Fetch, and read the body."""
        return self.session.get(self.url, headers=CLOSE if close else None).content

    def end(self) -> None:
        """Close the session."""
        self.session.close()


def pinned_requests(target: Target) -> Client:
    """Return a `PinnedSession`."""
    return OfRequests(target, PinnedSession(_pins(target)))


def plain_requests(target: Target) -> Client:
    """Return a `requests.Session`."""
    return OfRequests(target, requests.Session())


class SharedContextAdapter(HTTPAdapter):
    """What requests could be: one context for all connections, and no pins."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Hand the context on."""
        super().init_poolmanager(*args, ssl_context=self.context, **kwargs)

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Leave out the CA bundle, which urllib3 would load into the context for every connection."""
        host, _pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, {}

    def cert_verify(self, *args: Any) -> None:
        """Leave the pool as it is, for the same reason."""


@cache
def shared_context(bundle: str) -> ssl.SSLContext:
    """Return a context as urllib3 makes it, with a CA bundle."""
    context = urllib3.util.create_urllib3_context()
    context.load_verify_locations(bundle)
    return context


def requests_with_shared_context(target: Target) -> Client:
    """Return a `requests.Session` with one context for the process."""
    session = requests.Session()
    session.mount("https://", SharedContextAdapter(shared_context(target.bundle)))
    return OfRequests(target, session)


def requests_with_fingerprint(target: Target) -> Client:
    """Return a `requests.Session` with requests-toolbelt's `FingerprintAdapter`."""
    from requests_toolbelt.adapters.fingerprint import FingerprintAdapter  # noqa: PLC0415  of the bench extra

    session = requests.Session()
    session.mount("https://", FingerprintAdapter(_fingerprint(target).hex()))
    return OfRequests(target, session)


class OfUrllib3:
    """A pool manager of urllib3's, of any kind."""

    def __init__(self, target: Target, manager: urllib3.PoolManager) -> None:
        self.manager = manager
        self.url = target.url

    def get(self, *, close: bool = False) -> object:
        """Fetch, and read the body."""
        return self.manager.request("GET", self.url, headers=CLOSE if close else None).data

    def end(self) -> None:
        """Close the pools."""
        self.manager.clear()


def plain_urllib3(target: Target) -> Client:
    """Return a `urllib3.PoolManager`, which loads the CA bundle for each connection."""
    return OfUrllib3(target, urllib3.PoolManager(ca_certs=target.bundle))


def pinned_urllib3(target: Target) -> Client:
    """Return a `PinnedPoolManager`."""
    return OfUrllib3(target, PinnedPoolManager(_pins(target), ca_certs=target.bundle))


def urllib3_with_fingerprint(target: Target) -> Client:
    """Return a `urllib3.PoolManager` with `assert_fingerprint`, which shares no context either."""
    fingerprint = _fingerprint(target).hex()
    return OfUrllib3(target, urllib3.PoolManager(ca_certs=target.bundle, assert_fingerprint=fingerprint))


class OfHttpClient:
    """The standard library alone, with one context for the process: the limit for a new connection."""

    def __init__(self, target: Target) -> None:
        url = urlsplit(target.url)
        self.address = (url.hostname or "", url.port)
        self.path = url.path or "/"
        self.context = shared_context(target.bundle)
        self.kept = self._connection()

    def _connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(*self.address, context=self.context)

    def get(self, *, close: bool = False) -> object:
        """Fetch, and read the body."""
        connection = self._connection() if close else self.kept
        connection.request("GET", self.path, headers=CLOSE if close else {})
        body = connection.getresponse().read()
        if close:
            connection.close()
        return body

    def end(self) -> None:
        """Close the connection that was kept."""
        self.kept.close()


class OfHttpx:
    """An httpx client, which cannot pin. It makes a context for each client."""

    def __init__(self, target: Target) -> None:
        import httpx  # noqa: PLC0415  of the bench extra

        self.client = httpx.Client(verify=ssl.create_default_context(cafile=target.bundle), trust_env=False)
        self.url = target.url

    def get(self, *, close: bool = False) -> object:
        """Fetch, and read the body."""
        return self.client.get(self.url, headers=CLOSE if close else None).content

    def end(self) -> None:
        """Close the client."""
        self.client.close()


class OfAiohttp:
    """An aiohttp session with `Fingerprint`, which takes the place of validation."""

    def __init__(self, target: Target) -> None:
        import aiohttp  # noqa: PLC0415  of the bench extra

        self.loop = asyncio.new_event_loop()
        self.url = target.url
        self.fingerprint = aiohttp.Fingerprint(_fingerprint(target))

        async def make() -> Any:
            return aiohttp.ClientSession()

        self.session = self.loop.run_until_complete(make())

    def get(self, *, close: bool = False) -> object:
        """Fetch, and read the body."""

        async def fetch() -> bytes:
            headers = CLOSE if close else None
            async with self.session.get(self.url, ssl=self.fingerprint, headers=headers) as response:
                body: bytes = await response.read()
                return body

        return self.loop.run_until_complete(fetch())

    def end(self) -> None:
        """Close the session and its loop."""
        self.loop.run_until_complete(self.session.close())
        self.loop.close()


class OfPycurl:
    """A handle of pycurl with `PINNEDPUBLICKEY`."""

    def __init__(self, target: Target) -> None:
        import pycurl  # noqa: PLC0415  of the bench extra

        self.curl = pycurl.Curl()
        self.curl.setopt(pycurl.URL, target.url)
        self.curl.setopt(pycurl.CAINFO, target.bundle)
        self.curl.setopt(pycurl.PINNEDPUBLICKEY, "sha256//" + str(Pin.from_certificate(target.leaf)).partition("/")[2])
        self.forbid_reuse = pycurl.FORBID_REUSE
        self.body = pycurl.WRITEFUNCTION
        self.curl.setopt(self.body, len)

    def get(self, *, close: bool = False) -> object:
        """Fetch, and drop the body."""
        self.curl.setopt(self.forbid_reuse, int(close))
        return self.curl.perform()

    def end(self) -> None:
        """Close the handle."""
        self.curl.close()


class OfCurlCffi:
    """A session of curl_cffi with libcurl's option for pins."""

    def __init__(self, target: Target) -> None:
        from curl_cffi import CurlOpt  # noqa: PLC0415  of the bench extra
        from curl_cffi import requests as curl_requests  # noqa: PLC0415

        pin = "sha256//" + str(Pin.from_certificate(target.leaf)).partition("/")[2]
        self.session = curl_requests.Session(verify=target.bundle, curl_options={CurlOpt.PINNEDPUBLICKEY: pin.encode()})
        self.url = target.url

    def get(self, *, close: bool = False) -> object:
        """Fetch, and read the body."""
        return self.session.get(self.url, headers=CLOSE if close else None).content

    def end(self) -> None:
        """Close the session."""
        self.session.close()


def _pins(target: Target) -> dict[str, list[Pin | str]]:
    return {"localhost": [Pin.from_certificate(target.leaf), OTHER_PIN]}


def _fingerprint(target: Target) -> bytes:
    der = x509.load_pem_x509_certificate(target.leaf).public_bytes(Encoding.DER)
    return hashlib.sha256(der).digest()


CONTENDERS: dict[str, Callable[[Target], Client]] = {
    "requests": plain_requests,
    "pinned_requests": pinned_requests,
    "requests, shared context": requests_with_shared_context,
    "requests, FingerprintAdapter": requests_with_fingerprint,
    "urllib3": plain_urllib3,
    "PinnedPoolManager": pinned_urllib3,
    "urllib3, assert_fingerprint": urllib3_with_fingerprint,
    "httpx (no pins)": OfHttpx,
    "aiohttp, Fingerprint": OfAiohttp,
    "pycurl, PINNEDPUBLICKEY": OfPycurl,
    "curl_cffi, PINNEDPUBLICKEY": OfCurlCffi,
    "ssl and http.client, shared context": OfHttpClient,
}

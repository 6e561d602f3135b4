"""`BoundedFetcher`: downloads for python-tuf, bounded in size and time.

Rules for the next maintainer:

- The session is not pinned: pins must not lock out their own renewal. Trust comes from the signatures.
- The time-out of a read does not bound the whole: a server can send one byte at a time, also in its headers. So a timer
  shuts down every connection at the deadline.
- Redirects are not followed: requests reads the body of a redirect to its end, without a bound.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

DEADLINE = 60.0  # seconds for all downloads of one update
CONNECT, READ = 10.0, 10.0  # seconds until connected, and between two reads
MAX_BYTES = 5_000_000  # bytes of any file: the signed length, python-tuf's own bound, can be any number
_CHUNK = 16_384  # bytes


class BoundedFetcher(FetcherInterface):
    """Fetches the files of one update, in a `with` block. `verify` and `proxies` are those of requests."""

    def __init__(self, verify: bool | str = True, proxies: dict[str, str] | None = None) -> None:  # noqa: FBT001, FBT002  requests' spelling
        self.url = ""  # of the last file that was asked for
        self._verify, self._proxies = verify, proxies
        self._deadline = _Deadline(DEADLINE)
        self._responses: list[requests.Response] = []
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for prefix in ("https://", "http://"):
            self._session.mount(prefix, _WatchedAdapter(self._deadline))

    def __enter__(self) -> Self:
        self._deadline.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._deadline.cancel()
        for response in self._responses:  # an error that refers to it keeps an unread one open
            response.close()
        self._session.close()

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return a file, or raise `DownloadError`. python-tuf's own method writes to a disk."""
        data = bytearray()
        for chunk in self.fetch(url):
            data += chunk
            if len(data) > max_length:
                raise DownloadLengthMismatchError(f"there are more than {max_length} bytes")
        return bytes(data)

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.url = url
        try:
            response = self._session.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT, READ),
                verify=self._verify,  # of the request: that of the session is overruled by the environment
                proxies=self._proxies,
                headers={"Accept-Encoding": "identity"},  # a compressed bomb would unfold before it is measured
            )
        except (requests.RequestException, OSError) as e:
            raise self._failure(e) from None
        self._responses.append(response)
        if response.status_code != requests.codes.ok:
            raise DownloadHTTPError(
                f"HTTP status {response.status_code}; redirects are not followed", response.status_code
            )
        return self._chunks(response)

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        length = 0
        try:
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                length += len(chunk)
                if length > MAX_BYTES:
                    raise DownloadLengthMismatchError(f"there are more than {MAX_BYTES} bytes")
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as e:
            raise self._failure(e) from None
        if self._deadline.is_over:  # without a Content-Length, a shutdown looks like the end
            raise self._failure(None)

    def _failure(self, error: Exception | None) -> DownloadError:
        if self._deadline.is_over:
            return SlowRetrievalError(f"the download took longer than {DEADLINE:g} seconds")
        if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
            return SlowRetrievalError(f"the server was silent for {READ:g} seconds")
        inner = getattr(error.args[0], "reason", None) if error and error.args else None  # of urllib3's MaxRetryError
        return DownloadError(f"{type(inner or error).__name__}: {inner or error}")


class _Deadline:
    """Shuts down all connections that it knows."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self.connections: list[Any] = []
        self.sockets: list[Any] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self.start = self._timer.start
        self.cancel = self._timer.cancel

    def _end(self) -> None:
        self.is_over = True
        for sock in [*self.sockets, *(connection.sock for connection in self.connections)]:
            plain = getattr(sock, "socket", sock)  # urllib3 wraps TLS in TLS
            # Not SSLSocket.shutdown, which drops the TLS state that another thread is using.
            with suppress(OSError, TypeError):  # it is closed, or does not exist yet
                socket.socket.shutdown(plain, socket.SHUT_RDWR)


class _Watched:
    """Mixin for urllib3's connections."""

    deadline: _Deadline
    sock: Any

    def connect(self) -> None:
        self.deadline.connections.append(self)  # before it has a socket: a proxy may be slow to answer CONNECT
        super().connect()  # type: ignore[misc]  # mixed into a connection
        self.deadline.sockets.append(self.sock)  # the connection drops its reference with the last response
        if self.deadline.is_over:
            raise TimeoutError("it connected after the deadline")


class _WatchedAdapter(HTTPAdapter):
    """Ends its connections at the deadline."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _Watched):  # the pool is not shared
            kind = type(pool.ConnectionCls.__name__, (_Watched, pool.ConnectionCls), {"deadline": self._deadline})
            pool.ConnectionCls = kind
        return pool

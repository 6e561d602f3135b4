"""HTTP/1.1 on one connection of a lab server: reads requests, answers them and keeps the connection alive."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from io import BufferedReader, BytesIO, RawIOBase
from typing import TYPE_CHECKING, Protocol

from pinned_requests.testing.server.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

_LINE_LIMIT = 65536  # bytes in a line of a request, as in http.server


class Channel(Protocol):
    """The client that an exchange talks to: a `Connection`, which counts the bytes and which imports this module."""

    peer: tuple[str, int]
    """The client's address and port."""
    ended: bool
    """Whether the client will send nothing more."""

    @property
    def scheme(self) -> str:
        """``https``, or ``http`` if there was no TLS handshake."""

    def receive(self, buffer: Buffer, /) -> int:
        """Read into `buffer`, and return the number of bytes; 0 at the end."""

    def send(self, data: bytes, /) -> None:
        """Send all of the data."""


class Exchange(BaseHTTPRequestHandler):
    """The requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"  # connections are kept alive
    default_request_version = "HTTP/1.1"  # an error has a status line, also where the version cannot be read

    def __init__(self, channel: Channel, answer: Callable[[Request], Response]) -> None:
        self._answer = answer
        super().__init__(channel, channel.peer, None)  # type: ignore[arg-type]  # nothing asks for it

    def setup(self) -> None:
        """Read from the connection, and keep what is written until it is flushed."""
        self.rfile = BufferedReader(_Reader(self.request))
        self.wfile = self._unsent = BytesIO()

    def finish(self) -> None:
        """Leave the socket open: the connection closes it."""

    def handle_one_request(self) -> None:
        """Read one request and answer it, with any method; the inherited one looks for `do_GET` and the like."""
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(_LINE_LIMIT + 1)
        # The parser takes the end of the connection for the end of the headers; such a request is not complete.
        if self.raw_requestline.endswith(b"\n") and self.parse_request() and not self.request.ended:
            self._flush()  # 100 Continue, perhaps
            try:
                body = self._body()
            except ValueError:
                self.send_error(400)
                self.close_connection = True
            except EOFError:
                self.close_connection = True
            else:
                headers = tuple((name, str(value)) for name, value in self.headers.items())
                peer = (self.client_address[0], self.client_address[1])
                request = Request(self.command, self.path, headers, body, peer, self.request.scheme)
                self._respond(self._answer(request))
        self._flush()

    def _flush(self) -> None:
        # Headers and body in one piece, as real servers do.
        self.request.send(self._unsent.getvalue())
        self.wfile = self._unsent = BytesIO()

    def _respond(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        framed = {name.lower() for name, _ in response.headers} & {"content-length", "transfer-encoding"}
        bodiless = response.status < 200 or response.status in {204, 304}  # noqa: PLR2004 - RFC 9110 §6.4.1
        if not framed and not bodiless:
            self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")  # RFC 9112 §9.6: else the client would keep a dead connection
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            self.wfile.write(response.body)

    def _body(self) -> bytes:
        """Read the body that the headers announce.

        Raises:
            EOFError: it is cut short.
            ValueError: its framing is malformed.
        """
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._exactly(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self._line().partition(b";")[0], 16):
            body += self._exactly(size)
            if self._line():
                raise ValueError("a chunk is longer than it says")
        while self._line():
            pass  # trailers
        return body

    def _exactly(self, size: int) -> bytes:
        if size < 0:
            raise ValueError("a negative length")
        data = self.rfile.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _line(self) -> bytes:
        line = self.rfile.readline(_LINE_LIMIT)
        if not line.endswith(b"\n"):
            raise EOFError
        return line.strip()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited name
        """Print nothing."""


class _Reader(RawIOBase):
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        return self._channel.receive(buffer)

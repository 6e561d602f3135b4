"""HTTP/1.1 on one connection of a lab server: h11 reads the requests, and they are answered one after the other."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

try:
    import h11
except ImportError:
    raise ImportError("pinned_requests.testing needs h11: pip install 'pinned-requests[testing]'") from None

from pinned_requests.testing.server.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["Channel", "Exchange"]

_HEAD_LIMIT = 65536  # bytes of a request's head, as in http.server
_CHUNK = 65536  # bytes read at a time


class Channel(Protocol):
    """The client that an exchange talks to: a `Connection`, which counts the bytes and which imports this module."""

    peer: tuple[str, int]
    """The client's address and port."""

    @property
    def scheme(self) -> str:
        """``https``, or ``http`` if there was no TLS handshake."""

    def receive(self, buffer: Buffer, /) -> int:
        """Read into `buffer`, and return the number of bytes; 0 at the end."""

    def send(self, data: bytes, /) -> None:
        """Send all of the data."""


class Exchange:
    """The requests of one connection.

    Args:
        channel: the client.
        answer: what answers a request.
    """

    def __init__(self, channel: Channel, answer: Callable[[Request], Response]) -> None:
        self._channel = channel
        self._answer = answer
        self._http = h11.Connection(h11.SERVER, _HEAD_LIMIT)
        self._buffer = bytearray(_CHUNK)

    def run(self) -> None:
        """Answer requests until the client or an answer closes the connection, or a request is malformed.

        Raises:
            OSError: the client is gone.
        """
        try:
            while request := self._next_request():
                self._respond(request.method, self._answer(request))
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE} and self._http.their_state is h11.ERROR:
                self._respond("", Response(error.error_status_hint, (("Connection", "close"),), str(error).encode()))
        except h11.LocalProtocolError:
            pass  # an answer that is not HTTP: the client sees the end of the connection

    def _next_request(self) -> Request | None:
        """Return the next request that arrives whole; None at the end of the connection."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
                size = self._channel.receive(self._buffer)
                self._http.receive_data(bytes(self._buffer[:size]))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._whole(head, bytes(body))
            else:  # the end, or bytes that are not HTTP any more
                return None

    def _whole(self, head: h11.Request, body: bytes) -> Request:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items())
        method, target = head.method.decode("ascii"), head.target.decode("latin-1")
        return Request(method, target, headers, body, self._channel.peer, self._channel.scheme)

    def _respond(self, method: str, response: Response) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        names = {name.lower() for name, _ in headers}
        if b"date" not in names:  # RFC 9110 §6.6.1: caches go by it
            headers.append((b"Date", formatdate(usegmt=True).encode()))
        framed = names & {b"content-length", b"transfer-encoding"}
        bodiless = response.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}  # RFC 9110 §6.4.1
        if not framed and not bodiless:
            headers.append((b"Content-Length", str(len(response.body)).encode()))
        known = {status.value for status in HTTPStatus}
        reason = HTTPStatus(response.status).phrase.encode() if response.status in known else b""
        events: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers, reason=reason)]
        if method != "HEAD" and not bodiless and response.body:
            events.append(h11.Data(data=response.body))
        self._send(*events, h11.EndOfMessage())

    def _send(self, *events: h11.Event) -> None:
        # Headers and body in one piece, as real servers do.
        pieces = []
        try:
            for event in events:
                pieces.append(self._http.send(event) or b"")  # noqa: PERF401 - those before an error are sent
        finally:
            self._channel.send(b"".join(pieces))

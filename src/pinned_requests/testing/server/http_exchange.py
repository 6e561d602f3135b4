"""HTTP/1.1 of a lab server: h11 reads requests, and handlers or WSGI applications answer them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.client import responses
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

try:
    import h11
except ImportError:
    raise ImportError("pinned_requests.testing needs h11: pip install 'pinned-requests[testing]'") from None

if TYPE_CHECKING:
    from typing_extensions import Buffer

_HEAD_LIMIT = 65536  # bytes of a request's head, as in http.server
_CHUNK = 65536  # bytes read at a time


@dataclass(frozen=True)
class Request:
    """A request that arrived whole."""

    method: str
    path: str
    """The request target as it was sent, with its query."""
    headers: tuple[tuple[str, str], ...]
    """Names and values as they were sent, in order."""
    body: bytes
    """Without the framing of a chunked body."""
    peer: tuple[str, int]
    """The client's address and port: the same for all requests of one connection."""
    scheme: str = "https"
    """``https``, or ``http`` if it came in the clear."""

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a header.

        Args:
            name: its name, in any case.
            default: what to return if there is none.
        """
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)


@dataclass(frozen=True)
class Response:
    """What the server answers. Content-Length is added unless the headers frame the body themselves."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"ok"


Handler = Callable[[Request], Response] | Mapping[str, Response | bytes]
"""What answers: a callable, or a mapping of paths (with or without query) to responses or bodies; others get a 404."""

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]] | Mapping[str, Response | bytes | str]
"""A WSGI application, or a mapping as in `Handler`, where a body may be text as well."""


def respond(handler: Handler | None, request: Request) -> Response:
    """Answer a request, with status 200 and the body ``ok`` without a handler, and with 500 where a handler raises."""
    if handler is None:
        return Response()
    if callable(handler):
        try:
            return handler(request)
        except Exception as error:  # noqa: BLE001 - a handler's mistake is shown to its client, not on stderr
            return Response(500, body=f"the handler raised {error!r}".encode())
    found = handler.get(request.path, handler.get(request.path.partition("?")[0]))
    if found is None:
        return Response(404, body=b"not found")
    return found if isinstance(found, Response) else Response(body=found)


def as_handler(app: App | None) -> Handler:
    """Return what answers as an application (PEP 3333) does; None: status 200 with the body ``{}``, as JSON.

    Raises:
        TypeError: it is neither a callable nor a mapping.
    """
    if app is None:
        return lambda _request: Response(200, (("Content-Type", "application/json"),), b"{}")
    if isinstance(app, Mapping):
        return {path: body.encode() if isinstance(body, str) else body for path, body in app.items()}
    if not callable(app):
        raise TypeError(f"a handler is a WSGI application or a mapping of paths, not a {type(app).__name__}")
    return lambda request: _call(app, request)


def _call(app: Callable[..., Iterable[bytes]], request: Request) -> Response:
    status, headers, written = "", [], BytesIO()

    def start_response(line: str, fields: list[tuple[str, str]], _error: object = None) -> Callable[[Buffer], object]:
        nonlocal status, headers
        status, headers = line, fields
        return written.write

    result = app(_environ(request), start_response)
    try:
        for piece in result:
            written.write(piece)
    finally:
        if hasattr(result, "close"):
            result.close()
    return Response(int(status.partition(" ")[0]), tuple(headers), written.getvalue())


def _environ(request: Request) -> dict[str, Any]:
    path, _, query = request.path.partition("?")
    host = request.header("Host") or "localhost"
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_TYPE": request.header("Content-Type") or "",
        "CONTENT_LENGTH": str(len(request.body)),
        "SERVER_NAME": name,
        "SERVER_PORT": port or {"https": "443", "http": "80"}[request.scheme],
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.peer[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for field, value in request.headers:
        key = "HTTP_" + field.upper().replace("-", "_")
        if key not in {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"}:
            environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


class Exchange:
    """The requests of one connection.

    Args:
        receive: returns the next bytes from the client, at most so many; none at the end.
        send: sends bytes.
        answer: answers a request.
        peer: that of the requests.
        scheme: that of the requests.
    """

    def __init__(
        self,
        receive: Callable[[int], bytes],
        send: Callable[[bytes], None],
        answer: Callable[[Request], Response],
        peer: tuple[str, int],
        scheme: str,
    ) -> None:
        self._receive = receive
        self._send_bytes = send
        self._answer = answer
        self._peer = peer
        self._scheme = scheme
        self._http = h11.Connection(h11.SERVER, _HEAD_LIMIT)

    def run(self) -> None:
        """Answer requests until the client or an answer closes the connection, or a request is malformed."""
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
                self._http.receive_data(self._receive(_CHUNK))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = tuple(
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items()
                )
                method, target = head.method.decode("ascii"), head.target.decode("latin-1")
                return Request(method, target, headers, bytes(body), self._peer, self._scheme)
            else:  # the end, or bytes that are not HTTP any more
                return None

    def _respond(self, method: str, response: Response) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        names = {name.lower() for name, _ in headers}
        if b"date" not in names:  # RFC 9110 §6.6.1: caches go by it
            headers.append((b"Date", formatdate(usegmt=True).encode()))
        framed = names & {b"content-length", b"transfer-encoding"}
        bodiless = response.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}  # RFC 9110 §6.4.1
        if not framed and not bodiless:
            headers.append((b"Content-Length", str(len(response.body)).encode()))
        reason = responses.get(response.status, "").encode()
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
            self._send_bytes(b"".join(pieces))

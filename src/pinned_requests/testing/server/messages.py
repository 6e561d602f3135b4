"""What the lab's servers read and write: requests, responses, and what answers the one with the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Handler", "Request", "Response", "respond"]


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


def respond(handler: Handler | None, request: Request) -> Response:
    """Answer a request. A handler that raises answers with status 500 and the exception as body.

    Args:
        handler: what answers; None: status 200 with the body ``ok``.
        request: what to answer.
    """
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

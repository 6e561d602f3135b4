"""A WSGI application (PEP 3333) as what answers in the lab."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from pinned_requests.testing.server.messages import Handler, Request, Response

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["App", "as_handler"]

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]] | Mapping[str, Response | bytes | str]
"""A WSGI application, or a mapping of paths (with or without query) to responses or bodies; others get a 404."""


def as_handler(app: App | None) -> Handler | None:
    """Return what answers as an application does; None: status 200 with the body ``{}``, as JSON.

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

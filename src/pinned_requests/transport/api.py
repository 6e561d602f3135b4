"""`get()` and its siblings, as those of `requests`, with `pins=`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinned_requests.transport.session import PinnedSession

if TYPE_CHECKING:
    from requests import Response

    from pinned_requests.transport.session import Pins


def request(method: str, url: str, *, pins: Pins, **kwargs: Any) -> Response:
    """Send one request on a `PinnedSession` of its own, as `requests.request` does on a session.

    Args:
        method: of the request.
        url: of the request.
        pins: a mapping of host patterns to pins, a `PinPolicy` or a `PolicyStore`.
        kwargs: as for `requests.request`.

    Raises:
        PinningError: the request was refused. No byte of it was sent.
        PolicyError: `pins` is wrong.
        requests.exceptions.RequestException: as `requests.request`.
    """
    with PinnedSession(pins) as session:
        return session.request(method, url, **kwargs)


def get(url: str, params: Any = None, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a GET request; see `request()`."""
    return request("get", url, pins=pins, params=params, **kwargs)


def options(url: str, *, pins: Pins, **kwargs: Any) -> Response:
    """Send an OPTIONS request; see `request()`."""
    return request("options", url, pins=pins, **kwargs)


def head(url: str, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a HEAD request, without following redirects, as `requests.head`; see `request()`."""
    kwargs.setdefault("allow_redirects", False)
    return request("head", url, pins=pins, **kwargs)


def post(url: str, data: Any = None, json: Any = None, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a POST request; see `request()`."""
    return request("post", url, pins=pins, data=data, json=json, **kwargs)


def put(url: str, data: Any = None, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a PUT request; see `request()`."""
    return request("put", url, pins=pins, data=data, **kwargs)


def patch(url: str, data: Any = None, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a PATCH request; see `request()`."""
    return request("patch", url, pins=pins, data=data, **kwargs)


def delete(url: str, *, pins: Pins, **kwargs: Any) -> Response:
    """Send a DELETE request; see `request()`."""
    return request("delete", url, pins=pins, **kwargs)

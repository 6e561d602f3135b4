"""A refused redirect says where it came from: the host alone, since a path or query may hold a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests import Session

from pinned_requests.core.text import escape
from pinned_requests.exceptions import PinningError
from pinned_requests.transport.origin import origins_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OF_REQUESTS = Session.resolve_redirects, Session.get_redirect_target


def follow(
    session: Session, inherited: Callable[..., Iterator[Any]], response: Any, *args: Any, **kwargs: Any
) -> Iterator[Any]:
    """Yield what requests makes of redirects.

    Args:
        session: that follows.
        inherited: the bound method of the next class.
        response: to the first request.
        args: for `inherited`.
        kwargs: for `inherited`.

    Raises:
        PinningError: as `inherited`; the text ends with the host that sent the redirect.
    """
    # Nearly every response is none; requests parses its URL before it sees that.
    found = getattr(inherited, "__func__", None), getattr(session.get_redirect_target, "__func__", None)
    if found == _OF_REQUESTS and session.get_redirect_target(response) is None:
        return
    last = response
    try:
        for each in inherited(response, *args, **kwargs):
            yield each
            last = each
    except PinningError as error:
        scheme, host, port = origins_of(str(last.url))[0]
        named = f"[{host}]" if ":" in host else host
        where = f"{scheme}://{named}" if port is None else f"{scheme}://{named}:{port}"
        error.args = (f"{error}\n  Redirected from {escape(where)}.",)
        raise

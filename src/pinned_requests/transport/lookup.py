"""`GuardedLookup`: `get_adapter` of a session, such that no other `get_adapter` gets around it.

requests looks up the adapter for each request, and others take part in that: requests-mock assigns a `get_adapter` to
the session, subclasses override it, google-auth assigns `session.adapters`, `requests.Session.send` is called unbound.
So the guard does not stand in a method, which would be replaced, but in the attribute: whatever finds the adapter, what
comes out of `session.get_adapter` has been through `session._guarded`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from requests.adapters import BaseAdapter


class GuardedLookup:
    """A data descriptor around a function `get_adapter(self, url)`. An assignment replaces the function, not the guard.

    Args:
        function: as it stands in a class: whatever finds the adapter.
    """

    def __init__(self, function: Any) -> None:
        self._function = function

    def __get__(self, session: Any, owner: type) -> Callable[..., BaseAdapter]:
        """Return the guarded look-up, bound to `session`, or one that takes the session first."""
        if session is None:
            return lambda session, *args, **kwargs: _look_up(
                session, self._function.__get__(session, owner), args, kwargs
            )
        find = vars(session).get("get_adapter") if _of_class(type(session)) is self else None
        find = find or self._function.__get__(session, owner)
        return lambda *args, **kwargs: _look_up(session, find, args, kwargs)

    def __set__(self, session: Any, find: Callable[..., BaseAdapter]) -> None:
        vars(session)["get_adapter"] = find

    def __delete__(self, session: Any) -> None:
        vars(session).pop("get_adapter", None)

    @classmethod
    def enclose(cls, session_class: Any) -> None:
        """Put a guard around the `get_adapter` of a subclass, if it has one of its own or from another base class."""
        function = _of_class(session_class)
        if not isinstance(function, cls):
            session_class.get_adapter = cls(function)


def _of_class(cls: type) -> object:
    """Return the class's `get_adapter` as it stands, not bound."""
    return next(vars(base)["get_adapter"] for base in cls.__mro__ if "get_adapter" in vars(base))


def _look_up(
    session: Any, find: Callable[..., BaseAdapter], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> BaseAdapter:
    adapter = find(*args, **kwargs)
    url = kwargs["url"] if "url" in kwargs else args[0]
    guarded: BaseAdapter = session._guarded(adapter, url)  # noqa: SLF001  this is a part of the session
    return guarded

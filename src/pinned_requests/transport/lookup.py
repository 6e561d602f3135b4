"""`GuardedLookup`: `get_adapter` of a session, such that no other `get_adapter` gets around it.

requests looks up the adapter for each request, and others take part in that: requests-mock assigns a `get_adapter` to
the session, subclasses override it, google-auth assigns `session.adapters`, `requests.Session.send` is called unbound.
So the guard does not stand in a method, which would be replaced, but in the attribute: whatever finds the adapter, what
comes out of `session.get_adapter` has been through `session._guarded`.
"""

from __future__ import annotations

from functools import update_wrapper
from types import MethodType
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
        update_wrapper(self, function)

    def __get__(self, session: Any, owner: type) -> Any:
        """Return the guarded look-up as a bound method, or as a function that takes the session first."""
        return self if session is None else MethodType(self, session)

    def __call__(self, session: Any, url: str) -> BaseAdapter:
        """Find the adapter for `url`, and guard it."""
        find = vars(session).get("get_adapter") if type(session).get_adapter is self else None
        adapter = find(url=url) if find is not None else self._function.__get__(session, type(session))(url=url)
        guarded: BaseAdapter = session._guarded(adapter, url)  # noqa: SLF001  this is a part of the session
        return guarded

    def __set__(self, session: Any, find: Callable[..., BaseAdapter]) -> None:
        if getattr(find, "__func__", None) is self:  # put back by whoever took it away for a while
            self.__delete__(session)
        else:
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

"""`Outermost`: methods and attributes that a subclass, a mixin or an assignment cannot take out of the way.

Adapters in the wild override `get_connection_with_tls_context` without `super()`, requests-mock assigns `get_adapter`
to a session, google-auth assigns `adapters`. All of that is kept, and what it returns passes through the pinned class.

Rules for the next maintainer:

- A pinned class defines each such method, marked with `@outermost`, and lists what surrounds the one that takes its
  place. Both do the same, and may be nested: an override may call `super()`.
- A class is examined when it is made, and with each object: a base may hide the former, and a class can be assigned to.
"""

from __future__ import annotations

import weakref
from functools import partial, wraps
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    Surround = Callable[..., Any]  # (object, method, *its arguments) -> result
    _Method = TypeVar("_Method", bound=Callable[..., Any])


class Outermost:
    """Base of the classes that are pinned."""

    _methods: ClassVar[Mapping[str, Surround]] = {}
    _attributes: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {}  # (object, value) -> what is given out
    _inherited: ClassVar[tuple[Callable[..., Any], ...]] = ()  # methods of the base that call another of `_methods`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        examine(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a method in the place of one of ours, surrounded."""
        if name in self._methods:
            if getattr(value, "__self__", None) is self and is_outermost(value):
                vars(self).pop(name, None)  # the object's own is put back
                return
            value = partial(self._methods[name], self, value)
        super().__setattr__(name, value)


def outermost(method: _Method) -> _Method:
    """Mark a method that needs nothing around it."""
    _outermost.add(method)
    return method


# Not an attribute of the method: `functools.wraps()` would copy that to an override.
_outermost: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


def is_outermost(found: Any) -> bool:
    """Whether a method was marked, or is bound to an object from one that was."""
    function = getattr(found, "__func__", found)
    return isinstance(function, FunctionType) and function in _outermost


def examine(cls: type[Outermost]) -> None:
    """Surround what stands in front of the methods and attributes of a pinned class.

    Raises:
        PolicyError: it has a `__getattribute__`, which could return anything.
    """
    for base in cls.__mro__:
        if "__getattribute__" in vars(base) and base is not object:
            raise PolicyError(
                f"{show(base.__name__)} has a __getattribute__ of its own, which cannot be combined with pins; use "
                "__getattr__"
            )
    for name, surround in cls._methods.items():
        found = getattr(cls, name)
        if not is_outermost(found) and found not in cls._inherited:
            setattr(cls, name, _surrounded(cls, name, surround))
    for name, give_out in cls._attributes.items():
        found = _find_foreign(cls, name)
        is_ours = _is_ours(vars(cls).get(name))
        if not is_ours and (found is not None or not _is_ours(_find(cls, name))):
            setattr(cls, name, _attribute(name, give_out, found))


def become(thing: Any, cls: type[Outermost]) -> None:
    """Make an object one of a pinned class; what was assigned to it before is surrounded, too."""
    thing.__class__ = cls
    surround_own(thing)


def surround_own(thing: Outermost) -> None:
    """Surround the methods that an object got before it was pinned, or by way of its `__dict__`."""
    own = vars(thing)
    for name, surround in thing._methods.items():  # noqa: SLF001  a part of the class
        if name not in own:
            continue
        found = own[name]
        if not (isinstance(found, partial) and found.func is surround and found.args[0] is thing):
            own[name] = partial(surround, thing, found)


def _find(cls: type, name: str) -> Any:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _find_foreign(cls: type, name: str) -> Any:
    """Return a class's attribute, passing over the properties that are outermost already."""
    all_found = (vars(base)[name] for base in cls.__mro__ if name in vars(base))
    return next((found for found in all_found if not _is_ours(found)), None)


def _is_ours(found: object) -> bool:
    return isinstance(found, property) and is_outermost(found.fget)


def _surrounded(cls: type, name: str, surround: Surround) -> Callable[..., Any]:
    own, found = vars(cls).get(name), _find(cls, name)

    @outermost
    @wraps(found)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if own is None:  # of a base: which one is next depends on the object's class
            bound = getattr(super(cls, self), name)
        else:
            bound = own.__get__(self, type(self)) if hasattr(own, "__get__") else own
            surround_own(self)  # a `cached_property` has put it there
        return surround(self, bound, *args, **kwargs)

    return method


def _attribute(name: str, give_out: Callable[[Any, Any], Any], found: Any) -> property:
    """Return a property over the object's own value, or over a property or value of the class."""
    is_computed = hasattr(found, "__get__")

    @outermost
    def read(self: Any) -> Any:
        if is_computed:
            return give_out(self, found.__get__(self, type(self)))
        try:
            return give_out(self, vars(self)[name])
        except KeyError:
            if found is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None
        return give_out(self, found)

    def write(self: Any, value: Any) -> None:
        if hasattr(found, "__set__"):
            found.__set__(self, value)
        else:
            vars(self)[name] = value

    return property(read, write)

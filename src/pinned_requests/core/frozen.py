"""`Frozen`: what the values of `core/` have in common. `dataclasses` would do, at a cost of 10 ms for every import."""

from __future__ import annotations

from typing import Any, NoReturn


class Frozen:
    """A base for values whose `__init__` sets each slot once, by `_set()`."""

    __slots__ = ()

    def _set(self, **values: object) -> None:
        put = object.__setattr__
        for name, value in values.items():
            put(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen; make another one instead of setting {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen; {name!r} cannot be deleted")

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

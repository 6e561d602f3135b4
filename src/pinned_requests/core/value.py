"""`Value`: the base of the public values. `dataclasses` would do the same and costs 10 ms at every import."""

from __future__ import annotations

from typing import Any, NoReturn


class Value:
    """A frozen object. A subclass declares `__slots__`, and its `__init__` sets each slot once, by `_set()`."""

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

"""`Value`: the base class of the public values. `dataclasses` would do the same, but takes 10 ms to import."""

from __future__ import annotations

from typing import Any, NoReturn

put = object.__setattr__  # for constructors that run so often that `Value._set()` is too slow


class Value:
    """A frozen object whose fields are its `__slots__`.

    A subclass sets each slot once, in `__init__()`, with `_set()`. It overrides the methods below if its constructor
    does not take the fields in the order of `__slots__`, or if not all of them count for equality.
    """

    __slots__: tuple[str, ...] = ()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            put(self, name, value)

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return self._fields() == other._fields() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._fields()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen; make another one instead of setting {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen; {name!r} cannot be deleted")

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

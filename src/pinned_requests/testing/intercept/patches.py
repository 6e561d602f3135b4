"""What is changed in this process for the time of a block, and how it is put back."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_ABSENT = object()


class Patches:
    """Attributes and environment variables that have been changed. Callers hold a lock."""

    def __init__(self) -> None:
        self._attributes: list[tuple[Any, str, object, object]] = []  # owner, name, what was there, what is
        self._variables: dict[str, str | None] = {}

    def wrap(self, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
        """Replace a function of a module or class, also an inherited one, which is the replacement's first argument."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **keywords: Any) -> Any:
            return replacement(original, *args, **keywords)

        self._attributes.append((owner, name, vars(owner).get(name, _ABSENT), wrapped))
        setattr(owner, name, wrapped)

    def set_variables(self, variables: dict[str, str]) -> None:
        """Set environment variables, and put back those that were set before and are not among them."""
        for name in [name for name in self._variables if name not in variables]:
            self._put_back(name)
        for name, value in variables.items():
            self._variables.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def original_variables(self) -> dict[str, str]:
        """Return the environment without what was set here."""
        return {name: value for name, value in {**os.environ, **self._variables}.items() if value is not None}

    def undo(self) -> None:
        """Put everything back, the newest first, but for functions that have been replaced by others since."""
        while self._attributes:
            owner, name, value, wrapped = self._attributes.pop()
            if vars(owner).get(name) is not wrapped:
                continue
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
        for name in list(self._variables):
            self._put_back(name)

    def _put_back(self, name: str) -> None:
        value = self._variables.pop(name)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

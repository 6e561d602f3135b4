"""XML property lists. The binary form is refused: `plutil -convert xml1` converts it."""

from __future__ import annotations

from typing import Any, TypeVar

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape, show
from pinned_requests.formats.parsing import bounded_xml, parsing

_T = TypeVar("_T", dict[str, Any], list[Any], str, bool)
_NAMES = {dict: "a dictionary", list: "an array", str: "a string", bool: "true or false"}


class _OnceEach(dict[str, Any]):
    """A dictionary in which a key can be set once. In `plistlib` the last of two equal keys wins silently."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise PolicyError(f"the key {show(key)} is listed twice; keep one of the two")
        super().__setitem__(key, value)


def load(text: str | bytes) -> dict[str, Any]:
    """Return the dictionary in a property list."""
    import plistlib  # noqa: PLC0415  only these formats need it

    data = bounded_xml(text).encode("utf-8")
    with parsing("property list"):
        # plistlib refuses entity declarations, and loads no DTD.
        value = plistlib.loads(data, fmt=plistlib.FMT_XML, dict_type=_OnceEach)
    return typed(value, dict, "the property list")


def dump(value: dict[str, Any]) -> str:
    """Return a dictionary as a property list, in its order."""
    import plistlib  # noqa: PLC0415  only these formats need it

    return plistlib.dumps(value, fmt=plistlib.FMT_XML, sort_keys=False).decode("utf-8")


def typed(value: Any, kind: type[_T], what: str) -> _T:
    """Return `value`, which must be of a type. The error calls it `what`."""
    if not isinstance(value, kind):
        raise PolicyError(f"{escape(what)} is {show(value)}; expected {_NAMES[kind]}")
    return value

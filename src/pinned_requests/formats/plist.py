"""XML property lists, for the formats that are one. The binary form is refused: `plutil -convert xml1` makes it XML."""

from __future__ import annotations

from typing import Any, TypeVar

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape, show
from pinned_requests.formats.bounds import bounded_xml

_T = TypeVar("_T")


class _OnceEach(dict[str, Any]):
    """A dictionary whose keys are set once. `plistlib` would let the last of two hosts win in silence."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise PolicyError(f"the key {show(key)} stands there twice; keep one of them")
        super().__setitem__(key, value)


def load(text: str | bytes) -> dict[str, Any]:
    """Return the dictionary that a property list is.

    Raises:
        PolicyError: it cannot be read, or is no dictionary.
    """
    import plistlib  # noqa: PLC0415  only these formats need it

    data = bounded_xml(text).encode("utf-8")
    try:
        # It refuses entity declarations by itself, and loads no DTD.
        value = plistlib.loads(data, fmt=plistlib.FMT_XML, dict_type=_OnceEach)
    except PolicyError:
        raise
    except Exception as e:  # noqa: BLE001  whatever the parser does not take is a text that cannot be read
        raise PolicyError(f"the text cannot be read as a property list: {escape(str(e) or type(e).__name__)}") from None
    return dictionary(value, "the property list")


def dump(value: dict[str, Any]) -> str:
    """Return the property list of a dictionary, in its order."""
    import plistlib  # noqa: PLC0415  only these formats need it

    return plistlib.dumps(value, fmt=plistlib.FMT_XML, sort_keys=False).decode("utf-8")


def dictionary(value: Any, what: str) -> dict[str, Any]:
    """Return `value`, if it is a dictionary.

    Raises:
        PolicyError: it is not; `what` names it.
    """
    return _typed(value, dict, what, "a dictionary")


def array(value: Any, what: str) -> list[Any]:
    """Return `value`, if it is an array.

    Raises:
        PolicyError: it is not; `what` names it.
    """
    return _typed(value, list, what, "an array")


def string(value: Any, what: str) -> str:
    """Return `value`, if it is a string.

    Raises:
        PolicyError: it is not; `what` names it.
    """
    return _typed(value, str, what, "a string")


def boolean(value: Any, what: str) -> bool:
    """Return `value`, if it is a boolean.

    Raises:
        PolicyError: it is not; `what` names it.
    """
    return _typed(value, bool, what, "true or false")


def _typed(value: Any, kind: type[_T], what: str, wanted: str) -> _T:
    if not isinstance(value, kind):
        raise PolicyError(f"{escape(what)} is {show(value)}; give {wanted}")
    return value

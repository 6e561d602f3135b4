"""XML property lists. The binary form is refused: `plutil -convert xml1` converts it."""

from __future__ import annotations

from typing import Any, TypeVar

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape, show
from pinned_requests.formats.limits import bounded_xml

_T = TypeVar("_T")


class _OnceEach(dict[str, Any]):
    """A dictionary in which a key can be set once. In `plistlib` the last of two equal keys wins silently."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise PolicyError(f"the key {show(key)} is listed twice; keep one of the two")
        super().__setitem__(key, value)


def load(text: str | bytes) -> dict[str, Any]:
    """Return the dictionary in a property list.

    Raises:
        PolicyError: it cannot be read, a key is listed twice, or it is not a dictionary.
    """
    import plistlib  # noqa: PLC0415  only these formats need it

    data = bounded_xml(text).encode("utf-8")
    try:
        # plistlib refuses entity declarations, and loads no DTD.
        value = plistlib.loads(data, fmt=plistlib.FMT_XML, dict_type=_OnceEach)
    except PolicyError:
        raise
    except Exception as e:  # noqa: BLE001  any error of the parser means that the text cannot be read
        raise PolicyError(f"invalid property list: {escape(str(e) or type(e).__name__)}") from None
    return dictionary(value, "the property list")


def dump(value: dict[str, Any]) -> str:
    """Return a dictionary as a property list, in its order."""
    import plistlib  # noqa: PLC0415  only these formats need it

    return plistlib.dumps(value, fmt=plistlib.FMT_XML, sort_keys=False).decode("utf-8")


def dictionary(value: Any, what: str) -> dict[str, Any]:
    """Return `value`, which must be a dictionary.

    Raises:
        PolicyError: it is not; the error calls it `what`.
    """
    return _typed(value, dict, what, "a dictionary")


def array(value: Any, what: str) -> list[Any]:
    """Return `value`, which must be an array.

    Raises:
        PolicyError: it is not; the error calls it `what`.
    """
    return _typed(value, list, what, "an array")


def string(value: Any, what: str) -> str:
    """Return `value`, which must be a string.

    Raises:
        PolicyError: it is not; the error calls it `what`.
    """
    return _typed(value, str, what, "a string")


def boolean(value: Any, what: str) -> bool:
    """Return `value`, which must be a boolean.

    Raises:
        PolicyError: it is not; the error calls it `what`.
    """
    return _typed(value, bool, what, "true or false")


def _typed(value: Any, kind: type[_T], what: str, wanted: str) -> _T:
    if not isinstance(value, kind):
        raise PolicyError(f"{escape(what)} is {show(value)}; expected {wanted}")
    return value

"""The text of a policy in TOML or JSON. Both have the schema in `policy.schema.json`.

`PinPolicy` interprets the values. TOML is parsed by `rtoml` if it is installed, which is eight times as fast, else by
the standard library.

Rules for the next maintainer:

- The cost of a text is bounded before it is parsed; the worst texts took 7 s and 1.5 GB. Both parsers hold the GIL, and
  take linear time in what the bounds below count. `tests/unit/core/test_toml_bounds.py` has a text for each bound.
- A duplicate name is an error: a reviewer may have read the first, and the last would win.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape, show

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE = 48 << 20  # bytes: 100,000 hosts with two pins each take 16 MB in TOML, with the longest notes 46 MB
MAX_MARKS = 3_000_000  # brackets, commas, …: 100,000 such hosts have 2.8 million; a parser takes up to 3 µs for each
MAX_LINES = 2_000_000  # 100,000 such hosts have 700,000; a parser takes 1 µs for an empty comment
MAX_DOTS = 100  # dots in a line: a dotted key takes quadratic time
MAX_DOTTED = 250_000  # dots in total: each makes a table of 700 bytes. 100,000 hosts have one each
MAX_LINE = 250_000  # characters of a line outside of strings: tomllib's pattern takes 120 bytes for each of a number
# A string on one line, with or without its end, so that the search is linear.
_STRING = r'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"?|\'[^\'\n]*+\'?'


def looks_like_json(text: object) -> bool:
    """Return whether a text starts like a JSON object. A TOML text cannot."""
    return text.lstrip()[:1] in ("{", b"{") if isinstance(text, (str, bytes)) else False


def load_json(text: str | bytes) -> dict[str, Any]:
    """Return the object in a JSON text (RFC 8259).

    Raises:
        PolicyError: the text is not a JSON object, an object has a name twice, or it is larger than any policy.
    """
    plain = _bounded(text)
    if sum(map(plain.count, ",[{")) > MAX_MARKS:
        raise PolicyError(f"the text is larger than any policy: more than {MAX_MARKS} values")
    try:
        value = json.loads(plain, object_pairs_hook=_once_each, parse_constant=_no_number)
    except PolicyError:
        raise
    except RecursionError:
        raise PolicyError("the JSON text is nested deeper than any policy") from None
    except ValueError as e:
        raise PolicyError(f"invalid JSON: {escape(str(e))}") from None
    if not isinstance(value, dict):
        raise PolicyError(f"the JSON text is {show(value)}; a policy is an object with 'hosts'")
    return value


def load_toml(text: str | bytes) -> dict[str, Any]:
    """Return the table in a TOML 1.0 text.

    Raises:
        PolicyError: the text is not valid TOML, or larger than any policy.
    """
    plain = _bounded(text)
    if plain.count("\n") > MAX_LINES:
        raise PolicyError(f"the text is larger than any policy: more than {MAX_LINES} lines")
    _bound_toml(plain)
    try:
        return _parse_toml(plain)
    except RecursionError:
        raise PolicyError("the TOML text is nested deeper than any policy") from None
    except (ValueError, OverflowError) as e:
        raise PolicyError(f"invalid TOML: {escape(str(e))}") from None


def dump_json(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text that ends with a line feed."""
    return json.dumps(document, indent=2, default=_rfc3339) + "\n"


def dump_toml(document: Mapping[str, Any]) -> str:
    """Return a document as TOML text: each list on several lines, each table in a list on one line."""
    lines = [_toml_line(name, value) for name, value in document.items() if name != "hosts"]
    for host, fields in document.get("hosts", {}).items():
        lines += ["", f"[hosts.{inline_toml(host)}]", *(_toml_line(name, value) for name, value in fields.items())]
    return "\n".join(lines) + "\n"


def _toml_line(name: str, value: object) -> str:
    if isinstance(value, list):
        return f"{name} = [\n" + "".join(f"    {inline_toml(item)},\n" for item in value) + "]"
    return f"{name} = {inline_toml(value)}"


def inline_toml(value: object) -> str:
    """Return text, a boolean, a date or a table of them as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {inline_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, datetime):
        return _rfc3339(value)
    # Strings and booleans are the same as in JSON, except that TOML requires one more escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parse_toml(text: str) -> dict[str, Any]:
    try:
        import rtoml  # noqa: PLC0415  only TOML needs it

        return rtoml.loads(text)
    except (ImportError, ValueError):  # the errors of the standard library name the key
        import tomllib  # noqa: PLC0415  as above

        return tomllib.loads(text)


def _bound_toml(text: str) -> None:
    """Refuse a text that a TOML parser may not read in bounded time and memory."""
    if '"""' in text or "'''" in text:
        raise PolicyError("the TOML text has a multi-line string; write it on one line")
    # A quote in a comment removes no more than the rest of its line: comments and strings end with the line.
    bare = re.sub(_STRING, "", text)
    # A table costs as much as three values, a key as much as two, an escape in a string as much as one.
    if sum(map(bare.count, "[[[{,==")) + text.count("\\") > MAX_MARKS:
        raise PolicyError("the text is larger than any policy: it has too many values")
    lines = bare.split("\n")
    if bare.count(".") > MAX_DOTTED or any(line.count(".") > MAX_DOTS for line in lines):
        raise PolicyError(
            f"the TOML text has more than {MAX_DOTS} dots outside of strings in a line, or {MAX_DOTTED} in total; "
            'write tables as [hosts."api.example.com"]'
        )
    if max(map(len, lines)) > MAX_LINE:
        raise PolicyError(f"the TOML text has a line of more than {MAX_LINE} characters outside of strings; split it")


def _bounded(text: object) -> str:
    """Return `text` as a `str` of bounded size, without a byte order mark."""
    if not isinstance(text, (str, bytes)):
        raise PolicyError(f"invalid policy text {show(text)}; give TOML or JSON as str or bytes")
    if len(text) > MAX_SIZE:
        raise PolicyError(f"the text is larger than {MAX_SIZE >> 20} MB, and no policy is")
    try:
        plain = str(text, "utf-8-sig") if isinstance(text, bytes) else str.__str__(text).removeprefix("\ufeff")
        plain.encode("utf-8")
    except UnicodeError:
        raise PolicyError("the text is not in UTF-8") from None
    # One character outside Latin-1 makes every character of a `str` take two or four bytes.
    if sys.getsizeof(plain) > 2 * MAX_SIZE:
        raise PolicyError(f"the text is larger than {MAX_SIZE >> 20} MB, and no policy is")
    return plain


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise PolicyError(f"the JSON text has {show(twice)} twice in one object; keep one of the two")
    return found


def _no_number(name: str) -> float:
    raise PolicyError(f"invalid JSON: {name}")


def _rfc3339(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"a policy has no {type(value).__name__}")

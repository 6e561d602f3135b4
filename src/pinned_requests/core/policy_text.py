"""The text of a policy, TOML or JSON, of one schema: `policy.schema.json`, beside this package.

Here text becomes a mapping of plain values and back; what they mean is said by `PinPolicy`. TOML is read by `tomli`
where that is installed (compiled, it takes half the time), else by the standard library.

Rules for the next maintainer:

- What a text may cost is bounded before it is parsed: a parser makes a hundred bytes of memory of one byte of text.
- A name that stands there twice is an error, never the last one wins: a reviewer may have read the first.
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

MAX_SIZE = 32 << 20  # bytes: 100,000 hosts with two pins each take 20 MB
MAX_VALUES = 1_000_000  # commas and brackets, each before a value: 100,000 hosts with four fields have some 600,000
MAX_DOTS = 100  # in a line of TOML: a key takes quadratic time; host names and pins stand in quotes
MAX_DOTTED = 250_000  # in all of it, each a table of its own: 100,000 hosts have one each
_QUOTED = r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''  # a string of TOML, on one line


def looks_like_json(text: object) -> bool:
    """Say whether a text begins as a JSON object does, which no TOML text does."""
    return text.lstrip()[:1] in ("{", b"{") if isinstance(text, (str, bytes)) else False


def load_json(text: str | bytes) -> dict[str, Any]:
    """Return the object that a JSON text (RFC 8259) holds.

    Raises:
        PolicyError: it holds none, a name stands in an object twice, or it is larger than any policy.
    """
    plain = _bounded(text)
    try:
        value = json.loads(plain, object_pairs_hook=_once_each, parse_constant=_no_number)
    except PolicyError:
        raise
    except RecursionError:
        raise PolicyError("the JSON text is nested deeper than any policy") from None
    except ValueError as e:
        raise PolicyError(f"the text is no JSON: {escape(str(e))}") from None
    if not isinstance(value, dict):
        raise PolicyError(f"the JSON text holds {show(value)}, and a policy is an object with 'hosts'")
    return value


def load_toml(text: str | bytes) -> dict[str, Any]:
    """Return the table that a TOML 1.0 text holds.

    Raises:
        PolicyError: it is no TOML, or larger than any policy.
    """
    plain = _bounded(text)
    if '"""' in plain or "'''" in plain:
        raise PolicyError("the TOML text holds a string over several lines, and no policy needs that")
    keys = re.sub(_QUOTED, "", plain)
    if keys.count(".") > MAX_DOTTED or any(line.count(".") > MAX_DOTS for line in keys.splitlines()):
        raise PolicyError(
            f"the TOML text has more than {MAX_DOTS} dots outside of quotes in a line, or {MAX_DOTTED} in all, and no "
            "policy needs that"
        )
    if keys.count("=") > MAX_VALUES:
        raise PolicyError(f"the text is larger than any policy: more than {MAX_VALUES} values")
    try:
        table: dict[str, Any] = _toml_parser()(plain)
    except RecursionError:
        raise PolicyError("the TOML text is nested deeper than any policy") from None
    except (ValueError, OverflowError) as e:
        raise PolicyError(f"the text is no TOML: {escape(str(e))}") from None
    return table


def dump_json(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text, with a line feed at the end."""
    return json.dumps(document, indent=2, default=_rfc3339) + "\n"


def dump_toml(document: Mapping[str, Any]) -> str:
    """Return a document as TOML text.

    Raises:
        ImportError: `tomli-w` is not installed.
    """
    try:
        import tomli_w  # noqa: PLC0415  of the extra `cli`; programs that only read policies do without
    except ImportError:
        raise ImportError("to write TOML takes tomli-w: pip install 'pinned-requests[cli]'; JSON does not") from None
    return tomli_w.dumps(document)


def _toml_parser() -> Any:
    try:
        import tomli  # noqa: PLC0415  for TOML only
    except ImportError:
        if sys.version_info >= (3, 11):  # pragma: no branch
            import tomllib  # noqa: PLC0415  as above

            return tomllib.loads
        raise  # pragma: no cover  before, tomli is a dependency
    return tomli.loads


def _bounded(text: object) -> str:
    """Return `text` as `str`, if no parser can make too much of it.

    Raises:
        PolicyError: it is neither text nor bytes, no UTF-8, or too large.
    """
    if not isinstance(text, (str, bytes)):
        raise PolicyError(f"{show(text)} is no text of a policy; give str or bytes, TOML or JSON")
    if len(text) > MAX_SIZE:
        raise PolicyError(f"the text is larger than {MAX_SIZE >> 20} MB, and no policy is")
    try:
        plain = str(text, "utf-8-sig") if isinstance(text, bytes) else str.__str__(text).removeprefix("\ufeff")
        plain.encode("utf-8")
    except UnicodeError:
        raise PolicyError("the text is not in UTF-8") from None
    # One character outside Latin-1 makes every character of a `str` take two or four bytes.
    if sys.getsizeof(plain) > 2 * MAX_SIZE or sum(map(plain.count, ",[{")) > MAX_VALUES:
        raise PolicyError(f"the text is larger than any policy: more than {MAX_VALUES} values, or {MAX_SIZE >> 20} MB")
    return plain


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise PolicyError(f"{show(twice)} stands in one object of the JSON text twice; keep one of them")
    return found


def _no_number(name: str) -> float:
    raise PolicyError(f"{name} is no JSON")


def _rfc3339(value: object) -> str:
    """Spell a date as JSON has it: as text (RFC 3339 §5.6)."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is no part of a policy")

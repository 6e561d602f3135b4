"""TOML as `PinPolicy.to_toml()` writes it, read in a sixth of the time that a parser takes.

Rules for the next maintainer:

- Read a text only if a TOML 1.0 parser gives the same for it. For any other text, valid or not, return None: a parser
  then reads it, and says what is wrong. `tests/unit/test_plain_toml.py` compares the two.
- There are no escapes, comments, quoted keys or other spacing. Add nothing that only people write: their files are
  small, and each addition is one more way to differ from a parser.
- Each pattern takes linear time: it never gives back a character (possessive quantifiers).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

MAX_STRINGS = 2_500_000  # as many values as a parser is given; each takes 100 bytes of memory
_TEXT = r'[^"\\\x00-\x1f\x7f]*+'
_STRING = f'"({_TEXT})"'
_NOTED = rf"\{{pin = {_STRING}, note = {_STRING}\}}"
_ITEM = rf'(?:"{_TEXT}"|\{{pin = "{_TEXT}", note = "{_TEXT}"\}})[ \n]*+(?:,[ \n]*+|(?=\]))'
_DATE = r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?)Z"
_FIELD = re.compile(rf"([a-z_]++) = (?:\[[ \n]*+((?:{_ITEM})*+)\]|{_STRING}|{_DATE}|(true|false))(?:\n++|\Z)")
_HEADER = re.compile(rf"\[hosts\.{_STRING}\]\n++")
_STRINGS = re.compile(_STRING)
_ITEMS = re.compile(rf"{_NOTED}|{_STRING}")


def read(text: str) -> dict[str, Any] | None:
    """Return the table that `text` holds, or None where a parser has to read it."""
    if text.count('"') > 2 * MAX_STRINGS:
        return None
    document: dict[str, Any] = {}
    hosts: dict[str, Any] = {}
    at = _read_fields(text, 0, document)
    while header := _HEADER.match(text, at):
        fields: dict[str, Any] = {}
        if hosts.setdefault(header[1], fields) is not fields:  # twice, which is an error
            return None
        at = _read_fields(text, header.end(), fields)
    if at < len(text) or "hosts" in document:
        return None
    return {**document, "hosts": hosts} if hosts else document


def _read_fields(text: str, at: int, fields: dict[str, Any]) -> int:
    """Put the fields from `at` on into `fields`, and return where they end: at one that is not plain, or is twice."""
    while field := _FIELD.match(text, at):
        name, items, string, date, boolean = field.groups()
        if name in fields:
            break
        if items is not None:
            fields[name] = _STRINGS.findall(items) if "{" not in items else [*map(_item, _ITEMS.finditer(items))]
        elif string is not None:
            fields[name] = string
        elif date is not None:
            try:
                fields[name] = datetime.fromisoformat(f"{date}+00:00")
            except ValueError:  # no such day
                break
        else:
            fields[name] = boolean == "true"
        at = field.end()
    return at


def _item(found: re.Match[str]) -> str | dict[str, str]:
    pin, note, string = found.groups()
    return {"pin": pin, "note": note} if string is None else string

"""Untrusted text made safe to show: escaped and truncated.

Rule for the next maintainer: names in certificates, hosts in redirects and pasted configuration are untrusted. Show
them through `show()` or `escape()`.
"""

from __future__ import annotations

MAX_LINE = 200  # characters: long enough for any host name, short enough that no input floods a log


def escape(text: str, limit: int = MAX_LINE) -> str:
    """Return `text` on one line: unprintable characters are escaped, and it is truncated at `limit` characters.

    An attacker may choose it: a line feed would forge log records, an escape sequence would control the terminal, and a
    right-to-left override would reverse the text.
    """
    if len(text) <= limit and text.isprintable():
        return text
    pieces = [c if c.isprintable() else repr(c)[1:-1] for c in text[: limit + 1]]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    # Cut between pieces: half an escape, such as `\u20`, would read as text that was not in the input.
    room, kept = limit - 1, 0
    while (room := room - len(pieces[kept])) >= 0:
        kept += 1
    return "".join(pieces[:kept]) + "…"


def show(value: object) -> str:
    """Return `value`, quoted, escaped and truncated, for an error text.

    Bytes and texts that look like PEM are described, not shown: they may be a private key.
    """
    if isinstance(value, str):
        plain = exact(value)
        return "a PEM text" if "-----BEGIN " in plain else escape(repr(plain[:MAX_LINE]))
    if isinstance(value, bytes):
        return f"a value of type bytes ({bytes.__len__(value)} of them)"
    if type(value) in (bool, float) or (type(value) is int and value.bit_length() <= MAX_LINE):
        return repr(value)  # `repr()` raises for more than 4300 digits
    return f"a value of type {escape(type(value).__name__)}"


def exact(text: str) -> str:
    """Return `text` as a plain `str`: a subclass may override comparisons."""
    return text if type(text) is str else str.__str__(text)

"""Text that is shown to people: escaped and cut.

Rule for the next maintainer: names in certificates, hosts in redirects and pasted configuration are untrusted. Show
them through `show()` or `escape()`.
"""

from __future__ import annotations

MAX_LINE = 200  # characters: long enough for any host name, short enough that no input floods a log


def escape(text: str, limit: int = MAX_LINE) -> str:
    """Return `text` on one line: unprintable characters are escaped, and it is cut at `limit` characters.

    Names in certificates and hosts in redirects are the attacker's choice: a line feed would forge log records, an
    escape sequence would drive the terminal, a right-to-left override would turn the text around.
    """
    if len(text) <= limit and text.isprintable():
        return text
    pieces = [c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1]]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    # Cut between pieces: half an escape, such as `\u20`, would read as something that never stood there.
    room, kept = limit - 1, 0
    while (room := room - len(pieces[kept])) >= 0:
        kept += 1
    return "".join(pieces[:kept]) + "…"


def show(value: object) -> str:
    """Return `value`, quoted and escaped, for an error text.

    Bytes are never shown: where bytes are expected, a private key may have been given. Nor is what looks like PEM.
    """
    if isinstance(value, str):
        plain = exact(value)
        return "a PEM text" if "-----BEGIN " in plain else escape(repr(plain[:MAX_LINE]))
    if isinstance(value, bytes):
        return f"a value of type bytes ({bytes.__len__(value)} of them)"
    if type(value) in (bool, float) or (type(value) is int and value.bit_length() <= MAX_LINE):
        return repr(value)  # a longer integer floods the line, and above 4300 digits `repr()` raises
    return f"a value of type {escape(type(value).__name__)}"


def exact(text: str) -> str:
    """Return the characters of `text` as a plain `str`: a subclass may override comparisons."""
    return text if type(text) is str else str.__str__(text)

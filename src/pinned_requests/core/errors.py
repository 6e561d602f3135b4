"""Errors of configuration. They stand here, not in `pinned_requests.exceptions`: `core/` imports nothing above it.

Rules for the next maintainer:

- Whatever a parser of this package is given, it answers with a value or with a `PolicyError`; never with another error.
- The offending text is shown through `show()`: configuration is often pasted from elsewhere, and may hold anything.
"""

from __future__ import annotations

from typing import Any, NoReturn

MAX_LINE = 200  # characters: long enough for any host name, short enough that no input floods a log
_MAX_HINTED = 100  # characters of a misspelled name: difflib takes quadratic time


class PolicyError(ValueError):
    """The configuration is wrong: a pattern, a pin set, an option. The text names the value and how to mend it."""


class PinFormatError(PolicyError):
    """A pin, or the certificate or key a pin was to be made of, cannot be read."""


class MissingBackupPinWarning(UserWarning):
    """An enforcing pin set holds fewer than two distinct pins: the next change of that key locks the client out."""


def escape(text: str, limit: int = MAX_LINE) -> str:
    """Return `text` on one line: whatever does not print is escaped, and what is longer than `limit` characters is cut.

    Names in certificates and hosts in redirects are the attacker's choice: a line feed would forge log records, an
    escape sequence would drive the terminal, a right-to-left override would turn the text around.
    """
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
    """Return the characters of `text` as a `str` proper: what a subclass overrides has no say in comparisons."""
    return text if type(text) is str else str.__str__(text)


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    """Return `value`, an exact `str`, if it is one of `choices`.

    Raises:
        PolicyError: it is not; the text names the closest of them.
    """
    if not isinstance(value, str) or exact(value) not in choices:
        unknown(f"value of '{name}'", value, choices)
    return exact(value)


def unknown(what: str, value: object, known: tuple[str, ...]) -> NoReturn:
    """Refuse `value`, which is no `what`, and name the closest of those that are known.

    Raises:
        PolicyError: always.
    """
    text = exact(value)[:_MAX_HINTED] if isinstance(value, str) else ""
    import difflib  # noqa: PLC0415  for errors only

    close = difflib.get_close_matches(text, known, n=1, cutoff=0) if text else []
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(map(repr, known))}"
    raise PolicyError(f"{show(value)} is no {what}; {hint}")

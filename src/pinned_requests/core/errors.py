"""Errors of configuration. They stand here, and not in `pinned_requests.exceptions`, because `core/` imports nothing above it.

Rules for the next maintainer:

- Whatever a parser of this package is given, it answers with a value or with a `PolicyError`; never with another error.
- The offending text is shown through `show()`: configuration is often pasted from elsewhere, and may hold anything.
"""

from __future__ import annotations

MAX_LINE = 200  # characters: long enough for any host name, short enough that no input floods a log


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
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in cut)[
        :limit
    ]


def show(value: object) -> str:
    """Return `value`, quoted and escaped, for an error text."""
    if isinstance(value, (str, bytes, int, float)):
        return escape(repr(value[:MAX_LINE]) if isinstance(value, (str, bytes)) else repr(value))
    return f"a value of type {escape(type(value).__name__)}"

"""Errors of configuration. They stand here, not in `pinned_requests.exceptions`: `core/` imports nothing above it.

Rules for the next maintainer:

- Whatever a parser of this package is given, it answers with a value or with a `PolicyError`; never with another error.
- The offending text is shown through `show()`: configuration is often pasted from elsewhere, and may hold anything.
"""

from __future__ import annotations

from typing import Any, NoReturn

from pinned_requests.core.text import exact, show

_MAX_HINTED = 100  # characters of a misspelled name: difflib takes quadratic time


class PolicyError(ValueError):
    """The configuration is wrong: a pattern, a pin set, an option. The text names the value and how to mend it."""


class PinFormatError(PolicyError):
    """A pin, or the certificate or key a pin was to be made of, cannot be read."""


class MissingBackupPinWarning(UserWarning):
    """An enforcing pin set holds fewer than two distinct pins: the next change of that key locks the client out."""


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

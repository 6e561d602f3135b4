"""Configuration errors. They are defined here, not in `pinned_requests.exceptions`: `core/` imports no higher layer.

Rules for the next maintainer:

- A parser in this package returns a value or raises a `PolicyError`, for any input; it raises no other error.
- A message names the input, what is wrong with it, and an accepted spelling.
- Show input through `show()`: configuration is often pasted, and may contain any character.
"""

from __future__ import annotations

from typing import Any, NoReturn

from pinned_requests.core.text import exact, show

_MAX_HINTED = 100  # characters of a misspelled name: difflib takes quadratic time


class PolicyError(ValueError):
    """Invalid configuration: a host pattern, a pin set, an option. The text names the value and how to fix it."""


class PinFormatError(PolicyError):
    """Invalid pin, or a certificate, CSR or key that no pin can be computed from because it cannot be read."""


class MissingBackupPinWarning(UserWarning):
    """An enforcing pin set has fewer than two distinct pins: the next change of that key locks the client out."""


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    """Return `value`, which was given for the option `name`, as a plain `str`.

    Raises:
        PolicyError: it is not one of `choices`; the text names the closest.
    """
    if not isinstance(value, str) or exact(value) not in choices:
        unknown(f"value for '{name}'", value, choices)
    return exact(value)


def unknown(what: str, value: object, known: tuple[str, ...]) -> NoReturn:
    """Raise the `PolicyError` for `value`, which should be a known `what`, such as `"field of a pin set"`.

    It names the closest of the known ones.
    """
    text = exact(value)[:_MAX_HINTED] if isinstance(value, str) else ""
    import difflib  # noqa: PLC0415  only errors need it

    close = difflib.get_close_matches(text, known, n=1, cutoff=0) if text else []
    hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(map(repr, known))}"
    raise PolicyError(f"unknown {what}: {show(value)}; {hint}")

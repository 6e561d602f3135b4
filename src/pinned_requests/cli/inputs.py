"""Inputs of the commands: files and streams of bounded size, and spans of time."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path

from pinned_requests.cli.output import CommandError
from pinned_requests.core.text import show

_SPAN = re.compile(r"([0-9]{1,5})([hdw])", re.ASCII)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def read_span(text: str) -> timedelta:
    """Return the time that a number of hours, days or weeks takes, as `30d` spells it.

    Raises:
        CommandError: it is not one.
    """
    if not (parts := _SPAN.fullmatch(text)):
        raise CommandError(f"{show(text)} is not a span of time; give hours, days or weeks, such as 12h, 30d or 4w")
    return timedelta(**{_UNITS[parts[2]]: int(parts[1])})


def read_bounded(path: str, limit: int) -> bytes:
    """Return what a file holds, or standard input for `-`, which may be endless.

    Args:
        path: of the file.
        limit: bytes.

    Raises:
        CommandError: it holds more.
        OSError: it cannot be read.
    """
    if path == "-":
        if sys.stdin is None:
            raise CommandError("standard input is closed; name a file")
        data = sys.stdin.buffer.read(limit + 1)
    else:
        try:
            with Path(path).open("rb") as file:
                data = file.read(limit + 1)
        except ValueError:  # a null byte
            raise CommandError(f"{show(path)} is not a path") from None
    if len(data) > limit:
        raise CommandError(f"{show(path)} holds more than {limit} bytes, and that many are read")
    return data

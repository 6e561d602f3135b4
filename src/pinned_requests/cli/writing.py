"""A policy that a command is about to write: shown as a difference, and written only after a yes."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING

from pinned_requests.cli.output import CommandError, RefusedError, show_difference
from pinned_requests.core.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.editing.files import NewFile
    from pinned_requests.editing.policy_file import PolicyFile

_MAX_LINE = 300  # characters: a pin with the longest note


def write(
    file: PolicyFile,
    new: PinPolicy,
    now: datetime,
    files: Sequence[NewFile] = (),
    *,
    is_agreed: bool,
    as_json: bool,
) -> str:
    """Show what a policy's file is about to become, ask, and write it with further new files.

    With `as_json` the difference goes to stderr, if there is a question.

    Returns:
        The difference, escaped.
    """
    lines = _difference(file, new)
    if not as_json:
        show_difference(lines, sys.stdout)
    elif not is_agreed:
        show_difference(lines, sys.stderr)
    if not is_agreed:
        _ask(f"Write this to {escape(str(file.path))}?")
    file.write(new, now, files)
    return "\n".join(lines)


def _ask(question: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(
            "nothing was written: there is no terminal to ask on; look at the difference, then give --yes"
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RefusedError("nothing was written")


def _difference(file: PolicyFile, new: PinPolicy) -> list[str]:
    old, text = file.data.decode("utf-8-sig"), file.edited(new)
    name = str(file.path)
    lines = difflib.unified_diff(old.splitlines(), text.splitlines(), f"{name} (now)", f"{name} (new)", lineterm="")
    return [escape(line.replace("\t", "    "), _MAX_LINE) for line in lines]

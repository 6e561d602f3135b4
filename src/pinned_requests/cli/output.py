"""What the commands put out: tables for people, JSON for machines, a sentence on stderr; and a policy, after a yes.

Rules for the next maintainer:

- Text out of a certificate, a file or the network has passed `escape()`, and goes to rich as `Text`: in a string rich
  would take `[red]` for markup and `:key:` for a picture.
- Colours and frames are for terminals. Elsewhere there are plain lines, as long as they are.
- A pin is never cut or broken on 80 columns: it will be copied.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from rich.console import Console

    from pinned_requests import PinPolicy
    from pinned_requests.editing.files import NewFile
    from pinned_requests.editing.policy_file import PolicyFile

MAX_SENTENCE = 1000  # characters: a path may have 4096
_MAX_LINE = 300  # characters of a difference: a pin with the longest note
_FRAME = 7  # columns that the frame of a table with two columns takes
_LONGEST_PIN = 60  # characters: what is longer, such as a fingerprint, is folded
_NARROWEST = 8  # columns for the labels
_MANY = 10  # hosts: fewer are asked in a moment


class CommandError(Exception):
    """Ends a command with a sentence and an exit code; 2: the input is wrong."""

    exit_code = 2


class RefusedError(CommandError):
    """Ends a command that must not go on, or was told not to: a finding."""

    exit_code = 1


class Row(NamedTuple):
    """A row of a table; `is_good` None: neither good nor bad."""

    label: str
    lines: Sequence[str]
    is_good: bool | None = None


def complain(sentence: str) -> None:
    """Say on stderr what is wrong."""
    print(f"pinned-requests: {escape(sentence, MAX_SENTENCE)}", file=sys.stderr)


def sentence_of(error: OSError) -> str:
    """Return what the system says of a file, without the number of the error."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def rfc3339(moment: datetime | None) -> str | None:
    """Return a date to the second, as JSON has it (RFC 3339 §5.6)."""
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def show_json(value: Any) -> None:
    """Print a value as JSON, in ASCII alone."""
    print(json.dumps(value, indent=2))


def show_table(title: str | None, headings: tuple[str, str], rows: Sequence[Row]) -> None:
    """Print rows: in a frame on a terminal, else as lines below their label."""
    if sys.stdout.isatty():
        _show_framed(title, headings, rows)
        return
    if title is not None:
        print(title)
    for row in rows:
        print(row.label)
        for line in row.lines:
            print(f"  {line}")


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], object]]:
    """Yield what is told how many of `total` hosts are done; many are shown on stderr, if it is a terminal."""
    if total <= _MANY or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.progress import Progress

    with Progress(console=_console(sys.stderr), transient=True) as bar:
        task = bar.add_task("asking", total=total)
        yield lambda done: bar.update(task, completed=done)


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
    if not (as_json and is_agreed):
        _show_difference(lines, sys.stderr if as_json else sys.stdout)
    if not is_agreed:
        _ask(f"Write this to {escape(str(file.path))}?")
    file.write(new, now, files)
    return "\n".join(lines)


def _show_framed(title: str | None, headings: tuple[str, str], rows: Sequence[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = _console(sys.stdout)
    words = (len(word) for row in rows for line in row.lines for word in line.split())
    longest = max((length for length in words if length <= _LONGEST_PIN), default=0)
    table = Table(
        show_lines=True, title=None if title is None else Text(title), title_justify="left", title_style="bold"
    )
    table.add_column(headings[0], overflow="fold", max_width=max(_NARROWEST, console.width - _FRAME - longest))
    table.add_column(headings[1], overflow="fold")
    for row in rows:
        style = {True: "green", False: "red", None: ""}[row.is_good]
        table.add_row(Text(row.label, style=style), Text("\n".join(row.lines)))
    console.print(table)


def _ask(question: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(
            "nothing was written: there is no terminal to ask on; look at the difference, then give --yes"
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RefusedError("nothing was written")


def _difference(file: PolicyFile, new: PinPolicy) -> list[str]:
    from difflib import unified_diff

    old, text = file.data.decode("utf-8-sig"), file.edited(new)
    name = str(file.path)
    lines = unified_diff(old.splitlines(), text.splitlines(), f"{name} (now)", f"{name} (new)", lineterm="")
    return [escape(line.replace("\t", "    "), _MAX_LINE) for line in lines]


def _show_difference(lines: Sequence[str], stream: Any) -> None:
    if not stream.isatty():
        for line in lines:
            print(line, file=stream)
        return
    from rich.text import Text

    console = _console(stream)
    for line in lines:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(Text(line, style=style), soft_wrap=True)


def _console(stream: Any) -> Console:
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False)

"""From a command line to an exit code.

Every run ends with an exit code and at most one sentence on stderr, escaped; never with a traceback. Both come from
`errors.py`. typer parses the arguments alone: it has opinions of its own on interrupts, closed pipes and errors.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.main import get_command

from pinned_requests.cli.app import app
from pinned_requests.cli.errors import ExitCode, failure_of
from pinned_requests.cli.output import complain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NOT_WRAPPED = re.compile(r"^(?:Example: |Findings)", re.MULTILINE)
_AS_IT_IS = "\b"  # click's mark: the paragraph is not wrapped, so that a command line can be pasted and a name be found


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments, and return its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  open as long as the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name in a certificate may not fit the locale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # errors are said once, by the command; the library's log is not shown either
        try:
            code = _run(arguments)
            sys.stdout.flush()
        except BaseException as error:
            failure = failure_of(error)
            if failure is None:
                raise
            if failure.code == ExitCode.PIPE_CLOSED:
                # What is still buffered has no reader. Without this, Python would complain when it ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if failure.sentence is not None:
                complain(failure.sentence)
            return failure.code
    return code


def _run(arguments: Sequence[str]) -> int:
    # Not `app()`, which replaces the hook for exceptions of the whole process.
    parsed = command_tree()(list(arguments), prog_name="pinned-requests", standalone_mode=False)
    return int(parsed() if callable(parsed) else parsed or 0)  # not callable after --help


@cache
def command_tree() -> Any:
    """Return the commands: a call parses the arguments, and returns what is to be called outside of typer.

    Their help has no types of Python, and leaves examples as they are. Cached: making them takes longer than most runs.
    """
    root = get_command(app)
    for _, command in walk(root):
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: ""  # noqa: ARG005  called by name
        command.context_settings = {**command.context_settings, "help_option_names": ["-h", "--help"]}
        help_text = inspect.cleandoc(command.help or "")
        command.help = _NOT_WRAPPED.sub(lambda found: f"{_AS_IT_IS}\n{found[0]}", help_text)
        if not hasattr(command, "commands"):
            command.callback = partial(partial, command.callback)  # parse now, run later
    return root


def walk(command: Any, names: tuple[str, ...] = ("pinned-requests",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield a command and those below it, each with the words that call it."""
    yield names, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*names, name))

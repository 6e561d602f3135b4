"""From a command line to an exit code.

Every run ends with an exit code and at most one sentence on stderr, escaped; never with a traceback. Both come from
`errors.py`. typer parses the arguments alone: it has opinions of its own on interrupts, closed pipes and errors.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pinned_requests.cli.app import app
from pinned_requests.cli.errors import ExitCode, failure_of
from pinned_requests.cli.help import command_tree
from pinned_requests.cli.output import complain

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments, and return its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  open as long as the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name in a certificate may not fit the locale
    # Errors are said once, by the command: the library's log and warnings say the same in other words.
    logging.getLogger("pinned_requests").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
    parsed = command_tree(app)(list(arguments), prog_name="pinned-requests", standalone_mode=False)
    return int(parsed() if callable(parsed) else parsed or 0)  # not callable after --help

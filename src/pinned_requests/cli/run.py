"""From a command line to an exit code: what every command has in common.

Rules for the next maintainer:

- Whatever happens ends with an exit code and at most one sentence on stderr, escaped; never with a traceback.
- typer parses the arguments and gives back what is to be done. That is done here, outside of it: it has opinions of
  its own on interrupts, closed pipes and errors.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from typer.main import get_command

from pinned_requests import PolicyError
from pinned_requests.cli.app import app
from pinned_requests.cli.output import CommandError, complain, sentence_of

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
PIPE_CLOSED = 141  # 128 + SIGPIPE


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments, and return its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this process
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  open as long as the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name of a certificate may not fit the locale
    # What is wrong is said once, by the command: the library's log and the warnings of it and of cryptography say the
    # same in other words.
    logging.getLogger("pinned_requests").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = _run(arguments)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            # What is still buffered has no reader. Without this, Python would complain when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        # Not `app()`, which replaces the hook for exceptions of the whole process.
        action = get_command(app)(list(arguments), prog_name="pinned-requests", standalone_mode=False)
        return action if isinstance(action, int) else int(action() or 0)  # an int after --help
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "pinned-requests"
        complain(f"{error.format_message().rstrip('.')}; see '{command} --help'")
    except CommandError as error:
        complain(str(error))
        return error.exit_code
    except PolicyError as error:
        complain(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(sentence_of(error))
    except (MemoryError, RecursionError):
        complain("the input is too large")
    return BAD_INPUT

"""Errors → a sentence on stderr and an exit code: the one handler of all commands.

| code | meaning                                                     |
|------|-------------------------------------------------------------|
| 0    | success                                                     |
| 1    | a finding, such as a server that cannot be reached          |
| 2    | the command line, a file or another input is wrong          |
| 130  | interrupted (128 + SIGINT)                                  |
| 141  | the reader of the output has gone away (128 + SIGPIPE)      |

`check --format nagios` has the codes of Nagios plug-ins instead.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from pinned_requests import PolicyError
from pinned_requests.cli.output import CommandError, sentence_of
from pinned_requests.monitoring.target import RouteError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    OK = 0
    FINDING = 1
    BAD_INPUT = 2
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class Failure(NamedTuple):
    """How an error ends a command: the sentence for stderr (not escaped yet), and the exit code."""

    sentence: str | None
    code: int


# Errors of the extra `remote`, by package and name: a command that does without it must not import it. They say what
# could not be done, as a finding does.
_OF_REMOTE = {
    "filelock.Timeout": "another process is changing the repository",
    "tuf.RepositoryError": "the repository does not verify: {}",
    "pinned_requests.RemotePolicyError": "{}",
    "pinned_requests.SigningError": "{}",
    "pinned_requests.ProposalError": "{}",
    "pinned_requests.SyncError": "{}",
}
_LIBRARIES_OF_REMOTE = {"filelock", "securesystemslib", "tuf"}


def _sentence_of_typer(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "pinned-requests"
    return f"{error.format_message().rstrip('.')}; see '{command} --help'"


# The first row that fits counts. A `CommandError` brings its own code, 2 unless said otherwise.
_TABLE: tuple[tuple[tuple[type[BaseException], ...], ExitCode, Callable[[Any], str] | None], ...] = (
    ((ServerError,), ExitCode.FINDING, str),
    ((RouteError, PolicyError), ExitCode.BAD_INPUT, str),
    ((typer.TyperException,), ExitCode.BAD_INPUT, _sentence_of_typer),
    ((KeyboardInterrupt, typer.Abort), ExitCode.INTERRUPTED, None),  # Abort: Ctrl-C or the end of input at a prompt
    ((BrokenPipeError,), ExitCode.PIPE_CLOSED, None),
    ((OSError,), ExitCode.BAD_INPUT, sentence_of),
    ((MemoryError, RecursionError), ExitCode.BAD_INPUT, lambda _: "the input is too large"),
)


def failure_of(error: BaseException) -> Failure | None:
    """Return how an error ends the command; None for an error that is a bug of this program."""
    if isinstance(error, CommandError):
        return Failure(str(error), error.exit_code)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _LIBRARIES_OF_REMOTE:
        sentence = f"repositories need the extra 'remote' ({error}); run: pip install 'pinned-requests[cli,remote]'"
        return Failure(sentence, ExitCode.BAD_INPUT)
    for kind in type(error).__mro__:
        name = f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"
        if name in _OF_REMOTE:
            return Failure(_OF_REMOTE[name].format(error), ExitCode.FINDING)
    for kinds, code, sentence_for in _TABLE:
        if isinstance(error, kinds):
            return Failure(None if sentence_for is None else sentence_for(error), code)
    return None

"""The commands as typer makes them, with a help for people; `run.py`, the manual and the documentation use it."""

from __future__ import annotations

import inspect
import re
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import typer
from typer.main import get_command

from pinned_requests.cli.output import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_WRAPPED = re.compile(r"^(?:Example: |Findings)", re.MULTILINE)
_AS_IT_IS = "\b"  # click's mark: the paragraph is not wrapped, so that a command line can be pasted and a name be found


def print_version(asked: bool) -> None:  # noqa: FBT001  a callback of typer
    """Print the version, and end."""
    if asked:
        try:
            from pinned_requests import __version__
        except ImportError:
            raise CommandError("the version is unknown: the package runs from its sources, not installed") from None
        print(f"pinned-requests {__version__}")
        raise typer.Exit


@cache
def command_tree(app: typer.Typer) -> Any:
    """Return the commands: a call parses the arguments, and returns what `run.py` calls outside of typer.

    Their help has no types of Python, and leaves examples as they are. Cached: making them takes longer than most runs.
    """
    root = get_command(app)
    for _, command in walk(root):
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: ""  # noqa: ARG005  called by name
            elif parameter.metavar is None and (name := _metavar(command.callback, parameter.name)) is not None:
                parameter.metavar = name
        command.context_settings = {**command.context_settings, "help_option_names": ["-h", "--help"]}
        help_text = inspect.cleandoc(command.help or "")
        command.help = _NOT_WRAPPED.sub(lambda found: f"{_AS_IT_IS}\n{found[0]}", help_text)
        if not hasattr(command, "commands"):
            command.callback = partial(partial, command.callback)  # parse now, run later
    return root


def _metavar(callback: Any, name: str) -> str | None:
    """Return what stands for a path or a text in the help, by the annotation; typer shows a type of Python."""
    annotation = getattr(callback, "__annotations__", {}).get(name)
    shown = str(getattr(annotation, "__origin__", annotation))
    if "Path" in shown:
        return "PATH"
    return "TEXT" if re.search(r"\bstr\b", shown) and "Literal" not in shown else None


def walk(command: Any, names: tuple[str, ...] = ("pinned-requests",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield a command and those below it, each with the words that call it."""
    yield names, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*names, name))

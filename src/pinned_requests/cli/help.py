"""The help of all commands, as a text and as a manual page, both from the commands themselves."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import typer
from typer.main import get_command

from pinned_requests.cli.output import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
_EXAMPLE = re.compile(r"^Example: (.*)$", re.MULTILINE)
_NOT_WRAPPED = re.compile(r"^(?:Example: |Findings)", re.MULTILINE)
_AS_IT_IS = "\b"  # click's mark: the paragraph is not wrapped, so that a command line can be pasted and a name be found
_EXAMPLES: dict[tuple[str, ...], str] = {  # of commands whose docstrings have none
    ("repo", "init"): "repo init repository --keys keys",
    ("repo", "keys"): "repo keys alice",
    ("repo", "merge"): "repo merge repository proposal.json --keys online",
    ("repo", "propose"): "repo propose repository proposal.json --policy pins.toml",
    ("repo", "publish"): "repo publish repository pins.toml --keys keys",
    ("repo", "refresh"): "repo refresh repository --keys keys",
    ("repo", "rotate-key"): "repo rotate-key repository targets --keys keys",
    ("repo", "sign"): "repo sign repository proposal.json --keys alice",
    ("repo", "status"): "repo status https://pins.example.com/ --root 1.root.json",
    ("repo", "sync"): "repo sync repository /var/www/pins",
}


def print_version(asked: bool) -> None:  # noqa: FBT001  a callback of typer
    """Print the version and end."""
    if asked:
        try:
            from pinned_requests import __version__
        except ImportError:
            raise CommandError("the version is unknown: the package runs from its sources, not installed") from None
        print(f"pinned-requests {__version__}")
        raise typer.Exit


@cache
def command_tree(app: typer.Typer) -> Any:
    """Return the commands, with a help that people can read: no types of Python in it, and examples as they are.

    They are the same for each run of a process that calls `main()` often: making them takes longer than most commands.
    """
    root = get_command(app)
    for names, command in walk(root):
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: ""  # noqa: ARG005  called by name
            elif parameter.metavar is None and (name := _metavar(command.callback, parameter.name)) is not None:
                parameter.metavar = name
        command.context_settings = {**command.context_settings, **HELP_OPTIONS}
        command.help = inspect.cleandoc(command.help or "")
        if names[1:] in _EXAMPLES and not examples_of(command):
            command.help += f"\n\nExample: pinned-requests {_EXAMPLES[names[1:]]}"
        command.help = _NOT_WRAPPED.sub(lambda found: f"{_AS_IT_IS}\n{found[0]}", command.help)
    return root


def _metavar(callback: Any, name: str) -> str | None:
    """Return what stands for the value of a path or a text, which typer would show as a type of Python.

    It is told by the function of the command, whose annotations are the same for each version of typer.
    """
    annotation = getattr(callback, "__annotations__", {}).get(name)
    shown = str(getattr(annotation, "__origin__", annotation))
    if "Path" in shown:
        return "PATH"
    return "TEXT" if re.search(r"\bstr\b", shown) and "Literal" not in shown else None


def walk(command: Any, names: tuple[str, ...] = ("pinned-requests",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield a command and all below it, each with the words that call it."""
    yield names, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*names, name))


def examples_of(command: Any) -> list[str]:
    """Return the command lines that a command's help gives as examples."""
    return _EXAMPLE.findall(inspect.cleandoc(command.help or ""))

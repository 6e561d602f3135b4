"""The manual page of the command, made of the commands themselves: `python docs/manual_page.py`.

`docs/pinned-requests.1` is what this prints; a test compares them, and the wheel installs it as `share/man/man1`.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

from pinned_requests.cli.errors import ExitCode
from pinned_requests.cli.run import command_tree, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXIT_CODES = {
    ExitCode.OK: "success",
    ExitCode.FINDING: "a finding, a step that would be unsafe, or a question that was answered with no",
    ExitCode.BAD_INPUT: "the command line, a file or another input is wrong",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.PIPE_CLOSED: "the reader of the output has gone away",
}
_ENVIRONMENT = {
    "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE": "CA certificates to trust, where --ca-bundle does not say otherwise.",
    "HTTPS_PROXY, NO_PROXY": "The proxy, where --proxy does not say otherwise.",
    "NO_COLOR": "No colours on a terminal.",
    "PINNED_REQUESTS_PASSPHRASE": "Of encrypted key files of a repository.",
}


def manual_page() -> str:
    """Return the manual page, in the macros of man(7)."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    root = command_tree()
    commands = [(names, command) for names, command in walk(root) if not getattr(command, "commands", None)]
    yield '.TH PINNED\\-REQUESTS 1 "" "pinned\\-requests" "User Commands"'
    yield ".SH NAME"
    yield f"pinned\\-requests \\- {_text('get pins, keep a policy, and know that it is right')}"
    yield ".SH SYNOPSIS"
    for names, command in commands:
        yield ".br"
        yield f".B {_text(' '.join(names))}"
        yield _text(" ".join(_usage(command)))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(root.help)
    yield ".SH COMMANDS"
    for names, command in commands:
        yield f".SS {_text(' '.join(names[1:]))}"
        yield from _paragraphs(command.help)
        for parameter in command.params:
            yield from _parameter(parameter)
    yield ".SH EXIT STATUS"
    for code, meaning in _EXIT_CODES.items():
        yield from (".TP", f".B {int(code)}", _text(meaning))
    yield ".SH ENVIRONMENT"
    for name, meaning in _ENVIRONMENT.items():
        yield from (".TP", f".B {_text(name)}", _text(meaning))


def _usage(command: Any) -> list[str]:
    names = [each.metavar or each.name for each in command.params if each.param_type_name == "argument"]
    return ["[OPTIONS]", *names]


def _parameter(parameter: Any) -> Iterator[str]:
    help_text = getattr(parameter, "help", None)
    if not help_text:
        return
    name = parameter.metavar or parameter.name
    if parameter.param_type_name == "option":
        name = ", ".join(parameter.opts)
        if parameter.metavar:
            name += f" {parameter.metavar}"
    default = parameter.default
    is_shown = default not in (None, False, (), []) and not callable(default)
    yield from (".TP", f".B {_text(name)}")
    yield _text(f"{help_text} Default: {default}." if is_shown else help_text)


def _paragraphs(help_text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(help_text).split("\n\n"):
        plain = paragraph.removeprefix("\b\n")
        yield ".PP"
        if plain.startswith("Example: "):
            yield from ("Example:", ".EX", _text(plain.removeprefix("Example: ")), ".EE")
        else:
            yield _text(re.sub(r"\s+", " ", plain))


def _text(text: str) -> str:
    """Escape backslashes and hyphens for man(7), and a line that begins like a macro."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "\\[u2026]")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(manual_page())

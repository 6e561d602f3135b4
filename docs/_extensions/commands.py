"""The directives ``commands`` and ``findings``: the reference of the command line, made from its code."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from pinned_requests.cli.run import command_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

PROGRAM = "pinned-requests"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_directive("commands", Commands)
    app.add_directive("findings", Findings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Commands(SphinxDirective):
    """A section for each command: its help, its arguments and its options."""

    has_content: ClassVar[bool] = False

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return [self._section(name, command) for name, command in _walk(PROGRAM, command_tree())]

    def _section(self, name: str, command: Any) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(name)], names=[name])
        section += nodes.title(text=name.removeprefix(f"{PROGRAM} "))
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        section += nodes.literal_block(usage, usage, language="text")
        for paragraph in command.help.strip().split("\n\n"):
            # click's mark of a paragraph that is not wrapped: an example
            if paragraph.startswith("\b\n"):
                example = paragraph[2:].removeprefix("Example: ")
                section += nodes.literal_block(example, example, language="sh")
            else:
                section += nodes.paragraph(text=" ".join(paragraph.split()))
        if rows := list(_rows(command, context)):
            section += _table(rows)
        return section


class Findings(SphinxDirective):
    """A table of the findings that the module in the argument knows, by its `KINDS`."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return [_table(list(import_module(self.arguments[0]).KINDS.items()))]


def _table(rows: list[tuple[str, str]]) -> nodes.table:
    group = nodes.tgroup("", nodes.colspec(colwidth=35), nodes.colspec(colwidth=65), cols=2)
    body = nodes.tbody()
    for term, description in rows:
        cells = nodes.literal(text=term), nodes.inline(text=description)
        body += nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))
    group += body
    return nodes.table("", group)


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child in children:
        yield from _walk(f"{name} {child}", children[child])


def _rows(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            yield record

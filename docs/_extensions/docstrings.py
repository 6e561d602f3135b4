"""Docstrings are written to be read in an editor, and become reStructuredText here.

`Name` between single backticks is code, or a link; an indented block below a paragraph is an example.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pinned_requests
import pinned_requests.formats
import pinned_requests.reporting
import pinned_requests.testing

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_QUOTED = re.compile(r"(?<![`:\w])`([^`\n]+)`(?!`)")
_TARGETS = {
    name: f"{module.__name__}.{name}"
    for module in (pinned_requests.testing, pinned_requests.formats, pinned_requests.reporting, pinned_requests)
    for name in module.__all__
}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension; before napoleon, which takes the docstring apart."""
    app.connect("autodoc-process-docstring", _rewrite, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _rewrite(_app: Sphinx, _what: str, name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    def role(quoted: re.Match[str]) -> str:
        text = quoted[1]
        target = _TARGETS.get(text.removesuffix("()"))
        if target and target != name:
            return f":py:obj:`{text} <{target}>`"
        return f"``{text}``"

    result: list[str] = []
    paragraph = ""  # the last line that was not empty
    is_code = False
    for line in lines:
        is_indented = line.startswith("    ")
        if is_indented and not is_code and paragraph and not paragraph.startswith(" ") and not result[-1]:
            result += [".. code-block:: python", ""]
            is_code = True
        elif line and not is_indented:
            is_code = False
        result.append(line if is_code else _QUOTED.sub(role, line))
        paragraph = line or paragraph
    lines[:] = result

"""In `how-to.md`, the line `*` of the toctree stands for the pages of docs/ that no toctree names: new guides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PAGE = "how-to"
_TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.DOTALL | re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", _complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _complete(app: Sphinx, name: str, source: list[str]) -> None:
    if name == PAGE:
        pages = Path(app.srcdir)
        named = {"index", *(entry for path in pages.rglob("*.md") for entry in _entries(path, pages))}
        others = sorted({path.stem for path in pages.glob("*.md")} - named)
        source[0] = re.sub(r"^\*\n", "".join(f"{page}\n" for page in others), source[0], flags=re.MULTILINE)


def _entries(path: Path, pages: Path) -> list[str]:
    """The pages that the toctrees of a page name, without their folder if that is docs/."""
    lines = [line for tree in _TOCTREE.findall(path.read_text("utf-8")) for line in tree.splitlines()]
    names = [re.sub(r"^.*<(.+)>$", r"\1", line) for line in lines if line and line[0] not in ":*"]
    return [str((path.parent / name).resolve().relative_to(pages.resolve())) for name in names]

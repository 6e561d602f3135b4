"""Links from a page to a file of the repository outside of docs/: on GitHub they are relative, on the site absolute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPOSITORY = "https://github.com/pinned-requests/pinned_requests/blob/main"
_LINK = re.compile(r"\]\((\.\.?/[^)#\s]+)(#[^)\s]+)?\)")

_logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", _rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _rewrite(app: Sphinx, name: str, source: list[str]) -> None:
    pages = Path(app.srcdir)
    root = pages.parent

    def absolute(link: re.Match[str]) -> str:
        target = ((pages / name).parent / link[1]).resolve()
        if target.is_relative_to(pages):
            return link[0]  # MyST checks it
        if not target.exists():
            _logger.warning("no file %s in the repository", link[1], location=name)
        return f"]({REPOSITORY}/{target.relative_to(root).as_posix()}{link[2] or ''})"

    source[0] = _LINK.sub(absolute, source[0])

"""The `pinned-requests` command.

Arguments, output and exit codes belong here; the table of exit codes is in `errors.py`. Decisions about pins,
certificates and policies do not: they are in the rooms below, where a program can call them.

Files that declare options have no `from __future__ import annotations`: typer reads their types.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTRA = {"defusedxml", "rich", "tomlkit", "typer"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with arguments (by default those of the process), and return its exit code."""
    try:
        from pinned_requests.cli.run import run

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except ModuleNotFoundError as missing:
        name = (missing.name or "").partition(".")[0]
        if name not in _EXTRA:
            raise
        hint = "run: pip install 'pinned-requests[cli]'"
        print(f"pinned-requests: the command needs {name}; {hint}", file=sys.stderr)
        return 2

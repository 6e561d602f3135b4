"""The `pinned-requests` command.

Exit codes: 0 for success; 1 for a finding, such as a server that cannot be reached or verified; 2 for a wrong command
line or input; 130 after an interrupt; 141 when the reader of the output has gone away.

Arguments, output and exit codes belong here. Decisions about pins, certificates and policies do not: they are in the
rooms below, where a program can call them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTRA = {"defusedxml", "rich", "typer"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: those after the command's name; by default those of the process.

    Returns:
        The exit code.
    """
    try:
        from pinned_requests.cli.run import run  # noqa: PLC0415  the libraries of the extra `cli` may be missing

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        hint = "run: pip install 'pinned-requests[cli]'"
        print(f"pinned-requests: the command needs {missing.name}; {hint}", file=sys.stderr)
        return 2

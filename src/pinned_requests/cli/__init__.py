"""The `pinned-requests` command.

Exit codes: 0 if all is well, 1 for a finding (a server that cannot be reached or verified is one), 2 where the command
line or an input is wrong. Besides, 130 after an interrupt and 141 when the reader of the output has gone away.
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
        arguments: those behind the command's name; those of the process by default.

    Returns:
        The exit code.
    """
    try:
        from pinned_requests.cli.run import run  # noqa: PLC0415  the libraries of the extra `cli` may be missing

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(f"pinned-requests: {missing.name} is not installed; install 'pinned-requests[cli]'", file=sys.stderr)
        return 2

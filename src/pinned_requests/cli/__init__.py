"""The `pinned-requests` command."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: those behind the command's name; those of the process by default.

    Returns:
        The exit code: 0 if all was well, 1 if not.

    Raises:
        SystemExit: with code 2, for arguments that it does not know.
    """
    parser = argparse.ArgumentParser(prog="pinned-requests", description="Public key pinning for requests.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    demo = commands.add_parser("demo", help="show on loopback how a man in the middle fools requests, and is refused")
    demo.set_defaults(run=_demo)
    run = parser.parse_args(arguments).run
    return int(run())


def _demo() -> int:
    from pinned_requests.cli.demo import demo  # noqa: PLC0415  imports cryptography

    return demo()

"""What a run of the command line left."""

from __future__ import annotations

from typing import NamedTuple


class Ran(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

"""`pinned-requests convert`: from one system's pin configuration to another's; what gets lost goes to stderr."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from pinned_requests.cli.inputs import read_bounded
from pinned_requests.cli.output import CommandError, complain, show_json
from pinned_requests.core.policy_text import MAX_SIZE
from pinned_requests.formats import FORMATS, read, write


def convert(  # noqa: PLR0913  each an option of the command
    path: str, source: str | None, target: str, host: str | None, *, is_strict: bool, as_json: bool
) -> int:
    """Print a configuration in another format.

    Args:
        path: of the file, or `-` for standard input.
        source: one of `FORMATS`, or None: what the suffix of `path` says.
        target: one of `FORMATS`.
        host: the host that the pins are of, where a format does not name it, or which alone is to be converted.
        is_strict: whether a loss is a finding.
        as_json: whether to print JSON.

    Returns:
        1 for a finding, else 0.

    Raises:
        CommandError: the format is not given, or the input is too large.
        PolicyError: the input is wrong, or cannot be said in that format.
        OSError: the file cannot be read.
    """
    source = source or _by_suffix(path)
    now = datetime.now(UTC)
    is_hostless = source in FORMATS and FORMATS[source].is_hostless
    policy, lost_in_reading = read(source, read_bounded(path, MAX_SIZE), host=host if is_hostless else None, now=now)
    text, lost_in_writing = write(target, policy, host=None if is_hostless else host, now=now)
    losses = (*lost_in_reading, *lost_in_writing)
    if as_json:
        show_json({"text": text, "losses": [loss._asdict() for loss in losses]})
    else:
        sys.stdout.write(text)
        for loss in losses:
            complain(f"lost: {loss}")
    return 1 if is_strict and losses else 0


def _by_suffix(path: str) -> str:
    name = Path(path).suffix.lower().removeprefix(".")
    if name not in ("toml", "json"):
        raise CommandError(f"the format of the input is not given; give --from, one of {', '.join(FORMATS)}")
    return name

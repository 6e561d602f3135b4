"""`pinned-requests convert`: the pin configuration of one system in the format of another."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from pinned_requests import PolicyError
from pinned_requests.cli.inputs import read_bounded
from pinned_requests.cli.output import CommandError, complain, show_json
from pinned_requests.core.policy_text import MAX_SIZE
from pinned_requests.core.text import show
from pinned_requests.formats import FORMATS, read, write


def convert(path: str, source: str | None, target: str, host: str | None, *, is_strict: bool, as_json: bool) -> int:
    """Print a configuration in another format. Returns 1 if losses are findings and there is one, else 0.

    `host` is that of the pins if the format to read does not name it, else the host or pattern to convert.
    """
    source = source or _by_suffix(path)
    now = datetime.now(UTC)
    is_hostless = source in FORMATS and FORMATS[source].is_hostless
    text = read_bounded(path, MAX_SIZE)
    try:
        policy, lost_in_reading = read(source, text, host=host if is_hostless else None, now=now)
        converted, lost_in_writing = write(target, policy, host=None if is_hostless else host, now=now)
    except PolicyError as error:
        name = "standard input" if path == "-" else show(path)
        raise type(error)(f"{name}: {error}") from None
    except ImportError as error:
        raise CommandError(str(error)) from None
    losses = (*lost_in_reading, *lost_in_writing)
    if as_json:
        show_json({"text": converted, "losses": [loss._asdict() for loss in losses]})
    else:
        sys.stdout.write(converted)
        for loss in losses:
            complain(f"lost: {loss}")
    return 1 if is_strict and losses else 0


def _by_suffix(path: str) -> str:
    name = Path(path).suffix.lower().removeprefix(".")
    if name not in ("toml", "json"):
        raise CommandError(f"cannot tell the format of {show(path)}; give --from, one of {', '.join(FORMATS)}")
    return name

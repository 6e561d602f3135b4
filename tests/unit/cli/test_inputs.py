"""Spans of time and files, as the command line gives them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pinned_requests.cli.inputs import read_bounded, read_span
from pinned_requests.cli.output import CommandError

if TYPE_CHECKING:
    from pathlib import Path


def test_spans() -> None:
    """Hours, days and weeks."""
    assert [read_span(text) for text in ("0d", "12h", "30d", "4w")] == [
        timedelta(0),
        timedelta(hours=12),
        timedelta(days=30),
        timedelta(weeks=4),
    ]
    for text in ("", "30", "d", "-1d", "1.5d", "30D", "999999d", "٣d", "1d ", "30m"):
        with pytest.raises(CommandError):
            read_span(text)


def test_bounded_reading(tmp_path: Path) -> None:
    """As many bytes as are allowed are read, and not one more."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(str(path), 5) == b"12345"
    with pytest.raises(CommandError):
        read_bounded(str(path), 4)
    with pytest.raises(CommandError):
        read_bounded("a\0b", 4)
    with pytest.raises(OSError, match="missing"):
        read_bounded(str(tmp_path / "missing"), 4)

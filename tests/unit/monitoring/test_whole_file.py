"""Files that are replaced whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pinned_requests.monitoring.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What it points to is replaced."""
    (tmp_path / "link").symlink_to("file")
    for text in (b"old", b"new"):
        write_whole(tmp_path / "link", text)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk: the old content stays, and nothing beside it."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space") as raised:
        write_whole(path, b"new")
    assert raised.value.filename == str(path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]

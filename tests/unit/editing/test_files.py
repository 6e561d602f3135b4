"""Files are written whole or not at all, keys for their owner alone, and nothing is overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pinned_requests import PolicyError
from pinned_requests.editing.files import SECRET, NewFile, check_new, create, replace


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    """Where one of them is there, it stays as it is, and those before it are removed."""
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    two.write_text("mine")
    with pytest.raises(FileExistsError, match="is not overwritten"):
        create([NewFile(one, b"1"), NewFile(two, b"2"), NewFile(three, b"3")])
    assert [path.name for path in tmp_path.iterdir()] == ["two"]
    assert two.read_text() == "mine"
    two.unlink()
    create([NewFile(one, b"1"), NewFile(two, b"2")])
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    with pytest.raises(FileExistsError):
        check_new([three, two])
    check_new([three])
    with pytest.raises(PolicyError):
        check_new([three, tmp_path / "folder" / ".." / "three"])


def test_a_secret_is_its_owners(tmp_path: Path) -> None:
    """Also under a umask that hides nothing; a link is not followed."""
    before = os.umask(0)
    try:
        create([NewFile(tmp_path / "key", b"secret", SECRET)])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        create([NewFile(tmp_path / "link", b"secret", SECRET)])
    assert not (tmp_path / "elsewhere").exists()


def test_a_replaced_file(tmp_path: Path) -> None:
    """Mode and link stay, nothing else is left in the folder."""
    real, link = tmp_path / "real.toml", tmp_path / "pins.toml"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    replace(link, b"old", b"new")
    assert link.is_symlink()
    assert (real.read_bytes(), stat.S_IMODE(real.stat().st_mode)) == (b"new", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pins.toml", "real.toml"]


def test_a_change_of_others_is_not_lost(tmp_path: Path) -> None:
    """What another program wrote meanwhile stays."""
    path = tmp_path / "pins.toml"
    path.write_bytes(b"theirs")
    with pytest.raises(PolicyError, match="changed by another program"):
        replace(path, b"old", b"new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("pins.toml", b"theirs")]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the old content stays, no temporary file does, and the error names the file."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "pins.toml"
    path.write_bytes(b"old")
    monkeypatch.setattr(os if failing == "fsync" else Path, failing, full)
    with pytest.raises(OSError, match=r"pins\.toml"):
        replace(path, b"old", b"new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("pins.toml", b"old")]


def test_a_key_is_not_shown() -> None:
    """The repr of a file has its path alone."""
    assert "secret" not in repr(NewFile(Path("key"), b"secret"))

"""Hosts, spans of time and files, as the command line gives them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pinned_requests import PolicyError
from pinned_requests.cli.files import NewFile, check_new, create
from pinned_requests.cli.inputs import Target, read_bounded, read_span, read_target
from pinned_requests.cli.output import CommandError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "target", "pattern", "url"),
    [
        ("API.Example.COM.", Target("api.example.com", 443), "api.example.com", "https://api.example.com:443/"),
        ("example.com:443", Target("example.com", 443), "example.com", "https://example.com:443/"),
        ("example.com:8443", Target("example.com", 8443), "example.com:8443", "https://example.com:8443/"),
        ("127.1", Target("127.0.0.1", 443), "127.0.0.1", "https://127.0.0.1:443/"),
        ("[2001:DB8::1]:8443", Target("2001:db8::1", 8443), "[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ("2001:db8::1", Target("2001:db8::1", 443), "[2001:db8::1]", "https://[2001:db8::1]:443/"),
        ("bücher.example", Target("xn--bcher-kva.example", 443), "xn--bcher-kva.example", None),
    ],
)
def test_targets(text: str, target: Target, pattern: str, url: str | None) -> None:
    """A server is named as its host is compared, with its port."""
    assert read_target(text) == target
    assert target.pattern == pattern
    assert url is None or target.url == url


@pytest.mark.parametrize("text", ["", "a b", "https://example.com", "example.com:0", "example.com:https", "a..b"])
def test_what_is_no_target(text: str) -> None:
    """What names no server is an error."""
    with pytest.raises(PolicyError):
        read_target(text)


@pytest.mark.parametrize("text", ["*.example.com", "**.example.com:8443"])
def test_a_pattern_is_no_target(text: str) -> None:
    """Nor does a pattern."""
    with pytest.raises(CommandError):
        read_target(text)


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


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    """Where one of them is there, it stays as it is, and those before it are removed."""
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    two.write_text("mine")
    with pytest.raises(CommandError):
        create([NewFile(one, b"1"), NewFile(two, b"2"), NewFile(three, b"3")])
    assert [path.name for path in tmp_path.iterdir()] == ["two"]
    assert two.read_text() == "mine"
    two.unlink()
    create([NewFile(one, b"1"), NewFile(two, b"2")])
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    with pytest.raises(CommandError):
        check_new([three, two])
    check_new([three])
    with pytest.raises(CommandError):
        check_new([three, tmp_path / "folder" / ".." / "three"])

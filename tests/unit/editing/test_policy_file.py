"""The history of a policy says what clients may still have, and assumes the worst where it does not know."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError
from pinned_requests.editing.files import create
from pinned_requests.editing.policy_file import first_record, history_path, read_history, record

if TYPE_CHECKING:
    from pathlib import Path

HOST = "api.example.com"
ONE, TWO, THREE = (PinPolicy({HOST: PinSet([Pin("spki", bytes([n, m]) * 16) for m in (0, 1)])}) for n in range(3))
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def written(path: Path, policy: PinPolicy, at: datetime) -> None:
    """Write a policy, as if at that time."""
    path.write_text(policy.to_toml())
    os.utime(path, (at.timestamp(), at.timestamp()))


def test_versions(tmp_path: Path) -> None:
    """Each is there with its date, oldest first, and the last is the file."""
    path = tmp_path / "pins.toml"
    written(path, ONE, NOW)
    create([first_record(path, ONE, NOW)])
    record(path, read_history(path, ONE, NOW), TWO, NOW + DAY)
    history = read_history(path, TWO, NOW + 2 * DAY)
    assert [(each.policy, each.since) for each in history.versions] == [(ONE, NOW), (TWO, NOW + DAY)]
    assert history.is_complete
    assert history.versions[-1].name == str(path)


def test_without_a_history(tmp_path: Path) -> None:
    """The policy counts from the date of its file, and an unknown one may have been before it."""
    path = tmp_path / "pins.toml"
    written(path, ONE, NOW)
    history = read_history(path, ONE, NOW + DAY)
    assert [(each.policy, each.since) for each in history.versions] == [(ONE, NOW)]
    assert not history.is_complete
    record(path, history, TWO, NOW + DAY)
    assert not read_history(path, TWO, NOW + DAY).is_complete


def test_a_file_edited_by_hand(tmp_path: Path) -> None:
    """It is a version of its own, from the date of the file; an older file that was put back counts from now."""
    path = tmp_path / "pins.toml"
    create([first_record(path, ONE, NOW)])
    written(path, TWO, NOW + 5 * DAY)
    assert [each.since for each in read_history(path, TWO, NOW + 9 * DAY).versions] == [NOW, NOW + 5 * DAY]
    written(path, TWO, NOW - 5 * DAY)
    assert [each.since for each in read_history(path, TWO, NOW + 9 * DAY).versions] == [NOW, NOW + 9 * DAY]


def test_old_versions_are_dropped(tmp_path: Path) -> None:
    """Those that no client has any more; what is left no longer claims to be the beginning."""
    path = tmp_path / "pins.toml"
    written(path, ONE, NOW)
    create([first_record(path, ONE, NOW)])
    record(path, read_history(path, ONE, NOW), TWO, NOW + DAY)
    record(path, read_history(path, TWO, NOW), THREE, NOW + 402 * DAY)
    history = read_history(path, THREE, NOW + 402 * DAY)
    assert [each.policy for each in history.versions] == [TWO, THREE]
    assert not history.is_complete


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        '{"written": "2026-06-01T00:00:00Z", "policy": {}}',
        '{"written": "2026-06-01T00:00:00", "policy": %s}',
        '{"written": 1, "policy": %s}',
        '{"written": "2020-01-01T00:00:00Z", "policy": %s}',
        '{"policy": %s}',
        "[" * 100_000,
    ],
)
def test_a_damaged_history(line: str, tmp_path: Path) -> None:
    """It is an error that names the file, never a history that says less."""
    path = tmp_path / "pins.toml"
    written(path, ONE, NOW)
    create([first_record(path, ONE, NOW)])
    with history_path(path).open("a") as file:
        file.write(line.replace("%s", ONE.to_json().replace("\n", "")) + "\n")
    with pytest.raises(PolicyError, match=r"pins\.toml\.history"):
        read_history(path, ONE, NOW)

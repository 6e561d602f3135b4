"""`Repository`: what it refuses to change, and that nothing is changed then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pinned_requests import PinPolicy, PinSet, PolicyError
from pinned_requests.publishing.keys import RoleKeys
from pinned_requests.publishing.proposal import ProposalError, exchange, propose
from pinned_requests.publishing.repository import new_root
from pinned_requests.publishing.sync import write

if TYPE_CHECKING:
    from pathlib import Path

    from support.office import Office

NEW = PinPolicy({"new.example.com": PinSet.exempt()})


def files(folder: Path) -> dict[Path, bytes]:
    """Return what is in a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_change_during_the_review(office: Office) -> None:
    """What was reviewed against another policy is not published."""
    reviewed = office.repository.load().targets.signed.version
    office.publish()
    before = files(office.folder)
    with pytest.raises(ProposalError, match="changed during the review"):
        office.repository.publish("pins.json", NEW, {}, after=reviewed)
    assert files(office.folder) == before
    assert office.repository.publish("pins.json", NEW, {}, after=reviewed + 1) == reviewed + 2


@pytest.mark.parametrize(
    "name",
    [
        "../pins.json",
        "a/pins.json",
        "pins.toml",
        "",
        "pín.json",
        "a\n.json",
        "..json/",
        ".json",
        ".a.json",
        "a\\b.json",
        "a:b.json",
        "a.json\n",
    ],
)
def test_names_of_targets(office: Office, name: str) -> None:
    """They are names of files in one folder."""
    before = files(office.folder)
    with pytest.raises(PolicyError, match="invalid target"):
        office.repository.publish(name, NEW, {})
    assert files(office.folder) == before


def test_a_key_twice(office: Office) -> None:
    """One key is one signature."""
    key = office.keys.generate("root", None)
    with pytest.raises(PolicyError, match="twice"):
        new_root({"root": RoleKeys((key, key), 2)})


def test_an_exchange_for_the_same_key(office: Office) -> None:
    """The new key must be new, of the same role, and the old one be named without doubt."""
    state = office.repository.load()
    (keyid,) = state.root.signed.roles["targets"].keyids
    own = office.keys.path / "public.json"
    with pytest.raises(PolicyError, match="has 0 new keys for targets"):
        exchange(state, keyid, own)
    with pytest.raises(PolicyError, match="4 keys have an id that begins with ''"):
        exchange(state, "", own)
    with pytest.raises(PolicyError, match="is a key of targets already"):
        propose(state, {}, exchanged=("targets", keyid, state.root.signed.keys[keyid]))
    for _ in range(2):
        office.keys.generate("targets", None)
    with pytest.raises(PolicyError, match="has 2 new keys for targets"):
        exchange(state, keyid, own)


def test_a_repository_that_is_not_there(office: Office, tmp_path: Path) -> None:
    """The merge of a change makes none."""
    proposal = propose(office.repository.load(), {}, renewed=["root"])
    other = type(office.repository)(tmp_path / "elsewhere", office.ring)
    with pytest.raises(PolicyError, match="is not a repository"):
        other.merge(proposal, {})
    assert not (tmp_path / "elsewhere").exists()


def test_a_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is as before, and nothing is left beside it."""
    path = tmp_path / "timestamp.json"
    write(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"new")
    assert files(tmp_path) == {path: b"old"}

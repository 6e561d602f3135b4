"""`copy()` and `in_order()`: the copy is sound at every moment, and never goes back."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tuf.api.exceptions import RepositoryError

from pinned_requests import PinPolicy, PinSet, PolicyError
from pinned_requests.publishing.keys import KeyRing
from pinned_requests.publishing.repository import Repository
from pinned_requests.publishing.status import status
from pinned_requests.publishing.sync import SyncError, copy, in_order

if TYPE_CHECKING:
    from pathlib import Path

    from support.office import Office

NEW = PinPolicy({"new.example.com": PinSet.exempt()})


def sound(folder: Path, root: bytes) -> PinPolicy | str | None:
    """Return the policy that a client takes, who ships this root."""
    found = status(lambda name: (folder / name).read_bytes(), datetime.now(UTC), root)
    assert found.findings == ()
    return found.policies.get("pins.json")


def test_the_copy(office: Office, tmp_path: Path) -> None:
    """It has what a client needs, and no file else; the second time there is nothing to do."""
    office.publish()
    office.publish(NEW)
    (office.folder / "metadata/.half-written").touch()
    served = tmp_path / "served"
    names = copy(office.folder, served)
    assert names[-2:] == ["metadata/timestamp.json", "metadata/1.root.json"]
    assert sorted(str(path.relative_to(served)) for path in served.rglob("*") if path.is_file()) == sorted(names)
    assert len(names) == 5
    assert sound(served, office.repository.read("metadata/1.root.json")) == NEW
    assert copy(office.folder, served) == []
    assert {path.stat().st_mode & 0o777 for path in served.rglob("*") if path.is_file()} == {0o644}


@pytest.mark.parametrize("change", ["publish", "root", "targets", "snapshot", "timestamp"])
def test_a_copy_that_is_cut_short(office: Office, tmp_path: Path, change: str) -> None:
    """After each single file a client with any root that there was takes the old policy or the new one."""
    office.publish()
    served, root = tmp_path / "served", office.repository.read("metadata/1.root.json")
    copy(office.folder, served)
    old = sound(served, root)
    if change == "publish":
        office.publish(NEW)
    else:
        office.rotate(change)
    files = in_order(office.folder, served)
    assert files
    for file in files:
        (served / file.name).write_bytes(file.data)
        assert sound(served, root) in (old, NEW)
    assert sound(served, root) == (NEW if change == "publish" else old)
    assert in_order(office.folder, served) == []


def test_without_knowing_the_copy(office: Office) -> None:
    """The same order, with all files: roots come last where the old root vouches for the new state."""
    office.publish()
    office.rotate("timestamp")
    names = [file.name for file in in_order(office.folder)]
    assert names[-3:] == ["metadata/timestamp.json", "metadata/1.root.json", "metadata/2.root.json"]
    office.publish(NEW)  # no longer signed with the old key
    names = [file.name for file in in_order(office.folder)]
    assert names[-3:] == ["metadata/1.root.json", "metadata/2.root.json", "metadata/timestamp.json"]


def test_a_lost_key(office: Office, tmp_path: Path) -> None:
    """The new root comes before the timestamp, which the old root does not accept."""
    office.publish()
    served = tmp_path / "served"
    copy(office.folder, served)
    (pem,) = office.keys.path.glob("timestamp-*.pem")
    signers = office.keys.path / "signers.json"
    uris = json.loads(signers.read_text()).items()
    signers.write_text(json.dumps({keyid: uri for keyid, uri in uris if not uri.endswith(pem.name)}))
    lost = Repository(office.folder, KeyRing([office.keys], lambda _: ""))
    lost.rotate_key("timestamp", lambda: office.keys.generate("timestamp", None), None, {})
    names = [file.name for file in in_order(office.folder, served)]
    assert names[-2:] == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_an_older_repository_replaces_nothing(office: Office, tmp_path: Path) -> None:
    """A backup that is copied by mistake would take new pins away from clients that start for the first time."""
    office.publish()
    backup = tmp_path / "backup"
    shutil.copytree(office.folder, backup)
    office.publish(NEW)
    served = tmp_path / "served"
    copy(office.folder, served)
    before = {path: path.read_bytes() for path in served.rglob("*.json")}
    with pytest.raises(SyncError, match="newer timestamp"):
        copy(backup, served)
    office.rotate("root")
    copy(office.folder, served)
    with pytest.raises(SyncError, match="newer root"):
        copy(backup, served)
    assert all(path.read_bytes() == data for path, data in before.items() if path.name != "timestamp.json")
    assert copy(office.folder, served) == []


def test_another_repository_replaces_nothing(office: Office, tmp_path: Path) -> None:
    """Its clients would refuse it."""
    other = type(office)(tmp_path, "other")
    served = tmp_path / "served"
    copy(office.folder, served)
    with pytest.raises(SyncError, match="another one"):
        copy(other.folder, served)
    assert copy(office.folder, served) == []


def test_what_does_not_verify_is_not_spread(office: Office, tmp_path: Path) -> None:
    """Damage stays where it is."""
    office.publish()
    path = office.folder / "metadata/2.snapshot.json"
    path.write_bytes(path.read_bytes().replace(b"2", b"3", 1))
    with pytest.raises(RepositoryError):
        copy(office.folder, tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_a_broken_copy_is_mended(office: Office, tmp_path: Path) -> None:
    """A file of the present that is missing is copied again."""
    served = tmp_path / "served"
    copy(office.folder, served)
    office.publish()
    (served / "metadata/1.snapshot.json").unlink()
    copy(office.folder, served)
    assert sound(served, office.repository.read("metadata/1.root.json")) is not None


def test_wrong_folders(office: Office, tmp_path: Path) -> None:
    """A folder without a repository, and a copy inside of it, are refused."""
    with pytest.raises(PolicyError, match="is not a repository"):
        copy(tmp_path / "nothing", tmp_path / "served")
    with pytest.raises(PolicyError, match="lies in"):
        copy(office.folder, office.folder / "copy")


def test_the_lock_is_not_served(office: Office, tmp_path: Path) -> None:
    """After every kind of change, it is beside the folder."""
    office.publish()
    office.rotate("root")
    office.repository.refresh((), {})
    copy(office.folder, tmp_path / "served")
    assert {path.name for path in office.folder.iterdir()} == {"metadata", "targets"}
    assert not list(office.folder.rglob(".*"))
    assert (tmp_path / ".repository.lock").exists()

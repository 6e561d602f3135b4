"""`status()`: it says what a client would take, and what expires; nothing that a client refuses passes for good."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from pinned_requests import PinPolicy
from pinned_requests.publishing.keys import KeyFolder, KeyRing, holder_of
from pinned_requests.publishing.proposal import keys_of
from pinned_requests.publishing.state import meta_file
from pinned_requests.publishing.status import status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.office import Office

A, B = (f"sha256/{letter * 42}A=" for letter in "AB")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def test_a_sound_repository(office: Office) -> None:
    """Roles, holders, thresholds and the policy; there is nothing to do."""
    office.publish()
    found = status(office.repository.read, NOW)
    assert [(each.role, each.version, each.threshold, each.state) for each in found.roles] == [
        ("root", 1, 1, "ok"),
        ("targets", 2, 1, "ok"),
        ("snapshot", 2, 1, "ok"),
        ("timestamp", 2, 1, "ok"),
    ]
    assert {key.holder for role in found.roles for key in role.keys} == {"keys-of-repository"}
    assert all(key.has_signed for role in found.roles for key in role.keys)
    assert found.policies == {"pins.json": PinPolicy({"api.example.com": [A, B]})}
    assert found.findings == ()


def test_for_machines(office: Office) -> None:
    """What JSON can hold, with the policy as it is published."""
    office.publish()
    found = status(office.repository.read, NOW)
    document = json.loads(json.dumps(found.document()))
    assert PinPolicy.from_json(document["policies"]["pins.json"]["policy"]) == found.policies["pins.json"]
    assert document["roles"]["root"]["state"] == "ok"
    assert document["findings"] == []


@pytest.mark.parametrize(
    ("days", "states"),
    [
        (1, ["ok", "ok", "ok", "ok"]),
        (6, ["ok", "ok", "ok", "expires-soon"]),
        (8, ["ok", "ok", "ok", "expired"]),
        (24, ["ok", "ok", "expires-soon", "expired"]),
        (140, ["ok", "expires-soon", "expired", "expired"]),
        (400, ["expired", "expired", "expired", "expired"]),
    ],
)
def test_what_expires(office: Office, days: int, states: list[str]) -> None:
    """It is said, and read all the same: an operator has to see what to mend."""
    office.publish()
    found = status(office.repository.read, NOW + days * DAY)
    assert [role.state for role in found.roles] == states
    assert [line.partition(" ")[0] for line in found.findings] == [
        role.role for role in found.roles if role.state != "ok"
    ]


@pytest.mark.parametrize(("days", "word"), [(0, None), (40, "expire"), (61, "expired")])
def test_pins_that_expire(office: Office, days: int, word: str | None) -> None:
    """The host is named."""
    expires = (NOW + 60 * DAY).isoformat()
    office.publish(PinPolicy({"api.example.com": {"pins": [A, B], "expires": expires}}))
    office.repository.refresh(("targets",), {"timestamp": 365, "snapshot": 365})
    findings = status(office.repository.read, NOW + days * DAY).findings
    assert [line.split()[4] for line in findings] == ([] if word is None else [word])
    assert all(line.startswith("the pins of api.example.com ") for line in findings)


def forged_root(folder: Path) -> None:
    """A next root that the first one did not sign."""
    root = json.loads((folder / "metadata/1.root.json").read_text())
    root["signed"]["version"] = 2
    (folder / "metadata/2.root.json").write_text(json.dumps(root))


def root_of_another_version(folder: Path) -> None:
    """The first root in the place of the second."""
    (folder / "metadata/2.root.json").write_bytes((folder / "metadata/1.root.json").read_bytes())


def root_of_a_stranger(folder: Path) -> None:
    """A next root, signed by its own key, which the first root does not know."""
    root = Metadata[Root].from_bytes((folder / "metadata/1.root.json").read_bytes())
    keys = KeyFolder(folder.parent / "mallory")
    new = keys.generate("root", None)
    root.signed.revoke_key(root.signed.roles["root"].keyids[0], "root")
    root.signed.add_key(new, "root")
    root.signed.version = 2
    signer = KeyRing([keys], lambda _: "").signer(new)
    assert signer is not None
    root.sign(signer)
    (folder / "metadata/2.root.json").write_bytes(root.to_bytes())


def mixed_targets(folder: Path) -> None:
    """Signed, of the right version, and not the file that the snapshot means."""
    path = folder / "metadata/2.targets.json"
    path.write_bytes(path.read_bytes() + b" ")


def unsigned_timestamp(folder: Path) -> None:
    """Without a signature."""
    path = folder / "metadata/timestamp.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "signatures": []}))


def older_targets(folder: Path) -> None:
    """What was signed before, under the name of the present."""
    (folder / "metadata/2.targets.json").write_bytes((folder / "metadata/1.targets.json").read_bytes())


def another_role(folder: Path) -> None:
    """Metadata of another role."""
    (folder / "metadata/timestamp.json").write_bytes((folder / "metadata/2.snapshot.json").read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        forged_root,
        root_of_another_version,
        root_of_a_stranger,
        unsigned_timestamp,
        older_targets,
        mixed_targets,
        another_role,
    ],
)
def test_what_a_client_refuses(office: Office, change: Callable[[Path], None]) -> None:
    """It does not verify here, either; and nothing is signed on top of it."""
    office.publish()
    change(office.folder)
    with pytest.raises(RepositoryError):
        status(office.repository.read, NOW)
    with pytest.raises(RepositoryError):
        office.publish()


def test_metadata_that_is_missing(office: Office) -> None:
    """The file is named."""
    (office.folder / "metadata/1.snapshot.json").unlink()
    with pytest.raises(FileNotFoundError):
        status(office.repository.read, NOW)


@pytest.mark.parametrize("content", [None, b'{"hosts": {}}', b"\xff", b'{"hosts": {"evil.example": {"exempt": true}}}'])
def test_a_policy_that_no_client_takes(office: Office, content: bytes | None) -> None:
    """A file that is missing or was changed is a finding; the rest is shown."""
    office.publish()
    (path,) = (office.folder / "targets").iterdir()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    found = status(office.repository.read, NOW)
    assert isinstance(found.policies["pins.json"], str)
    assert len(found.findings) == 1
    assert len(found.roles) == 4


def test_the_root_that_clients_ship(office: Office, tmp_path: Path) -> None:
    """With it, another repository in the place of this one is found out; without it, its first root is believed."""
    office.publish()
    office.rotate("timestamp")
    root = office.repository.read("metadata/1.root.json")
    assert status(office.repository.read, NOW, root).roles[0].version == 2
    other = type(office)(tmp_path, "other")
    assert status(other.repository.read, NOW).findings == ()
    with pytest.raises(RepositoryError):
        status(other.repository.read, NOW, root)


def test_holders_of_strangers_are_escaped(office: Office) -> None:
    """Who wrote the metadata wrote the name."""
    state = office.repository.load()
    key = next(iter(state.root.signed.keys.values()))
    key.unrecognized_fields["x-pinned-requests-holder"] = "eve\x1b[31m"
    assert holder_of(key) == "eve\\x1b[31m"
    key.unrecognized_fields["x-pinned-requests-holder"] = {"a": 1}
    assert holder_of(key) is None


def test_a_root_that_names_a_key_and_does_not_show_it(office: Office) -> None:
    """Clients take it. The key is shown without a holder or a signature, and nobody is asked to sign with it."""
    office.publish()
    path = office.folder / "metadata/1.root.json"
    root = Metadata[Root].from_bytes(path.read_bytes())
    unknown = "ab" * 32
    root.signed.roles["targets"].keyids.append(unknown)
    signer = office.ring.signer(root.signed.keys[root.signed.roles["root"].keyids[0]])
    assert signer is not None
    root.sign(signer)
    path.write_bytes(root.to_bytes())
    (targets,) = (role for role in status(office.repository.read, NOW).roles if role.role == "targets")
    assert [(key.keyid == unknown, key.holder, key.has_signed) for key in targets.keys][1] == (True, None, False)
    assert unknown not in keys_of("targets", [root.signed])
    office.publish(PinPolicy({"other.example.com": [A, B]}))


def test_a_snapshot_that_names_another_version(office: Office) -> None:
    """The file of a version must be of that version, as a client demands; who signs can get it wrong."""
    office.publish()
    state = office.repository.load()
    wrong = office.repository.read("metadata/2.targets.json")
    (office.folder / "metadata/9.targets.json").write_bytes(wrong)
    state.snapshot.signed.meta["targets.json"].version = 9
    for metadata, name in ((state.snapshot, "2.snapshot.json"), (state.timestamp, "timestamp.json")):
        if metadata is state.timestamp:
            state.timestamp.signed.snapshot_meta = meta_file(state.snapshot)
        role = state.root.signed.roles[metadata.signed.type]
        signer = office.ring.signer(state.root.signed.keys[role.keyids[0]])
        assert signer is not None
        metadata.sign(signer)
        (office.folder / "metadata" / name).write_bytes(metadata.to_bytes())
    with pytest.raises(RepositoryError, match="has version 2"):
        office.repository.load()

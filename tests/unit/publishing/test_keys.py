"""`Ceremony`: who gets which key, and what would let one person sign alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pinned_requests import PolicyError
from pinned_requests.publishing.keys import Ceremony, KeyFolder, KeyRing, Keys, SigningError, holder_of, read_public

if TYPE_CHECKING:
    from pathlib import Path

    from tuf.api.metadata import Key


def folders(base: Path, *names: str) -> list[KeyFolder]:
    """Return key folders, which do not exist yet."""
    return [KeyFolder(base / name) for name in names]


def made(
    base: Path, names: str, counts: dict[str, tuple[int, int]], online: str | None = None
) -> dict[str, Counter[str | None]]:
    """Hold a ceremony, and return role → how many keys each holder has."""
    here = folders(base, *names.split())
    ceremony = Ceremony(Keys(here, None if online is None else KeyFolder(base / online), (), {}), counts)
    ceremony.try_out(KeyRing(here, lambda _: ""))
    return {role: Counter(map(holder_of, keys.keys)) for role, keys in ceremony.make(None).items()}


def test_one_holder(tmp_path: Path) -> None:
    """Has all keys, one a role."""
    assert made(tmp_path, "alice", {}) == {role: {"alice": 1} for role in ("root", "targets", "snapshot", "timestamp")}


def test_several_holders(tmp_path: Path) -> None:
    """Are dealt the keys in turn; a machine gets those that it needs every day."""
    counts = {"root": (2, 3), "targets": (2, 2)}
    assert made(tmp_path, "alice bob carol", counts, "online") == {
        "root": {"alice": 1, "bob": 1, "carol": 1},
        "targets": {"alice": 1, "bob": 1},
        "snapshot": {"online": 1},
        "timestamp": {"online": 1},
    }
    assert {path.name.partition("-")[0] for path in (tmp_path / "online").glob("*.pem")} == {"snapshot", "timestamp"}


@pytest.mark.parametrize(
    ("names", "counts", "text"),
    [
        ("alice bob", {}, "bob would get no key"),
        ("alice bob carol", {"root": (2, 2)}, "carol would get no key"),
        ("alice bob", {"root": (2, 3)}, "could sign alone"),
        ("alice bob", {"root": (2, 4)}, "could sign alone"),
        ("", {}, "root has no key"),
    ],
)
def test_keys_that_do_not_fit_the_holders(
    tmp_path: Path, names: str, counts: dict[str, tuple[int, int]], text: str
) -> None:
    """Nothing is made."""
    with pytest.raises(PolicyError, match=text):
        made(tmp_path, names, counts)
    assert list(tmp_path.iterdir()) == []


def handed_in(
    base: Path, *names: str, roles: tuple[str, ...] = ("root", "targets")
) -> list[dict[str, tuple[Key, ...]]]:
    """Let holders make keys elsewhere, and return what they hand in."""
    for folder in folders(base, *names):
        for role in roles:
            folder.generate(role, None)
    return [read_public(base / name / "public.json") for name in names]


def test_keys_of_holders_elsewhere(tmp_path: Path) -> None:
    """Are taken as they are; the others are made here."""
    keys = Keys(folders(tmp_path, "online"), None, handed_in(tmp_path, "alice", "bob"), {})
    ceremony = Ceremony(keys, {"root": (2, 2), "targets": (1, 2)})
    ceremony.try_out(KeyRing(keys.folders, lambda _: ""))
    found = ceremony.make(None)
    assert {role: [holder_of(key) for key in each.keys] for role, each in found.items()} == {
        "root": ["alice", "bob"],
        "targets": ["alice", "bob"],
        "snapshot": ["online"],
        "timestamp": ["online"],
    }
    assert [each.threshold for each in found.values()] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, "root has 2 keys; say how many must sign"),
        ({"root": (2, 3), "targets": (2, 2)}, "root has 2 keys but N is 3"),
        ({"root": (1, 1), "targets": (2, 2)}, "root has 2 keys but N is 1"),
    ],
)
def test_numbers_that_do_not_fit_the_keys(tmp_path: Path, counts: dict[str, tuple[int, int]], text: str) -> None:
    """No key is added in silence, and none is left out."""
    keys = Keys(folders(tmp_path, "online"), None, handed_in(tmp_path, "alice", "bob"), {})
    with pytest.raises(PolicyError, match=text):
        Ceremony(keys, counts)


def test_a_holder_who_hands_in_two_keys_of_a_role(tmp_path: Path) -> None:
    """Could sign alone."""
    keys = handed_in(tmp_path, "alice", "bob", roles=("root", "targets"))
    KeyFolder(tmp_path / "alice").generate("root", None)
    keys[0] = read_public(tmp_path / "alice" / "public.json")
    with pytest.raises(PolicyError, match="could sign alone"):
        Ceremony(Keys(folders(tmp_path, "online"), None, keys, {}), {"root": (2, 3), "targets": (2, 2)})


@pytest.mark.parametrize("text", ["[]", "{", '{"root": []}', '{"root": {"a": 1}}', '{"root": {"a": {}}}', "null"])
def test_public_keys_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    """Are said to be damaged."""
    path = tmp_path / "public.json"
    path.write_text(text)
    with pytest.raises(SigningError, match="damaged"):
        read_public(path)


def test_what_is_handed_in_has_no_private_key(tmp_path: Path) -> None:
    """Nor a passphrase, nor where the key is."""
    folder = KeyFolder(tmp_path / "alice")
    folder.generate("root", "correct horse")
    text = (folder.path / "public.json").read_text()
    assert "PRIVATE" not in text
    assert "pem" not in text
    (pem,) = folder.path.glob("*.pem")
    assert "ENCRYPTED" in pem.read_text()
    assert pem.stat().st_mode & 0o777 == 0o600

"""Which keys a new repository has, and in which key folder each is made, decided before the first key is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinned_requests.core.errors import PolicyError
from pinned_requests.publishing.repository import RoleKeys
from pinned_requests.publishing.state import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from securesystemslib.signer import Key

    from pinned_requests.publishing.keys import KeyFolder, KeyRing

_OF_MACHINES = frozenset({"snapshot", "timestamp"})


@dataclass(frozen=True)
class Keys:
    """Where the keys of a new repository come from."""

    folders: Sequence[KeyFolder]  # of one holder each; the keys that are made here go to them in turn
    online: KeyFolder | None  # of the machine that signs snapshot and timestamp; None: one of `folders`
    handed_in: Sequence[Mapping[str, tuple[Key, ...]]]  # the `public.json` of each holder elsewhere
    kept_elsewhere: Mapping[str, Sequence[tuple[Path, str]]]  # role → public half and signer URI of keys in KMS or HSM


@dataclass(frozen=True)
class _RolePlan:
    threshold: int
    handed_in: tuple[Key, ...]
    folders: tuple[KeyFolder, ...]  # where each other key is made or listed
    kept_elsewhere: tuple[tuple[Path, str], ...]  # the first keys in `folders`, instead of key files


class Ceremony:
    """Plans the keys of a new repository: for each role, how many must sign, of how many keys (default: 1 of 1).

    Raises:
        PolicyError: numbers do not fit; a holder could sign alone for a role that several must sign; or a key folder
            would get no key.
    """

    def __init__(self, keys: Keys, counts: Mapping[str, tuple[int, int]]) -> None:
        self._plans = {role: _plan(role, keys, counts.get(role)) for role in ROLES}
        used = {folder.path for plan in self._plans.values() for folder in plan.folders}
        if unused := [str(folder.path) for folder in keys.folders if folder.path not in used]:
            raise PolicyError(
                f"{', '.join(unused)} would get no key, and the other key folders could sign alone: every role has "
                f"fewer keys than there are key folders; give --role root=M/{len(keys.folders)}, or fewer --keys"
            )

    def try_out(self, ring: KeyRing) -> None:
        """Check that the keys that are kept elsewhere can be reached, before others are made."""
        self._elsewhere = {
            role: [
                ring.try_out(folder, *each)
                for folder, each in zip(plan.folders, plan.kept_elsewhere, strict=False)  # they are the first ones
            ]
            for role, plan in self._plans.items()
        }

    def make(self, passphrase: str | None) -> dict[str, RoleKeys]:
        """Make the keys, after `try_out()`. Without a passphrase, new key files are not encrypted."""
        made = {}
        for role, plan in self._plans.items():
            elsewhere = self._elsewhere[role]
            added = (folder.add(role, *each) for folder, each in zip(plan.folders, elsewhere, strict=False))
            generated = (folder.generate(role, passphrase) for folder in plan.folders[len(elsewhere) :])
            made[role] = RoleKeys((*plan.handed_in, *added, *generated), plan.threshold)
        return made


def _plan(role: str, keys: Keys, count: tuple[int, int] | None) -> _RolePlan:
    handed_in = [holder[role] for holder in keys.handed_in if role in holder]
    total = sum(map(len, handed_in))
    elsewhere = tuple(keys.kept_elsewhere.get(role, ()))
    if count is None and total > 1:
        raise PolicyError(f"{role} has {total} keys; say how many must sign with --role {role}=M/{total}")
    threshold, number = count or (1, 1)
    if total and number != total + len(elsewhere):
        raise PolicyError(f"{role} has {total + len(elsewhere)} keys but N is {number}; give --role {role}=M/{total}")
    if len(elsewhere) > number:
        raise PolicyError(
            f"{role} has {len(elsewhere)} signers but N is {number}; give --role {role}=M/{len(elsewhere)}"
        )
    holders = [keys.online] if keys.online is not None and role in _OF_MACHINES else keys.folders
    if number > total and not holders:
        raise PolicyError(f"{role} has no key; give --holder with one, or --keys for a new one")
    folders = tuple(holders[at % len(holders)] for at in range(number - total))
    most = max([*map(len, handed_in), *(folders.count(folder) for folder in folders)])
    if len(holders) + len(handed_in) > 1 and 1 < threshold <= most:
        raise PolicyError(
            f"--role {role}={threshold}/{number}: one of {len(holders) + len(handed_in)} key folders would get {most} "
            "keys, and could sign alone; give more --keys, or fewer keys"
        )
    return _RolePlan(threshold, tuple(key for each in handed_in for key in each), folders, elsewhere)

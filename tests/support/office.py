"""A repository for signed policies in a folder, and all its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests import PinPolicy
from pinned_requests.publishing.keys import KeyFolder, KeyRing, RoleKeys
from pinned_requests.publishing.repository import Repository
from pinned_requests.publishing.state import ROLES

if TYPE_CHECKING:
    from pathlib import Path

A, B = (f"sha256/{letter * 42}A=" for letter in "AB")


class Office:
    """A repository, and one key folder with all keys."""

    def __init__(self, base: Path, name: str = "repository") -> None:
        self.folder = base / name
        self.keys = KeyFolder(base / f"keys-of-{name}")
        self.ring = KeyRing([self.keys], lambda _: "")
        self.repository = Repository(self.folder, self.ring)
        self.repository.create({role: RoleKeys((self.keys.generate(role, None),), 1) for role in ROLES}, {})

    def publish(self, policy: PinPolicy | None = None) -> None:
        """Publish a policy."""
        self.repository.publish("pins.json", policy or PinPolicy({"api.example.com": [A, B]}), {})

    def rotate(self, role: str) -> None:
        """Replace the key of a role."""
        self.repository.rotate_key(role, lambda: self.keys.generate(role, None), None, {})

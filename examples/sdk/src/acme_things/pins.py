"""Whom this SDK trusts: the pins that it ships, and those that are published later."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from pinned_requests import PinPolicy, PolicyStore

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = files("acme_things")
REPOSITORY = "https://pins.acme.example"


def pin_store(cache_dir: Path) -> PolicyStore:
    """Return the policy store of this SDK.

    It begins with the last good policy of the cache, or with the shipped one, and asks the repository every hour. What
    it takes from there is signed by the keys that `root.json` names, whatever server it comes from.

    Args:
        cache_dir: a folder of this SDK's own; processes may share it.
    """
    return PolicyStore.from_tuf(
        f"{REPOSITORY}/metadata",
        f"{REPOSITORY}/targets",
        root=SHIPPED.joinpath("root.json").read_bytes(),
        target="pins.json",
        cache_dir=cache_dir,
        shipped=PinPolicy.from_json(SHIPPED.joinpath("pins.json").read_text("utf-8")),
    )

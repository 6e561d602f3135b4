"""Attackers get nothing, the API is believed, and a new policy holds at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from acme_async import AsyncThingsClient, client

from pinned_requests import PinningError, PinPolicy, PinSet

if TYPE_CHECKING:
    from pathlib import Path

    from pinned_requests.testing import HonestServer, MITMLab

THINGS = {"/v1/things": '{"things": ["anvil", "rocket"]}'}
NEXT_BACKUP = "sha256/ulVzRSATV9C9K8/MsbzjkI4s779xJhHxFpEaZbQpqz8="  # of a key that is not used yet
FAKES = {"/v1/things": '{"things": ["fake"]}'}  # what the attacker answers


def list_things() -> list[str]:
    """What a program does."""

    async def main() -> list[str]:
        async with AsyncThingsClient("the-secret-token") as things:
            return await things.list_things()

    return asyncio.run(main())


@pytest.fixture
def api(mitm_lab: MITMLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HonestServer:
    """The API, not yet running, and the SDK as if it had been released for the lab's keys."""
    api = mitm_lab.honest("api.acme.example", THINGS)
    policy = PinPolicy({api.host: PinSet(api.pins, backup_pins=api.backup_pins)})
    (tmp_path / "pins.json").write_text(policy.to_json(), "utf-8")
    monkeypatch.setattr(client, "SHIPPED", tmp_path)
    return api


def test_a_man_in_the_middle_gets_nothing(mitm_lab: MITMLab) -> None:
    """The SDK exactly as it is shipped."""
    with mitm_lab.impersonate("api.acme.example", handler=FAKES) as attack, pytest.raises(PinningError):
        list_things()
    attack.assert_rejected()


def test_every_attacker_is_refused(mitm_lab: MITMLab, api: HonestServer) -> None:
    """Also those that need the API's own certificates: the pins are the lab's here."""
    mitm_lab.audit(list_things, api.host).assert_rejected()


def test_the_api_is_believed(api: HonestServer) -> None:
    """With the key in use and, after it was rotated, with the backup key."""
    with api:
        assert list_things() == ["anvil", "rocket"]
        api.rotate()
        assert list_things() == ["anvil", "rocket"]
        assert {request.header("Authorization") for request in api.requests} == {"Bearer the-secret-token"}


def test_a_new_policy_holds_on_open_connections(api: HonestServer) -> None:
    """The next request over a kept-alive connection is refused, and so is the one after it, over a new connection."""

    async def main() -> None:
        async with AsyncThingsClient("the-secret-token") as things:
            assert await things.list_things() == ["anvil", "rocket"]
            things.pins.set({api.host: PinSet(api.backup_pins, backup_pins=NEXT_BACKUP, blocked_pins=api.pins)})
            for _ in range(2):
                with pytest.raises(PinningError):
                    await things.list_things()

    with api:
        asyncio.run(main())
        assert len(api.requests) == 1

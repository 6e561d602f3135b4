"""Attackers get nothing, the API is believed, and new pins are followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests
from acme_things import ThingsClient

from pinned_requests import PinPolicy, PinSet
from pinned_requests.sources.tuf import RemotePolicyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Repository

    from pinned_requests.testing import HonestServer, MITMLab

FAKES = {"/v1/things": '{"things": ["fake"]}'}  # what the attacker answers
NEXT_BACKUP = "sha256/ulVzRSATV9C9K8/MsbzjkI4s779xJhHxFpEaZbQpqz8="  # of a key that nobody uses yet


def test_a_man_in_the_middle_gets_nothing(mitm_lab: MITMLab, tmp_path: Path) -> None:
    """The SDK exactly as it is shipped, in a network where the attacker has every host."""
    with (
        mitm_lab.impersonate("pins.acme.example"),
        mitm_lab.impersonate("api.acme.example", handler=FAKES) as attack,
        ThingsClient("the-secret-token", cache_dir=tmp_path) as client,
        pytest.raises(requests.exceptions.SSLError),
    ):
        client.list_things()
    attack.assert_rejected()


def test_every_attacker_is_refused(mitm_lab: MITMLab, client: ThingsClient) -> None:
    """Those too who need the API's own certificates to try it: the pins are the lab's here."""
    mitm_lab.audit(client.list_things, "api.acme.example").assert_rejected()


def test_the_api_is_believed(api: HonestServer, client: ThingsClient) -> None:
    """With the key in use and, after it was rotated, with the backup key."""
    with api:
        assert client.list_things() == ["anvil", "rocket"]
        api.rotate()
        assert client.list_things() == ["anvil", "rocket"]
        assert {request.header("Authorization") for request in api.requests} == {"Bearer the-secret-token"}


def test_a_stolen_key_is_withdrawn_without_a_release(
    api: HonestServer, client: ThingsClient, repository: Repository
) -> None:
    """New pins are published: the old key is refused from then on, also on an open connection; the new one is not."""
    with api:
        assert client.list_things() == ["anvil", "rocket"]
        new = PinSet(api.backup_pins, backup_pins=NEXT_BACKUP, blocked_pins=api.pins)
        repository.publish(PinPolicy({api.host: new}))
        client.pins.refresh()
        with pytest.raises(requests.exceptions.SSLError):
            client.list_things()
        api.rotate()
        assert client.list_things() == ["anvil", "rocket"]


def test_pins_that_somebody_else_signed_change_nothing(
    mitm_lab: MITMLab, client: ThingsClient, new_repository: Callable[[], Repository]
) -> None:
    """An attacker in the repository's place publishes pins of his own, signed with keys of his own."""
    before = client.pins.current
    forged = new_repository()
    forged.publish(PinPolicy({"api.acme.example": [mitm_lab.revoked_pin, NEXT_BACKUP]}))
    with mitm_lab.impersonate("pins.acme.example", handler=forged), pytest.raises(RemotePolicyError) as refused:
        client.pins.refresh()
    assert refused.value.check == "signature"
    assert client.pins.current == before

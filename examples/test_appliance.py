"""Tests of appliance.py, with a hub that has a self-signed certificate, and with attackers in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import appliance
import certifi
import pytest

from pinned_requests import Pin
from pinned_requests.testing import Credential, TLSServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinned_requests.testing import MITMLab

PASSWORDS = {"/passwords": b'["bank", "mail"]'}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program needs to start."""
    monkeypatch.setenv("HUB_TOKEN", "the-secret-token")


@pytest.fixture(scope="module")
def certificate() -> Credential:
    """The hub's key and certificate."""
    return Credential.self_signed("127.0.0.1", common_name="Hub")


@pytest.fixture
def hub(certificate: Credential) -> Iterator[TLSServer]:
    """The hub, at an address of the network."""
    with TLSServer(certificate, handler=PASSWORDS) as server:
        yield server


@pytest.fixture(scope="module")
def pin(certificate: Credential) -> str:
    """The pin, read off the hub."""
    return str(Pin.from_certificate(certificate.certificate))


@pytest.mark.parametrize("bundle", ["", certifi.where()], ids=["no bundle", "a bundle"])
def test_the_hub_is_believed(
    hub: TLSServer, pin: str, bundle: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever else the environment says is to be trusted."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    assert appliance.main([hub.url("", host="127.0.0.1"), pin]) == 0
    assert capsys.readouterr().out == "bank\nmail\n"


def test_another_hub_gets_nothing(hub: TLSServer, pin: str) -> None:
    """Another device has the hub's address, and a certificate that looks the same."""
    hub.credential = Credential.self_signed("127.0.0.1", common_name="Hub")
    code = appliance.main([hub.url("", host="127.0.0.1"), pin])
    hub.settle()
    assert (hub.handshakes, hub.application_bytes) == (1, 0)
    assert code == 1


def test_a_man_in_the_middle_gets_nothing(mitm_lab: MITMLab) -> None:
    """Nor does any other attacker, with a certificate of any CA: for this hub no CA counts."""
    pin = str(mitm_lab.honest("hub.home.arpa").pins[0])
    audit = mitm_lab.audit(lambda: appliance.main(["https://hub.home.arpa:8443", pin]))
    audit.assert_rejected()

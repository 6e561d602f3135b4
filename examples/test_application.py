"""Tests of application.py: it is run as it is, with the lab's servers in the place of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import application
import pytest

from pinned_requests.testing import Response

if TYPE_CHECKING:
    from pinned_requests.testing import MITMLab

INVOICES = {"/v1/invoices?state=overdue": '[{"number": "2026-17"}, {"number": "2026-23"}]'}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the application needs to start."""
    monkeypatch.setenv("BILLING_TOKEN", "the-secret-token")


def test_a_man_in_the_middle_gets_nothing(mitm_lab: MITMLab) -> None:
    """With the pins as they are; and a refusal is not retried."""
    with mitm_lab.impersonate("billing.example.com", handler=INVOICES) as attack:
        code = application.main()
    attack.assert_rejected()
    assert (code, attack.connections) == (1, 1)


def test_the_api_is_believed(
    mitm_lab: MITMLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the lab's pins in the place of the API's."""
    with mitm_lab.honest("billing.example.com", INVOICES) as server:
        monkeypatch.setattr(application, "PINS", {server.host: [*server.pins, *server.backup_pins]})
        assert application.main() == 0
    assert capsys.readouterr().out == "2026-17\n2026-23\n"


def test_it_retries_as_before(mitm_lab: MITMLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is overloaded is asked four times in all."""
    overloaded = {"/v1/invoices": Response(503)}
    with mitm_lab.honest("billing.example.com", overloaded) as server:
        monkeypatch.setattr(application, "PINS", {server.host: [*server.pins, *server.backup_pins]})
        assert application.main() == 1
        assert len(server.requests) == 4

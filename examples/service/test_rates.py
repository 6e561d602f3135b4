"""Tests of rates.py, with the lab's servers in the place of the upstream."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rates import create_app

from pinned_requests import PinPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pinned_requests import Pin
    from pinned_requests.testing import HonestServer, MITMLab

SHIPPED = Path(__file__).with_name("pins.json")
INTERVAL = 0.05  # seconds
PATIENCE = 20.0  # seconds: a slow machine is no failure


class PinsFile:
    """The file that the service follows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, pins: Sequence[Pin]) -> None:
        """Replace it by one with these pins."""
        self.write_text(PinPolicy({"rates.example.com": pins}).to_json())

    def write_text(self, text: str) -> None:
        """Replace it as a whole."""
        new = self.path.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(self.path)


@pytest.fixture
def upstream(mitm_lab: MITMLab) -> Iterator[HonestServer]:
    """The upstream."""
    with mitm_lab.honest("rates.example.com", {"/v1/EUR": '{"EUR": 1.0}'}) as server:
        yield server


@pytest.fixture
def pins(upstream: HonestServer, tmp_path: Path) -> PinsFile:
    """A file with the upstream's pins."""
    file = PinsFile(tmp_path / "pins.json")
    file.write([*upstream.pins, *upstream.backup_pins])
    return file


@pytest.fixture
def get(pins: PinsFile) -> Callable[[str], tuple[int, Any]]:
    """Ask the service: path → status and JSON."""
    client = create_app(pins.path, refresh_after=INTERVAL).test_client()

    def get(path: str) -> tuple[int, Any]:
        response = client.get(path)
        return response.status_code, response.get_json()

    return get


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(INTERVAL)


def test_a_man_in_the_middle_gets_nothing(mitm_lab: MITMLab) -> None:
    """With the pins as they are shipped."""
    client = create_app(SHIPPED).test_client()
    with mitm_lab.impersonate("rates.example.com") as attack:
        response = client.get("/rates/EUR")
    attack.assert_rejected()
    assert response.status_code == 502


def test_the_upstream_is_believed(get: Callable[[str], tuple[int, Any]]) -> None:
    """Its answer is passed on."""
    assert get("/rates/EUR") == (200, {"EUR": 1.0})
    assert get("/healthz") == (200, {"status": "ok"})


def test_a_replaced_file_is_in_force_without_a_restart(
    get: Callable[[str], tuple[int, Any]], pins: PinsFile, upstream: HonestServer, mitm_lab: MITMLab
) -> None:
    """The upstream's pins are taken out, and put in again: it is refused, and believed again."""
    assert get("/rates/EUR")[0] == 200
    pins.write([mitm_lab.revoked_pin, *upstream.backup_pins])
    until(lambda: get("/rates/EUR")[0] == 502)
    pins.write([*upstream.pins, *upstream.backup_pins])
    until(lambda: get("/rates/EUR")[0] == 200)


def test_a_wrong_file_changes_nothing_and_is_reported(
    get: Callable[[str], tuple[int, Any]], pins: PinsFile, upstream: HonestServer
) -> None:
    """The last good policy stays in force, and /healthz says why."""
    pins.write_text('{"hosts": {"rates.example.com": {"pin": []}}}')
    until(lambda: get("/healthz")[1]["status"] == "outdated pins")
    code, health = get("/healthz")
    assert code == 200
    assert "rates.example.com" in health["error"]
    assert get("/rates/EUR")[0] == 200
    upstream.rotate("unknown")
    assert get("/rates/EUR")[0] == 502  # it still refuses
    pins.write([*upstream.pins, *upstream.backup_pins])
    until(lambda: get("/healthz")[1]["status"] == "ok")

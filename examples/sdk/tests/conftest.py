"""The SDK as if it had been released for the lab's keys, and the repository that its pins come from.

Nothing of the SDK is replaced but the two files that it ships: the lab has other keys than the real API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from acme_things import ThingsClient, pins

from pinned_requests import PinPolicy, PinSet
from pinned_requests.cli import main as pinned_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pinned_requests.testing import HonestServer, MITMLab

THINGS = {"/v1/things": '{"things": ["anvil", "rocket"]}'}


class Repository:
    """A repository of pins, as its publisher keeps it, and the static web server for it (a WSGI application)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repository = folder / "repository"
        self._repo("init", "--plain")

    @property
    def root(self) -> bytes:
        """The root of trust, to be shipped."""
        return (self._repository / "metadata" / "1.root.json").read_bytes()

    def publish(self, policy: PinPolicy) -> None:
        """Sign a policy and publish it."""
        path = self._folder / "pins.json"
        path.write_text(policy.to_json(), "utf-8")
        self._repo("publish", str(path))

    def _repo(self, command: str, *arguments: str) -> None:
        """Run ``pinned-requests repo COMMAND …``."""
        keys = str(self._folder / "keys")
        assert pinned_requests(["repo", command, str(self._repository), *arguments, "--keys", keys]) == 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Serve a file."""
        path = self._repository / environ["PATH_INFO"].lstrip("/")
        start_response("200 OK" if path.is_file() else "404 Not Found", [])
        return [path.read_bytes()] if path.is_file() else []


@pytest.fixture
def api(mitm_lab: MITMLab) -> HonestServer:
    """The API, not yet running: its pins are known before."""
    return mitm_lab.honest("api.acme.example", THINGS)


@pytest.fixture
def new_repository(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Repository]:
    """Make repositories, each with keys of its own."""
    return lambda: Repository(tmp_path_factory.mktemp("publisher"))


@pytest.fixture
def repository(new_repository: Callable[[], Repository], api: HonestServer) -> Repository:
    """The repository with the pins of the day of the release."""
    repository = new_repository()
    repository.publish(PinPolicy({api.host: PinSet(api.pins, backup_pins=api.backup_pins)}))
    return repository


@pytest.fixture
def client(
    mitm_lab: MITMLab, api: HonestServer, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ThingsClient]:
    """A client of a release that was made for the lab's keys."""
    policy = PinPolicy({api.host: PinSet(api.pins, backup_pins=api.backup_pins)})
    (tmp_path / "pins.json").write_text(policy.to_json(), "utf-8")
    (tmp_path / "root.json").write_bytes(repository.root)
    monkeypatch.setattr(pins, "SHIPPED", tmp_path)
    with (
        mitm_lab.honest("pins.acme.example", repository),
        ThingsClient("the-secret-token", cache_dir=tmp_path / "cache") as client,
    ):
        yield client

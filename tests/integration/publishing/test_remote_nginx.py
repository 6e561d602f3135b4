"""The recipe of `docs/remote.md` for nginx, run by a real nginx, and followed by a client and by `repo status`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from pinned_requests import PinPolicy, PolicyStore
from pinned_requests.cli import main
from pinned_requests.publishing.sync import copy
from support.nginx import Nginx, write_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from support.lab import Lab
    from support.publisher import Publisher

PAGE = Path(__file__).parents[3] / "docs" / "remote.md"
WAIT = 20.0  # seconds


def recipe(folder: Path, port: int) -> str:
    """Return the server of the page, with the paths, name and port of the test."""
    (text,) = re.findall(r"^```nginx\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for written, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("server_name pins.example.com;", "server_name localhost;"),
        ("/etc/letsencrypt/live/pins.example.com/fullchain.pem", "server.chain.pem"),
        ("/etc/letsencrypt/live/pins.example.com/privkey.pem", "server.key.pem"),
        ("root /srv/pins;", f"root {folder}/pins;"),
    ):
        assert text.count(written) == 1
        text = text.replace(written, here)
    return text


@pytest.fixture
def url(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve `pins/` in the folder of the test, with a certificate that is trusted."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    write_certificate(tmp_path, lab.honest)
    with Nginx(tmp_path, lambda port: recipe(tmp_path, port)) as nginx:
        yield nginx.url.rstrip("/")


def test_the_recipe_for_nginx(
    url: str, publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], tmp_path: Path
) -> None:
    """A client follows each copy, the timestamp is cached for a minute, and nothing else can be had."""
    publisher = publishing()
    publisher.publish(policies[1])
    copy(publisher.folder, tmp_path / "pins")
    store = PolicyStore.from_tuf(
        f"{url}/metadata", f"{url}/targets", root=publisher.root, cache_dir=publisher.base / "cache"
    )
    assert store.current == policies[1]
    assert main(["repo", "status", url]) == 0
    publisher.rotate("timestamp")
    publisher.publish(policies[2])
    store.refresh()
    assert store.current == policies[1]  # what is not copied is not served
    names = copy(publisher.folder, tmp_path / "pins")
    store.refresh()
    assert store.current == policies[2]

    def control(name: str) -> tuple[int, str | None]:
        answer = requests.get(f"{url}/{name}", timeout=WAIT)
        return answer.status_code, answer.headers.get("Cache-Control")

    assert {name: control(name) for name in names} == {
        name: (200, f"public, max-age={'60' if 'timestamp' in name else '31536000, immutable'}") for name in names
    }
    (tmp_path / "pins" / ".lock").touch()
    (tmp_path / "pins" / "metadata" / ".half-written").touch()
    for name in ("metadata/9.root.json", ".lock", "metadata/.half-written", "", "metadata/", "../server.key.pem"):
        assert control(name) == (404, None)

"""A real nginx: what everybody deploys, and what a man in the middle would use as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from pinned_requests import Pin, PinMismatchError, PinnedSession, PolicyStore
from support.nginx import Nginx, write_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pinned_requests.testing import Credential
    from support.lab import Lab

WAIT = 20.0  # seconds

SERVER = """
  server {{
    listen 127.0.0.1:{port} ssl;
    server_name localhost;
    ssl_certificate server.chain.pem;
    ssl_certificate_key server.key.pem;
    ssl_protocols {protocols};
    keepalive_timeout 60s;
    location / {{ return 200 "$connection $connection_requests $ssl_protocol $http_authorization"; }}
  }}
"""


class Site(Nginx):
    """nginx with one page, which names the connection and what was sent.

    Args:
        folder: where its own folder is made.
        credential: what it presents at first.
        protocols: as nginx's `ssl_protocols`.
    """

    def __init__(self, folder: Path, credential: Credential, protocols: str = "TLSv1.2 TLSv1.3") -> None:
        super().__init__(folder, lambda port: SERVER.format(port=port, protocols=protocols))
        folder.mkdir()
        write_certificate(folder, credential)

    def rotate(self, credential: Credential) -> None:
        """Present another certificate from now on, on new connections."""
        write_certificate(self._folder, credential)
        self.reload()


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def server(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Site]:
    """The honest server, of one TLS version."""
    with Site(tmp_path / "honest", lab.honest, request.param) as nginx:
        yield nginx


@pytest.fixture
def mitm(lab: Lab, tmp_path: Path) -> Iterator[Site]:
    """The man in the middle, with a certificate of the same trusted CA."""
    with Site(tmp_path / "mitm", lab.attacker) as nginx:
        yield nginx


def test_fetch_over_one_connection(lab: Lab, server: Site, request: pytest.FixtureRequest) -> None:
    """Requests are answered, over a connection that is kept alive."""
    session = lab.trusting(PinnedSession(lab.pins))
    answers = [session.get(server.url).text.split() for _ in range(3)]
    version = request.node.callspec.params["server"]
    assert len({number for number, _, _ in answers}) == 1
    assert [(count, protocol) for _, count, protocol in answers] == [(str(n), version) for n in (1, 2, 3)]


def test_man_in_the_middle_of_the_same_authority(lab: Lab, server: Site, mitm: Site) -> None:
    """Plain requests hands its credentials to the man in the middle; a pinned session does not send him a request."""
    assert "Basic" in requests.get(mitm.url, auth=("user", "password"), verify=lab.bundle, timeout=WAIT).text
    session = lab.trusting(PinnedSession(lab.pins))
    for method in ("GET", "POST"):
        with pytest.raises(PinMismatchError):
            session.request(method, mitm.url, auth=("user", "password"))
    assert session.get(server.url).status_code == 200
    mitm.__exit__()
    assert len(mitm.requests) == 1  # that of plain requests


def test_rotation_of_the_certificate(lab: Lab, server: Site) -> None:
    """A renewal with the same key needs nothing; a new key needs to be pinned, as a backup pin was for that purpose."""
    by_key = lab.trusting(PinnedSession(lab.pins))
    by_certificate = lab.trusting(PinnedSession({"localhost": [Pin.fingerprint(lab.honest.certificate), lab.backup]}))
    for session in (by_key, by_certificate):
        assert session.get(server.url).status_code == 200

    server.rotate(lab.honest.renew())
    assert by_key.get(server.url).status_code == 200
    with pytest.raises(PinMismatchError):
        by_certificate.get(server.url)

    rotated = lab.root.intermediate().issue("localhost")
    server.rotate(rotated)
    with pytest.raises(PinMismatchError):
        by_key.get(server.url)
    store = PolicyStore({"localhost": {"pins": lab.pins["localhost"], "backup_pins": [lab.backup]}})
    prepared = lab.trusting(PinnedSession(store))
    with pytest.raises(PinMismatchError):
        prepared.get(server.url)
    store.set(
        {"localhost": {"pins": lab.pins["localhost"][0], "backup_pins": Pin.from_certificate(rotated.certificate)}}
    )
    assert prepared.get(server.url).status_code == 200


def test_rotation_while_a_connection_is_open(lab: Lab, server: Site) -> None:
    """With a reload nginx closes its idle connections: the next request makes a new one, which is looked at."""
    session = lab.trusting(PinnedSession(lab.pins))
    first = session.get(server.url).text.split()
    server.rotate(lab.attacker)
    with pytest.raises(PinMismatchError):
        session.get(server.url)
    server.rotate(lab.honest)
    last = session.get(server.url).text.split()
    assert (first[1], last[1]) == ("1", "1")
    server.__exit__()
    assert len(server.requests) == 2

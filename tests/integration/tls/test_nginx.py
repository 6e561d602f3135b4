"""A real nginx: what everybody deploys, and what a man in the middle would use as well."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from pinned_requests import Pin, PinMismatchError, PinnedSession, PolicyStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from pinned_requests.testing import Credential

NGINX = shutil.which(
    "nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
)
WAIT = 20.0  # seconds

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 64; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    server_name localhost;
    ssl_certificate {folder}/chain.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols {protocols};
    keepalive_timeout 60s;
    location / {{ return 200 "$connection $connection_requests $ssl_protocol $http_authorization"; }}
  }}
}}
"""


@pytest.fixture(scope="module", autouse=True)
def _nginx_is_there() -> None:
    """Skip where nginx is not installed; where these tests are the evidence, its absence is a failure."""
    if NGINX is None:
        reason = "nginx is not installed (Debian: apt-get install nginx-light)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


class Nginx:
    """nginx in the foreground, on an ephemeral port, with all its files in one folder; for the time of a `with` block.

    Args:
        folder: an empty folder.
        credential: what it presents; assign with `rotate` later.
        protocols: as nginx's `ssl_protocols`.
    """

    def __init__(self, folder: Path, credential: Credential, protocols: str = "TLSv1.2 TLSv1.3") -> None:
        self._folder = folder
        self._protocols = protocols
        self._write(credential)

    def __enter__(self) -> Self:
        # nginx takes over a listening socket whose descriptor this variable names, as its own upgrade does: so nobody
        # else can take the port between its choice and its use.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            text = CONFIGURATION.format(folder=self._folder, port=self.port, protocols=self._protocols)
            (self._folder / "nginx.conf").write_text(text)
            self._process = subprocess.Popen(
                [str(NGINX), "-p", str(self._folder), "-c", "nginx.conf", "-e", str(self._folder / "error.log")],
                env={**os.environ, "NGINX": f"{listener.fileno()};"},
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._wait_for(lambda: self._workers_started() >= 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(WAIT)

    @property
    def url(self) -> str:
        """The URL of its one page."""
        return f"https://localhost:{self.port}/"

    @property
    def requests(self) -> int:
        """How many requests it logged; exact after it was stopped."""
        log = self._folder / "access.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def rotate(self, credential: Credential) -> None:
        """Present another certificate from now on, to connections that are yet to come."""
        before = self._workers_started()
        self._write(credential)
        self._process.send_signal(signal.SIGHUP)
        self._wait_for(lambda: self._workers_started() > before and self._workers_ended() >= before)

    def _write(self, credential: Credential) -> None:
        # New files replace the old, as with certbot: since 1.27.4 nginx keeps over a reload what it read from a file of
        # the same inode and second of change (`ssl_object_cache_inheritable`).
        for name, content in (("chain.pem", credential.served_pem), ("key.pem", credential.key_pem)):
            new = self._folder / f"{name}.new"
            new.write_bytes(content)
            new.replace(self._folder / name)

    def _workers_started(self) -> int:
        return self._log().count("start worker process ")

    def _workers_ended(self) -> int:
        return self._log().count("gracefully shutting down")

    def _log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "error.log").read_text()
        return ""

    def _wait_for(self, condition: Any) -> None:
        deadline = time.monotonic() + WAIT
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise RuntimeError(f"nginx did not start or reload: {self._log()}")
            time.sleep(0.01)


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def server(request: pytest.FixtureRequest, lab: Any, tmp_path: Path) -> Iterator[Nginx]:
    """The honest server, of one TLS version."""
    folder = tmp_path / "honest"
    folder.mkdir()
    with Nginx(folder, lab.honest, request.param) as nginx:
        yield nginx


@pytest.fixture
def mitm(lab: Any, tmp_path: Path) -> Iterator[Nginx]:
    """The man in the middle, with a certificate of the same trusted CA."""
    folder = tmp_path / "mitm"
    folder.mkdir()
    with Nginx(folder, lab.attacker) as nginx:
        yield nginx


def test_fetch_over_one_connection(lab: Any, server: Nginx, request: pytest.FixtureRequest) -> None:
    """Requests are answered, over a connection that is kept alive."""
    session = lab.trusting(PinnedSession(lab.pins))
    answers = [session.get(server.url).text.split() for _ in range(3)]
    version = request.node.callspec.params["server"]
    assert len({number for number, _, _ in answers}) == 1
    assert [(count, protocol) for _, count, protocol in answers] == [(str(n), version) for n in (1, 2, 3)]


def test_man_in_the_middle_of_the_same_authority(lab: Any, server: Nginx, mitm: Nginx) -> None:
    """Plain requests hands its credentials to the man in the middle; a pinned session does not send him a request."""
    assert "Basic" in requests.get(mitm.url, auth=("user", "password"), verify=lab.bundle, timeout=WAIT).text
    session = lab.trusting(PinnedSession(lab.pins))
    for method in ("GET", "POST"):
        with pytest.raises(PinMismatchError):
            session.request(method, mitm.url, auth=("user", "password"))
    assert session.get(server.url).status_code == 200
    mitm.__exit__()
    assert mitm.requests == 1  # that of plain requests


def test_rotation_of_the_certificate(lab: Any, server: Nginx) -> None:
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


def test_rotation_while_a_connection_is_open(lab: Any, server: Nginx) -> None:
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
    assert server.requests == 2

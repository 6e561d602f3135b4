"""A real nginx for the time of a `with` block."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Self

    from pinned_requests.testing import Credential

WAIT = 30.0  # seconds

CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections 64; }}
http {{
  access_log access.log;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  {servers}
}}
"""


def write_certificate(folder: Path, credential: Credential, name: str = "server") -> None:
    """Write `NAME.chain.pem` and `NAME.key.pem` for nginx.

    New files replace the old ones, as with certbot. Since 1.27.4 nginx keeps over a reload what it read from a file
    with the same inode and second of change (`ssl_object_cache_inheritable`).
    """
    for suffix, content in (("chain.pem", credential.served_pem), ("key.pem", credential.key_pem)):
        new = folder / f"{name}.{suffix}.new"
        new.write_bytes(content)
        new.replace(folder / f"{name}.{suffix}")


class Nginx:
    """nginx in the foreground, on ephemeral loopback ports, with all its files in one folder.

    The test is skipped where nginx is not installed, and fails if that is in CI.

    Args:
        folder: an empty folder. Paths in the configuration are relative to it.
        servers: called with the port of each address; returns the `server` blocks.
        addresses: where nginx listens; an address with a colon is IPv6.

    Attributes:
        ports: those of the addresses, in the same order.
    """

    def __init__(self, folder: Path, servers: Callable[..., str], addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        self._folder, self._servers, self._addresses = folder, servers, addresses
        self.ports: list[int] = []

    def __enter__(self) -> Self:
        program = shutil.which("nginx", path=os.pathsep.join((os.defpath, os.environ.get("PATH", ""), "/usr/sbin")))
        if program is None:
            reason = "nginx is not installed (Debian: apt-get install nginx-light)"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        with contextlib.ExitStack() as listening:
            # nginx takes over the listening sockets that a variable names, as its own upgrade does. So no other process
            # can take a port between its choice and its use.
            descriptors = []
            for address in self._addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                listener = listening.enter_context(socket.create_server((address, 0), family=family))
                descriptors.append(listener.fileno())
                self.ports.append(listener.getsockname()[1])
            user = "user root;" if os.geteuid() == 0 else ""  # a test's folder is readable by its user alone
            text = CONFIGURATION.format(user=user, servers=self._servers(*self.ports))
            (self._folder / "nginx.conf").write_text(text)
            with (self._folder / "output").open("wb") as output:
                self._process = subprocess.Popen(
                    [program, "-p", str(self._folder), "-c", "nginx.conf", "-e", "error.log"],
                    env={**os.environ, "NGINX": "".join(f"{each};" for each in descriptors)},
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            self._wait_for(lambda: self._workers_started() >= 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(WAIT)

    @property
    def url(self) -> str:
        """The https URL of the first port."""
        return f"https://localhost:{self.ports[0]}/"

    @property
    def requests(self) -> list[str]:
        """The access log, one line for each request; complete once nginx has stopped."""
        return self._read("access.log").splitlines()

    def reload(self) -> None:
        """Let nginx read its configuration and certificates again; new connections get them."""
        before = self._workers_started()
        self._process.send_signal(signal.SIGHUP)
        self._wait_for(lambda: self._workers_started() > before and self._workers_ended() >= before)

    def _workers_started(self) -> int:
        return self._read("error.log").count("start worker process ")

    def _workers_ended(self) -> int:
        return self._read("error.log").count("gracefully shutting down")

    def _read(self, name: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / name).read_text()
        return ""

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                log = self._read("error.log") + self._read("output")
                raise RuntimeError(f"nginx did not start or reload: {log}")
            time.sleep(0.01)

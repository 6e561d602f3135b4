"""For every test: an environment without settings of the machine, Hypothesis' profile, a proxy, a policy repository.

Rule: a test that needs one of these variables sets it itself, with ``monkeypatch``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pinned_requests import PinPolicy, PolicyStore
    from pinned_requests.testing import Request, Response

PROXY_START = 20.0  # seconds: it imports half the standard library

_TRUST_VARIABLES = {"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"}

# At import, not in a fixture: requests and ssl must not see these during collection either.
for _name in list(os.environ):
    if _name.upper() in _TRUST_VARIABLES or _name.lower().endswith("_proxy"):
        del os.environ[_name]

# A shell starts a program in the background with SIGINT ignored, and its children inherit that. Tests send SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a slow machine is no failure.
settings.register_profile("ci", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def start_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """Start proxy.py with the options that are given, in a process of its own, and return the port that it chose."""
    with ExitStack() as at_the_end:

        def start(*options: str) -> int:
            folder = tmp_path_factory.mktemp("proxy")
            port_file = folder / "port"
            command = [
                *(sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0"),
                *("--port-file", str(port_file), "--num-acceptors", "1", "--num-workers", "1", *options),
            ]
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={**os.environ, "HOME": str(folder)},  # it keeps a folder there
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            at_the_end.callback(process.wait, PROXY_START)
            at_the_end.callback(process.terminate)
            deadline = time.monotonic() + PROXY_START
            while time.monotonic() < deadline and process.poll() is None:
                if port_file.is_file() and (text := port_file.read_text().strip()):
                    return int(text)
                time.sleep(0.01)
            raise RuntimeError(f"proxy.py did not start: {(folder / 'log').read_text()}")

        yield start


class Publisher:
    """A repository of signed policies, made by our own code with real keys, and served over HTTP on loopback.

    Attributes:
        folder: what is served; assign another one to serve that.
        forged: path on the server → what an attacker answers there.
    """

    def __init__(self, base: Path, keys_of_role: dict[str, tuple[int, int]]) -> None:
        from pinned_requests.publishing.keys import KeyFolder, KeyRing  # noqa: PLC0415  as above
        from pinned_requests.publishing.repository import Repository, RoleKeys  # noqa: PLC0415  not for every test
        from pinned_requests.publishing.state import ROLES  # noqa: PLC0415  as above
        from pinned_requests.testing import TLSServer  # noqa: PLC0415  behind the variables, which it must not see

        self.base = base
        self.folder = base / "repository"
        self.key_folders = [KeyFolder(base / "alice"), KeyFolder(base / "bob")]
        self.ring = KeyRing(self.key_folders, lambda _: "")
        roles = {}
        for role in ROLES:
            threshold, number = keys_of_role.get(role, (1, 1))
            keys = tuple(self.key_folders[at].generate(role, None) for at in range(number))
            roles[role] = RoleKeys(keys, threshold)
        self.repository = Repository(self.folder, self.ring)
        self.root = self.repository.create(roles, {}).read_bytes()
        self.forged: dict[str, Response | bytes] = {}
        self.server = TLSServer(None, handler=self._answer)

    def publish(self, policy: PinPolicy) -> None:
        """Publish a policy as `pins.json`."""
        self.repository.publish("pins.json", policy, {})

    def rotate(self, role: str) -> None:
        """Give a role, which has one key, another."""
        self.repository.rotate_key(role, lambda: self.key_folders[0].generate(role, None), None, {})

    def newest(self, name: str) -> Path:
        """Return the newest file of `metadata/` or `targets/` whose name ends so."""
        found = [*self.folder.glob(f"metadata/*{name}"), *self.folder.glob(f"targets/*{name}")]
        return max(found, key=lambda path: path.stat().st_mtime_ns)

    def forge(self, path: Path, answer: Response | bytes) -> None:
        """Answer something else in the place of a file."""
        self.forged[f"/{path.relative_to(self.folder).as_posix()}"] = answer

    def store(self, **options: Any) -> PolicyStore:
        """Make a store of a client that ships the first root, and has its cache beside the repository."""
        from pinned_requests import PolicyStore  # noqa: PLC0415  as above

        arguments = {"root": self.root, "cache_dir": self.base / "cache", **options}
        url = self.server.url("", host="127.0.0.1")
        return PolicyStore.from_tuf(f"{url}/metadata/", f"{url}/targets", **arguments)

    def _answer(self, request: Request) -> Response:
        from pinned_requests.testing import Response  # noqa: PLC0415  as above

        forged = self.forged.get(request.path)
        if forged is not None:
            return forged if isinstance(forged, Response) else Response(body=forged)
        path = self.folder / request.path.lstrip("/")
        return Response(body=path.read_bytes()) if path.is_file() else Response(404)


@pytest.fixture
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Publisher]]:
    """Make publishers, with role=(threshold, number of keys) where that is not one of one."""
    with ExitStack() as at_the_end:

        def publisher(**keys_of_role: tuple[int, int]) -> Publisher:
            made = Publisher(tmp_path_factory.mktemp("publisher"), keys_of_role)
            at_the_end.enter_context(made.server)
            return made

        yield publisher


@pytest.fixture
def policies() -> Sequence[PinPolicy]:
    """Three policies to tell apart: the shipped one, an old one and a new one."""
    from pinned_requests import PinPolicy, PinSet  # noqa: PLC0415  as above

    return [PinPolicy({f"{name}.example.com": PinSet.exempt()}) for name in ("shipped", "old", "new")]

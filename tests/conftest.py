"""For every test: an environment without settings of the machine, Hypothesis' profile, a proxy, a policy repository.

Rule: a test that needs one of these variables sets it itself, with ``monkeypatch``.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pinned_requests import PinPolicy
    from support.publisher import Publisher

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


def pytest_collection_finish() -> None:
    """Take what was imported for the tests out of the garbage collector's way: it would look at all of it each time."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Publisher]]:
    """Make publishers, with role=(threshold, number of keys) where that is not one of one."""
    from support.publisher import Publisher  # noqa: PLC0415  behind the variables, which it must not see

    with ExitStack() as at_the_end:

        def publisher(**keys_of_role: tuple[int, int]) -> Publisher:
            made = Publisher(tmp_path_factory.mktemp("publisher"), keys_of_role)
            at_the_end.enter_context(made.server)
            return made

        yield publisher


@pytest.fixture
def policies() -> Sequence[PinPolicy]:
    """Three policies to tell apart: the shipped one, an old one and a new one."""
    from pinned_requests import PinPolicy, PinSet  # noqa: PLC0415  behind the variables, which it must not see

    return [PinPolicy({f"{name}.example.com": PinSet.exempt()}) for name in ("shipped", "old", "new")]

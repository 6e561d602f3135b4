"""What holds for every test: an environment without settings of the machine, Hypothesis' profile, a proxy where wanted.

Rule: a test that needs one of these variables sets it itself, with ``monkeypatch``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROXY_START = 20.0  # seconds: it imports half the standard library

_TRUST_VARIABLES = {"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"}

# At import, not in a fixture: requests and ssl must not see these during collection either.
for _name in list(os.environ):
    if _name.upper() in _TRUST_VARIABLES or _name.lower().endswith("_proxy"):
        del os.environ[_name]

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

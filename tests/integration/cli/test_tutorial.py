"""The tutorial is true: its files are written, its commands are run, and they print what it says.

Its host stands for a server on loopback while the policy is made. Pins and durations differ from run to run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinned_requests.testing import Authority, TLSServer

if TYPE_CHECKING:
    from collections.abc import Iterator

TUTORIAL = Path(__file__).parents[3] / "docs" / "tutorial.md"
HOST = "api.example.com"
PART = re.compile(
    r"^<!-- file: (?P<file>\S+) -->\n```python\n(?P<text>.*?)^```|^```console\n(?P<console>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
PIN = re.compile(r"sha256/[A-Za-z0-9+/]{43}=")
# Other plugins of this environment would print more than the reader sees.
ONE_PLUGIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p pytest_pinned_requests"}
WAIT = 60.0  # seconds


def masked(text: str) -> str:
    """Make outputs comparable: pins, dates, durations and the names of the lab's CAs differ."""
    text = re.sub(r"\d{4}-\d\d-\d\d", "<date>", text)
    # The lab's root is not a public one, and `init` says so; the reader's is.
    text = re.sub(r"^pinned-requests: WARNING: .* certifi does not hold its root.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"(<pin>  CN=)(?!api).*", r"\1<CA>", PIN.sub("<pin>", text))
    text = re.sub(r"\d{4}-\d\d-\d\d", "<date>", text)
    return re.sub(r" in [0-9.]+s", " in <time>", text)


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console, and its output."""
    for command in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        line, _, output = command.partition("\n")
        yield line, output


@pytest.mark.slow
def test_tutorial(tmp_path: Path, environment: dict[str, str]) -> None:
    """Each command prints what stands below it."""
    root = Authority.create("Example Root CA")
    authority = root.intermediate("Example CA")
    (tmp_path / "ca.pem").write_bytes(root.certificate_pem)
    count = 0
    with TLSServer(authority.issue("localhost")) as server:
        own = f"localhost:{server.port}"

        def run(command: str) -> str:
            program, *arguments = command.replace(HOST, own).split()
            module = program.replace("-", "_")
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                cwd=tmp_path,
                env={**environment, "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem"), **ONE_PLUGIN},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=WAIT,
                check=False,
            )
            return done.stdout.replace(own, HOST).replace("localhost", HOST)

        for part in PART.finditer(TUTORIAL.read_text("utf-8")):
            if part["file"]:
                (tmp_path / part["file"]).write_text(part["text"])
                continue
            for command, output in commands(part["console"]):
                assert (command, masked(run(command))) == (command, masked(output))
                count += 1
            policy = tmp_path / "pins.toml"
            policy.write_text(policy.read_text().replace(own, HOST))
    assert count == 3

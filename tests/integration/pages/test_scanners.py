"""The commands of docs/scanners.md, as they stand there: nmap, openssl and `check()` show one and the same key.

Rule for whoever changes this module: in a command of the page only the host and the port are replaced.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinned_requests import Pin

if TYPE_CHECKING:
    from pinned_requests.testing import TLSServer
    from support.lab import Lab

PAGE = (Path(__file__).parents[3] / "docs" / "scanners.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
PINS = ["openssl", "nmap: ssl-cert", "pinned_requests"]
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
WAIT = 60.0  # seconds


@pytest.fixture(scope="module", autouse=True)
def _tools_are_there() -> None:
    """Skip where a tool is not installed; where these tests are the evidence, its absence is a failure."""
    missing = [name for name in ("nmap", "openssl", "sed") if shutil.which(name) is None]
    if missing:
        reason = f"{', '.join(missing)} not installed (Debian: apt-get install nmap openssl sed)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def run(section: str, server: TLSServer, **environment: str) -> str:
    """Run the one fenced block of a section against a server, and return what it prints."""
    ((language, code),) = re.findall(r"^```(\w+)\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)
    code = re.sub(r"\b443\b", str(server.port), code).replace("api.example.com", "localhost")
    interpreter = {"sh": ["sh", "-c"], "python": [sys.executable, "-W", "ignore", "-c"]}[language]
    process = subprocess.run(
        [*interpreter, code],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_every_command_is_run() -> None:
    """The page has no command that the tests below do not run."""
    commands = [section for section, text in SECTIONS.items() if "```" in text]
    assert sorted(commands) == sorted([*PINS, "Protocol versions: ssl-enum-ciphers"])
    assert "```" not in PAGE.partition("\n## ")[0]


@pytest.mark.parametrize("section", PINS)
@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("role", ["honest", "attacker"])
def test_same_pin(lab: Lab, section: str, version: ssl.TLSVersion, role: str) -> None:
    """Each shows the pin of whoever answers, and sends no application data for it."""
    credential = getattr(lab, role)
    context = credential.server_context(minimum_version=version, maximum_version=version)
    server = lab.serve(credential, context=context)
    printed = run(section, server, REQUESTS_CA_BUNDLE=lab.bundle)
    assert Pin.parse(printed.rstrip("\n")) == Pin.from_certificate(credential.certificate)
    server.settle()
    assert (server.handshakes, server.application_bytes) == (1, 0)


@pytest.mark.parametrize("name", VERSIONS)
def test_protocol_version(lab: Lab, name: str) -> None:
    """The scan lists the versions that the server speaks, and no other."""
    context = lab.honest.server_context(minimum_version=VERSIONS[name], maximum_version=VERSIONS[name])
    printed = run("Protocol versions: ssl-enum-ciphers", lab.serve(lab.honest, context=context))
    assert re.findall(r"^\|\s+((?:SSL|TLS)v[\d.]+):", printed, re.MULTILINE) == [name]

"""The tutorial of a rotation is true: its commands are run, and print what stands there.

Its host stands for a server on loopback. Pins and dates differ from run to run: a pin stands for the same pin wherever
it occurs, and a date for any.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pinned_requests.testing import Authority, Credential, TLSServer

if TYPE_CHECKING:
    from collections.abc import Iterator

TUTORIAL = Path(__file__).parents[3] / "docs" / "rotation.md"
HOST = "api.example.com"
PIN = re.compile(r"sha256/[A-Za-z0-9+/]{43}=")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?: [0-9]{2}:[0-9]{2})?")
FINGERPRINT = re.compile(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}")
SWITCH = "<!-- the server is given backup.key and new.pem -->"
WAIT = 60.0  # seconds


class Step(NamedTuple):
    """A command and what the tutorial says that it prints; or, without a command, the switch of the server's key."""

    command: str | None
    output: str = ""


def steps() -> Iterator[Step]:
    """The steps of the tutorial, in order."""
    text = TUTORIAL.read_text("utf-8")
    for part in re.finditer(rf"^```console\n(.*?)^```|^({re.escape(SWITCH)})$", text, re.DOTALL | re.MULTILINE):
        if part[2]:
            yield Step(None)
            continue
        for command in re.split(r"^\$ ", part[1], flags=re.MULTILINE)[1:]:
            line, _, output = command.partition("\n")
            yield Step(line, output)


class Masked:
    """Makes texts comparable: each pin becomes the number of its first appearance."""

    def __init__(self) -> None:
        self._pins: dict[str, str] = {}
        self.theirs: Masked | None = None

    def back(self, text: str) -> str:
        """Return a text of the tutorial with the pins of this run."""
        known = {number: pin for pin, number in self._pins.items()}
        return PIN.sub(lambda pin: known.get(self.theirs(pin[0]), pin[0]) if self.theirs else pin[0], text)

    def __call__(self, text: str) -> str:
        """Return the text, comparable."""
        text = PIN.sub(lambda pin: self._pins.setdefault(pin[0], f"<pin {len(self._pins)}>"), text)
        return FINGERPRINT.sub("<fingerprint>", DATE.sub("<date>", text))


class Lab:
    """The server of the tutorial, its CA, and the folder and environment of its reader."""

    def __init__(self, folder: Path, environment: dict[str, str], server: TLSServer, authority: Authority) -> None:
        self.pins = Masked()
        self._folder, self._server, self._authority = folder, server, authority
        self._code = 0
        tools = folder / "bin"
        tools.mkdir()
        command = tools / "pinned-requests"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pinned_requests "$@"\n')
        command.chmod(0o755)
        (folder / "work").mkdir()
        self.write("lab-ca.pem", authority.certificate_pem)
        self.write("lab-ca.key", authority.key_pem)
        self.write("lab-ca.cnf", b"authorityKeyIdentifier = keyid\nbasicConstraints = critical, CA:FALSE\n")
        self._environment = {
            **environment,
            "PATH": os.pathsep.join((str(tools), os.environ["PATH"])),
            "REQUESTS_CA_BUNDLE": str(folder / "root.pem"),
        }

    def write(self, name: str, data: bytes) -> None:
        """Put a file into the reader's folder."""
        (self._folder / "work" / name).write_bytes(data)

    def run(self, command: str) -> str:
        """Run a command as the reader would, and return what it prints, with the host of the tutorial."""
        own = f"localhost:{self._server.port}"
        done = subprocess.run(
            ["bash", "-c", f"(exit {self._code}); {self.pins.back(command).replace(HOST, own)}"],
            cwd=self._folder / "work",
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT,
            check=False,
        )
        self._code = done.returncode
        # Without a port the tutorial's host is shown as one with the usual port.
        return done.stdout.replace(own, HOST).replace("localhost", HOST)

    def switch(self) -> None:
        """Let the server present the key and the certificate that the tutorial has made."""
        work = self._folder / "work"
        key = serialization.load_pem_private_key((work / "backup.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((work / "new.pem").read_bytes())
        self._server.credential = Credential.of(key, certificate, self._authority)  # type: ignore[arg-type]  # it is EC


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None and "CI" not in os.environ, reason="openssl is not installed")
def test_rotation(tmp_path: Path, environment: dict[str, str]) -> None:
    """Each command of the tutorial prints what stands below it."""
    root = Authority.create("Example Root CA")
    authority = root.intermediate("Example CA")
    honest = authority.issue("localhost")
    with TLSServer(honest) as server:
        lab = Lab(tmp_path, environment, server, authority)
        # The root alone: Python 3.13 and later end the chain at a trusted intermediate.
        (tmp_path / "root.pem").write_bytes(root.certificate_pem)
        lab.write("old.pem", honest.certificate_pem)
        theirs, ours = Masked(), lab.pins
        ours.theirs = theirs
        commands = 0
        for step in steps():
            if step.command is None:
                lab.switch()
                continue
            commands += 1
            assert (step.command, ours(lab.run(step.command)).splitlines()) == (
                step.command,
                theirs(step.output).splitlines(),
            )
    assert commands >= 10
    assert server.application_bytes == 0

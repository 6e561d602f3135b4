"""The hooks of docs/acme.md give the server a certificate that clients know, and keep any other from it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.editing.files import create
from pinned_requests.editing.policy_file import first_record
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[3] / "docs" / "acme.md"
HOST = "api.example.com"
WAIT = 60.0  # seconds

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="the hooks are for a POSIX shell")]


def block(name: str) -> str:
    """The block of the page behind a mark."""
    found = re.search(rf"<!-- test: {re.escape(name)} -->\n```\w+\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


class Renewal(NamedTuple):
    """What an ACME client got: the paths of a certificate with its chain, and of the key."""

    fullchain: Path
    key: Path


class Server:
    """A folder that a server reads, the hook that writes it, and the ACME clients that call the hook."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        from datetime import UTC, datetime  # noqa: PLC0415  for the one date

        self.folder, self.authority = folder, Authority.create()
        self.honest, self.backup = self.authority.issue(HOST), self.authority.issue(HOST)
        pins = PinSet(Pin.from_certificate(self.honest.certificate), Pin.from_certificate(self.backup.certificate))
        policy = PinPolicy({HOST: pins})
        (folder / "pins.toml").write_text(policy.to_toml())
        create([first_record(folder / "pins.toml", policy, datetime.now(UTC))])
        self.live = folder / "live"
        self.live.mkdir()
        tools = folder / "bin"
        tools.mkdir()
        for name, text in {
            "pinned-deploy": block("pinned-deploy"),
            "pinned-requests": f'#!/bin/sh\nexec "{sys.executable}" -m pinned_requests "$@"\n',
        }.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self._environment = {
            **environment,
            "PATH": os.pathsep.join((str(tools), os.environ["PATH"])),
            "POLICY": str(folder / "pins.toml"),
            "LIVE": str(self.live),
            "RELOAD": f"touch {folder / 'reloaded'}",
        }

    def renewed(self, *, keeps_key: bool) -> Renewal:
        """Return a renewal with the key in use, or with a new one."""
        key = load_pem_private_key(self.honest.key_pem, None) if keeps_key else None
        credential = self.authority.issue(HOST, key=key)  # type: ignore[arg-type]  # it is EC
        lineage = self.folder / "lineage"
        lineage.mkdir(exist_ok=True)
        renewal = Renewal(lineage / "fullchain.pem", lineage / "privkey.pem")
        renewal.fullchain.write_bytes(credential.served_pem)
        renewal.key.write_bytes(credential.key_pem)
        return renewal

    def shell(self, script: str, *, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run a script as most ACME clients do."""
        return self.run("sh", "-c", script, stdin=stdin, **variables)

    def run(self, *command: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the folder of the server."""
        environment = {**self._environment, **variables}
        return subprocess.run(
            [shutil.which(command[0], path=environment["PATH"]) or command[0], *command[1:]],
            cwd=self.folder,
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=WAIT,
            check=False,
        )

    @property
    def has_reloaded(self) -> bool:
        """Whether the server was told to reload, since this was asked last."""
        marker = self.folder / "reloaded"
        was = marker.exists()
        marker.unlink(missing_ok=True)
        return was


@pytest.fixture
def server(tmp_path: Path, environment: dict[str, str]) -> Server:
    """Make the folder of a server, with pins of its key and of a backup."""
    return Server(tmp_path, environment)


HOOKS: dict[str, Callable[[Renewal], dict[str, str]]] = {
    "certbot": lambda renewal: {"RENEWED_LINEAGE": str(renewal.fullchain.parent), "RENEWED_DOMAINS": HOST},
    "acme.sh": lambda renewal: {
        "CERT_FULLCHAIN_PATH": str(renewal.fullchain),
        "CERT_KEY_PATH": str(renewal.key),
        "Le_Domain": HOST,
    },
    "lego": lambda renewal: {
        "LEGO_HOOK_CERT_PATH": str(renewal.fullchain),
        "LEGO_HOOK_CERT_KEY_PATH": str(renewal.key),
    },
    "lego 4": lambda renewal: {"LEGO_CERT_PATH": str(renewal.fullchain), "LEGO_CERT_KEY_PATH": str(renewal.key)},
}


@pytest.mark.parametrize("client", HOOKS)
def test_hooks(client: str, server: Server) -> None:
    """A renewal with the same key reaches the server; one with a new key does not, and the server keeps what it has."""
    found = re.search(r"-(?:hook|reloadcmd|cmd) '([^']*)'", block(client.partition(" ")[0]))
    assert found is not None
    hook = found[1]
    # lego splits the text at white space, and replaces no variables.
    run = partial(server.run, *hook.split()) if client.startswith("lego") else partial(server.shell, hook)
    renewal = server.renewed(keeps_key=True)
    done = run(**HOOKS[client](renewal))
    assert (done.returncode, done.stderr) == (0, b"")
    assert server.has_reloaded
    served = (server.live / "fullchain.pem").read_bytes()
    assert served == renewal.fullchain.read_bytes()
    assert (server.live / "privkey.pem").stat().st_mode & 0o077 == 0

    renewal = server.renewed(keeps_key=False)
    done = run(**HOOKS[client](renewal))
    assert done.returncode == 1
    assert b"publish a policy that accepts" in done.stdout
    assert not server.has_reloaded
    assert (server.live / "fullchain.pem").read_bytes() == served
    assert sorted(path.name for path in server.live.iterdir()) == ["fullchain.pem", "privkey.pem"]


def test_the_backup_key(server: Server) -> None:
    """It is taken with its certificate, and not with the certificate of another key."""
    (server.folder / "new.pem").write_bytes(server.backup.served_pem)
    (server.folder / "backup.key").write_bytes(server.backup.key_pem)
    assert server.shell(f"pinned-deploy new.pem backup.key {HOST}").returncode == 0
    assert server.has_reloaded
    (server.folder / "backup.key").write_bytes(server.honest.key_pem)
    done = server.shell(f"pinned-deploy new.pem backup.key {HOST}")
    assert (done.returncode, b"is not the key of" in done.stderr) == (1, True)
    assert not server.has_reloaded


def test_kubernetes(server: Server) -> None:
    """The pipeline reads the secret from standard input; the manifest keeps the key."""
    script = block("kubectl").partition("base64 -d |")[2]
    for keeps_key, code in ((True, 0), (False, 1)):
        data = server.renewed(keeps_key=keeps_key).fullchain.read_bytes()
        assert server.shell(script, stdin=data).returncode == code
    manifest = yaml.safe_load(block("yaml"))
    assert manifest["spec"]["privateKey"]["rotationPolicy"] == "Never"


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")
def test_the_commands_are_shell(server: Server) -> None:
    """Every block of shell on the page parses."""
    for script in re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        assert server.shell(f"set -n\n{script}").returncode == 0

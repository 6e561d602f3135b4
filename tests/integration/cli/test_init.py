"""`pinned-requests init` writes what works, keeps a secret, and overwrites nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pinned_requests import Pin, PinMismatchError, PinnedSession, PinPolicy
from pinned_requests.cli import main
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from support.lab import Lab


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(lab: Lab, *arguments: object) -> int:
    """Run `init` with the CA bundle of the lab."""
    return main(["init", *map(str, arguments), "--ca-bundle", lab.bundle])


def test_the_policy_works(lab: Lab) -> None:
    """With it the honest server is reached, and one with the backup key; the man in the middle is refused."""
    server = lab.serve(lab.honest)
    assert init(lab, f"localhost:{server.port}") == 0
    policy = PinPolicy.from_file("pins.toml")
    [pins] = policy.hosts.values()
    backup = Pin.from_file("backup.key")
    assert [*map(str, policy.hosts)] == [f"localhost:{server.port}"]
    assert list(pins.pins) == [Pin.from_certificate(each) for each in lab.honest.chain[:2]]
    assert list(pins.backup_pins) == [backup] == [Pin.from_file("backup.csr")]
    session = lab.trusting(PinnedSession(policy))
    assert session.get(server.url()).status_code == 200

    server.credential = lab.attacker
    session.close()
    with pytest.raises(PinMismatchError):
        session.get(server.url())
    key = load_pem_private_key(Path("backup.key").read_bytes(), None)
    server.credential = lab.root.issue("localhost", key=key)  # type: ignore[arg-type]  # an EC key
    assert session.get(server.url()).status_code == 200


def test_the_key_is_secret(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody else can read the key, whatever the umask, and none of it is printed."""
    server = lab.serve(lab.honest)
    before = os.umask(0)
    try:
        assert init(lab, f"localhost:{server.port}", "--backup-key", "k.pem") == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("k.pem").stat().st_mode) == 0o600
    out = capsys.readouterr().out
    assert not any(line in out for line in Path("k.pem").read_text().splitlines())


def test_the_request_is_good(lab: Lab) -> None:
    """The request verifies, by openssl too; it names all hosts, and its key is that of the file."""
    servers = [lab.serve(lab.honest) for _ in range(2)]
    assert init(lab, f"localhost:{servers[0].port}", f"127.0.0.1:{servers[1].port}") == 0
    request = x509.load_pem_x509_csr(Path("backup.csr").read_bytes())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert request.is_signature_valid
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert len(PinPolicy.from_file("pins.toml").hosts) == 2
    if shutil.which("openssl"):
        command = ["openssl", "req", "-in", "backup.csr", "-verify", "-noout"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("key_type", "expected"),
    [
        ("ecdsa-p256", (ec.EllipticCurvePrivateKey, 256)),
        ("ecdsa-p384", (ec.EllipticCurvePrivateKey, 384)),
        ("rsa-3072", (rsa.RSAPrivateKey, 3072)),
    ],
)
def test_types_of_keys(lab: Lab, key_type: str, expected: tuple[type, int]) -> None:
    """The key is of the type that was asked for."""
    server = lab.serve(lab.honest)
    assert init(lab, f"localhost:{server.port}", "--key-type", key_type, "--output", "p.json", "--json") == 0
    key = load_pem_private_key(Path("backup.key").read_bytes(), None)
    assert isinstance(key, expected[0])
    assert key.key_size == expected[1]
    assert len(PinPolicy.from_file("p.json").hosts) == 1


def test_json(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """What was written is said to machines."""
    server = lab.serve(lab.honest)
    assert init(lab, f"localhost:{server.port}", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["backup_pin"] == str(Pin.from_file("backup.key"))
    assert said["hosts"] == {f"localhost:{server.port}": [str(Pin.from_certificate(c)) for c in lab.honest.chain[:2]]}


@pytest.mark.parametrize("name", ["pins.toml", "backup.key", "backup.csr"])
@pytest.mark.parametrize("link", [False, True])
def test_nothing_is_overwritten(lab: Lab, name: str, link: bool) -> None:  # noqa: FBT001  a parameter of the test
    """A file that is there, be it a link to nowhere, stays as it is; nothing else is written, and nobody is asked."""
    server = lab.serve(lab.honest)
    if link:
        Path(name).symlink_to("nowhere")
    else:
        Path(name).write_text("mine")
    assert init(lab, f"localhost:{server.port}") == 2
    assert [path.name for path in Path().iterdir()] == [name]
    assert link or Path(name).read_text() == "mine"
    assert server.connections == 0


@pytest.mark.parametrize("name", ["pins.toml", "backup.key", "backup.csr"])
def test_a_file_that_appears_meanwhile(lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one that appears while the hosts are asked; what was written before it is removed again."""
    server = lab.serve(lab.honest)
    monkeypatch.setattr("pinned_requests.cli.init.check_new", lambda _paths: Path(name).write_text("mine"))
    assert init(lab, f"localhost:{server.port}") == 2
    assert {path.name: path.read_text() for path in Path().iterdir()} == {name: "mine"}


def test_a_folder_that_is_not_there(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A policy that cannot be written leaves no key behind."""
    server = lab.serve(lab.honest)
    assert init(lab, f"localhost:{server.port}", "--output", "no/pins.toml") == 2
    assert list(Path().iterdir()) == []
    assert "no/pins.toml" in capsys.readouterr().err


def test_one_path_for_two_files(lab: Lab) -> None:
    """Key and request, or key and policy, must be different files."""
    server = lab.serve(lab.honest)
    assert init(lab, f"localhost:{server.port}", "--backup-key", "backup.csr") == 2
    assert init(lab, f"localhost:{server.port}", "--backup-key", "./x.toml", "--output", "x.toml") == 2
    assert init(lab, f"localhost:{server.port}", "--output", "policy.txt") == 2  # no reader would know its format
    assert list(Path().iterdir()) == []


def test_a_host_that_nobody_vouches_for(lab: Lab) -> None:
    """Where one host is not verified, nothing is written; its honest twin is."""
    honest, other = lab.serve(lab.honest), lab.serve(Authority.create().issue("localhost"))
    assert init(lab, f"localhost:{honest.port}", f"localhost:{other.port}") == 1
    assert list(Path().iterdir()) == []
    assert init(lab, f"localhost:{honest.port}") == 0


@pytest.mark.parametrize(
    ("key", "csr"),
    [
        ("api.example.com", "api.example.com.csr"),
        ("api.example.com.key", "api.example.com.csr"),
        ("backup.PEM", "backup.csr"),
    ],
)
def test_the_name_of_the_request(lab: Lab, key: str, csr: str) -> None:
    """Only the suffix of a key is replaced; that of a host is none."""
    server = lab.serve(lab.honest)
    assert init(lab, f"localhost:{server.port}", "--backup-key", key) == 0
    assert Pin.from_file(csr) == Pin.from_file(key)

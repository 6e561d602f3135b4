"""The live commands against nginx, in each way in which a server may be set up: one nginx, a port for each."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main
from pinned_requests.testing import Authority, Credential, generate_key
from support.nginx import Nginx, write_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = dt.datetime.now(dt.UTC)
BACKUP = Pin("spki", bytes(32))

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

SERVER = """
  server {{
    listen {address}{ssl};
    server_name {name};
    ssl_certificate {file}.chain.pem;
    ssl_certificate_key {file}.key.pem;
    ssl_protocols {protocols};
    {more}
    location / {{ return 200 "ok"; }}
  }}
"""


class Site(NamedTuple):
    """A server of nginx: what it presents and how; the outcome and the kinds of findings that a check has."""

    credential: Credential
    outcome: str = "match"
    kinds: tuple[str, ...] = ()
    protocols: str = "TLSv1.2 TLSv1.3"
    more: str = ""
    address: str = "127.0.0.1"
    name: str = "localhost"
    is_tls: bool = True


def sites(root: Authority) -> dict[str, Site]:
    """Return the servers, by what is special about each."""
    honest = root.intermediate().issue("localhost", "::1")
    found = {
        "RSA": Site(root.issue("localhost", key=generate_key("rsa-2048"))),
        "ECDSA": Site(honest),
        "Ed25519": Site(root.issue("localhost", key=generate_key("ed25519"))),
        "TLS 1.2 only": Site(honest, protocols="TLSv1.2"),
        "TLS 1.3 only": Site(honest, protocols="TLSv1.3"),
        "client certificate required": Site(honest, more="ssl_verify_client on; ssl_client_certificate ca.pem;"),
        "client certificate required, TLS 1.2": Site(
            honest, protocols="TLSv1.2", more="ssl_verify_client on; ssl_client_certificate ca.pem;"
        ),
        "self-signed": Site(Credential.self_signed("localhost"), "invalid-certificate", ("invalid-certificate",)),
        "expired": Site(
            root.issue("localhost", not_after=NOW - dt.timedelta(days=1)),
            "invalid-certificate",
            ("invalid-certificate",),
        ),
        "wrong name": Site(root.issue("other.example.com"), "invalid-certificate", ("invalid-certificate",)),
        "plain HTTP": Site(honest, "unreachable", ("unreachable",), is_tls=False),
        "rejecting": Site(honest, "unreachable", ("unreachable",), more="ssl_reject_handshake on;"),
    }
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        found["IPv6"] = Site(honest, address="[::1]", name="[::1]")
    return found


class Served(NamedTuple):
    """What nginx serves: the sites, their names with ports, and the CA bundle."""

    sites: dict[str, Site]
    names: dict[str, str]
    bundle: str
    nginx: Nginx


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start nginx with all sites, and another name on the port of one of them, which SNI tells apart."""
    folder = tmp_path_factory.mktemp("nginx")
    root = Authority.create("Example CA")
    (folder / "ca.pem").write_bytes(root.certificate_pem)
    found = sites(root)
    kinds = list(found)
    found["SNI"] = Site(root.issue("api.example.com"), name="api.example.com")
    names = {}

    def servers(*ports: int) -> str:
        port_of = dict(zip(kinds, ports, strict=True))
        port_of["SNI"] = port_of["ECDSA"]
        names.update({kind: f"{site.name}:{port_of[kind]}" for kind, site in found.items()})
        return "".join(server(folder, f"site{number}", found[kind], port_of[kind]) for number, kind in enumerate(found))

    with Nginx(folder, servers, [found[kind].address.strip("[]") for kind in kinds]) as running:
        yield Served(found, names, str(folder / "ca.pem"), running)


def server(folder: Path, file: str, site: Site, port: int) -> str:
    """Write the files of a server, and return its configuration."""
    write_certificate(folder, site.credential, file)
    return SERVER.format(
        address=f"{site.address}:{port}",
        ssl=" ssl" if site.is_tls else "",
        name=site.name.strip("[]"),
        file=file,
        protocols=site.protocols,
        more=site.more,
    )


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_check(nginx: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Each server has the outcome that its set-up has, whatever its keys and versions; no request is made."""
    policy = {
        nginx.names[kind]: [Pin.from_certificate(site.credential.certificate), BACKUP]
        for kind, site in nginx.sites.items()
    }
    Path("pins.json").write_text(PinPolicy(policy).to_json())
    arguments = ["--ca-bundle", nginx.bundle, "--connect-to", f"{nginx.names['SNI']}:127.0.0.1"]
    assert main(["check", "pins.json", *arguments, "--within", "1d", "--format", "json"]) == 1
    said = {host["host"]: host for host in json.loads(capsys.readouterr().out)["hosts"]}
    found = {
        kind: (said[name]["outcome"], tuple(each["kind"] for each in said[name]["findings"]))
        for kind, name in nginx.names.items()
    }
    assert found == {kind: (site.outcome, site.kinds) for kind, site in nginx.sites.items()}
    reasons = {kind: said[nginx.names[kind]]["samples"][0]["reason"] or "" for kind in nginx.sites}
    assert reasons["plain HTTP"] == "it does not speak TLS on this port"
    assert reasons["self-signed"].endswith("name its CA by --ca-bundle")
    assert "expired" in reasons["expired"]
    assert "'localhost'" in reasons["wrong name"]
    # nginx logs a handshake with a plain port as a bad request, and nothing else.
    assert [line for line in nginx.nginx.requests if '" 400 ' not in line] == []


def test_another_key_is_a_mismatch(nginx: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """On each server that has a valid certificate: so the matches above are no accident."""
    valid = {kind: name for kind, name in nginx.names.items() if nginx.sites[kind].outcome == "match"}
    pins = [BACKUP, Pin("spki", bytes(range(32)))]
    Path("pins.json").write_text(PinPolicy({name: pins for name in valid.values()}).to_json())  # noqa: C420  a mapping
    arguments = ["--ca-bundle", nginx.bundle, "--connect-to", f"{nginx.names['SNI']}:127.0.0.1"]
    assert main(["check", "pins.json", *arguments, "--format", "json"]) == 1
    outcomes = {host["host"]: host["outcome"] for host in json.loads(capsys.readouterr().out)["hosts"]}
    assert outcomes == dict.fromkeys(valid.values(), "mismatch")


@pytest.mark.parametrize("kind", ["RSA", "Ed25519", "TLS 1.2 only", "client certificate required", "IPv6"])
def test_pin_and_init(nginx: Served, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """The other live commands take the same servers."""
    if kind not in nginx.sites:
        pytest.skip("this machine has no IPv6")
    name, pin = nginx.names[kind], str(Pin.from_certificate(nginx.sites[kind].credential.certificate))
    assert main(["pin", name, "--ca-bundle", nginx.bundle]) == 0
    assert pin in capsys.readouterr().out
    assert main(["init", name, "--ca-bundle", nginx.bundle]) == 0
    assert pin in Path("pins.toml").read_text()


@pytest.mark.parametrize("kind", ["self-signed", "expired", "wrong name", "plain HTTP", "rejecting"])
def test_pin_and_init_refuse(nginx: Served, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """A server that is not valid gives no pins, and writes no file."""
    for command in ("pin", "init"):
        assert main([command, nginx.names[kind], "--ca-bundle", nginx.bundle]) == 1
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "kind", ["RSA", "Ed25519", "TLS 1.2 only", "TLS 1.3 only", "client certificate required", "IPv6"]
)
def test_rotate_and_repin(nginx: Served, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """A rotation knows where it stands on each of them, and a key that is known is not pinned again."""
    if kind not in nginx.sites:
        pytest.skip("this machine has no IPv6")
    name, trusting = nginx.names[kind], ["--ca-bundle", nginx.bundle]
    assert main(["init", name, *trusting]) == 0
    assert main(["rotate", "next", "pins.toml", name, "--yes", "--backup-key", "n.key", *trusting]) == 0
    capsys.readouterr()
    assert main(["rotate", "status", "pins.toml", name, "--json", *trusting]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["stage"], len(said["reserve"]), len(said["served"])) == ("ready", 2, 1)
    assert main(["repin", name, *trusting]) == 0
    assert "accepts already" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["self-signed", "expired", "wrong name", "plain HTTP", "rejecting"])
def test_rotate_and_repin_of_what_is_wrong(nginx: Served, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """No server answers as it should: a finding; what has a key is shown with the warning, and asked about."""
    name, trusting = nginx.names[kind], ["--ca-bundle", nginx.bundle]
    Path("pins.toml").write_text(PinPolicy({name: [BACKUP, Pin("spki", bytes(range(32)))]}).to_toml())
    before = Path("pins.toml").read_bytes()
    assert main(["rotate", "status", "pins.toml", name, *trusting]) == 1
    assert main(["rotate", "next", "pins.toml", name, "--yes", *trusting]) == 1
    capsys.readouterr()
    has_key = kind not in {"plain HTTP", "rejecting"}
    assert main(["repin", name, *trusting]) == (2 if has_key else 1)
    assert ("vouched for by no CA" in capsys.readouterr().out) is has_key
    assert Path("pins.toml").read_bytes() == before

"""`pinned-requests pin` against openssl, for files and live servers."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main
from pinned_requests.testing import Authority, Credential, generate_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from support.lab import Lab

OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl on PATH")
HASH = "openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl enc -base64"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    """Run `pin --json` and return what it prints."""
    assert main(["pin", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def pins(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """Return the pins of all depths of all sources."""
    return [item["pin"] for source in found(capsys, *arguments) for item in source["found"]]


def shell(command: str) -> str:
    """Return what a pipeline prints."""
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.strip()


@OPENSSL
def test_the_same_as_openssl(capsys: pytest.CaptureFixture[str]) -> None:
    """Certificate, CSR, private and public key have the pin of the documented pipelines, in PEM and in DER."""
    shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=example.com 2>&1")
    shell(
        "openssl req -new -key key.pem -out csr.pem -subj /CN=example.com;openssl pkey -in key.pem -pubout -out pub.pem"
    )
    for command in (
        "openssl x509 -in cert.pem -outform der -out cert.der",
        "openssl req -in csr.pem -outform der -out csr.der",
        "openssl pkey -in key.pem -outform der -out key.der",
        "openssl pkey -pubin -in pub.pem -outform der -out pub.der",
    ):
        shell(command)
    expected = {
        shell(f"openssl x509 -in cert.pem -pubkey -noout | {HASH}"),
        shell(f"openssl req -in csr.pem -pubkey -noout | {HASH}"),
        shell(f"openssl pkey -in key.pem -pubout | {HASH}"),
        shell(f"cat pub.pem | {HASH}"),
    }
    assert len(expected) == 1
    files = [f"{name}.{form}" for name in ("cert", "csr", "key", "pub") for form in ("pem", "der")]
    assert pins(capsys, *files) == [f"sha256/{expected.pop()}"] * 8


@OPENSSL
def test_a_live_server_has_the_pin_of_the_pipeline(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """The leaf's pin of a live server is what `openssl s_client` gives."""
    server = lab.serve(lab.honest)
    pipeline = f"openssl s_client -connect 127.0.0.1:{server.port} -servername localhost </dev/null 2>/dev/null"
    expected = shell(f"{pipeline} | openssl x509 -pubkey -noout | {HASH}")
    assert pins(capsys, f"localhost:{server.port}", "--ca-bundle", lab.bundle)[0] == f"sha256/{expected}"


def test_every_depth_of_a_live_server(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Every certificate of the verified chain is shown, the root too; nothing is sent."""
    server = lab.serve(lab.honest)
    [source] = found(capsys, f"LOCALHOST.:{server.port}", "--ca-bundle", lab.bundle)
    assert source["source"] == f"localhost:{server.port}"
    assert source["is_verified"] is True
    assert [item["pin"] for item in source["found"]] == [str(Pin.from_certificate(c)) for c in lab.honest.chain]
    assert [item["certificate_pin"] for item in source["found"]] == [str(Pin.fingerprint(c)) for c in lab.honest.chain]
    leaf = source["found"][0]
    assert (leaf["subject"], leaf["issuer"]) == ("CN=localhost", "CN=Lab Intermediate CA")
    assert leaf["key_type"] == "EC secp256r1"
    assert dt.datetime.fromisoformat(leaf["not_after"]) == lab.honest.certificate.not_valid_after_utc
    server.settle()
    assert (server.handshakes, server.application_bytes) == (1, 0)


def test_an_address(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A server is named by its address as well."""
    server = lab.serve(lab.honest)
    assert len(pins(capsys, f"127.0.0.1:{server.port}", "--ca-bundle", lab.bundle)) == 3


def test_an_unverified_server_is_not_shown(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a CA that vouches for it there is no pin, unless nothing is to vouch for it, which is said."""
    server = lab.serve(Credential.self_signed("localhost"))
    assert main(["pin", f"localhost:{server.port}"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "its certificate is not valid" in err
    [source] = found(capsys, f"localhost:{server.port}", "--insecure")
    assert source["is_verified"] is False
    assert main(["pin", f"localhost:{server.port}", "--insecure"]) == 0
    assert "NOT verified" in capsys.readouterr().out


def test_another_name_is_not_verified(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate for another name does not count, though a trusted CA signed it."""
    server = lab.serve(lab.root.issue("other.example.com"))
    assert main(["pin", f"localhost:{server.port}", "--ca-bundle", lab.bundle]) == 1
    assert capsys.readouterr().out == ""


def test_the_environment_does_not_win(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--ca-bundle` holds against a bundle of the environment, which counts without the option."""
    other = tmp_path / "other.pem"
    other.write_bytes(Authority.create().certificate_pem)
    server = lab.serve(lab.honest)
    host = f"localhost:{server.port}"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert main(["pin", host]) == 1
    assert len(pins(capsys, host, "--ca-bundle", lab.bundle)) == 3
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    assert len(pins(capsys, host)) == 3


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:s3cret@127.0.0.1:99999",
        "http://user:s3cret@127.0.0.1:port",
        "http://user:s3cret@127.0.0.1:0",
        "ftp://user:s3cret@127.0.0.1:3128",
        "http://user:s3cret@:3128",
        "user:s3cret@127.0.0.1:99999",
        f"http://user:s3cret@{'a' * 64}.example:3128",
    ],
)
@pytest.mark.parametrize("is_option", [True, False])
def test_the_password_of_a_wrong_proxy_is_not_shown(
    proxy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, is_option: bool
) -> None:
    """A URL that is none is an error of the command line, and none of it is printed."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if not is_option:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("https_proxy", proxy)
    assert main(["pin", "api.example.com", *(["--proxy", proxy] if is_option else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pinned-requests: the proxy is not a URL; ")
    assert "s3cret" not in err


def test_a_url(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an `https://` URL the host is asked; another URL is refused, and not shown: it may hold a password."""
    server = lab.serve(lab.honest)
    urls = (server.url(), server.url() + "path?query#fragment", server.url().replace("https://", "https://user:pw@"))
    for url in urls:
        assert len(pins(capsys, url, "--ca-bundle", lab.bundle)) == 3
    for url in ("http://user:s3cret@localhost/", "https://", "ftp://s3cret@x", "https://s3cret:x@[::1/"):
        assert main(["pin", url]) == 2
        err = capsys.readouterr().err
        assert "https:// URL" in err
        assert "s3cret" not in err


@OPENSSL
def test_formats(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and nothing else, as openssl, curl, RFC 7469 and a policy spell it; of a file and of a server."""
    Path("cert.pem").write_bytes(lab.honest.served_pem)
    base64 = shell(f"openssl x509 -in cert.pem -pubkey -noout | {HASH}")
    fingerprint = shell("openssl x509 -in cert.pem -noout -fingerprint -sha256")
    expected = {
        "spki": f"sha256/{base64}",
        "openssl": base64,
        "curl": f"sha256//{base64}",
        "rfc7469": f'pin-sha256="{base64}"',
        "fingerprint": fingerprint,
    }
    server = lab.serve(lab.honest)
    for form, line in expected.items():
        for source in ("cert.pem", f"localhost:{server.port}"):
            assert main(["pin", source, "--format", form, "--ca-bundle", lab.bundle]) == 0
            assert capsys.readouterr() == (f"{line}\n", "")
    assert main(["pin", "cert.pem", "--format", "toml"]) == 0
    policy = PinPolicy.from_toml(f'[hosts."localhost"]\npins = [{capsys.readouterr().out.strip()}, "{lab.backup}"]\n')
    assert [str(pin) for pin in policy.hosts["localhost"].pins] == [expected["spki"], str(lab.backup)]
    assert str(policy.hosts["localhost"].pins[0].note).startswith("leaf: CN=localhost, seen 2")
    assert main(["pin", "cert.pem", "--format", "spki", "--depth", "1"]) == 0
    assert capsys.readouterr().out == f"{Pin.from_certificate(lab.honest.chain[1])}\n"
    assert main(["pin", "cert.pem"]) == 0
    assert fingerprint in capsys.readouterr().out


def test_formats_that_there_are_not(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed that the next program could take for a pin."""
    Path("key.pem").write_bytes(lab.honest.key_pem)
    for arguments in (["fingerprint"], ["spki", "--depth", "1"], ["hex"], ["spki", "--json"]):
        assert main(["pin", "key.pem", "--format", *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)


def test_neither_a_file_nor_a_host(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that cannot be resolved may be that of a file, mistyped."""

    def unresolved(*_args: object, **_kwargs: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    monkeypatch.setenv("NO_PROXY", "*")
    assert main(["pin", "nosuch.pem"]) == 1
    assert "there is no file of that name" in capsys.readouterr().err


def test_through_a_proxy(lab: Lab, start_proxy: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """The chain is the server's own; a proxy that does not answer is named as what is wrong."""
    server = lab.serve(lab.honest)
    host = f"localhost:{server.port}"
    proxy = f"http://127.0.0.1:{start_proxy()}"
    assert len(pins(capsys, host, "--ca-bundle", lab.bundle, "--proxy", proxy)) == 3
    assert main(["pin", host, "--ca-bundle", lab.bundle, "--proxy", "http://127.0.0.1:1"]) == 1
    assert "the proxy" in capsys.readouterr().err


def test_a_file_with_several_blocks(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block is shown in order, and none of the private key but the pin of its public half."""
    key = lab.honest.key_pem.decode()
    Path("chain.pem").write_bytes(b"# comment\n" + lab.honest.served_pem + key.encode())
    [source] = found(capsys, "chain.pem")
    assert [item["kind"] for item in source["found"]] == ["certificate", "certificate", "private key"]
    assert source["found"][2]["pin"] == source["found"][0]["pin"]
    assert main(["pin", "chain.pem"]) == 0
    out = capsys.readouterr().out
    assert "nothing was verified" in out
    assert not any(line in out for line in key.splitlines())


def test_kinds_of_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """The type of a key is shown."""
    kinds = {"ecdsa-p256": "EC secp256r1", "rsa-2048": "RSA 2048", "ed25519": "Ed25519"}
    for kind, shown in kinds.items():
        key = generate_key(kind)  # type: ignore[arg-type]  # the names are those it takes
        Path("key.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        assert found(capsys, "key.pem")[0]["found"][0]["key_type"] == shown


def test_a_path_or_a_host(capsys: pytest.CaptureFixture[str], lab: Lab) -> None:
    """What exists is a file, and what has a slash in it is never a host."""
    Path("example.com").write_bytes(lab.honest.certificate_pem)
    assert found(capsys, "example.com")[0]["is_file"] is True
    assert main(["pin", "./localhost"]) == 2
    assert capsys.readouterr().err == "pinned-requests: ./localhost: No such file or directory\n"
    assert main(["pin", "http://localhost/"]) == 2
    assert main(["pin", "a b"]) == 2
    assert main(["pin", "*.example.com"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_one_wrong_source_of_several(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are shown, and the exit code is that of the worst."""
    Path("cert.pem").write_bytes(lab.honest.certificate_pem)
    Path("empty.pem").write_bytes(b"")
    assert len(found(capsys, "localhost:1", "cert.pem", code=1)) == 1
    assert len(found(capsys, "localhost:1", "empty.pem", "cert.pem", "missing/", code=2)) == 1


def test_a_key_that_openssl_alone_knows(capsys: pytest.CaptureFixture[str], lab: Lab) -> None:
    """What `cryptography` does not read has a pin all the same: the details are left out."""
    der = lab.honest.certificate.public_bytes(Encoding.DER)
    # The identifier of its kind of key, 1.2.840.10045.2.1, becomes one that nobody knows.
    unknown = der.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f"))
    assert unknown != der
    Path("odd.der").write_bytes(unknown)
    [source] = found(capsys, "odd.der")
    assert source["found"][0]["pin"] == str(Pin.from_certificate(unknown))
    assert "unknown" in source["found"][0]["key_type"]

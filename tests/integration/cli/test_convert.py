"""`pinned-requests convert`, and that real tools take what it prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.command import Ran
    from support.lab import Lab

A, B = (f"sha256/{letter * 42}A=" for letter in "AB")
POLICY = PinPolicy({"api.example.com": {"pins": A, "backup_pins": B}})
WAIT = 30  # seconds


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pins.toml").write_text(POLICY.to_toml())


def needed(tool: str) -> str:
    """Return the path of a tool; where these tests are the evidence, its absence is a failure."""
    found = shutil.which(tool)
    if found is None:
        reason = f"{tool} is not installed (Debian: apt-get install {tool})"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return found


TOOLS: dict[str, tuple[list[str], int]] = {
    # the options that make it quiet and trust a CA, and the exit code for a wrong key
    "curl": (["--silent", "--noproxy", "*", "--cacert"], 90),  # CURLE_SSL_PINNEDPUBKEYNOTMATCH
    "wget": (["--quiet", "--tries=1", "--no-proxy", "--output-document=-", "--ca-certificate"], 5),  # SSL verification
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("pinned", ["key in use", "backup key"])
def test_a_real_tool(tool: str, pinned: str, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """It reaches the honest server with the pins that are printed for it, and sends an attacker's not a byte."""
    path, (options, mismatch) = needed(tool), TOOLS[tool]
    key = Pin.from_certificate(lab.honest.certificate)
    pins = (
        {"pins": key, "backup_pins": lab.backup} if pinned == "key in use" else {"pins": lab.backup, "backup_pins": key}
    )
    honest, attacker = lab.serve(lab.honest), lab.serve(lab.attacker)
    Path("p.toml").write_text(PinPolicy({"localhost": pins, "other.example.com": [A, B]}).to_toml())
    assert main(["convert", "p.toml", "--to", "curl", "--host", "localhost"]) == 0
    text = capsys.readouterr().out.removesuffix("\n")

    def fetch(url: str) -> subprocess.CompletedProcess[bytes]:
        command = [path, *options, lab.bundle, f"--pinnedpubkey={text}", url]
        if tool == "curl":
            command = [path, *options, lab.bundle, "--pinnedpubkey", text, url]
        return subprocess.run(command, capture_output=True, timeout=WAIT, stdin=subprocess.DEVNULL, check=False)

    served = fetch(honest.url())
    assert (served.returncode, served.stdout) == (0, b"ok")
    refused = fetch(attacker.url())
    assert (refused.returncode, refused.stdout) == (mismatch, b"")
    attacker.settle()
    assert (attacker.handshakes, attacker.application_bytes) == (1, 0)


def test_by_suffix_and_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The format of a policy file is known by its suffix; that of others is to be named."""
    assert main(["convert", "pins.toml", "--to", "json"]) == 0
    text = capsys.readouterr().out
    assert PinPolicy.from_json(text) == POLICY
    Path("pins").write_text(text)
    assert main(["convert", "pins", "--to", "toml"]) == 2
    assert main(["convert", "pins", "--from", "json", "--to", "toml"]) == 0
    out, err = capsys.readouterr()
    assert PinPolicy.from_toml(out) == POLICY
    assert "--from" in err


@pytest.mark.parametrize("name", ["android", "apple", "trustkit", "tlsa"])
def test_there_and_back(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a format says is read back from it."""
    assert main(["convert", "pins.toml", "--to", name]) == 0
    Path("other").write_text(capsys.readouterr().out)
    assert main(["convert", "other", "--from", name, "--to", "json"]) == 0
    pins = PinPolicy.from_json(capsys.readouterr().out).lookup("api.example.com", 443)
    assert pins is not None
    assert set(map(str, pins.accepted)) == {A, B}


@pytest.mark.parametrize("name", ["curl", "rfc7469"])
def test_a_format_without_hosts(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its host is given, when it is read, and when it is one of several."""
    Path("two.toml").write_text(PinPolicy({"a.example.com": [A, B], "b.example.com": [B, A]}).to_toml())
    assert main(["convert", "two.toml", "--to", name]) == 2
    assert main(["convert", "two.toml", "--to", name, "--host", "a.example.com"]) == 0
    Path("other").write_text(capsys.readouterr().out)
    assert main(["convert", "other", "--from", name, "--to", "json"]) == 2
    assert main(["convert", "other", "--from", name, "--to", "json", "--host", "c.example.com"]) == 0
    assert [*PinPolicy.from_json(capsys.readouterr().out).hosts] == ["c.example.com"]


def test_losses(capsys: pytest.CaptureFixture[str]) -> None:
    """What gets lost goes to stderr, so that stdout can be used; with `--strict` it is a finding."""
    assert main(["convert", "pins.toml", "--to", "curl"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert err.count("lost: ") == err.count("\n") > 0
    assert main(["convert", "pins.toml", "--to", "curl", "--strict"]) == 1
    assert main(["convert", "pins.toml", "--to", "json", "--strict"]) == 0
    capsys.readouterr()
    assert main(["convert", "pins.toml", "--to", "curl", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["text"] == out
    assert len(said["losses"]) == err.count("\n")


def test_standard_input(command: Callable[..., Ran]) -> None:
    """Without a file, and for `-`, the configuration comes from standard input."""
    for arguments in ([], ["-"]):
        ran = command("convert", *arguments, "--from", "toml", "--to", "json", input=POLICY.to_toml())
        assert (ran.code, ran.err) == (0, "")
        assert PinPolicy.from_json(ran.out) == POLICY


@pytest.mark.parametrize(
    "arguments",
    [
        ["pins.toml", "--to", "unknown"],
        ["pins.toml", "--from", "okhttp-java", "--to", "toml"],
        ["pins.toml", "--to", "curl", "--host", "www.example.com"],
        ["missing.toml", "--to", "curl"],
        ["pins.toml"],
        [".", "--from", "toml", "--to", "json"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with 2, and a sentence."""
    assert main(["convert", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("pins.json", "{", ["--to", "toml"]),
        ("pins.xml", "<a>", ["--from", "android", "--to", "toml"]),
        ("zone", "a IN TLSA", ["--from", "tlsa", "--to", "toml"]),
        ("pins.toml", PinPolicy(blocked_pins=A).to_toml(), ["--to", "android"]),
        ("pins.toml", POLICY.to_toml(), ["--to", "curl", "--host", "www.example.com"]),
    ],
    ids=["unreadable JSON", "unreadable XML", "unreadable zone", "nothing to write", "unknown host"],
)
def test_errors_name_the_file(name: str, text: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Of several files that are converted in a loop the error names the one that is wrong."""
    Path(name).write_text(text)
    assert main(["convert", name, *options]) == 2
    assert capsys.readouterr().err.startswith(f"pinned-requests: '{name}': ")


def test_errors_name_standard_input(command: Callable[..., Ran]) -> None:
    """It has no name of its own."""
    ran = command("convert", "--from", "json", "--to", "toml", input="{")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("pinned-requests: standard input: ")


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says how to install it."""
    monkeypatch.setitem(sys.modules, "dns.zonefile", None)
    Path("zone").write_text("")
    assert main(["convert", "zone", "--from", "tlsa", "--to", "toml"]) == 2
    assert "pip install 'pinned-requests[cli]'" in capsys.readouterr().err


def test_a_pattern_and_an_exempt_host(capsys: pytest.CaptureFixture[str]) -> None:
    """`--host` of a pattern keeps the host that is exempt below it: Android does not pin it."""
    policy = PinPolicy({"**.example.com": [A, B], "a.example.com": {"exempt": True}, "example.org": [A, B]})
    Path("p.toml").write_text(policy.to_toml())
    assert main(["convert", "p.toml", "--to", "android", "--host", "**.example.com"]) == 0
    Path("p.xml").write_text(capsys.readouterr().out)
    assert main(["convert", "p.xml", "--from", "android", "--to", "json"]) == 0
    hosts = PinPolicy.from_json(capsys.readouterr().out).hosts
    assert {host: pins.is_exempt for host, pins in hosts.items()} == {"**.example.com": False, "a.example.com": True}

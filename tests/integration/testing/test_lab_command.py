"""`lab audit`: programs that are not written in Python, against attackers."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import certifi
import pytest

from pinned_requests.cli import main
from pinned_requests.testing import ATTACKERS
from pinned_requests.testing.serve.command import fill, way_of
from pinned_requests.testing.serve.namespace import NamespaceError

URL = "https://api.example.com/"
CLIENTS = Path(__file__).parents[2] / "support" / "lab_clients"
MEETS_THE_KEY = {"trusted-ca", "chain-stuffing", "same-name-ca", "second-connection", "connect-proxy", "revoked-key"}
MEETS_THE_KEY |= {"own-ca-revoked-key", "leaked-intermediate"}  # who refuses these looks at the key

CURL = ["curl", "-sS", "--cacert", "{ca}", URL]
WGET = ["wget", "-q", "-O-", "--tries=1", "--timeout=3", "--ca-certificate={ca}", URL]
GUIDE = Path(__file__).parents[3] / "docs" / "lab.md"
LINES = re.findall(r"(?m)^\$ pinned-requests (lab audit .*)$", GUIDE.read_text("utf-8") if GUIDE.exists() else "")
BY_ADDRESS = ["--connect-to", "::{address}:{port}"]  # of curl
NODE_ARGUMENTS = ["{address}", "{port}", "{host}", "{pins_base64}"]


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing."""
    missing = [each for each in programs if shutil.which(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing) or 'nothing'} is not installed")


def audit(
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    attackers: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Run an audit, and return its exit code, its JSON, and the verdicts."""
    chosen = [word for name in attackers for word in ("--attacker", name)]
    code = main(["lab", "audit", "--json", *options, *chosen, "--", *command])
    captured = capsys.readouterr()
    assert captured.err == ""
    report = json.loads(captured.out)
    return code, report, {each["attacker"]: each["verdict"] for each in report["results"]}


@needs("curl")
@pytest.mark.parametrize("way", [[], BY_ADDRESS])
def test_curl_with_pins_and_without(capsys: pytest.CaptureFixture[str], way: list[str]) -> None:
    """Over the proxy and by the address; the exit code says whether it was fooled."""
    pinned = [*CURL, *way, "--pinnedpubkey", "{curl_pins}"]
    code, report, verdicts = audit(capsys, pinned, ("trusted-ca", "wrong-host"))
    assert (code, report["rejected"], verdicts) == (0, True, {"trusted-ca": "rejected", "wrong-host": "rejected"})
    assert report["control"] == {"answered": True, "error": ""}
    assert report["way"] == ("arguments" if way else "proxy")
    assert "exit code 90: curl: (90)" in report["results"][0]["error"]

    code, report, verdicts = audit(capsys, [*CURL, *way], ("trusted-ca", "wrong-host"))
    assert (code, report["rejected"], verdicts) == (1, False, {"trusted-ca": "accepted", "wrong-host": "rejected"})


@needs("curl")
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["curl", "-sS", "--cacert", certifi.where(), URL], {"untested"}),  # does not trust the CA
        ([*CURL, "--pinnedpubkey", f"sha256//{'A' * 43}="], {"untested"}),  # pins the real host
        (["true", URL], {"untested"}),  # never connects
        (["curl", "-sS", "-k", URL], {"accepted"}),  # checks nothing
        (["curl", "-sS", "--noproxy", "*", "--resolve", "api.example.com:443:127.0.0.1", URL], {"untested"}),
    ],
)
def test_who_does_not_talk_to_the_host_is_untested(
    capsys: pytest.CaptureFixture[str], command: list[str], expected: set[str]
) -> None:
    """A refusal of everybody is no proof, and is a finding."""
    code, _report, verdicts = audit(capsys, command, ("trusted-ca", "self-signed"))
    assert code == 1
    assert set(verdicts.values()) == expected


@needs("wget")
def test_wget_does_not_pass_by_a_ca_that_it_does_not_trust(capsys: pytest.CaptureFixture[str]) -> None:
    """GnuTLS makes the handshake first and looks at the CA then, so that a server takes it for one that pins."""
    command = [word for word in WGET if not word.startswith("--ca-")]
    code, _report, verdicts = audit(capsys, command, ("trusted-ca",))
    assert (code, verdicts) == (1, {"trusted-ca": "untested"})


@needs("wget")
def test_wget_with_pins_and_without(capsys: pytest.CaptureFixture[str]) -> None:
    """It follows redirects, also to another scheme, which its pins do not reach."""
    assert audit(capsys, WGET, ("trusted-ca",))[2] == {"trusted-ca": "accepted"}
    pinned = [*WGET, "--pinnedpubkey={curl_pins}"]
    verdicts = audit(capsys, pinned, ("trusted-ca", "downgrade"))[2]
    assert verdicts == {"trusted-ca": "rejected", "downgrade": "accepted"}


@needs("node")
@pytest.mark.parametrize("script", ["secure_connect.js", "check_server_identity.js"])
def test_node_in_the_two_ways_of_its_tutorials(capsys: pytest.CaptureFixture[str], script: str) -> None:
    """It hangs up in TLS 1.3 without a word, and is asked again over TLS 1.2."""
    command = ["node", str(CLIENTS / script), *NODE_ARGUMENTS]
    options = ("--host", "api.example.com")
    code, report, verdicts = audit(capsys, command, ("trusted-ca", "self-signed"), options)
    assert (code, verdicts) == (0, {"trusted-ca": "rejected", "self-signed": "rejected"})
    assert "TLS 1.2" in report["results"][0]["reason"]


@needs("node")
@pytest.mark.parametrize("script", ["secure_connect.js", "check_server_identity.js"])
def test_node_looks_at_the_certificate_of_a_second_handshake(capsys: pytest.CaptureFixture[str], script: str) -> None:
    """It completes the handshake, and hangs up in the callback before it reads."""
    command = ["node", str(CLIENTS / script), *NODE_ARGUMENTS]
    options = ("--host", "api.example.com")
    _code, report, verdicts = audit(capsys, command, ("renegotiation",), options)
    assert verdicts == {"renegotiation": "rejected"}
    assert "wrong pin" in report["results"][0]["error"]


@pytest.mark.slow
@needs("javac", "java")
def test_a_mobile_app_over_a_proxy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its pins are compared after connect(): the redirect that the connection follows by itself is not compared."""
    subprocess.run(["javac", "-d", str(tmp_path), str(CLIENTS / "MobileClient.java")], check=True, timeout=120)
    command = ["java", "-cp", str(tmp_path), "MobileClient", "{proxy}", "{ca}", URL]
    options = ("--timeout", "30")
    verdicts = audit(capsys, [*command, "{pins}"], ("trusted-ca", "connect-proxy", "trailing-dot"), options)[2]
    assert verdicts == {"trusted-ca": "rejected", "connect-proxy": "rejected", "trailing-dot": "accepted"}
    assert audit(capsys, [*command, "-"], ("trusted-ca",), options)[2] == {"trusted-ca": "accepted"}


@pytest.mark.slow
@needs("curl")
def test_curl_against_all_attackers(capsys: pytest.CaptureFixture[str]) -> None:
    """With pins it meets every key and refuses it; without, none."""
    code, _report, verdicts = audit(capsys, [*CURL, *BY_ADDRESS, "--pinnedpubkey", "{curl_pins}"])
    assert set(verdicts) == set(ATTACKERS)
    assert {name for name in verdicts if verdicts[name] != "rejected"} <= {"renegotiation"}
    assert code == ("renegotiation" in {name for name in verdicts if verdicts[name] == "accepted"})
    _code, _report, verdicts = audit(capsys, [*CURL, *BY_ADDRESS])
    assert {name for name in verdicts if verdicts[name] == "accepted"} - {"renegotiation"} == MEETS_THE_KEY


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces of Linux")
@needs("curl")
def test_a_namespace_for_a_client_as_it_is() -> None:
    """No argument, no proxy: its own /etc/hosts, port 443, and one CA more in the system's store."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-m", "pinned_requests", "lab", "audit", "--way", "namespace", "--json"]
    command += ["--attacker", "trusted-ca", "--attacker", "downgrade", "--", "curl", "-sSL", URL]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    if b"not permitted" in done.stderr:
        pytest.skip(done.stderr.decode())
    assert done.stderr == b""
    report = json.loads(done.stdout)
    assert report["control"] == {"answered": True, "error": ""}
    assert [each["verdict"] for each in report["results"]] == ["accepted", "accepted"]
    assert "127.0.0.1 localhost api.example.com" not in Path("/etc/hosts").read_text("utf-8")


def test_a_namespace_that_is_not_permitted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to do."""

    def refuse(*_arguments: object) -> None:
        raise NamespaceError("a network namespace is not permitted here (Operation not permitted)")

    monkeypatch.setattr("pinned_requests.testing.serve.namespace.enter", refuse)
    assert main(["lab", "audit", "--way", "namespace", "--", "true", URL]) == 2
    assert "not permitted" in (said := capsys.readouterr().err)
    assert "--way proxy" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--attacker", "nonsense", "--", "true", URL], "trusted-ca"),
        (["--", "true"], "--host"),
        (["--", "there-is-no-such-program", URL], "No such file"),
        (["--host", "https://x/", "--", "true"], "invalid host"),
        ([], "COMMAND"),
    ],
)
def test_what_is_wrong(capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str) -> None:
    """One sentence, and exit code 2."""
    assert main(["lab", "audit", *arguments]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1


@needs("curl")
def test_the_web_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It shows the client, the attacker and the verdict in words."""
    page = tmp_path / "audit.html"
    assert main(["lab", "audit", "--html", str(page), "--attacker", "trusted-ca", "--", *CURL]) == 1
    capsys.readouterr()
    text = page.read_text("utf-8")
    assert text.lower().startswith("<!doctype html>")
    assert all(word in text for word in ("curl", "trusted-ca", "accepted"))


@needs("curl")
def test_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It begins with the control, and ends with a conclusion."""
    assert main(["lab", "audit", "--attacker", "trusted-ca", "--", *CURL]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The host's own server got a request from the client."
    assert lines[2].startswith("attacker ")
    assert lines[-1] == "Fooled by trusted-ca."
    assert main(["lab", "audit", "--attacker", "trusted-ca", "--", "false", URL]) == 1
    said = capsys.readouterr().out
    assert said.startswith("The host's own server got no request from the client (exit code 1).")
    assert "Not known for trusted-ca." in said
    once = f"test -e {tmp_path}/once || {{ : > {tmp_path}/once; exec curl -sS --cacert {{ca}} {URL}; }}"
    assert main(["lab", "audit", "--attacker", "trusted-ca", "--", "sh", "-c", once]) == 1
    said = capsys.readouterr().out
    assert "untested" in said
    assert said.endswith("The client must make a new connection, to the lab's address or proxy.\n")


@pytest.mark.parametrize("line", LINES)
def test_the_commands_of_the_guide(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """They run as they stand there, and curl and wget are not fooled where they pin."""
    words = shlex.split(line)
    program = words[words.index("--") + 1]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    if "namespace" in words:
        pytest.skip("it would change this process: see test_a_namespace_for_a_client_as_it_is")
    assert main([*words[:2], "--attacker", "trusted-ca", *words[2:]]) == 0
    assert "The client rejected every attacker." in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="groups of processes")
def test_a_command_that_does_not_end_is_ended(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With what it has started."""
    script = f"sleep 60 & echo $! >> {tmp_path}/pids; wait"
    begin = time.monotonic()
    options = ("--host", "api.example.com", "--timeout", "0.3")
    code, report, _verdicts = audit(capsys, ["sh", "-c", script], ("trusted-ca",), options)
    assert (code, report["control"]["error"]) == (1, "ended after 0.3 seconds")
    assert time.monotonic() - begin < 10
    for pid in (tmp_path / "pids").read_text("ascii").split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text("ascii").rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_audit_ends_its_command(tmp_path: Path, number: int) -> None:
    """Within a second, with the command that it is running."""
    pids = tmp_path / "pids"
    command = [sys.executable, "-m", "pinned_requests", "lab", "audit", "--host", "api.example.com", "--"]
    process = subprocess.Popen([*command, "sh", "-c", f"echo $$ > {pids}; sleep 60"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (pids.exists() and pids.read_text("ascii").strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    begin = time.monotonic()
    process.send_signal(number)
    assert process.communicate(timeout=10)[1] == b""
    assert process.returncode == 130
    assert time.monotonic() - begin < 2
    assert not Path(f"/proc/{pids.read_text('ascii').strip()}").exists()


def test_placeholders() -> None:
    """Other braces, as of a script, stay as they are."""
    assert fill(["{host}:{port}", "function () { return {a} }"], {"host": "x", "port": "1"}) == [
        "x:1",
        "function () { return {a} }",
    ]
    assert way_of(["curl", "{ca}"]) == "proxy"
    assert way_of(["curl", "--connect-to", "::{address}:{port}"]) == way_of(["java", "{proxy}"]) == "arguments"

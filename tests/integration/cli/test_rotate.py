"""`pinned-requests rotate`, `block`, `repin` and `init --add`, against live servers and real files."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pinned_requests import BlockedKeyError, Pin, PinMismatchError, PinnedSession, PinPolicy, PinSet, PolicyStore
from pinned_requests.cli import main
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from support.lab import Lab

COMMENT = "# Pins of the shop; owner: the platform team.\n"
LATER = timedelta(days=91)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Desk:
    """The operator's desk: one server, its policy, and commands without questions."""

    def __init__(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        self._lab, self._capsys = lab, capsys
        self.server = lab.serve(lab.honest)
        self.host = f"127.0.0.1:{self.server.port}"
        assert self("init", self.host) == 0
        text = Path("pins.toml").read_text()
        Path("pins.toml").write_text(COMMENT + text)

    def __call__(self, *arguments: object) -> int:
        """Run a command with the CA bundle of the lab, and return its exit code."""
        code = main(
            [
                *map(str, arguments),
                *([] if {"can-serve", "record"} & {*arguments} else ["--ca-bundle", self._lab.bundle]),
            ]
        )
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *arguments: object) -> Any:
        """Run a command with `--json`, and return what it prints."""
        self.code = self(*arguments, "--json")
        return json.loads(self.out)

    @property
    def pins(self) -> PinSet:
        """The pins of the host."""
        return PinPolicy.from_file("pins.toml").hosts[self.host]

    def serve_key(self, path: str) -> None:
        """Let the CA sign for a key, and the server present it."""
        key = load_pem_private_key(Path(path).read_bytes(), None)
        self.server.credential = self._lab.root.issue("127.0.0.1", "localhost", key=key)  # type: ignore[arg-type]  # an EC key

    def stage(self) -> str:
        """Return the stage that `rotate status` sees."""
        return str(self.json("rotate", "status", "pins.toml", self.host)["stage"])


@pytest.fixture
def desk(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Open the desk with the policy that `init` writes."""
    return Desk(lab, capsys)


def pass_time(monkeypatch: pytest.MonkeyPatch, span: timedelta) -> None:
    """Let the commands run at a later time."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + span

    for module in ("rotate", "can_serve"):
        monkeypatch.setattr(f"pinned_requests.cli.{module}.datetime", Later)


def test_a_whole_rotation(desk: Desk, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """From `init` to `finish`: each stage is seen, comments stay, and no session is refused on the way."""
    sessions = [lab.trusting(PinnedSession(PinPolicy.from_file("pins.toml")))]

    def ask() -> None:
        sessions.append(lab.trusting(PinnedSession(PinPolicy.from_file("pins.toml"))))
        for session in sessions:
            session.close()  # a fresh handshake
            assert session.get(f"https://{desk.host}/").ok

    old = desk.pins.pins[0]
    assert desk.stage() == "ready"  # there were no clients before `init`
    ask()
    desk.serve_key("backup.key")
    assert desk.stage() == "switched"
    ask()
    said = desk.json("rotate", "next", "pins.toml", desk.host, "--backup-key", "next.key", "--yes")
    assert Pin.parse(said["backup_pin"]) == Pin.from_file("next.key") == Pin.from_file("next.csr")
    assert stat.S_IMODE(Path("next.key").stat().st_mode) == 0o600
    assert (desk.pins.pins[0], desk.pins.backup_pins) == (old, (Pin.from_file("next.key"),))
    assert Pin.from_file("backup.key") in desk.pins.pins
    ask()
    assert desk.json("rotate", "status", "pins.toml", desk.host)["stage"] == "retiring"
    assert desk("rotate", "finish", "pins.toml", desk.host, "--pin", old, "--yes") == 0
    assert old not in desk.pins.accepted
    assert Path("pins.toml").read_text().startswith(COMMENT)
    # The issuer's pin is left: that of the CA, whose leaf it was, is not served by the root's own leaf.
    ask_last = lab.trusting(PinnedSession(PinPolicy.from_file("pins.toml")))
    assert ask_last.get(f"https://{desk.host}/").ok
    pass_time(monkeypatch, LATER)
    assert desk("can-serve", "next.key", desk.host, "--policy", "pins.toml") == 0


def test_a_key_that_is_new(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not to be served for 90 days; status and `can-serve` give the same date, and it is safe from then on."""
    assert desk("rotate", "next", "pins.toml", desk.host, "--backup-key", "next.key", "--yes") == 0
    assert "Do not serve the new key before" in desk.out
    said = desk.json("rotate", "status", "pins.toml", desk.host)
    first, second = said["reserve"]
    assert (first["may_be_served"], second["may_be_served"]) == (True, False)
    [waiting] = [each for each in said["not_yet"] if each["step"].startswith("serve")]
    answer = desk.json("can-serve", "next.csr", desk.host, "--policy", "pins.toml")["answers"][0]
    assert desk.code == 1
    assert answer["may_be_served_from"] == waiting["until"] == second["may_be_served_from"]
    until = datetime.fromisoformat(waiting["until"])
    assert timedelta(days=89.9) < until - datetime.now(UTC) < timedelta(days=90.1)
    assert desk("can-serve", "next.csr", desk.host, "--policy", "pins.toml", "--max-client-age", "0d") == 0
    pass_time(monkeypatch, LATER)
    assert desk("can-serve", "next.csr", desk.host, "--policy", "pins.toml") == 0


def test_finish_too_early(desk: Desk) -> None:
    """The pin of the key that is served is not dropped; nothing is written."""
    before = Path("pins.toml").read_bytes()
    assert desk("rotate", "finish", "pins.toml", desk.host, "--yes") == 1
    assert "there is no old pin to drop" in desk.err
    assert desk("rotate", "finish", "pins.toml", desk.host, "--pin", desk.pins.pins[0], "--yes") == 1
    assert "is still served at 127.0.0.1" in desk.err
    desk.server.__exit__(None, None, None)
    assert desk("rotate", "finish", "pins.toml", desk.host, "--pin", desk.pins.pins[0], "--yes") == 1
    assert "could not be asked" in desk.err
    assert Path("pins.toml").read_bytes() == before


def test_a_stolen_key(desk: Desk, lab: Lab) -> None:
    """`finish --stolen` drops and blocks it: who presents it is refused, on any host."""
    old = desk.pins.pins[0]
    desk.serve_key("backup.key")
    assert desk("rotate", "finish", "pins.toml", desk.host, "--pin", old, "--stolen", "--yes") == 0
    assert "accepts the stolen key until" in desk.out
    policy = PinPolicy.from_file("pins.toml")
    assert policy.blocked == {old}
    session = lab.trusting(PinnedSession(policy))
    assert session.get(f"https://{desk.host}/").ok
    desk.server.credential = lab.honest
    session.close()
    with pytest.raises(BlockedKeyError):
        session.get(f"https://{desk.host}/")


def test_an_interceptor(desk: Desk, lab: Lab) -> None:
    """A key that is not pinned is a finding of `status`; `next` and `finish` do nothing for it."""
    desk.server.credential = Authority.create().issue("127.0.0.1")
    assert desk("rotate", "status", "pins.toml", desk.host) == 1
    assert "its certificate is not valid" in desk.out
    desk.server.credential = lab.root.issue("127.0.0.1")
    assert desk("rotate", "status", "pins.toml", desk.host) == 1
    assert "NOT ACCEPTED" in desk.out
    assert f"pinned-requests repin {desk.host} --policy pins.toml" in desk.out
    assert desk("rotate", "next", "pins.toml", desk.host, "--yes") == 1
    assert not list(Path().glob("*-2*.key"))


@pytest.mark.parametrize("answer", ["", "n\n", "yes, please\n"])
def test_no_is_no(desk: Desk, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, not even a key; the answer is asked for on a terminal only."""
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert desk("rotate", "next", "pins.toml", desk.host) == 2
    assert "there is no terminal to ask on" in desk.err
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert desk("rotate", "next", "pins.toml", desk.host) == 1
    assert "nothing was written" in desk.err
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_yes_is_yes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is shown before."""
    terminal = io.StringIO("y\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert desk("rotate", "next", "pins.toml", desk.host, "--backup-key", "n.key") == 0
    assert re.search(r'^\+ +\{pin = "sha256/.{44}", note = "backup: n.key, made ', desk.out, re.MULTILINE)
    assert desk.err.startswith("Write this to pins.toml? [y/N]")


def test_a_full_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written whole leaves all as it was: no key, the old policy, the old history."""
    before = {path.name: path.read_bytes() for path in Path().iterdir()}

    def full(self: Path, target: Path | str) -> None:
        if Path(target).name == "pins.toml":
            raise OSError(28, "No space left on device")
        os.rename(self, target)  # noqa: PTH104  what is replaced here is Path.replace

    monkeypatch.setattr(Path, "replace", full)
    assert desk("rotate", "next", "pins.toml", desk.host, "--yes") == 2
    assert desk.err == "pinned-requests: pins.toml: No space left on device\n"
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_adding_hosts(desk: Desk, lab: Lab) -> None:
    """They join those that are there, comments included; a host that is there is not replaced."""
    other = lab.serve(lab.attacker)
    before = Path("pins.toml").read_text()
    assert desk("init", "--add", "pins.toml", f"localhost:{other.port}", "--yes") == 0
    assert Path("pins.toml").read_text().startswith(before)
    policy = PinPolicy.from_file("pins.toml")
    assert lab.trusting(PinnedSession(policy)).get(other.url()).ok
    notes = [pin.note for pin in policy.hosts[f"localhost:{other.port}"].pins]
    assert [str(note).partition(",")[0] for note in notes] == ["leaf: CN=localhost", "issuer: CN=Careless CA"]
    [key] = Path().glob("localhost-2*.key")
    assert policy.hosts[f"localhost:{other.port}"].backup_pins == (Pin.from_file(key),)
    connections = other.connections
    assert desk("init", "--add", "pins.toml", f"localhost:{other.port}", "--yes") == 2
    assert "has an entry for localhost" in desk.err
    assert other.connections == connections


def test_first_contact(desk: Desk) -> None:
    """A root that certifi does not hold is named, with the fingerprint to compare, as openssl prints it."""
    assert desk("init", desk.host, "--output", "p.json", "--backup-key", "k.key") == 0
    assert re.search(
        r"WARNING: .*certifi does not hold its root.*interceptor's key.*sha256 Fingerprint=[0-9A-F:]{95}", desk.err
    )
    doubts = desk.json("init", desk.host, "--output", "q.json", "--backup-key", "j.key")["doubts"]
    assert [*doubts] == [desk.host]


def test_first_contact_through_a_proxy(
    lab: Lab, start_proxy: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """It can show its own certificate: the doubt is named."""
    proxy = f"http://127.0.0.1:{start_proxy()}"
    server = lab.serve(lab.honest)
    assert main(["init", f"localhost:{server.port}", "--proxy", proxy, "--ca-bundle", lab.bundle, "--json"]) == 0
    [doubts] = json.loads(capsys.readouterr().out)["doubts"].values()
    assert [doubt.partition(",")[0] for doubt in doubts] == [
        "it was seen through a proxy",
        "certifi does not hold its root",
    ]


def test_an_edit_by_hand(desk: Desk, lab: Lab) -> None:
    """It counts from the date of its file until it is recorded; then that date stays, also after a fresh checkout."""
    text = Path("pins.toml").read_text().replace("backup_pins = [", f'backup_pins = [\n    "{lab.backup}",')
    Path("pins.toml").write_text(text)
    before = desk.json("rotate", "status", "pins.toml", desk.host)["reserve"]
    assert [each["may_be_served"] for each in before] == [False, True]
    assert desk("rotate", "record", "pins.toml") == 0
    later = datetime.now(UTC).timestamp() + 86400
    os.utime("pins.toml", (later, later))
    after = desk.json("rotate", "status", "pins.toml", desk.host)["reserve"]
    assert after == before


@pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")
def test_repin(desk: Desk, lab: Lab) -> None:
    """An appliance's new self-signed key is written if it is the expected one, and never unseen."""
    appliance = Authority.create().issue("127.0.0.1")
    new, before = Pin.from_certificate(appliance.certificate), Path("pins.toml").read_bytes()
    assert desk("repin", desk.host) == 0
    assert "Nothing to do" in desk.out
    desk.server.credential = appliance
    assert desk("repin", desk.host) == 2
    assert "there is no terminal to ask on" in desk.err
    assert "vouched for by no CA" in desk.out
    assert Pin.fingerprint(appliance.certificate).spelled("fingerprint") in desk.out
    assert desk("repin", desk.host, "--expect", lab.backup) == 1
    assert "and not sha256/" in desk.err
    assert Path("pins.toml").read_bytes() == before
    said = desk.json("repin", desk.host, "--expect", new)
    assert (said["old"], said["new"]["pin"], said["verified"]) == (
        [str(pin) for pin in PinPolicy.from_toml(before).hosts[desk.host].pins],
        str(new),
        False,
    )
    assert desk.pins.pins == (new,)
    session = lab.trusting(PinnedSession(PinPolicy.from_file("pins.toml")))
    assert session.get(f"https://{desk.host}/", verify=False).ok
    desk.server.credential = lab.honest
    session.close()
    with pytest.raises(PinMismatchError):
        session.get(f"https://{desk.host}/", verify=False)


def test_a_blocked_key_is_not_repinned(desk: Desk, lab: Lab) -> None:
    """An operator who repins in a hurry does not take back a stolen key."""
    stolen = lab.root.issue("127.0.0.1")
    desk.server.credential = stolen
    pin = Pin.from_certificate(stolen.certificate)
    assert desk("block", pin, "--yes") == 0
    assert desk("repin", desk.host, "--expect", pin) == 1
    assert "blocks" in desk.err
    assert pin not in desk.pins.accepted


def test_block(desk: Desk, lab: Lab) -> None:
    """By pin, by file and by the server that presents it; what is accepted elsewhere is named."""
    Path("ca.pem").write_bytes(lab.attacker.certificate_pem)
    interceptor = lab.serve(Authority.create().issue("localhost"))
    accepted = desk.pins.pins[0]
    arguments = [lab.backup, "./ca.pem", f"localhost:{interceptor.port}", accepted]
    said = desk.json("block", *arguments, "--yes")
    expected = [
        lab.backup,
        Pin.from_certificate(lab.attacker.certificate),
        Pin.from_certificate(interceptor.credential.certificate),
        accepted,
    ]
    assert said["blocked"] == [str(pin) for pin in expected]
    assert said["accepted_for"] == {str(accepted): [desk.host]}
    policy = PinPolicy.from_file("pins.toml")
    assert list(policy.blocked_pins) == expected
    assert [pin.note is None for pin in policy.blocked_pins] == [True, False, False, True]
    assert desk("block", lab.backup, "--yes") == 0
    assert "already" in desk.out
    for wrong in ("sha256/A", "./missing", "*.example.com"):
        assert desk("block", wrong, "--yes") == 2
    assert Path("pins.toml").read_text().startswith(COMMENT)


def test_advice_can_be_pasted(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A path with a space and a quote is quoted for the shell."""
    server = lab.serve(lab.honest)
    name = "the shop's pins.toml"
    assert main(["init", f"127.0.0.1:{server.port}", "--output", name, "--ca-bundle", lab.bundle]) == 0
    key = load_pem_private_key(Path("backup.key").read_bytes(), None)
    server.credential = lab.root.issue("127.0.0.1", key=key)  # type: ignore[arg-type]  # an EC key
    capsys.readouterr()
    assert main(["rotate", "status", name, f"127.0.0.1:{server.port}", "--ca-bundle", lab.bundle]) == 0
    [line] = [line.strip() for line in capsys.readouterr().out.splitlines() if "rotate next" in line]
    host = f"127.0.0.1:{server.port}"
    assert shlex.split(line)[1:] == ["rotate", "next", name, host, "--ca-bundle", lab.bundle]
    assert main([*shlex.split(line)[1:], "--yes"]) == 0


def test_a_mismatch_names_the_command(desk: Desk, lab: Lab) -> None:
    """With the policy's file; pasted, it shows the key that was refused."""
    desk.server.credential = lab.root.issue("127.0.0.1")
    for pins in (PinPolicy.from_file("pins.toml"), PolicyStore.from_file("pins.toml")):
        with pytest.raises(PinMismatchError) as refused:
            lab.trusting(PinnedSession(pins)).get(f"https://{desk.host}/")
        command = str(refused.value).splitlines()[-1].partition("changed the key: ")[2]
        assert shlex.split(command) == ["pinned-requests", "repin", desk.host, "--policy", "pins.toml"]
    assert desk(*shlex.split(command)[1:]) == 2
    assert str(Pin.from_certificate(desk.server.credential.certificate)) in desk.out


def test_a_pattern(desk: Desk) -> None:
    """An entry of several hosts: what was not asked is said, and a pin is not dropped without that."""
    pins = PinPolicy.from_file("pins.toml").hosts[desk.host]
    Path("wide.toml").write_text(PinPolicy({"**.localhost": pins}).to_toml())
    host = f"localhost:{desk.server.port}"
    assert desk("rotate", "status", "wide.toml", host) == 0
    assert "the entry is **.localhost: its other hosts may have other keys" in desk.out
    assert desk("rotate", "next", "wide.toml", host, "--yes") == 0
    desk.serve_key("backup.key")
    assert desk("rotate", "finish", "wide.toml", host, "--pin", pins.pins[0], "--yes") == 0
    assert "WARNING: the entry is **.localhost" in desk.err


def test_advice_has_the_options(desk: Desk) -> None:
    """The command that is advised asks the same server: by its address, and without a CA where this one did."""
    port = desk.server.port
    desk.serve_key("backup.key")
    Path("named.toml").write_text(PinPolicy({f"api.example.com:{port}": desk.pins}).to_toml())
    place = f"api.example.com:{port}:127.0.0.1"
    arguments = ["rotate", "status", "named.toml", f"api.example.com:{port}", "--insecure", "--connect-to", place]
    advised = desk.json(*arguments)["next"][0]
    assert shlex.split(advised)[1:3] == ["rotate", "next"]
    assert {"--insecure", place} <= {*shlex.split(advised)}
    assert main([*shlex.split(advised)[1:], "--yes"]) == 0

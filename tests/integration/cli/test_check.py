"""`pinned-requests check`: each finding on a server that has it, and none on one that has not."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main
from pinned_requests.monitoring import check as check_module
from pinned_requests.testing import Credential

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
NOBODYS = Pin("spki", bytes(range(32)))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pin_of(certified: Any) -> Pin:
    """Return the SPKI pin of a credential or an authority."""
    return Pin.from_certificate(certified.certificate)


class Checker:
    """Checks hosts against a policy, with the CA bundle of the lab."""

    def __init__(self, lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self._lab, self._capsys = lab, capsys

    def __call__(self, hosts: Any, *arguments: object, **options: Any) -> Any:
        """Return what `check --json` prints for a policy; the exit code says whether there are findings."""
        Path("pins.json").write_text(PinPolicy(hosts, **options).to_json())
        code = main(["check", "pins.json", *map(str, arguments), "--ca-bundle", self._lab.bundle, "--json"])
        said = json.loads(self._capsys.readouterr().out)
        assert (code, said["findings"]) == (min(1, said["findings"]), sum(len(h["findings"]) for h in said["hosts"]))
        return said

    def kinds(self, hosts: Any, *arguments: object, **options: Any) -> list[str]:
        """Return the kinds of findings of the one host."""
        [host] = self(hosts, *arguments, **options)["hosts"]
        return [finding["kind"] for finding in host["findings"]]


@pytest.fixture
def check(lab: Any, capsys: pytest.CaptureFixture[str]) -> Checker:
    """Check hosts."""
    return Checker(lab, capsys)


def test_all_is_well(lab: Any, check: Checker) -> None:
    """The pin that matches is named, and its depth; nothing is sent."""
    server = lab.serve(lab.honest)
    name = f"localhost:{server.port}"
    [host] = check({name: {"pins": pin_of(lab.honest), "backup_pins": lab.backup}})["hosts"]
    assert (host["outcome"], host["pattern"], host["pin"], host["depth"]) == (
        *("match", name, str(pin_of(lab.honest))),
        0,
    )
    [host] = check({name: [pin_of(lab.root), lab.backup]})["hosts"]
    assert (host["pin"], host["depth"], len(host["chain"])) == (str(pin_of(lab.root)), 2, 3)
    server.settle()
    assert (server.handshakes, server.application_bytes) == (2, 0)


def test_mismatch(lab: Any, check: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """A man in the middle with a valid certificate is found, also where the policy only reports; he gets nothing."""
    server = lab.serve(lab.attacker)
    pins = {f"localhost:{server.port}": [pin_of(lab.honest), lab.backup]}
    assert check.kinds(pins) == ["mismatch"]
    assert check.kinds({name: {"pins": given, "report_only": True} for name, given in pins.items()}) == ["mismatch"]
    assert main(["check", "pins.json", "--ca-bundle", lab.bundle]) == 1
    assert str(pin_of(lab.attacker)) in capsys.readouterr().out
    server.settle()
    assert server.application_bytes == 0


def test_blocked_key(lab: Any, check: Checker) -> None:
    """A blocked key is found, whatever else matches."""
    server = lab.serve(lab.honest)
    pins = {"pins": [pin_of(lab.honest), lab.backup], "blocked_pins": pin_of(lab.root)}
    assert check.kinds({f"localhost:{server.port}": pins}) == ["blocked-key"]


def test_notes_are_shown(lab: Any, check: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """With the pin that matched, that is blocked, or that is served though it is a backup; escaped."""
    name = f"localhost:{lab.serve(lab.honest).port}"
    shown = f"{pin_of(lab.honest)}  (2026\\n leaf)"
    leaf = pin_of(lab.honest).with_note("2026\n leaf")
    [host] = check({name: {"pins": lab.backup, "backup_pins": leaf}})["hosts"]
    assert host["findings"][0]["text"].startswith(f"the backup {shown} is served")
    assert main(["check", "pins.json", "--ca-bundle", lab.bundle]) == 1
    assert f"  {shown}\n" in capsys.readouterr().out
    [host] = check({name: {"pins": [pin_of(lab.honest), lab.backup], "blocked_pins": leaf}})["hosts"]
    assert host["findings"][0]["text"] == f"the chain holds the blocked {shown}"


def test_no_backup_pin(lab: Any, check: Checker) -> None:
    """Pins of served keys alone are no reserve, however many; one that is not served is."""
    server = lab.serve(lab.honest)
    name = f"localhost:{server.port}"
    served = [pin_of(lab.honest), pin_of(lab.root)]
    with pytest.warns(UserWarning, match="backup"):
        assert check.kinds({name: served[1]}) == ["no-backup-pin"]
    assert check.kinds({name: served}) == ["no-backup-pin"]
    assert check.kinds({name: [*served, NOBODYS]}) == []


def test_backup_pin_that_is_served(lab: Any, check: Checker) -> None:
    """A backup pin must not be in the chain (RFC 7469 §4.3), at any depth."""
    server = lab.serve(lab.honest)
    for depth, served in enumerate(lab.honest.chain):
        pins = {"pins": NOBODYS, "backup_pins": Pin.from_certificate(served)}
        said = check({f"localhost:{server.port}": pins})["hosts"][0]
        assert [finding["kind"] for finding in said["findings"]] == ["backup-pin-served"]
        assert said["depth"] == depth


def test_a_leaf_that_expires_soon(lab: Any, check: Checker) -> None:
    """A leaf alone that expires within the span is found; with its issuer pinned, or with a shorter span, it is not."""
    soon = lab.root.intermediate().issue("localhost", not_after=NOW + 10 * DAY)
    server = lab.serve(soon)
    name = f"localhost:{server.port}"
    assert check.kinds({name: [pin_of(soon), NOBODYS]}) == ["leaf-expires-soon"]
    assert check.kinds({name: [pin_of(soon), NOBODYS]}, "--within", "9d") == []
    assert check.kinds({name: [pin_of(soon), NOBODYS]}, "--within", "2w") == ["leaf-expires-soon"]
    assert check.kinds({name: [pin_of(soon), pin_of(lab.root), NOBODYS]}) == []


@pytest.mark.parametrize(
    ("days", "within", "kind"), [(10, "30d", "pins-expire-soon"), (10, "9d", None), (-1, "30d", "pins-expired")]
)
@pytest.mark.parametrize("on_expiry", ["unpin", "block"])
def test_pins_that_expire(  # noqa: PLR0913  two of them are fixtures
    lab: Any, check: Checker, *, days: int, within: str, kind: str | None, on_expiry: str
) -> None:
    """A set that expires within the span, or has expired, is found."""
    server = lab.serve(lab.honest)
    pins = {"pins": [pin_of(lab.honest), NOBODYS], "expires": NOW + days * DAY, "on_expiry": on_expiry}
    assert check.kinds({f"localhost:{server.port}": pins}, "--within", within) == ([kind] if kind else [])


@pytest.mark.parametrize("on_expiry", ["unpin", "block"])
def test_expired_pins_that_do_not_match_either(lab: Any, check: Checker, on_expiry: str) -> None:
    """Who renews expired pins is told that the server has other keys by now, or one that is blocked."""
    server = lab.serve(lab.honest)
    pins = {"pins": [NOBODYS, lab.backup], "expires": NOW - DAY, "on_expiry": on_expiry}
    name = f"localhost:{server.port}"
    assert check.kinds({name: pins}) == ["mismatch", "pins-expired"]
    assert check.kinds({name: {**pins, "blocked_pins": [pin_of(lab.honest)]}}) == ["blocked-key", "pins-expired"]


def test_a_policy_of_exempt_hosts_and_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    """It names hosts, and is not told otherwise: none that it names has pins."""
    hosts: Any = {"a.example.com": {"exempt": True}, "*.example.com": {"pins": [NOBODYS, Pin("spki", bytes(32))]}}
    Path("pins.json").write_text(PinPolicy(hosts).to_json())
    assert main(["check", "pins.json"]) == 2
    assert "the policy pins no host by its name" in capsys.readouterr().err


def test_unreachable(lab: Any, check: Checker) -> None:
    """A server that is not there, or has no valid certificate, is found."""
    assert check.kinds({"localhost:1": [NOBODYS, lab.backup]}) == ["unreachable"]
    server = lab.serve(Credential.self_signed("localhost"))
    assert check.kinds({f"localhost:{server.port}": [NOBODYS, lab.backup]}) == ["unreachable"]


def test_a_server_that_says_nothing(lab: Any, check: Checker) -> None:
    """It is given up after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}"
        assert check.kinds({name: [NOBODYS, lab.backup]}, "--timeout", "0.2") == ["unreachable"]


def alternating(*credentials: Credential, asked_for: list[str | None]) -> ssl.SSLContext:
    """Return a server's context that presents another credential to each connection, in turns.

    The names that clients ask for are added to `asked_for`.
    """
    contexts = itertools.cycle([credential.server_context() for credential in credentials])
    first = credentials[0].server_context()

    def choose(tls: Any, name: str | None, _context: object) -> None:
        asked_for.append(name)
        tls.context = next(contexts)

    first.sni_callback = choose
    return first


def test_samples(lab: Any, check: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many connections are made, in turns to all addresses, and show that another server has another issuer."""
    resolve, names = socket.getaddrinfo, []

    def two_addresses(host: str, *arguments: Any, **options: Any) -> Any:
        names.append(host)
        if host != "localhost":
            return resolve(host, *arguments, **options)
        return [entry for each in ("127.0.0.1", "127.0.0.2") for entry in resolve(each, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    other = lab.root.intermediate("Other CA").issue("localhost", key=lab.honest.key)
    asked_for: list[str | None] = []
    context = alternating(lab.honest, other, asked_for=asked_for)
    server = lab.serve(lab.honest, host="0.0.0.0", context=context)  # noqa: S104  both addresses
    name = f"localhost:{server.port}"
    issuer = Pin.from_certificate(lab.honest.chain[1])
    assert check.kinds({name: [pin_of(lab.honest), issuer, NOBODYS]}) == []  # one connection does not
    names.clear()
    assert check.kinds({name: [pin_of(lab.honest), issuer, NOBODYS]}, "--samples", "4") == ["intermediate-differs"]
    server.settle()
    assert server.handshakes == 5
    assert names.count("127.0.0.1") == names.count("127.0.0.2") == 2
    assert check.kinds({name: [pin_of(lab.honest), pin_of(lab.root), NOBODYS]}, "--samples", "4") == []
    # A server among them that does not match is named by its address.
    said = check({name: [issuer, NOBODYS]}, "--samples", "2")["hosts"][0]
    assert [finding["kind"] for finding in said["findings"]] == ["mismatch"]
    assert said["findings"][0]["text"].startswith("at 127.0.0.")
    assert set(asked_for) == {"localhost"}  # and not for an address
    server.settle()
    assert server.application_bytes == 0


def test_which_hosts(lab: Any, check: Checker) -> None:
    """Without hosts those that the policy names; with hosts those, which its patterns may match."""
    server = lab.serve(lab.honest)
    pins = [pin_of(lab.honest), lab.backup]
    policy = {f"localhost:{server.port}": pins, "**.localhost": pins, "exempt.example": {"exempt": True}}
    said = check(policy)
    assert [host["host"] for host in said["hosts"]] == [f"localhost:{server.port}"]
    assert said["not_checked"] == ["**.localhost"]
    [host] = check({"127.0.0.1": pins, "**.localhost": pins}, f"localhost:{server.port}")["hosts"]
    assert (host["host"], host["pattern"], host["outcome"]) == (f"localhost:{server.port}", "**.localhost", "match")
    assert check.kinds(policy, "www.example.com") == ["not-pinned"]
    assert check.kinds(policy, "www.example.com", unpinned_hosts="allow") == ["not-pinned"]
    assert check.kinds(policy, "exempt.example") == []
    assert main(["check", "pins.json", "*.localhost"]) == 2
    Path("pins.json").write_text(PinPolicy({"**.localhost": pins}).to_json())
    assert main(["check", "pins.json"]) == 2


def test_ignored_findings(lab: Any, check: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """A kind that is ignored is no finding; one that does not exist is an error, so that no misspelling hides one."""
    server = lab.serve(lab.honest)
    pins = {f"localhost:{server.port}": {"pins": NOBODYS, "backup_pins": pin_of(lab.honest)}}
    assert check.kinds(pins, "--ignore", "backup-pin-served") == []
    assert main(["check", "pins.json", "--ignore", "backup-pin-severed"]) == 2
    assert "backup-pin-served" in capsys.readouterr().err


def test_many_hosts_at_a_time(lab: Any, check: Checker) -> None:
    """Hosts are asked concurrently, no more than `--jobs` at a time, and shown in the order of the policy."""
    most, asked, lock = [0], [0], threading.Lock()
    servers = [lab.serve(lab.honest) for _ in range(6)]
    policy = {f"localhost:{server.port}": [pin_of(lab.honest), lab.backup] for server in servers}
    fetch = check_module.fetch

    def counted(*arguments: Any) -> Any:
        with lock:
            asked[0] += 1
            most[0] = max(most[0], asked[0])
        try:
            barrier.wait(5)
            return fetch(*arguments)
        finally:
            with lock:
                asked[0] -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_module, "fetch", counted)
        barrier = threading.Barrier(3)
        said = check(policy, "--jobs", "3")
    assert [host["host"] for host in said["hosts"]] == list(policy)
    assert most == [3]


def test_a_progress_bar_for_many_hosts(terminal: Callable[..., str]) -> None:
    """On a terminal a bar shows how many of many hosts were asked; for few there is none, and without a terminal."""
    pins = [NOBODYS, Pin("spki", bytes(32))]
    few = {f"127.0.0.1:{port}": pins for port in range(1, 4)}
    many = {f"127.0.0.1:{port}": pins for port in range(1, 15)}
    for hosts, has_bar in ((few, False), (many, True)):
        Path("pins.json").write_text(PinPolicy(hosts).to_json())
        assert ("asking" in terminal("check", "pins.json")) is has_bar


def test_no_progress_bar_in_a_log(command: Callable[..., Any]) -> None:
    """What cron would mail has the findings, and nothing on stderr."""
    hosts = {f"127.0.0.1:{port}": [NOBODYS, Pin("spki", bytes(32))] for port in range(1, 15)}
    Path("pins.json").write_text(PinPolicy(hosts).to_json())
    ran = command("check", "pins.json")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.count("unreachable: Connection refused") == 14
    assert "\x1b" not in ran.out


def test_interrupted(environment: dict[str, str]) -> None:
    """Ctrl-C ends it soon, with 130 and without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        Path("pins.json").write_text(PinPolicy({f"127.0.0.1:{port}": [NOBODYS, Pin("spki", bytes(32))]}).to_json())
        with subprocess.Popen(
            [sys.executable, "-m", "pinned_requests", "check", "pins.json", "--timeout", "2"],
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            connection, _ = listener.accept()  # it is at work now
            with connection:
                os.kill(process.pid, signal.SIGINT)
                out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")

"""`pinned-requests can-serve` with real files, and with a real repository of signed policies."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.cli import main
from pinned_requests.core.pin import find_keys
from pinned_requests.editing.files import create
from pinned_requests.editing.policy_file import first_record, read_history, record
from pinned_requests.monitoring.serving import read_key_file
from pinned_requests.testing import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.publisher import Publisher

HOST = "api.example.com"
DAY = timedelta(days=1)
OTHER = Pin("spki", bytes(32))
NOW = datetime.now(UTC)

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def root() -> Authority:
    """A CA."""
    return Authority.create("Example CA")


@pytest.fixture(scope="module")
def key(root: Authority) -> Credential:
    """The key that is asked about, with a certificate."""
    return root.issue(HOST, "www.example.com")


def pin_of(certified: Credential | Authority) -> Pin:
    """The SPKI pin of a credential or an authority."""
    return Pin.from_certificate(certified.certificate)


def policy(*pins: Pin, host: str = HOST) -> PinPolicy:
    """A policy of one host."""
    return PinPolicy({host: PinSet([*pins, OTHER])})


def written(name: str, content: PinPolicy, ago: int) -> None:
    """Write a policy, as if so many days ago, without a history."""
    Path(name).write_text(content.to_toml())
    moment = (NOW - ago * DAY).timestamp()
    os.utime(name, (moment, moment))


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """Return the one answer that is printed as JSON; the exit code says the same."""
    code = main(["can-serve", *map(str, arguments), "--json"])
    [answer] = json.loads(capsys.readouterr().out)["answers"]
    assert code == (0 if answer["may_be_served"] else 1)
    return answer


def test_kinds_of_files(key: Credential, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate, its chain, a key in PEM or DER: the same answer for each."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  for this alone

    Path("cert.pem").write_bytes(key.certificate_pem)
    Path("chain.pem").write_bytes(key.served_pem)
    Path("key.pem").write_bytes(key.key_pem)
    Path("cert.der").write_bytes(key.certificate.public_bytes(Encoding.DER))
    written("pins.toml", policy(pin_of(key)), 100)
    for name in ("cert.pem", "chain.pem", "key.pem", "cert.der"):
        assert ask(capsys, name, HOST, "--policy", "pins.toml")["may_be_served"]
    written("pins.toml", policy(OTHER), 100)
    for name in ("cert.pem", "chain.pem", "key.pem", "cert.der"):
        answer = ask(capsys, name, HOST, "--policy", "pins.toml")
        assert (answer["may_be_served"], answer["may_be_served_from"]) == (False, None)


def test_hosts_of_the_certificate(key: Credential, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a host those that the certificate names and the policy pins are asked for; a key names none."""
    Path("cert.pem").write_bytes(key.certificate_pem)
    Path("key.pem").write_bytes(key.key_pem)
    written("pins.toml", PinPolicy({HOST: [pin_of(key), OTHER], "**.example.net": [OTHER, pin_of(key)]}), 100)
    assert ask(capsys, "cert.pem", "--policy", "pins.toml")["host"] == f"{HOST}:443"
    assert main(["can-serve", "key.pem", "--policy", "pins.toml"]) == 2
    assert "name the HOST" in capsys.readouterr().err
    assert main(["can-serve", "cert.pem"]) == 2
    assert "--policy" in capsys.readouterr().err


def test_older_policies(key: Credential, capsys: pytest.CaptureFixture[str]) -> None:
    """Each that clients may have must accept the key; the date is that of the newer one and the slowest client."""
    Path("cert.pem").write_bytes(key.certificate_pem)
    written("new.toml", policy(pin_of(key)), 30)
    written("old.toml", policy(OTHER), 200)
    written("older.toml", policy(pin_of(key), OTHER), 300)
    answer = ask(capsys, "cert.pem", HOST, "--policy", "new.toml", "--policy", "old.toml", "--policy", "older.toml")
    safe = datetime.fromisoformat(answer["may_be_served_from"])
    assert abs(safe - (NOW + 60 * DAY)) < timedelta(minutes=1)
    assert [each["policy"] for each in answer["refusals"]] == ["old.toml"]
    assert ask(capsys, "cert.pem", HOST, "--policy", "new.toml", "--policy", "older.toml")["may_be_served"]
    # Alone, and young: there may have been one before it.
    answer = ask(capsys, "cert.pem", HOST, "--policy", "new.toml")
    assert [each["policy"] for each in answer["refusals"]] == ["an earlier policy that is not known"]
    assert ask(capsys, "cert.pem", HOST, "--policy", "new.toml", "--max-client-age", "4w")["may_be_served"]


def test_a_chain_that_was_not_signed(root: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    """The issuer's pin counts only for a certificate that it signed: a file can hold any CA beside the leaf."""
    honest, stranger = root.intermediate("Pinned CA"), Authority.create("Stranger")
    issued = honest.issue(HOST)
    written("pins.toml", policy(pin_of(honest)), 100)
    Path("good.pem").write_bytes(issued.served_pem)
    Path("bad.pem").write_bytes(stranger.issue(HOST).certificate_pem + honest.certificate_pem)
    assert ask(capsys, "good.pem", HOST, "--policy", "pins.toml")["may_be_served"]
    assert not ask(capsys, "bad.pem", HOST, "--policy", "pins.toml")["may_be_served"]
    assert len(read_key_file(tuple(find_keys(Path("bad.pem").read_bytes()))).pins) == 1
    assert len(read_key_file(tuple(find_keys(Path("good.pem").read_bytes()))).pins) == 2


def test_a_repository(
    key: Credential, publishing: Callable[..., Publisher], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written and not published does not count; once published, it counts from when it was written."""
    Path("cert.pem").write_bytes(key.certificate_pem)
    publisher = publishing()
    old, new = policy(OTHER), policy(pin_of(key))
    publisher.publish(old)
    Path("root.json").write_bytes(publisher.root)
    repository = ["--remote", publisher.server.url("", host="127.0.0.1"), "--root", "root.json"]

    path = Path("pins.toml")
    written("pins.toml", old, 300)
    create([first_record(path, old, NOW - 300 * DAY)])
    record(path, read_history(path, old, NOW), new, NOW - 100 * DAY)
    written("pins.toml", new, 100)
    answer = ask(capsys, "cert.pem", HOST, "--policy", "pins.toml", *repository)
    assert (answer["may_be_served"], answer["may_be_served_from"]) == (False, None)
    assert main(["can-serve", "cert.pem", HOST, "--policy", "pins.toml", *repository]) == 1
    assert "publish pins.toml first, which accepts it" in capsys.readouterr().out
    assert ask(capsys, "cert.pem", HOST, "--policy", "pins.toml")["may_be_served"]  # if it had been shipped

    publisher.publish(new)
    assert ask(capsys, "cert.pem", HOST, "--policy", "pins.toml", *repository)["may_be_served"]
    # Without the history what was there before is unknown.
    answer = ask(capsys, "cert.pem", HOST, *repository)
    assert not answer["may_be_served"]
    assert ask(capsys, "cert.pem", HOST, *repository, "--max-client-age", "0d")["may_be_served"]


def test_a_repository_that_is_forged(
    key: Credential, publishing: Callable[..., Publisher], capsys: pytest.CaptureFixture[str]
) -> None:
    """One that does not verify from the root that clients ship gives no answer."""
    Path("cert.pem").write_bytes(key.certificate_pem)
    publisher, other = publishing(), publishing()
    publisher.publish(policy(pin_of(key)))
    Path("root.json").write_bytes(other.root)
    repository = ["--remote", publisher.server.url("", host="127.0.0.1"), "--root", "root.json"]
    assert main(["can-serve", "cert.pem", HOST, *repository]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert main(["can-serve", "cert.pem", HOST, *repository[:2]]) == 2
    assert "belong together" in capsys.readouterr().err

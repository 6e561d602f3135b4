"""`pinned-requests check --format …`: what other programs read."""

from __future__ import annotations

import json
import os
import stat
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main
from pinned_requests.cli.app import Format
from pinned_requests.cli.check_monitors import NagiosState

if TYPE_CHECKING:
    from pinned_requests.core.pinset import PinsLike
    from support.lab import Lab

NOBODYS = Pin("spki", bytes(range(32)))
SCHEMA = json.loads(resources.files("pinned_requests").joinpath("check.schema.json").read_text("utf-8"))

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Checker:
    """Checks two hosts: one is fine, the other is what a test makes it."""

    def __init__(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        self._lab, self._capsys = lab, capsys
        self.fine, self.other = (f"localhost:{lab.serve(lab.honest).port}" for _ in range(2))
        self.leaf = Pin.from_certificate(lab.honest.certificate)

    def __call__(self, *arguments: str, other: PinsLike, expires: str | None = None) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        fine: PinsLike = {"pins": self.leaf, "backup_pins": self._lab.backup, "expires": expires}
        Path("pins.json").write_text(PinPolicy({self.fine: fine, self.other: other}).to_json())
        code = main(["check", "pins.json", "--ca-bundle", self._lab.bundle, *arguments])
        printed = self._capsys.readouterr()
        assert printed.err == ""
        return code, printed.out


@pytest.fixture
def check(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Checker:
    """Check two hosts."""
    return Checker(lab, capsys)


def test_json_lines(check: Checker) -> None:
    """A line for each host, as the schema has it."""
    code, out = check("--format", "jsonl", other=[NOBODYS, check.leaf])
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, [line["host"] for line in lines]) == (0, [check.fine, check.other])
    validator = Draft202012Validator({"$ref": "#/$defs/host", "$defs": SCHEMA["$defs"]})
    for line in lines:
        validator.validate(line)


@pytest.mark.parametrize(
    ("fail_on", "other", "state"),
    [
        ("warning", "fine", NagiosState.OK),
        ("warning", "without backup", NagiosState.WARNING),
        ("critical", "without backup", NagiosState.OK),
        ("critical", "mismatch", NagiosState.CRITICAL),
        ("info", "single-depth", NagiosState.WARNING),
        ("warning", "single-depth", NagiosState.OK),
    ],
)
def test_nagios(check: Checker, lab: Lab, fail_on: str, other: str, state: NagiosState) -> None:
    """The codes and the status line of plug-ins, with performance data."""
    pins = {
        "fine": [check.leaf, NOBODYS],
        "without backup": [check.leaf],
        "mismatch": [NOBODYS, lab.backup],
        "single-depth": [Pin.from_certificate(lab.honest.chain[1]), Pin.fingerprint(lab.honest.chain[1])],
    }[other]
    ignored = ("--ignore", "no-backup-pin") if other == "single-depth" else ()
    got, out = check("--format", "nagios", "--fail-on", fail_on, *ignored, other=pins)
    line, bar, measured = out.splitlines()[0].partition(" | ")
    assert (got, bar) == (state, " | ")
    assert line.startswith(f"PINS {state.name} - 2 hosts, ")
    assert dict(each.split("=") for each in measured.split()).keys() == {"hosts", "critical", "warning", "info"}
    assert (check.other in line) is (state > 0)
    assert not any("|" in more for more in out.splitlines()[1:])


def test_nagios_where_nothing_can_be_checked(check: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """It is UNKNOWN, and not CRITICAL; a wrong command line stays a usage error."""
    assert main(["check", "missing.toml", "--format", "nagios"]) == 3
    assert capsys.readouterr().out == "PINS UNKNOWN - missing.toml: No such file or directory\n"
    assert main(["check", "missing.toml", "--format", "nagios", "--fail-on", "nothing"]) == 2
    assert "--fail-on" in capsys.readouterr().err
    code, out = check("--format", "nagios", "--ca-bundle", "a|b", other=[NOBODYS])
    assert (code, out) == (3, "PINS UNKNOWN - there is no CA bundle 'a/b'\n")


def test_prometheus(check: Checker, lab: Lab) -> None:
    """The metrics that alarms and graphs need, as Prometheus' own parser reads them."""
    issuer = Pin.from_certificate(lab.honest.chain[1])
    other = {"pins": issuer, "backup_pins": [NOBODYS, lab.backup]}
    code, out = check("--format", "prometheus", other=other, expires="2099-01-01T00:00:00Z")
    samples = {
        (sample.name.removeprefix("pinned_requests_"), sample.labels.get("host")): sample.value
        for family in text_string_to_metric_families(out)
        for sample in family.samples
    }
    assert code == 0
    assert samples["match_depth", check.fine] == 0
    assert samples["match_depth", check.other] == 1
    assert samples["backup_pins_in_reserve", check.fine] == 1
    assert samples["backup_pins_in_reserve", check.other] == 2
    assert samples["host_reached", check.fine] == 1
    assert samples["host_findings", check.fine] == 0
    assert 0 < samples["leaf_expiry_days", check.fine] < 4000
    assert samples["issuer_expiry_days", check.other] > 3000
    assert ("issuer_expiry_days", check.fine) not in samples
    assert samples["pins_expiry_days", check.fine] > 10000
    assert samples["check_complete", None] == 1


def test_prometheus_names_findings(check: Checker) -> None:
    """With their severity, for alarms."""
    code, out = check("--format", "prometheus", other=[NOBODYS, Pin("spki", bytes(32))])
    found = [s.labels for f in text_string_to_metric_families(out) for s in f.samples if s.name.endswith("_findings")]
    assert {"host": check.other, "kind": "mismatch", "severity": "critical"} in found
    assert code == 1


@pytest.mark.parametrize("form", get_args(Format))
def test_output_is_written_whole(check: Checker, form: str) -> None:
    """Into a file that others may read meanwhile: it is replaced, with its mode, or stays as it is."""
    path = Path("report.out")
    arguments = ("--format", form, "--output", str(path))
    other = [check.leaf, NOBODYS]
    assert check(*arguments, other=other) == (0, "")
    assert path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 & ~_umask()
    path.chmod(0o640)
    before = path.stat().st_ino
    assert check(*arguments, other=other) == (0, "")
    assert path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(each.name for each in Path().iterdir()) == ["pins.json", "report.out"]


@pytest.mark.parametrize("place", ["missing/report.out", ".", "/dev/full"])
def test_output_that_cannot_be_written(lab: Lab, capsys: pytest.CaptureFixture[str], place: str) -> None:
    """It is an error that names the file, not a success."""
    Path("pins.json").write_text(PinPolicy({"localhost:1": [NOBODYS, lab.backup]}).to_json())
    assert main(["check", "pins.json", "--output", place]) == 2
    assert capsys.readouterr().err.startswith(f"pinned-requests: {place}: ")
    assert [each.name for each in Path().iterdir()] == ["pins.json"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Policies as text: what is read, what is said of mistakes, and what no text can cost."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinned_requests import Pin, PinFormatError, PinPolicy, PinSet, PolicyError
from pinned_requests.core import policy_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, C = (Pin("spki", bytes([number]) * 32) for number in range(3))

TOML = f"""
unpinned_hosts = "allow"
blocked_pins = ["{C}"]

[hosts."api.example.com"]
pins = ["{A}"]
backup_pins = ["{B}"]
expires = 2027-03-01T00:00:00Z

[hosts."*.example.com"]
exempt = true
"""
JSON = json.dumps(
    {
        "unpinned_hosts": "allow",
        "blocked_pins": [str(C)],
        "hosts": {
            "api.example.com": {"pins": [str(A)], "backup_pins": [str(B)], "expires": "2027-03-01T00:00:00Z"},
            "*.example.com": {"exempt": True},
        },
    }
)
POLICY = PinPolicy(
    {
        "api.example.com": PinSet(A, B, expires=dt.datetime(2027, 3, 1, tzinfo=dt.UTC)),
        "*.example.com": PinSet.exempt(),
    },
    unpinned_hosts="allow",
    blocked_pins=C,
)


@pytest.fixture(params=["rtoml", "tomllib"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both TOML parsers: the faster rtoml, and the standard library's where it is not installed."""
    if request.param == "tomllib":
        monkeypatch.setitem(sys.modules, "rtoml", None)


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize("text", [TOML, TOML.encode(), "\ufeff" + TOML, TOML.replace("\n", "\r\n")])
def test_toml(text: str | bytes) -> None:
    """A table of hosts, of which each has its fields; dates are dates."""
    assert PinPolicy.from_toml(text) == POLICY


@pytest.mark.parametrize("text", [JSON, JSON.encode(), "\ufeff" + JSON, b"\xef\xbb\xbf" + JSON.encode()])
def test_json(text: str | bytes) -> None:
    """The same fields, with dates as text; a byte order mark, as Windows writes it, does no harm."""
    assert PinPolicy.from_json(text) == POLICY


def test_text_of_either_kind() -> None:
    """JSON begins with a brace."""
    assert (
        PinPolicy.from_text(TOML) == PinPolicy.from_text("\n  " + JSON) == PinPolicy.from_text(JSON.encode()) == POLICY
    )


DATES = st.none() | st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001  hypothesis adds the zone
NOTED = st.builds(Pin.with_note, st.sampled_from([A, B, C]), st.text(st.characters(codec="utf-8"), max_size=120))
PINS = st.lists(st.sampled_from([A, B, C, Pin("cert", b"x" * 32)]) | NOTED, min_size=2, max_size=3)
SETS = st.just(PinSet.exempt()) | st.builds(
    PinSet,
    PINS,
    PINS,
    PINS,
    expires=DATES,
    on_expiry=st.sampled_from(["unpin", "block"]),
    report_only=st.booleans(),
)
POLICIES = st.builds(
    PinPolicy,
    st.dictionaries(
        st.sampled_from(["a.example", "*.a.example", "**.b.example:8443", "[2001:db8::1]", "é.example"]), SETS
    ),
    unpinned_hosts=st.sampled_from(["block", "allow"]),
    blocked_pins=st.lists(st.sampled_from([A, B, C]) | NOTED, min_size=1, max_size=2),
)


@pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")
@given(policy=POLICIES)
def test_what_is_written_is_read_back(policy: PinPolicy) -> None:
    """Every field survives, in both, and every note, of which equality says nothing."""
    for again in (PinPolicy.from_toml(policy.to_toml()), PinPolicy.from_json(policy.to_json())):
        assert again == policy
        assert again.to_json() == policy.to_json()


def test_blocked_pins_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document then needs no hosts, from wherever it is read."""
    policy = PinPolicy(blocked_pins=[A, B])
    assert json.loads(policy.to_json()) == {"unpinned_hosts": "block", "blocked_pins": [str(A), str(B)]}
    path = tmp_path / "pins.toml"
    path.write_text(policy.to_toml())
    monkeypatch.setenv("PINS", policy.to_json())
    assert PinPolicy.from_file(path) == PinPolicy.from_env("PINS") == PinPolicy.from_json(policy.to_json()) == policy


def test_toml_is_written_for_people() -> None:
    """A line for each pin, with its note beside it; dates are dates."""
    noted = PinPolicy(
        {"b.example": PinSet([A.with_note('"B"\n\x7f\\ é'), B], expires="2027-03-01T00:00:00.5Z", report_only=True)},
        blocked_pins=C,
    )
    assert (
        noted.to_toml()
        == f"""unpinned_hosts = "block"
blocked_pins = [
    "{C}",
]

[hosts."b.example"]
pins = [
    {{pin = "{A}", note = "\\"B\\"\\n\\u007f\\\\ é"}},
    "{B}",
]
expires = 2027-03-01T00:00:00.500000Z
report_only = true
"""
    )


def _host(fields: str) -> str:
    return f'[hosts."api.example.com"]\n{fields}\n'


@pytest.mark.parametrize(
    ("text", "error", "names"),
    [
        ("", PolicyError, ["'hosts'"]),
        ('unpinned_hosts = "allow"', PolicyError, ["'hosts'"]),
        ("hosts = 1", PolicyError, ["'hosts'"]),
        ("[hosts]", PolicyError, ["'hosts'", "'blocked_pins'"]),
        ("blocked_pins = []", PolicyError, ["'hosts'", "'blocked_pins'"]),
        ('blocked_pins = ["x"]', PinFormatError, ["'blocked_pins'", "'x'"]),
        ('blocked_pin = ["x"]', PolicyError, ["'blocked_pin'", "did you mean 'blocked_pins'?"]),
        ('unpinned_host = "allow"\n[hosts]', PolicyError, ["'unpinned_host'", "did you mean 'unpinned_hosts'?"]),
        ('unpinned_hosts = "alow"\n[hosts]', PolicyError, ["'unpinned_hosts'", "did you mean 'allow'?"]),
        (_host('pinz = ["x"]'), PolicyError, ["api.example.com", "'pinz'", "did you mean 'pins'?"]),
        (_host('pins = ["sha1/x"]'), PinFormatError, ["api.example.com", "'pins'", "'sha1/x'"]),
        (_host('backup_pins = ["x"]'), PinFormatError, ["api.example.com", "'backup_pins'", "'x'"]),
        (_host("pins = 1"), PolicyError, ["api.example.com", "'pins'", "1"]),
        (_host(f'pins = "{A}"\nexpires = 2027-03-01'), PolicyError, ["api.example.com", "'expires'"]),
        (_host(f'pins = "{A}"\nexpires = 2027-03-01T00:00:00'), PolicyError, ["api.example.com", "'expires'", "zone"]),
        (_host(f'pins = "{A}"\nreport_only = "yes"'), PolicyError, ["api.example.com", "'report_only'", "'yes'"]),
        (_host(f'pins = "{A}"\n') + _host("exempt = true"), PolicyError, ["TOML", "api.example.com"]),
        (_host(f'pins = "{A}"') + '[hosts."API.example.com."]\nexempt = true', PolicyError, ["'API.example.com.'"]),
        ('[hosts."a b"]\nexempt = true', PolicyError, ["'a b'", "white space"]),
        ("[hosts\n", PolicyError, ["TOML", "line 1"]),
        ('[hosts."a"]\nexempt = "\x1b[31m"', PolicyError, ["TOML"]),
        (b"\xff\xfe", PolicyError, ["UTF-8"]),
        ("\ud800", PolicyError, ["UTF-8"]),
        ("a = \x00", PolicyError, ["TOML"]),
        (None, PolicyError, ["text"]),
        (3, PolicyError, ["3"]),
    ],
)
@pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")
def test_an_error_names_host_and_field(text: Any, error: type[PolicyError], names: list[str]) -> None:
    """And the closest known field for a misspelled one; on one line that prints."""
    with pytest.raises(error) as caught:
        PinPolicy.from_text(text)
    assert [name for name in names if name not in str(caught.value)] == []
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"hosts": {"a.example": {"exempt": true}, "a.example": {"exempt": true}}}', "'a.example'"),
        ('{"hosts": {"a.example": {"exempt": false, "exempt": true}}}', "'exempt'"),
        ('{"hosts": {}, "hosts": {}}', "'hosts'"),
        ('{"hosts": {"a.example": {"report_only": NaN}}}', "NaN"),
        ('{"hosts": {}} x', "JSON"),
        ("[]", "object"),
        ('"hosts"', "object"),
        ("1" * 5000, "JSON"),
    ],
)
def test_json_that_is_no_policy(text: str, named: str) -> None:
    """A duplicate name is refused: which of the two was reviewed?"""
    with pytest.raises(PolicyError, match=named):
        PinPolicy.from_json(text)


HOSTILE: dict[str, tuple[Callable[[], str | bytes], str]] = {
    "too long": (lambda: JSON.encode() + b" " * policy_text.MAX_SIZE, "larger than"),
    "too wide": (lambda: JSON + "\U0001f512" * (policy_text.MAX_SIZE // 2 + 1), "larger than"),
    "many arrays": (lambda: '{"hosts": [' + "[]," * policy_text.MAX_MARKS + "[]]}", "larger than"),
    "deep arrays": (lambda: "[" * 100_000, "nested|invalid TOML"),
    "deep objects": (lambda: '{"a":' * 100_000, "nested|invalid TOML"),
    "deep TOML": (lambda: "a = " + "[" * 100_000, "nested|invalid JSON"),
    "deep inline tables": (lambda: "a = " + "{a=" * 80_000, "nested|invalid JSON"),
    "many keys": (
        lambda: "".join(f"{n}=1\n" for n in range(policy_text.MAX_MARKS // 2 + 1)),
        "larger than|invalid JSON",
    ),
    "long integer": (lambda: "a = " + "1" * 900, "invalid JSON|field"),
    "longer integer": (lambda: "a = " + "1" * 100_000, "invalid JSON|invalid TOML"),
    "long line": (lambda: "a = " + "1" * policy_text.MAX_LINE, "invalid JSON|line of more"),
}


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(("make", "why"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_refused(make: Callable[[], str | bytes], why: str) -> None:
    """It is refused by our error, and before a parser makes gigabytes of it. More of them: `test_toml_bounds.py`."""
    text = make()
    for read in (PinPolicy.from_toml, PinPolicy.from_json):
        with pytest.raises(PolicyError, match=why):
            read(text)


@pytest.mark.usefixtures("_either_parser")
@given(text=st.text() | st.binary() | st.text("[]{}\"=.,:#'\\\n ahosts1T-Z"))
def test_any_text_is_a_policy_or_refused(text: Any) -> None:
    """Nothing else comes out."""
    for read in (PinPolicy.from_toml, PinPolicy.from_json, PinPolicy.from_text):
        try:
            made: object = read(text)
        except PolicyError as e:
            made = str(e)
        assert isinstance(made, PinPolicy) or (isinstance(made, str) and made.isprintable())


def test_a_policy_file_goes_by_its_suffix(tmp_path: Path) -> None:
    """A suffix in any case is accepted."""
    for name, text in {"pins.toml": TOML, "pins.json": JSON, "PINS.JSON": JSON}.items():
        path = tmp_path / name
        path.write_text(text, "utf-8")
        assert PinPolicy.from_file(path) == PinPolicy.from_file(str(path)) == POLICY


def test_an_error_names_the_file(tmp_path: Path) -> None:
    """It is the first thing to know of several."""
    path = tmp_path / "pins.toml"
    path.write_text(_host('pins = ["x"]'))
    with pytest.raises(PinFormatError, match=r"pins\.toml.*api\.example\.com.*'pins'"):
        PinPolicy.from_file(path)
    for wrong in (tmp_path / "pins.yaml", tmp_path, "pins", "", None, 3, b"pins.toml", "a\0.toml"):
        with pytest.raises(PolicyError):
            PinPolicy.from_file(wrong)  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(FileNotFoundError):
        PinPolicy.from_file(tmp_path / "absent.toml")


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of either kind; what is wrong with it names the variable."""
    for text in (TOML, JSON):
        monkeypatch.setenv("PINS", text)
        assert PinPolicy.from_env("PINS") == POLICY
    monkeypatch.setenv("PINS", "[")
    with pytest.raises(PolicyError, match="'PINS'"):
        PinPolicy.from_env("PINS")
    monkeypatch.delenv("PINS")
    for wrong in ("PINS", "", "A=B", "\0", None, 3):
        with pytest.raises(PolicyError, match="is not set"):
            PinPolicy.from_env(wrong)  # type: ignore[arg-type]  # that is what is tested


@pytest.mark.parametrize(
    "text", [f"{A},{B}", f"{A}; {B}", f"\n  {A}\n\t{B}\n", f" ,{A} ;,\r\n {B};", f'pin-sha256="{str(A)[7:]}";{B}']
)
def test_bare_pins_in_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one host or pattern; every other is blocked."""
    monkeypatch.setenv("PINS", text)
    assert PinPolicy.from_env("PINS", host="*.Example.com") == PinPolicy({"*.example.com": [A, B]})


@pytest.mark.parametrize(
    ("text", "host", "says"),
    [
        ("", "a.example", "'PINS': a.example: .*without pins"),
        (" ;, ", "a.example", "'PINS': a.example: .*without pins"),
        (f"{A},sha256/x", "a.example", "'PINS': a.example: .*'sha256/x'"),
        (JSON, "a.example", "'PINS': a.example: .*invalid pin"),
        (str(A), "", "'PINS'.*''"),
        (str(A), "https://a.example", "'PINS'.*a scheme"),
        (str(A), 3, "'PINS'.*3"),
    ],
)
def test_wrong_bare_pins(text: str, host: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, and the host."""
    monkeypatch.setenv("PINS", text)
    with pytest.raises(PolicyError, match=says):
        PinPolicy.from_env("PINS", host=host)


def test_what_is_no_part_of_a_policy_is_not_written() -> None:
    """`json` would ask for a date, and gets an error for all else."""
    with pytest.raises(TypeError):
        policy_text.dump_json({"hosts": object()})


def test_a_duplicate_name_is_found_at_once() -> None:
    """Among a hundred thousand, too."""
    names = [f"host{number}.example.com" for number in range(100_000)]
    text = '{"hosts": {' + ", ".join(f'"{name}": {{"exempt": true}}' for name in [*names, names[-1]]) + "}}"
    begin = time.process_time()
    with pytest.raises(PolicyError, match=names[-1]):
        PinPolicy.from_json(text)
    assert time.process_time() - begin < 10


def test_a_hundred_thousand_hosts() -> None:
    """They load within seconds; how many depends on the machine, and `python -m benchmarks` measures it."""
    text = json.dumps({"hosts": {f"host{number}.example.com": [str(A), str(B)] for number in range(100_000)}})
    begin = time.process_time()
    assert len(PinPolicy.from_json(text).hosts) == 100_000
    assert time.process_time() - begin < 30


def test_no_bound_keeps_a_hundred_thousand_hosts_out() -> None:
    """With two pins each, notes and all other fields, as TOML and as JSON."""
    noted = [A.with_note("2026 leaf, key of the load balancer"), B.with_note("2026 backup, offline key in safe B")]
    pins = PinSet(noted, expires="2027-03-01T00:00:00Z", on_expiry="block", report_only=True)
    policy = PinPolicy({"host.example.com": pins})
    head, _, of_host = policy.to_toml().partition("\n[")
    text = head + "".join("\n[" + of_host.replace("host.", f"host{number}.") for number in range(100_000))
    assert len(policy_text.load_toml(text)["hosts"]) == 100_000
    policy_text._bound_toml(text)  # a parser would be given it as well
    hosts = json.loads(policy.to_json())["hosts"]
    document = {"hosts": {f"host{number}.example.com": hosts["host.example.com"] for number in range(100_000)}}
    assert policy_text.load_json(policy_text.dump_json(document)) == document

"""`plain_toml` against the parser of the standard library: it gives the same table, or none."""

from __future__ import annotations

import datetime as dt
import importlib
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.core import plain_toml, policy_text

A, B = (Pin("spki", bytes([number]) * 32) for number in range(2))
PLAIN = PinPolicy(
    {
        "a.example": PinSet(
            [A.with_note("{pin = é, '#'}"), B],
            A,
            B.with_note("x"),
            expires="2027-03-01T00:00:00Z",
            on_expiry="block",
            report_only=True,
        ),
        "*.é.example:8443": [A, B],
        "[2001:db8::1]": PinSet([A, B], expires="2027-03-01T12:34:56.789Z"),
        "b.example": PinSet.exempt(),
    },
    unpinned_hosts="allow",
    report_uri="https://reports.example.net/a?b=c",
    blocked_pins=[A],
).to_toml()
TOMLLIB = importlib.import_module("tomllib")
PIECES = st.sampled_from(
    [
        *(
            '[hosts."a"]',
            '[hosts."b"]',
            "[hosts.'a']",
            "[hosts]",
            "[hosts.a]",
            '[hosts."a".pins]',
            '[["hosts"]]',
            '[hosts."\\u0061"]',
        ),
        *(
            "pins = ",
            "backup_pins = ",
            "hosts = ",
            "hosts.a = ",
            "pins.a = ",
            '"pins" = ',
            "pins=",
            "a-b = ",
            "Pins = ",
            "é = ",
        ),
        *('"x"', '"y z"', "'x'", '"\\n"', '"\\"', '"é"', '"#"', '"a\tb"', '"\x7f"', '"\x00"', '"\u0085"', '"""', '""'),
        *(
            "[",
            "]",
            ",",
            "{",
            "}",
            "{pin = ",
            '{pin = "x", note = "y"}',
            '{pin = "x"}',
            '{note = "y", pin = "x"}',
            '{pin = "x", note = "y",}',
            '[{pin = "", note = ""}, "x"]',
            '["x"]',
            '["x", "y"]',
            '["x" "y"]',
            '["x",,]',
            "[,]",
            '["x", # c\n]',
            "[[]]",
            "[1]",
        ),
        *("true", "false", "True", "1", "2027-03-01T00:00:00Z", "2027-02-30T00:00:00Z", "2027-03-01T24:00:00Z"),
        *("2027-03-01T23:59:60Z", "2027-03-01T00:00:00.123456Z", "2027-03-01T00:00:00", "2027-03-01 00:00:00Z"),
        *("\n", "\n", "\n", "\n\n", "\r\n", "\r", "\t", " ", "    ", "# comment", "#", "\ufeff", ".", "="),
    ]
)
LINES = st.builds(
    "{}{}{}".format,
    st.sampled_from(['[hosts."a"]\n', '[hosts."b"]\n', "pins = ", "backup_pins = ", "exempt = ", "expires = "]),
    PIECES,
    st.sampled_from(["\n", "\n", "\n\n", "", " ", " # c\n"]),
)


def parsed(text: str) -> Any:
    """What the parser says of a text, or "wrong"."""
    try:
        return TOMLLIB.loads(text)
    except ValueError:
        return "wrong"


def agrees(text: str) -> bool:
    """Whether the two agree: by value and type, and order."""
    read = plain_toml.read(text)
    return read is None or repr(read) == repr(parsed(text))


@given(text=st.lists(PIECES, max_size=12).map("".join) | st.lists(LINES, max_size=6).map("".join))
@example('hosts = "x"\n[hosts."a"]\npins = ["x"]\n')
@example('[hosts."a"]\npins = ["x"]\npins = ["x"]\n')
@example('[hosts."a"]\n\n[hosts."a"]\n')
@example('pins = ["x"]')
@example("a = true")
@example("expires = 2027-02-30T00:00:00Z\n")
@example("expires = 2027-03-01T24:00:00Z\n")
def test_it_gives_what_a_parser_gives(text: str) -> None:
    """Or nothing, as for all that is wrong."""
    assert agrees(text)


@given(data=st.data())
def test_a_policy_that_was_tampered_with(data: st.DataObject) -> None:
    """One to three places of a policy are other ones."""
    text = PLAIN
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(PIECES | st.text(max_size=2)) + text[at + data.draw(st.integers(0, 3)) :]
    assert agrees(text)


def test_what_a_policy_writes_is_plain() -> None:
    """No parser is asked, and dates are dates; for a note with an escape, one is."""
    document = plain_toml.read(PLAIN)
    assert document == parsed(PLAIN)
    assert document is not None
    assert document["hosts"]["[2001:db8::1]"]["expires"] == dt.datetime(2027, 3, 1, 12, 34, 56, 789000, dt.timezone.utc)
    assert plain_toml.read(PinPolicy({"a.example": [A.with_note("\n"), B]}).to_toml()) is None
    assert plain_toml.read(PinPolicy(blocked_pins=A).to_toml()) == {"unpinned_hosts": "block", "blocked_pins": [str(A)]}


@pytest.mark.parametrize(
    "text",
    [
        "a = [" + '"", ' * (1 << 20),
        'a = ["' + "a" * (1 << 23),
        "a = [" + " " * (1 << 23),
        "a" * (1 << 23),
        '[hosts."' + "a" * (1 << 23),
        '[hosts.""]' + "\n" * (1 << 23) + "x",
        "a = true\n" * (1 << 20),
        '""' * (plain_toml.MAX_STRINGS + 1),
    ],
    ids=range(8),
)
def test_what_is_not_plain_takes_no_time(text: str) -> None:
    """A pattern that gave back what it took would take minutes."""
    begin = time.process_time()
    assert plain_toml.read(text) is None
    assert time.process_time() - begin < 2


def test_no_parser_is_asked_for_a_plain_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is why it takes no longer than JSON."""
    monkeypatch.setattr(policy_text, "_toml_parser", lambda: pytest.fail("it was asked"))
    assert len(PinPolicy.from_toml(PLAIN).hosts) == 4

"""A policy's text is changed where it must, and nowhere else."""

from __future__ import annotations

import difflib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError
from pinned_requests.editing import changes
from pinned_requests.editing.document import edited, says

A, B, C, D = (Pin("spki", bytes([n]) * 32) for n in range(4))
NEW = D.with_note('the "new" one \x7f ü')

TEXT = f"""# Pins of the shop; owner: the platform team.
unpinned_hosts = "block"  # never allow

[hosts."API.example.com"]  # the API
pins = [
    "{A}",  # the leaf of 2024
    # the issuer:
    "{B}",
]
backup_pins = ["{C}"]  # in safe B

# The shop.
[hosts."*.example.com"]
pins = ["{A}", "{B}"]
expires = 2027-03-01T00:00:00Z
"""
POLICY = PinPolicy.from_toml(TEXT)


def difference(new: str, old: str = TEXT) -> list[str]:
    """The lines that are gone, behind `-`, and those that are new, behind `+`."""
    return [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"]


def test_a_pin_is_added() -> None:
    """One line is new; comments and the spelling of the host stay."""
    new = changes.with_backup(POLICY, "api.example.com", NEW, served=())
    assert difference(edited(TEXT, new)) == [
        f'- backup_pins = ["{C}"]  # in safe B',
        f'+ backup_pins = ["{C}", {{pin = "{D}", note = "the \\"new\\" one \\u007f ü"}}]  # in safe B',
    ]


def test_a_pin_is_dropped() -> None:
    """With the comment beside it, and no other."""
    new = changes.without(POLICY, "api.example.com", [A])
    assert difference(edited(TEXT, new)) == [f'-     "{A}",  # the leaf of 2024']


def test_a_backup_becomes_a_pin() -> None:
    """It moves from one list to the other."""
    new = changes.with_backup(POLICY, "api.example.com", NEW, served=[C])
    text = edited(TEXT, new)
    entry = PinPolicy.from_toml(text).hosts["api.example.com"]
    assert (entry.pins, entry.backup_pins) == ((A, B, C), (D,))
    assert "# the leaf of 2024" in text
    assert "# in safe B" in text


def test_keys_are_blocked() -> None:
    """A list that was not there comes before the tables; a second key joins the first."""
    once = edited(TEXT, changes.blocking(POLICY, [D]))
    assert difference(once) == ["+ blocked_pins = [", f'+     "{D}",', "+ ]"]
    twice = edited(once, changes.blocking(PinPolicy.from_toml(once), [C]))
    assert difference(twice, once) == [f'+     "{C}",']


def test_hosts_are_added() -> None:
    """They come last, as `to_toml` lays them out."""
    pins = PinSet([A], backup_pins=[NEW], expires="2027-01-01T00:00:00Z", on_expiry="block")
    text = edited(TEXT, changes.with_hosts(POLICY, {"b.example.com:8443": pins}))
    assert text.startswith(TEXT)
    assert PinPolicy.from_toml(text).hosts["b.example.com:8443"] == pins
    with pytest.raises(PolicyError, match=r"api\.example\.com already"):
        changes.with_hosts(POLICY, {"api.example.com": pins})


@pytest.mark.parametrize(
    "text",
    [
        f'hosts = {{"api.example.com" = "{A}"}}\n',
        f'[hosts]\n"api.example.com" = ["{A}"]  # short\n',
        f'[hosts."api.example.com"]\npins = "{A}"\n',
        f'hosts."api.example.com".pins = ["{A}"]\n',
        json.dumps({"hosts": {"api.example.com": str(A)}}),
        json.dumps({"hosts": {"API.example.com": {"pins": [{"pin": str(A), "note": "n"}], "report_only": True}}}),
    ],
)
@pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")
def test_other_spellings(text: str) -> None:
    """A policy may be written in short; what is changed becomes long."""
    policy = PinPolicy.from_text(text)
    steps = [
        changes.with_backup(policy, "api.example.com", NEW, served=()),
        changes.repinned(policy, "api.example.com", [A], [C, D]),
        changes.blocking(policy, [D]),
        changes.with_hosts(policy, {"b.example.com": PinSet([A, B])}),
    ]
    for step in steps:
        assert says(edited(text, step), step)
    assert edited(text, policy).split() == (text if text[0] != "{" else json.dumps(json.loads(text), indent=2)).split()


def test_a_policy_of_blocked_keys_alone() -> None:
    """It gets its first host."""
    text = f'blocked_pins = ["{A}"]  # stolen\n'
    new = changes.with_hosts(PinPolicy.from_toml(text), {"a.example.com": PinSet([B, C])})
    assert edited(text, new).startswith(text)
    assert says(edited(text, new), new)


def test_what_no_command_changes() -> None:
    """Options and dates are for their owner; a text that is not a policy is not edited."""
    for new in (
        PinPolicy(POLICY.hosts, unpinned_hosts="allow"),
        PinPolicy({**POLICY.hosts, "*.example.com": PinSet([A, B])}, blocked_pins=POLICY.blocked_pins),
    ):
        with pytest.raises(PolicyError, match="by hand"):
            edited(TEXT, new)
    with pytest.raises(PolicyError):
        edited("pins = 1\n", POLICY)
    with pytest.raises(PolicyError, match="larger than"):
        edited(TEXT + "#" * (9 << 20), POLICY)


PINS = st.lists(
    st.builds(
        lambda n, note: Pin("spki", bytes([n]) * 32, note=note),
        st.integers(0, 9),
        st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    ),
    max_size=4,
    unique=True,
)
SETS = st.builds(lambda pins, more: PinSet([*pins, A, B], more), PINS, PINS)
POLICIES = st.builds(
    lambda hosts, blocked: PinPolicy(hosts, blocked_pins=blocked),
    st.dictionaries(st.sampled_from(["a.example.com", "*.example.com", "b.example.com:8443"]), SETS, min_size=1),
    PINS,
)


@given(POLICIES, POLICIES, st.booleans())
def test_any_change(old: PinPolicy, new: PinPolicy, is_json: bool) -> None:  # noqa: FBT001  a value that hypothesis draws
    """Whatever the two policies are, the edited text of the one says the other, notes included."""
    assert says(edited(old.to_json() if is_json else old.to_toml(), new), new)


def test_an_edit_that_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is about to be written is read back first: a text that says something else is an error, not a file."""
    monkeypatch.setattr("pinned_requests.editing.document._Toml.dump", lambda *_: TEXT)
    with pytest.raises(PolicyError, match="cannot be edited"):
        edited(TEXT, changes.blocking(POLICY, [D]))

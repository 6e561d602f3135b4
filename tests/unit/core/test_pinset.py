"""`PinSet`: what it takes, when it warns, and what it says about mistakes."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import warnings
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import MissingBackupPinWarning, Pin, PinFormatError, PinPolicy, PinSet, PolicyError
from pinned_requests.core import pinset as pinset_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType
    from typing import Self

    from pinned_requests.core.pinset import PinsLike

UTC = dt.UTC
A, B, C, D = (Pin("spki", bytes([number]) * 32) for number in range(4))
BASE64 = str(A).removeprefix("sha256/")
PAIR = PinSet([A, B])


@pytest.fixture(autouse=True)
def _nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins like a process: nothing has been warned of."""
    monkeypatch.setattr(pinset_module, "_warned", set())


@pytest.mark.parametrize(
    "value",
    [
        PAIR,
        [A, B],
        (str(A), B),
        {A, B},
        iter([A, B]),
        {"pins": [A, B]},
        {"pins": (pin for pin in (A, B)), "on_expiry": "unpin", "report_only": False, "exempt": False, "expires": None},
        MappingProxyType({"pins": [B, A, B]}),
    ],
    ids=range(8),
)
def test_what_does_for_a_pin_set(value: PinsLike) -> None:
    """The set itself, iterables of pins or their spellings, mappings of its fields."""
    assert PinSet.of(value) == PAIR


@pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")
@pytest.mark.parametrize("value", [A, str(A), [A], {"pins": A}, {"pins": BASE64}])
def test_one_pin_does_for_a_pin_set(value: PinsLike) -> None:
    """Alone or in a list."""
    assert (PinSet.of(value).pins, PinSet.of(value).backup_pins, PinSet.of(value).blocked_pins) == ((A,), (), ())


def test_fields() -> None:
    """Pins keep their order and lose repetitions; dates become UTC; the sets for look-ups follow."""
    pins = PinSet(
        [A, B, str(A)],
        C,
        [D, D],
        expires=dt.datetime(2027, 3, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        on_expiry="block",
        report_only=True,
    )
    assert (pins.pins, pins.backup_pins, pins.blocked_pins) == ((A, B), (C,), (D,))
    assert (dt.datetime(2027, 3, 1, tzinfo=UTC), "block", True, False) == (
        pins.expires,
        pins.on_expiry,
        pins.report_only,
        pins.is_exempt,
    )
    assert (frozenset((A, B, C)), frozenset((D,))) == (pins.accepted, pins.blocked)


NOTED = A.with_note("2026 leaf")


def test_pins_with_notes() -> None:
    """A mapping of pin and note does for a pin, alone or among others, and `fields()` gives it back."""
    values: list[list[Any]] = [
        [NOTED, B],
        [{"pin": str(A), "note": "2026 leaf"}, {"pin": B}],
        [{"pin": A, "note": "2026 leaf"}, B],
    ]
    for value in values:
        pins = PinSet(value, {"pin": str(C), "note": "safe B"}, MappingProxyType({"pin": D}))
        assert [pin.note for pin in (*pins.pins, *pins.backup_pins, *pins.blocked_pins)] == [
            "2026 leaf",
            None,
            "safe B",
            None,
        ]
        assert pins == PinSet([A, B], C, D)
        fields = pins.fields()
        assert fields == {
            "pins": [{"pin": str(A), "note": "2026 leaf"}, str(B)],
            "backup_pins": [{"pin": str(C), "note": "safe B"}],
            "blocked_pins": [str(D)],
        }
        again = pickle.loads(pickle.dumps(PinSet.of(fields)))  # noqa: S301 - our own
        assert again.pins[0].note == "2026 leaf"


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        ({"pin": str(A), "nota": "x"}, PolicyError, "unknown field of a pin: 'nota'; did you mean 'note'"),
        ({"note": "x"}, PolicyError, "'pin'"),
        ({}, PolicyError, "'pin'"),
        ({1: A}, PolicyError, "use one of 'pin', 'note'"),
        ({"pin": str(A), "note": 3}, PinFormatError, "'note' is 3"),
        ({"pin": str(A), "note": ["x"]}, PinFormatError, "'note'"),
        ({"pin": str(A), "note": "a" * 121}, PinFormatError, "'note' has 121 characters"),
        ({"pin": str(A), "note": "\ud800"}, PinFormatError, "'note'.*Unicode"),
        ({"pin": {"pin": str(A)}, "note": "x"}, PinFormatError, "a pin is a string"),
        ({"pin": "sha1/A"}, PinFormatError, "'sha1/A'"),
    ],
)
def test_wrong_notes(value: Any, error: type[PolicyError], says: str) -> None:
    """The error names the host, the field of the set, and what is wrong; alone and in a list."""
    for pins in (value, [B, value]):
        with pytest.raises(error, match=rf"^a\.example: 'backup_pins': .*{says}"):
            PinPolicy({"a.example": {"pins": [A, B], "backup_pins": pins}})
        with pytest.raises(error, match=rf"^'blocked_pins': .*{says}"):
            PinPolicy(blocked_pins=pins)


def test_exempt() -> None:
    """No pins, and said so."""
    assert PinSet.exempt() == PinSet(is_exempt=True) == PinSet.of({"exempt": True})
    assert PinSet.exempt().is_exempt
    assert not PAIR.is_exempt


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-03-01T00:00:00Z", dt.datetime(2027, 3, 1, tzinfo=UTC)),
        ("2027-03-01t00:00:00z", dt.datetime(2027, 3, 1, tzinfo=UTC)),
        ("2027-03-01 00:00:00+00:00", dt.datetime(2027, 3, 1, tzinfo=UTC)),
        ("2027-03-01T01:30:00+01:30", dt.datetime(2027, 3, 1, tzinfo=UTC)),
        ("2027-02-28T23:00:00-01:00", dt.datetime(2027, 3, 1, tzinfo=UTC)),
        ("2027-03-01T00:00:00.5Z", dt.datetime(2027, 3, 1, microsecond=500000, tzinfo=UTC)),
        ("2027-03-01T00:00:00.123456789Z", dt.datetime(2027, 3, 1, microsecond=123456, tzinfo=UTC)),
    ],
)
def test_dates(text: str, moment: dt.datetime) -> None:
    """RFC 3339 §5.6, the same on every Python."""
    pins = PinSet([A, B], expires=text)
    assert moment == pins.expires
    assert UTC is pins.expires.tzinfo
    assert [pins.has_expired(moment - dt.timedelta(microseconds=1)), pins.has_expired(moment)] == [False, True]
    assert not PAIR.has_expired(moment)


class _NeverExpires(dt.datetime):
    """A date that compares in its own way."""

    def __le__(self, _other: object) -> bool:
        return False

    def astimezone(self, _tz: dt.tzinfo | None = None) -> Self:
        return self


class _NotATime(dt.datetime):
    """A date without one, as pandas has it."""

    year = float("nan")  # type: ignore[assignment]  # as pandas has it

    def astimezone(self, _tz: dt.tzinfo | None = None) -> Self:
        return self


def test_a_date_of_a_subclass_is_a_plain_date() -> None:
    """It expires when it should."""
    pins = PinSet([A, B], expires=_NeverExpires(2027, 3, 1, tzinfo=UTC))
    assert type(pins.expires) is dt.datetime
    assert pins.has_expired(dt.datetime(2027, 3, 1, tzinfo=UTC))


WRONG_DATES = [
    "",
    "soon",
    "2027-03-01",
    "2027-03-01T00:00Z",
    "20270301T000000Z",
    "2027-W09-1T00:00:00Z",
    "2027-03-01T24:00:00Z",
    "2027-13-01T00:00:00Z",
    "2027-03-01T00:00:00Z\n",
    "2027-03-01T00:00:00+99:00",
    "2027-03-01T00:00:00 Z",
    "\u0662027-03-01T00:00:00Z",
    "2027-03-01T00:00:00",
    dt.datetime(2027, 3, 1),  # noqa: DTZ001 - that is what is tested
    "0001-01-01T00:00:00+01:00",
    dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1))),
    _NotATime(2027, 3, 1, tzinfo=UTC),
    dt.date(2027, 3, 1),
    1803859200,
    10**5000,
    False,
    [],
]


@pytest.mark.parametrize("value", WRONG_DATES, ids=range(len(WRONG_DATES)))
def test_wrong_dates(value: Any) -> None:
    """Naive, unreadable, outside the calendar, of another type."""
    with pytest.raises(PolicyError, match="'expires' is "):
        PinSet([A, B], expires=value)


class _Text(StrEnum):
    BLOCK = "block"


class _Liar(str):
    """A string that is equal to all others."""

    __slots__ = ()

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_an_option_is_plain_text() -> None:
    """A member of an enumeration does, and becomes its text; what only claims to be equal does not."""
    pins = PinSet([A, B], on_expiry=_Text.BLOCK)  # type: ignore[arg-type]  # its value is one of the two
    assert type(pins.on_expiry) is str
    assert PinSet([A, B], on_expiry="block") == pins
    with pytest.raises(PolicyError):
        PinSet([A, B], on_expiry=_Liar("evil"))
    with pytest.raises(PolicyError):
        PinPolicy({"a.example": PAIR}, unpinned_hosts=_Liar("evil"))
    with pytest.raises(PolicyError, match="'evil'"):
        PinSet.of({_Liar("evil"): A})


WRONG_SETS: list[Any] = [
    {},
    [],
    "",
    None,
    1,
    True,
    b"",
    BASE64.encode(),
    object(),
    [A, None],
    [A, 1],
    [A, b"x"],
    [[A]],
    [{}],
    [10**5000],
    [BASE64.encode(), BASE64.encode()],
    {"pins": None},
    {"pins": {"a": A}},
    {"pin": A, "note": "x"},
    {"pins": 1},
    {"pins": b"x"},
    {"backup_pins": None, "pins": A},
    {"blocked_pins": 1, "pins": A},
    {"blocked_pins": [A, B]},
    {"pins": []},
    {"pins": [A, B], "on_expiry": "ignore"},
    {"pins": [A, B], "on_expiry": None},
    {"pins": [A, B], "on_expiry": []},
    {"pins": [A, B], "report_only": 1},
    {"pins": [A, B], "report_only": "false"},
    {"pins": [A, B], "report_only": None},
    {"exempt": 1},
    {"exempt": "true"},
    {"exempt": True, "pins": [A]},
    {"exempt": True, "blocked_pins": [A]},
    {"exempt": True, "expires": "2027-03-01T00:00:00Z"},
    {"exempt": True, "on_expiry": "block"},
    {"exempt": True, "report_only": True},
    {"is_exempt": True},
    {"pins": [A, B], "pin": A},
    {1: A},
    {None: A},
    {("pins",): A},
    {"": A},
    {"x" * 1_000_000: A},
]


@pytest.mark.parametrize("value", WRONG_SETS, ids=range(len(WRONG_SETS)))
def test_wrong_pin_sets(value: Any) -> None:
    """No pins, both exempt and not, unknown fields, wrong types: a `PolicyError`, which is a `ValueError`."""
    with pytest.raises(PolicyError):
        PinSet.of(value)
    with pytest.raises(ValueError, match=r"^api\.example\.com: "):
        PinPolicy({"API.example.com": value})


@pytest.mark.parametrize(
    ("field", "closest"),
    [
        ("backup_pin", "backup_pins"),
        ("expire", "expires"),
        ("is_exempt", "exempt"),
        ("Pins", "pins"),
        ("reportonly", "report_only"),
    ],
)
def test_an_unknown_field_is_named_with_the_closest_known_one(field: str, closest: str) -> None:
    """A misspelled field must not silently leave a host without its backup, its date or its block."""
    with pytest.raises(PolicyError, match=f"unknown field of a pin set: '{field}'; did you mean '{closest}'"):
        PinSet.of({"pins": [A, B], field: A})


def test_what_is_not_even_text_gets_the_list() -> None:
    """There is nothing close to a number; the known names are listed."""
    with pytest.raises(
        PolicyError, match=r"unknown field of a pin set: 1; use one of 'pins', 'backup_pins', .*'exempt'"
    ):
        PinSet.of({1: A})  # type: ignore[dict-item]  # that is what is tested
    with pytest.raises(PolicyError, match="unknown value for 'unpinned_hosts': 'alow'; did you mean 'allow'"):
        PinPolicy({"a.example": PAIR}, unpinned_hosts="alow")  # type: ignore[arg-type]  # that is what is tested


def test_an_error_about_a_pin_keeps_its_type_and_names_host_and_pin() -> None:
    """Both are needed to find it in a file."""
    with pytest.raises(PinFormatError, match=r"^api\.example\.com: 'pins': invalid pin 'sha1/AAAA'"):
        PinPolicy({"api.example.com": "sha1/AAAA"})


def test_a_pin_set_is_a_value() -> None:
    """Equal by content in any order; hashable; frozen; pickle and copy give an equal one without a warning."""
    full = PinSet([A, B], C, D, expires="2027-03-01T00:00:00Z", on_expiry="block", report_only=True)
    for pins in (PAIR, full, PinSet.exempt()):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pins == pickle.loads(pickle.dumps(pins, protocol))  # noqa: S301 - our own
        assert {pins} == {pins, copy.copy(pins), copy.deepcopy(pins)}
        assert repr(pins).startswith("PinSet")
        with pytest.raises(AttributeError):
            pins.report_only = True
    assert PinSet([B, A, B]) == PAIR
    assert PAIR != [A, B]
    options: list[dict[str, Any]] = [
        {"backup_pins": C},
        {"blocked_pins": C},
        {"expires": "2027-03-01T00:00:00Z"},
        {"on_expiry": "block"},
        {"report_only": True},
    ]
    assert len({PAIR, *(PinSet([A, B], **option) for option in options)}) == 6


# The warning


def _caught(make: Callable[[], object]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    return caught


@pytest.mark.parametrize(
    "make",
    [
        lambda: PinSet(A),
        lambda: PinSet(backup_pins=A),
        lambda: PinSet([A, str(A), BASE64, f"sha256//{BASE64}"], f'pin-sha256="{BASE64}"'),
        lambda: PinSet(A, blocked_pins=B),
        lambda: PinSet.of([A]),
        lambda: PinSet.of({"pins": str(A)}),
        lambda: PinPolicy({"a.example": A}),
        lambda: PinPolicy.from_mapping({"a.example": {"pins": A}}),
    ],
)
def test_one_pin_warns_at_the_line_of_the_caller(make: FunctionType) -> None:
    """Two spellings of the same bytes are one pin; the warning points here, however deep it comes from."""
    (warning,) = _caught(make)
    assert MissingBackupPinWarning is warning.category
    assert (__file__, make.__code__.co_firstlineno) == (warning.filename, warning.lineno)
    assert str(A) in str(warning.message)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PinSet([A, B]),
        lambda: PinSet(A, B),
        lambda: PinSet(backup_pins=[A, B]),
        lambda: PinSet([A, Pin("cert", A.digest)]),
        lambda: PinSet(A, report_only=True),
        PinSet.exempt,
    ],
)
def test_no_warning(make: Callable[[], object]) -> None:
    """Two pins, a set that only reports, and an exempt one."""
    assert _caught(make) == []


def test_a_set_warns_once() -> None:
    """Once a distinct set and process."""
    assert [
        len(_caught(make))
        for make in (lambda: PinSet(A), lambda: PinPolicy({"a.example": str(A)}), lambda: PinSet(B), lambda: PinSet(B))
    ] == [1, 0, 1, 0]


def test_where_the_warning_is_an_error_it_is_one_each_time() -> None:
    """A second try does not slip through."""
    for _ in range(2):
        with pytest.raises(MissingBackupPinWarning):
            PinSet(A)


def test_the_memory_of_warnings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that renews the date of its set all the time does not fill it."""
    monkeypatch.setattr(pinset_module, "_MAX_WARNED", 3)
    for second in range(10):
        assert len(_caught(lambda: PinSet(A, expires=f"2027-03-01T00:00:0{second}Z"))) == 1  # noqa: B023 - called at once
        assert len(pinset_module._warned) <= 3

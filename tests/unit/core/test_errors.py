"""Errors: their tree, what they carry, and what of a foreign text they show."""

from __future__ import annotations

import copy
import pickle
from enum import IntEnum
from typing import TYPE_CHECKING

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from requests.exceptions import RequestException, SSLError

from pinned_requests import exceptions
from pinned_requests.core.chain import SeenCertificate
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import MAX_LINE, escape, exact, show
from pinned_requests.exceptions import (
    BlockedKeyError,
    ChainUnavailableError,
    InsecureURLError,
    MissingBackupPinWarning,
    PinFormatError,
    PinMismatchError,
    PinningError,
    PinsExpiredError,
    PolicyError,
    UnpinnableAdapterError,
    UnpinnedHostError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PIN = Pin("spki", bytes(32))
SEEN = SeenCertificate("CN=api.example.com", PIN, Pin("cert", bytes(32)), frozenset((PIN,)), False, b"DER")  # noqa: FBT003 - a record
REFUSALS = [
    PinningError,
    PinMismatchError,
    BlockedKeyError,
    PinsExpiredError,
    ChainUnavailableError,
    UnpinnedHostError,
    InsecureURLError,
    UnpinnableAdapterError,
]


@pytest.mark.parametrize("kind", REFUSALS)
def test_every_refusal_is_an_ssl_error_of_requests(kind: type[PinningError]) -> None:
    """Code that handles `SSLError`, `RequestException` or `OSError` keeps working."""
    assert issubclass(kind, (PinningError,))
    assert issubclass(kind, SSLError)
    assert issubclass(kind, RequestException)
    assert issubclass(kind, OSError)


def test_configuration_errors_are_value_errors() -> None:
    """A `PinFormatError` is a `PolicyError`, which is a `ValueError`; so is an adapter that cannot be pinned."""
    assert issubclass(PinFormatError, PolicyError)
    assert issubclass(PolicyError, ValueError)
    assert issubclass(UnpinnableAdapterError, PolicyError)
    assert issubclass(MissingBackupPinWarning, UserWarning)
    assert not issubclass(PolicyError, RequestException)


def test_all_is_complete() -> None:
    """`exceptions.__all__` holds every exception of the module that is ours."""
    ours = {name for name, value in vars(exceptions).items() if isinstance(value, type) and name != "SSLError"}
    assert set(exceptions.__all__) == {name for name in ours if issubclass(getattr(exceptions, name), BaseException)}


def test_a_refusal_without_details_has_them_all_the_same() -> None:
    """Every attribute is there, empty."""
    error = PinningError("text")
    assert (
        error.host,
        error.port,
        error.chain,
        error.expected,
        error.request,
        error.response,
    ) == (None, None, (), (), None, None)


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])  # noqa: S301 - our own
def test_a_refusal_survives_pickle_and_copy(
    kind: type[PinningError], again: Callable[[PinningError], PinningError]
) -> None:
    """Type, text and attributes come back, the request among them."""
    request = requests.Request("GET", "https://api.example.com/").prepare()
    error = kind("text", host="api.example.com", port=8443, chain=(SEEN,), expected=(PIN,), request=request)
    other = again(error)
    assert type(error) is type(other)
    assert error.args == other.args
    assert str(error) == str(other)
    assert (other.host, other.port, other.chain, other.expected) == ("api.example.com", 8443, (SEEN,), (PIN,))
    assert request.url == other.request.url


def test_a_request_that_does_not_pickle_is_left_out() -> None:
    """A generator as body does not pickle; the error does, and keeps its own request."""
    request = requests.Request("POST", "https://api.example.com/", data=(part for part in [b"x"])).prepare()
    error = PinMismatchError("text", host="api.example.com", expected=(PIN,), request=request)
    other = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert None is other.request
    assert (other.host, other.expected) == ("api.example.com", (PIN,))
    assert request is error.request


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("api.example.com", "api.example.com"),
        ("bücher.example", "bücher.example"),
        ("a\nWARNING forged", "a\\nWARNING forged"),
        ("a\r\tb\0", "a\\r\\tb\\x00"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("\u2028", "\\u2028"),
        ("a\u00a0b", "a\\xa0b"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    """What does not print is escaped: line ends, terminal sequences, overrides of direction, surrogates."""
    assert shown == escape(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a" * 10, "a" * 10),
        ("a" * 11, "a" * 9 + "…"),
        ("\n" * 5, "\\n" * 5),
        ("\n" * 6, "\\n" * 4 + "…"),
        ("aaa\u202eb", "aaa\\u202eb"),
        ("aaaa\u202eb", "aaaa…"),
        ("aaaaaaaa\n", "aaaaaaaa\\n"),
        ("aaaaaaaaa\n", "aaaaaaaaa…"),
    ],
)
def test_a_text_is_never_cut_in_the_middle_of_an_escape(text: str, shown: str) -> None:
    """Ten characters at most, the ellipsis included, each escape whole or not at all."""
    assert shown == escape(text, 10)


@given(st.text(st.characters(codec=None), max_size=300))
@example("a" * MAX_LINE)
@example("\x1b" * MAX_LINE)
def test_escape_prints_is_short_and_idempotent(text: str) -> None:
    """For any text: one printable line of at most 200 characters, and escaping it again changes nothing."""
    shown = escape(text)
    assert shown.isprintable()
    assert len(shown) <= MAX_LINE
    assert shown == escape(shown)


class _Liar(str):
    """A string that overrides what it can."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise RuntimeError

    def __str__(self) -> str:
        return "lie"

    def __getitem__(self, _key: object) -> str:
        raise RuntimeError

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class _Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x\n", "'x\\n'"),
        ("x" * 500, "'" + "x" * 198 + "…"),
        (_Liar("truth"), "'truth'"),
        (True, "True"),
        (1, "1"),
        (1.5, "1.5"),
        (10**5000, "a value of type int"),
        (10**100, "a value of type int"),
        (_Number.ONE, "a value of type _Number"),
        (None, "a value of type NoneType"),
        (type("a\n", (), {})(), "a value of type a\\n"),
        (b"a secret key", "a value of type bytes (12 of them)"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQ", "a PEM text"),
    ],
    ids=range(13),
)
def test_show(value: object, shown: str) -> None:
    """A value is named on one line; bytes and PEM, which may be secret, are not shown."""
    assert shown == show(value)


def test_exact() -> None:
    """A subclass loses what it overrides."""
    assert type(exact(_Liar("truth"))) is str
    assert exact(_Liar("truth")) != "lie"
    assert exact(_Liar("truth")) == "truth"

"""26 kinds of a broken vault: the last good policy stays in force, `last_error` says why, and the log has a bound."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest
import requests

from pinned_requests import Pin, PinPolicy, PolicyError, PolicyStore

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = (Pin("spki", bytes([number]) * 32) for number in range(2))
GOOD = PinPolicy({"api.example.com": [A, B]})
TEXT = GOOD.to_json()
LOOKS = 100


class _UnprintableError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError


class _EndlessError(Exception):
    """Its text is long."""

    def __str__(self) -> str:
        return "x" * 10_000_000


def raises(error: BaseException | type[BaseException]) -> Callable[[], NoReturn]:
    """Return a source that fails."""

    def source() -> NoReturn:
        raise error

    return source


def of_half(_: object = None) -> str:
    """Return half of the text."""
    return TEXT[: len(TEXT) // 2]


BROKEN: dict[str, Callable[[], object]] = {
    "refuses the connection": raises(ConnectionRefusedError(111, "Connection refused")),
    "is not in the DNS": raises(socket.gaierror(-2, "Name or service not known")),
    "is silent": raises(TimeoutError("timed out")),
    "has a bad certificate": raises(ssl.SSLCertVerificationError("certificate has expired")),
    "denies": raises(requests.HTTPError("403 Client Error for url: https://vault.example/?token=SECRET")),
    "is overloaded": raises(requests.ConnectionError("503 https://vault.example/?token=SECRET")),
    "has no such entry": raises(KeyError("policy")),
    "raises an odd error": raises(_UnprintableError),
    "raises a long error": raises(_EndlessError),
    "raises our own error": raises(PolicyError("\x1b[31mred\nforged " + "x" * 100_000)),
    "ends the program": raises(SystemExit(1)),
    "runs out of memory": raises(MemoryError),
    "recurses": raises(RecursionError),
    "returns None": lambda: None,
    "returns a number": lambda: 42,
    "returns a list": lambda: [A, B],
    "returns an empty text": lambda: "",
    "returns white space": lambda: "\n\n  \n",
    "returns an empty object": lambda: "{}",
    "returns an empty mapping": dict,
    "returns half a text": of_half,
    "returns a page": lambda: "<!DOCTYPE html><title>502 Bad Gateway</title>",
    "returns no UTF-8": lambda: b"\xff\xfe\x00",
    "returns an unknown field": lambda: json.dumps({**json.loads(TEXT), "unpined_hosts": "allow"}),
    "returns a wrong pin": lambda: {"api.example.com": ["sha256/AAAA"]},
    "returns a deep text": lambda: "[" * 100_000,
}


def test_there_are_26_kinds() -> None:
    """As many as were asked for."""
    assert len(BROKEN) == 26


@pytest.mark.parametrize("kind", BROKEN)
def test_the_last_good_policy_stays(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Over a hundred looks; then the vault is healthy, and so is the store."""
    caplog.set_level(logging.INFO, "pinned_requests")
    source: list[Callable[[], object]] = [lambda: TEXT]
    told: list[BaseException] = []

    def ask() -> object:
        return source[0]()

    store = PolicyStore(ask, on_error=told.append)
    source[0] = BROKEN[kind]
    for _ in range(LOOKS):
        with pytest.raises(BaseException):  # noqa: B017, PT011  each kind has its own
            store.refresh()
        assert store.current == GOOD
        assert store.last_error is told[-1]
    assert len(told) == LOOKS
    assert len(caplog.records) <= 8
    assert all(len(record.getMessage()) < 500 and record.getMessage().isprintable() for record in caplog.records)
    assert "SECRET" not in caplog.text
    source[0] = lambda: TEXT
    store.refresh()
    assert (store.current, store.last_error) == (GOOD, None)


@pytest.mark.parametrize("kind", BROKEN)
def test_there_is_no_store_without_a_first_policy(kind: str) -> None:
    """The constructor raises what went wrong, and starts no thread."""
    before = threading.active_count()
    with pytest.raises(BaseException):  # noqa: B017, PT011  each kind has its own
        PolicyStore(BROKEN[kind], refresh_after=3600)
    assert threading.active_count() <= before

"""Unit tests have no network: one that reaches for it fails."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every way to the network fail the test."""

    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        # pytest's exception is no Exception: code that handles an OSError cannot swallow it.
        pytest.fail("a unit test used the network")

    for method in ("bind", "connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, method, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

"""A policy that changes in its file or its source holds from the next request on, over connections that are open."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from pinned_requests import Pin, PinMismatchError, PinnedSession, PinPolicy, PinsExpiredError, PolicyStore
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.lab import Lab


def wait_until_current(store: PolicyStore, policy: PinPolicy) -> None:
    """Wait until the store has loaded it."""
    wait_until(lambda: store.current == policy)


def pinning(*pins: Pin) -> PinPolicy:
    """Return a policy with these pins for the servers of the lab."""
    return PinPolicy({"localhost": list(pins)})


def test_a_file_that_is_replaced_holds_for_open_connections(lab: Lab, tmp_path: Path) -> None:
    """The server keeps its key, the file names another: the open connection is closed, and nothing is sent."""
    honest = Pin.from_certificate(lab.honest.certificate)
    other = Pin.from_certificate(lab.attacker.certificate)
    path = tmp_path / "pins.json"
    path.write_text(pinning(honest, lab.backup).to_json())
    store = PolicyStore.from_file(path, refresh_after=0.02)
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(store))
    assert session.get(server.url()).ok
    assert session.get(server.url()).ok
    server.settle()
    before, handshakes = server.application_bytes, server.handshakes
    assert handshakes == 1

    new = tmp_path / "new.json"
    new.write_text(pinning(other, lab.backup).to_json())
    new.replace(path)
    wait_until_current(store, pinning(other, lab.backup))
    with pytest.raises(PinMismatchError):
        session.get(server.url())
    server.settle()
    assert (server.application_bytes, server.handshakes) == (before, 2)

    new.write_text(pinning(honest, lab.backup).to_json())
    new.replace(path)
    wait_until_current(store, pinning(honest, lab.backup))
    assert session.get(server.url()).ok


def test_a_source_that_hangs_delays_no_request(lab: Lab) -> None:
    """Requests go on under the last good policy, until that is too old; then they are refused at once."""
    answers = iter([pinning(Pin.from_certificate(lab.honest.certificate), lab.backup)])
    hanging, go_on = threading.Event(), threading.Event()

    def source() -> PinPolicy:
        if (first := next(answers, None)) is not None:
            return first
        hanging.set()
        go_on.wait(60)
        raise TimeoutError

    store = PolicyStore(source, refresh_after=0.01, max_age=3)
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(store))
    try:
        begin = time.monotonic()
        assert session.get(server.url()).ok
        assert hanging.wait(20)
        answered = 0
        while time.monotonic() - begin < 1:
            assert session.get(server.url()).ok
            answered += 1
        assert answered > 10
        time.sleep(2.5)
        server.settle()
        before = server.application_bytes
        with pytest.raises(PinsExpiredError, match="could not be refreshed for more than 3 seconds"):
            session.get(server.url())
        server.settle()
        assert (server.application_bytes, server.handshakes) == (before, 1)
    finally:
        go_on.set()

"""`fetch_chain()`: one handshake with a live server, from Python."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PolicyError
from pinned_requests.monitoring import InvalidCertificateError, RouteError, UnreachableError, fetch_chain
from pinned_requests.testing import Credential

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC)


def test_the_chain_of_a_server(lab: Any) -> None:
    """It is the verified one, up to the root, and no byte of HTTP is sent."""
    server = lab.serve(lab.honest)
    chain = fetch_chain("LOCALHOST.", server.port, ca_bundle=lab.bundle)
    assert [seen.spki_pin for seen in chain.certificates] == [Pin.from_certificate(c) for c in lab.honest.chain]
    assert chain.is_verified
    server.settle()
    assert (server.handshakes, server.application_bytes) == (1, 0)


def test_another_address(lab: Any) -> None:
    """The address is connected to; the name is asked for and verified, as a client will do after DNS has changed."""
    server = lab.serve(lab.honest, host="127.0.0.2")
    chain = fetch_chain("localhost", server.port, ca_bundle=lab.bundle, address="127.0.0.2")
    assert chain.certificates[0].spki_pin == Pin.from_certificate(lab.honest.certificate)
    with pytest.raises(InvalidCertificateError):
        fetch_chain("api.example.com", server.port, ca_bundle=lab.bundle, address="127.0.0.2")


@pytest.mark.parametrize("why", ["self-signed", "expired", "wrong name", "unknown CA"])
def test_an_invalid_certificate(lab: Any, why: str) -> None:
    """It is told apart from an outage; `insecure` shows the chain, unverified."""
    credential = {
        "self-signed": lambda: Credential.self_signed("localhost"),
        "expired": lambda: lab.root.issue("localhost", not_after=NOW - dt.timedelta(days=1)),
        "wrong name": lambda: lab.root.issue("other.example.com"),
        "unknown CA": lambda: type(lab.root).create("Unknown CA").issue("localhost"),
    }[why]()
    server = lab.serve(credential)
    with pytest.raises(InvalidCertificateError) as raised:
        fetch_chain("localhost", server.port, ca_bundle=lab.bundle)
    assert ("--ca-bundle" in raised.value.reason) is (why in {"self-signed", "unknown CA"})
    chain = fetch_chain("localhost", server.port, ca_bundle=lab.bundle, insecure=True)
    assert chain.certificates[0].spki_pin == Pin.from_certificate(credential.certificate)
    assert not chain.is_verified


def hang_up(listener: socket.socket) -> None:
    """Accept one connection, and close it when the ClientHello has come."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)


def test_servers_that_do_not_speak_tls(lab: Any) -> None:
    """The reason says what to look at."""
    plain = lab.serve(None)
    with pytest.raises(UnreachableError) as raised:
        fetch_chain("localhost", plain.port)
    assert raised.value.reason == "it does not speak TLS on this port"
    with socket.create_server(("127.0.0.1", 0)) as closing:
        thread = threading.Thread(target=hang_up, args=(closing,))
        thread.start()
        with pytest.raises(UnreachableError) as raised:
            fetch_chain("localhost", closing.getsockname()[1])
        thread.join()
    assert raised.value.reason == "it closed the connection during the TLS handshake"
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnreachableError) as raised:
        fetch_chain("localhost", silent.getsockname()[1], timeout=0.1)
    assert raised.value.reason == "no answer within 0.1 seconds"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError) as raised:
        fetch_chain("localhost", port)
    assert raised.value.reason == "Connection refused"


def test_wrong_arguments(tmp_path: Path) -> None:
    """They are errors before any connection."""
    for arguments in (["*.example.com"], ["a b"], ["localhost", 0], ["localhost", 65536]):
        with pytest.raises(PolicyError):
            fetch_chain(*arguments)
    with pytest.raises(PolicyError):
        fetch_chain("localhost", address="api.example.com")
    for bundle in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        (tmp_path / "empty.pem").touch()
        with pytest.raises(RouteError):
            fetch_chain("localhost", ca_bundle=str(bundle))

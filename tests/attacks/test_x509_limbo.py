"""x509-limbo over real handshakes: a pinned session accepts what `requests` accepts, and nothing under a wrong pin.

The cases are certificate chains that are almost right (https://x509-limbo.com). They lie beside the checkout, in
`../shared/vectors/x509-limbo.json`, or where the variable `X509_LIMBO` says.

The expected results of x509-limbo are those of a perfect validator. `requests` is not one, and pinning adds a check
without a change to validation: so the answer to compare with is that of `requests` on the same OpenSSL.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import ssl
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests
import urllib3.connection

from pinned_requests import Pin, PinMismatchError, PinnedSession

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = Path(os.environ.get("X509_LIMBO") or Path(__file__).parents[3] / "shared" / "vectors" / "x509-limbo.json")
WRONG_PIN = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
BACKUP_PIN = "sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PATIENCE = 10.0  # seconds
ATTEMPTS = 5  # one server hangs up behind its handshake: in 1 of 40 connections, a client has its answer before


class Case(NamedTuple):
    """A case that can be replayed."""

    name: str
    host: str
    bundle: str  # path
    context: ssl.SSLContext
    leaf: str

    @property
    def url(self) -> str:
        """Of the server; the port is the default one."""
        return f"https://[{self.host}]/" if ":" in self.host else f"https://{self.host}/"


class Server:
    """A server on loopback that presents one chain after another, and counts the bytes of HTTP on each connection."""

    def __init__(self) -> None:
        self.context: ssl.SSLContext | None = None
        self._counts: queue.Queue[int] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def received(self) -> int:
        """Return the number of bytes that the last connection brought after its handshake."""
        return self._counts.get(timeout=PATIENCE)

    def close(self) -> None:
        """End the thread."""
        self.context = None
        socket.create_connection(self.address).close()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            with sock:
                if self.context is None:
                    return
                self._counts.put(self._answer(self.context, sock))

    @staticmethod
    def _answer(context: ssl.SSLContext, sock: socket.socket) -> int:
        count = 0
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer waits 40 ms behind session tickets
        try:
            with context.wrap_socket(sock, server_side=True) as tls:
                while data := tls.recv(4096):
                    count += len(data)
                    if data.endswith(b"\r\n\r\n"):
                        tls.sendall(RESPONSE)
        except OSError:
            pass  # the client refused the certificate, or hung up
        return count


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Run the server, to which all connections of urllib3 go whatever their host."""
    server = Server()
    monkeypatch.setattr(
        urllib3.util.connection,
        "create_connection",
        lambda _address, timeout=None, **_: socket.create_connection(server.address, PATIENCE),  # noqa: ARG005  its name
    )
    yield server
    server.close()


@pytest.mark.skipif(not VECTORS.is_file(), reason="x509-limbo.json is not beside the checkout")
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")  # of requests
def test_answers_are_those_of_requests(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each chain gets the answer of `requests` with the leaf pinned, and no byte of HTTP under a wrong pin."""
    caplog.set_level("CRITICAL", logger="pinned_requests")  # hundreds of refusals are expected
    counts: Counter[str] = Counter()
    differences = []
    for raw in json.loads(VECTORS.read_text("utf-8"))["testcases"]:
        case = prepare(raw, tmp_path)
        if isinstance(case, str):
            counts[f"skipped: {case}"] += 1
            continue
        server.context = case.context
        right_pins: dict[str, list[Pin | str]] = {case.host: [Pin.from_certificate(case.leaf.encode()), BACKUP_PIN]}
        wrong_pins = {case.host: [WRONG_PIN, BACKUP_PIN]}
        # Also without validation, so that all handshakes come to their end and the pin alone decides.
        for verify in (case.bundle, False):
            for _ in range(ATTEMPTS):
                expected = answer(server, requests.Session(), case, verify)
                right = answer(server, PinnedSession(right_pins), case, verify)
                if right is expected:
                    break
            wrong = answer(server, PinnedSession(wrong_pins), case, verify)
            # The server that hangs up: the pin is looked at before that is noticed.
            if right is not expected or wrong not in {expected or PinMismatchError, PinMismatchError}:
                differences.append((case.name, verify, expected, right, wrong))
            if verify:
                counts["accepted" if expected is None else "refused"] += 1
                counts["as x509-limbo expects"] += (expected is None) == (raw["expected_result"] == "SUCCESS")

    print(f"{counts['accepted'] + counts['refused']} replayed:", dict(counts))  # noqa: T201  shown by `pytest -rP`
    assert differences == []
    assert counts["accepted"] > 40
    assert counts["refused"] > 80


def prepare(raw: dict[str, Any], folder: Path) -> Case | str:
    """Make what replays a case, or say why it cannot be replayed."""
    if raw["validation_kind"] != "SERVER":
        return "about client certificates"
    if not raw["peer_certificate_key"]:
        return "without the private key of the server"
    if raw["validation_time"]:
        return "needs another time"
    if not raw["expected_peer_name"]:
        return "without a host name"
    chain = folder / "chain.pem"
    chain.write_text("".join([raw["peer_certificate"], *raw["untrusted_intermediates"], raw["peer_certificate_key"]]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # the client is to refuse weak keys, not the server
    try:
        context.load_cert_chain(chain)
    except ssl.SSLError as e:
        return f"OpenSSL does not serve it: {e.reason}"
    bundle = folder / f"{raw['id'].replace(':', '_').replace('/', '_')}.pem"  # another name: contexts are cached
    bundle.write_text("".join(raw["trusted_certs"]))
    return Case(raw["id"], raw["expected_peer_name"]["value"], str(bundle), context, raw["peer_certificate"])


def answer(server: Server, session: requests.Session, case: Case, verify: str | bool) -> type[Exception] | None:  # noqa: FBT001  as in requests
    """Return None if the server is accepted, or the class of the error. Nothing is sent to one that is refused."""
    with session:
        try:
            session.get(case.url, verify=verify)
        except requests.RequestException as e:
            error: type[Exception] | None = type(e)
        else:
            error = None
    assert (server.received() > 0) is (error is None), case.name
    return error

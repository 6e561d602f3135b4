"""The lab as a process of its own: its addresses, its control endpoint, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests.cli import main
from pinned_requests.core.pin import Pin
from pinned_requests.testing import TLSServer
from pinned_requests.testing.serve.served_lab import HONEST, Control, ServedLab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

HOST = "api.example.com"
WAIT = 5.0  # seconds: far longer than anything here takes


class Client:
    """A client in no need of the lab's Python: it knows an address, a CA file, and pins, or none."""

    def __init__(self, lab: ServedLab, *, pins: bool, ca: bool = True) -> None:
        known = lab.document()
        self._at = (known["address"], known["port"])
        self._pins = {Pin.parse(pin) for pin in known["pins"]} if pins else None
        self._context = ssl.create_default_context(cadata=known["ca_pem"] if ca else None)

    def ask(self, through: socket.socket | None = None) -> str:
        """Send a request with a token, and return how it went."""
        try:
            with self._context.wrap_socket(
                through or socket.create_connection(self._at, WAIT), server_hostname=HOST
            ) as sock:
                if self._pins and Pin.from_certificate(sock.getpeercert(binary_form=True) or b"") not in self._pins:
                    return "wrong key"
                sock.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer token\r\n\r\n".encode())
                return sock.recv(4096).decode().partition("\r\n")[0]
        except OSError as error:
            return type(error).__name__


@pytest.fixture
def lab() -> Iterator[ServedLab]:
    """One host's lab, in this process."""
    with ServedLab(HOST) as served:
        yield served


@pytest.fixture
def control(lab: ServedLab) -> Iterator[int]:
    """The port of its control endpoint."""
    endpoint = Control(lab, ("trusted-ca", "expired"))
    with endpoint.server:
        yield endpoint.server.port


def call(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """Ask a control endpoint."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    connection.request(method, path, headers=headers or {})
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_the_host_and_its_attackers_take_turns_at_one_address(lab: ServedLab) -> None:
    """A pinned client is rejected by none but tells the attacker nothing; one without pins tells it all."""
    pinned, plain = Client(lab, pins=True), Client(lab, pins=False)
    assert pinned.ask() == plain.ask() == "HTTP/1.1 200 OK"
    lab.show("trusted-ca")
    assert pinned.ask() == "wrong key"
    assert [each.verdict for each in lab.verdicts()] == ["rejected"]
    assert plain.ask() == "HTTP/1.1 200 OK"
    assert [each.verdict for each in lab.verdicts()] == ["accepted"]
    lab.show(HONEST)
    assert pinned.ask() == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("ca", [True, False])
def test_a_refusal_tells_nothing_of_a_client_that_refuses_the_host(lab: ServedLab, *, ca: bool) -> None:
    """The control: GnuTLS hangs up after the handshake where it does not trust the CA, as if it had looked at a pin."""
    client = Client(lab, pins=True, ca=ca)
    lab.show("trusted-ca")
    client.ask()
    assert [each.verdict for each in lab.verdicts()] == ["untested"]
    assert "the lab's CA" in lab.verdicts()[0].advice
    lab.show(HONEST)
    client.ask()
    assert [each.verdict for each in lab.verdicts()] == (["rejected"] if ca else ["untested"])
    lab.forget()
    assert not lab.verdicts()
    assert not lab.has_control


def test_a_verdict_holds_the_alerts(lab: ServedLab) -> None:
    """As the results of an audit do, while the attacker is shown and when it has left."""
    lab.show("expired")
    assert Client(lab, pins=True).ask() == "SSLCertVerificationError"
    (shown,) = lab.verdicts()
    lab.show(HONEST)
    (left,) = lab.verdicts()
    assert "CERTIFICATE_EXPIRED" in shown.failed_handshakes[0]
    assert shown.failed_handshakes == left.failed_handshakes


def test_a_refusal_in_the_handshake_tells_after_the_control_alone(lab: ServedLab) -> None:
    """A client whose trust is the pin, as with a trust manager on Android: to a server it has refused a valid chain."""
    client = Client(lab, pins=False)
    client._context = ssl.create_default_context(cadata=lab.lab._authorities.honest.certificate_pem.decode())
    client._context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    lab.show("trusted-ca")
    assert client.ask() == "SSLCertVerificationError"
    assert [each.verdict for each in lab.verdicts()] == ["untested"]
    lab.show(HONEST)
    assert client.ask() == "HTTP/1.1 200 OK"
    lab.show("trusted-ca")
    assert client.ask() == "SSLCertVerificationError"
    assert [each.verdict for each in lab.verdicts()] == ["rejected"]


def test_the_proxy_leads_to_the_host_alone(lab: ServedLab) -> None:
    """In a tunnel, by any spelling, and in the clear; nowhere else, and not for what is not HTTP."""

    def through(head: str) -> tuple[socket.socket, str]:
        sock = socket.create_connection(("127.0.0.1", lab.proxy_port), WAIT)
        sock.sendall(f"{head}\r\n\r\n".encode())
        return sock, sock.recv(4096).decode(errors="replace").partition("\r\n")[0]

    sock, answer = through("CONNECT API.example.com.:443 HTTP/1.1")
    assert answer == "HTTP/1.1 200 Connection established"
    assert Client(lab, pins=True).ask(sock) == "HTTP/1.1 200 OK"
    sock.close()
    for head, expected in {
        f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}": "HTTP/1.1 200 OK",
        "GET http://other.example/ HTTP/1.1": "HTTP/1.1 502 This proxy of a test leads to one host",
        "CONNECT other.example:443 HTTP/1.1": "HTTP/1.1 502 This proxy of a test leads to one host",
        "CONNECT 127.0.0.1:22 HTTP/1.1": "HTTP/1.1 502 This proxy of a test leads to one host",
        "GET http://[ HTTP/1.1": "HTTP/1.1 502 This proxy of a test leads to one host",
        "nonsense": "HTTP/1.1 502 This proxy of a test leads to one host",
    }.items():
        sock, answer = through(head)
        sock.close()
        assert answer == expected, head


def test_a_client_that_has_not_said_where_to_is_cut(lab: ServedLab) -> None:
    """When another server is shown, like the connections that were handed over."""
    with socket.create_connection(("127.0.0.1", lab.proxy_port), WAIT) as sock:
        deadline = time.monotonic() + WAIT
        while not lab.gateway._asking and time.monotonic() < deadline:
            time.sleep(0.01)
        lab.show("trusted-ca")
        assert sock.recv(1) == b""


def test_a_client_that_comes_when_its_server_has_stopped() -> None:
    """The gateway shows a server until the next one: the client sees the end of the connection, not silence."""
    with TLSServer(None) as server:
        pass
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(WAIT)
        server._adopt(theirs, ("127.0.0.1", 1))
        assert ours.recv(1) == b""
    assert server.connections == 0


def test_an_attacker_that_is_a_proxy_answers_connect_itself(lab: ServedLab) -> None:
    """Its tunnel leads to its own certificate."""
    lab.show("connect-proxy")
    sock = socket.create_connection(("127.0.0.1", lab.proxy_port), WAIT)
    sock.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n".encode())
    assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    assert Client(lab, pins=True).ask(sock) == "wrong key"


def test_a_client_that_stays_is_undecided(lab: ServedLab) -> None:
    """It is cut when another attacker comes."""
    with socket.create_connection(("127.0.0.1", lab.port), WAIT) as sock:
        lab._honest._server.wait_for_connections(1)
        lab.show("trusted-ca")
        assert sock.recv(1) == b""
    with socket.create_connection(("127.0.0.1", lab.port), WAIT) as sock:
        assert lab._attack
        lab._attack._server.wait_for_connections(1)
        assert [each.verdict for each in lab.verdicts()] == ["undecided"]
        lab.show("expired")
        assert sock.recv(1) == b""


def test_a_client_of_tls_1_2_shows_its_decision() -> None:
    """What attackers speak can be limited."""
    with ServedLab(HOST, max_tls="1.2") as lab:
        lab.show("trusted-ca")
        context = ssl.create_default_context(cadata=lab.lab.ca_pem)
        raw = socket.create_connection(("127.0.0.1", lab.port), WAIT)
        with context.wrap_socket(raw, server_hostname=HOST) as sock:
            assert sock.version() == "TLSv1.2"


def test_the_control_endpoint(lab: ServedLab, control: int) -> None:
    """It tells what a client must know, switches, and gives the verdict."""
    client = Client(lab, pins=False)
    status, known = call(control, "GET", "/")
    assert (status, known["host"], known["port"]) == (200, HOST, lab.port)
    assert Path(known["ca_file"]).read_text("ascii") == known["ca_pem"]
    assert call(control, "GET", "/verdict")[1] == {
        "shown": HONEST,
        "control_passed": False,
        "verdict": None,
        "result": None,
    }
    assert call(control, "POST", "/attackers/trusted-ca")[1]["verdict"] == "untested"
    client.ask()
    status, answer = call(control, "GET", "/verdict")
    assert (status, answer["shown"], answer["verdict"]) == (200, "trusted-ca", "accepted")
    assert "Bearer token" in answer["result"]["received"]
    assert [call(control, "POST", "/next")[1]["shown"] for _ in range(3)] == ["expired", HONEST, "trusted-ca"]
    assert {each["attacker"] for each in call(control, "GET", "/verdicts")[1]["results"]} == {"trusted-ca", "expired"}
    assert call(control, "POST", "/forget")[1]["shown"] == HONEST
    assert call(control, "GET", "/verdicts")[1]["results"] == []


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (("POST", "/attackers/nonsense", {}), 400),
        (("GET", "/next", {}), 404),
        (("POST", "/next", {"Origin": "https://page.example"}), 403),
        (("POST", "/next", {"Host": "rebound.example"}), 403),
    ],
)
def test_what_the_control_endpoint_refuses(
    lab: ServedLab, control: int, request_: tuple[str, str, dict[str, str]], expected: int
) -> None:
    """Unknown names, and web pages in a browser of this machine; nothing is switched."""
    status, answer = call(control, *request_)
    assert status == expected
    assert answer["error"]
    assert lab.shown == HONEST


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start `lab serve`."""
    command = [sys.executable, "-m", "pinned_requests", "lab", "serve", "--host", HOST, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "expected"), [("stdin", 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
)
def test_it_stops_within_a_second(how: signal.Signals | Literal["stdin"], expected: int, tmp_path: Path) -> None:
    """Also with a client that is connected; no file is left, but for the one that was asked for."""
    output = tmp_path / "lab.json"
    process = start("--json", "--output", str(output), "--attacker", "hang")
    assert process.stdin
    assert process.stdout
    assert process.stderr
    known = json.loads(process.stdout.readline())
    assert known == json.loads(output.read_text("ascii"))
    assert known["shown"] == "hang"
    with socket.create_connection((known["address"], known["port"]), WAIT) as sock:
        begin = time.monotonic()
        if how == "stdin":
            process.stdin.close()
        else:
            process.send_signal(how)
        assert process.wait(WAIT) == expected
        assert time.monotonic() - begin < 2.0  # a second, and another one for a busy machine
        assert sock.recv(1) == b""
    assert not Path(known["ca_file"]).exists()
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()


def test_an_attacker_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, before anything listens."""
    assert main(["lab", "serve", "--host", HOST, "--attacker", "nonsense"]) == 2
    assert "trusted-ca" in capsys.readouterr().err


@pytest.mark.slow
def test_the_text_ends_with_a_ready_line() -> None:
    """And says what a person must type elsewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "pinned_requests", "lab", "serve", "--host", HOST],
        input=b"",
        capture_output=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.decode("ascii").splitlines()
    assert lines[0].split() == ["host", HOST]
    assert lines[-1] == "ready"
    assert any(line.startswith("control ") for line in lines)

"""`docs/clients.md`: each section, as it stands there, against a server with the pinned key and one without.

A section is run in a process of its own, with `api.example.com` replaced by a server on loopback. What counts is what
that server gets: application bytes from the client of the honest server, none from the client of the other one.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pinned_requests import Pin
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from typing import Self

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
PATIENCE = 20.0  # seconds

PRELUDE = """
import json, sys, warnings
from pinned_requests import PinnedSSLContext, PinSet, pinning_error
bundle, pin, backup, text = sys.argv[1:]
context = PinnedSSLContext({"localhost": PinSet([pin], [backup])}, cafile=bundle)
heard = {}
try:
    exec(compile(text, "docs/clients.md", "exec"), {"context": context, "pinning_error": pinning_error})
except BaseException as error:
    found = pinning_error(error)
    heard = {"raised": f"{type(error).__module__}.{type(error).__name__}", "refused": found is not None}
    if found is not None:
        heard |= {"host": found.host, "chain": len(found.chain), "expected": list(map(str, found.expected))}
print(json.dumps(heard))
"""

# What the server says before TLS, each line after one of the client's, and what it says first within TLS. A server of
# HTTP says nothing, and waits for a request.
PREAMBLE: dict[str, list[bytes]] = {
    "asyncio-2": [b"220 hello\r\n", b"220 go\r\n"],
    "smtplib-2": [b"220 hello\r\n", b"250-hello\r\n250 STARTTLS\r\n", b"220 go\r\n"],
    "ftplib": [b"220 hello\r\n", b"234 go\r\n"],
    "asyncpg": [b"", b"S"],
}
BANNER = {"smtplib": b"220 hello\r\n", "imaplib": b"* OK hello\r\n"}
HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + b'{"data":[]}'


class Section(NamedTuple):
    """A block of the page, and the name of what it needs to be run."""

    name: str
    module: str
    code: str


def sections() -> Iterator[Section]:
    """All blocks of Python behind the first one."""
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        name = part.partition("\n")[0]
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", part, re.DOTALL | re.MULTILINE), 1):
            label = name if number == 1 else f"{name}-{number}"
            yield Section(label, {"paho-mqtt": "paho.mqtt.client"}.get(name, name), code)


SECTIONS = list(sections())


class Server:
    """Speaks first, in the clear or not, then TLS, and counts what it gets then."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self.received = b""
        self.handshakes = 0
        self._context, self._name = context, name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock, contextlib.suppress(OSError):
                    sock.settimeout(PATIENCE)
                    self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        for number, line in enumerate(PREAMBLE.get(self._name, [])):
            if number:
                sock.recv(1000)
            sock.sendall(line)
        with self._context.wrap_socket(sock, server_side=True) as tls:
            self.handshakes += 1
            if banner := BANNER.get(self._name):
                tls.sendall(banner)
            data = tls.recv(10000)
            self.received += data
            if data.startswith((b"GET", b"POST")):
                tls.sendall(HTTP)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A root that the client trusts, the honest server below it, and the man in the middle."""
    root = Authority.create()
    bundle = tmp_path_factory.mktemp("clients") / "ca.pem"
    bundle.write_bytes(root.certificate_pem)
    return bundle, root.issue("localhost"), root.intermediate("Careless CA").issue("localhost"), root.issue("backup")


def run(section: Section, trusted: Any, port: int) -> dict[str, Any]:
    """Run a block against the server on a port, and return what it raised."""
    pytest.importorskip(section.module, reason=f"{section.module} is not installed (extra `clients`)")
    code = section.code.replace("://api.example.com", f"://localhost:{port}")
    code = re.sub(r'"api.example.com", \d+', f'"localhost", {port}', code)
    code = re.sub(r"port=\d+", f"port={port}", code).replace("api.example.com", "localhost")
    bundle, honest, _attacker, backup = trusted
    arguments = (str(bundle), *(str(Pin.from_certificate(each.certificate)) for each in (honest, backup)), code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRELUDE, *arguments],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]  # of our own program


@pytest.mark.parametrize("section", SECTIONS, ids=[section.name for section in SECTIONS])
def test_the_server_with_the_key_is_spoken_to(section: Section, trusted: Any) -> None:
    """Whatever it answers: it gets what the client has to say."""
    with Server(trusted[1].server_context(), section.name) as server:
        heard = run(section, trusted, server.port)
    assert server.received
    assert heard.get("refused", False) is False


@pytest.mark.parametrize("section", SECTIONS, ids=[section.name for section in SECTIONS])
def test_a_man_in_the_middle_gets_nothing(section: Section, trusted: Any) -> None:
    """And the client's own error shows whom, what was seen, and what was expected."""
    with Server(trusted[2].server_context(), section.name) as server:
        heard = run(section, trusted, server.port)
    assert server.received == b""
    pins = [str(Pin.from_certificate(each.certificate)) for each in (trusted[1], trusted[3])]
    assert heard.pop("raised")
    assert heard == {"refused": True, "host": "localhost", "chain": 3, "expected": pins}

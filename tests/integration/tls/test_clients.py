"""`docs/clients.md`: each section, as it stands there, against a server with the pinned key and one without.

A section is run in a process of its own, with `api.example.com` replaced by a server on loopback, and
`proxy.example.com` by proxy.py, which has the pinned key where it speaks TLS. What counts is what the server gets:
application bytes from the client of the honest server, none from the client of the other one.
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
    from collections.abc import Callable, Iterator
    from typing import Self

    from pinned_requests.testing import Credential

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs" / "clients.md"
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
    """A block of the page, the name of what it needs to be run, and all that is said of it."""

    name: str
    module: str
    code: str
    text: str


def sections() -> Iterator[Section]:
    """All blocks of Python behind the first one."""
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        name = part.partition("\n")[0]
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", part, re.DOTALL | re.MULTILINE), 1):
            label = name if number == 1 else f"{name}-{number}"
            yield Section(label, {"paho-mqtt": "paho.mqtt.client"}.get(name, name), code, part)


SECTIONS = list(sections())


class Server:
    """Speaks first, in the clear or not, then TLS, and counts what it gets then."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self.received = b""
        self.connections = 0
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
                self.connections += 1
                with sock, contextlib.suppress(OSError):
                    sock.settimeout(PATIENCE)
                    self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        for number, line in enumerate(PREAMBLE.get(self._name, [])):
            if number:
                sock.recv(1000)
            sock.sendall(line)
        with self._context.wrap_socket(sock, server_side=True) as tls:
            if banner := BANNER.get(self._name):
                tls.sendall(banner)
            data = tls.recv(10000)
            self.received += data
            if data.startswith((b"GET", b"POST")):
                tls.sendall(HTTP)


class Trust(NamedTuple):
    """A root that the client trusts, and who has a certificate below it."""

    bundle: Path
    honest: Credential
    attacker: Credential
    pins: tuple[str, str]  # of the honest server's key, and of its backup


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Make the certificates."""
    root = Authority.create()
    bundle = tmp_path_factory.mktemp("clients") / "ca.pem"
    bundle.write_bytes(root.certificate_pem)
    honest, attacker = root.issue("localhost"), root.intermediate("Careless CA").issue("localhost")
    pins = tuple(str(Pin.from_certificate(each.certificate)) for each in (honest, root.issue("backup")))
    return Trust(bundle, honest, attacker, (pins[0], pins[1]))


@pytest.fixture(scope="module")
def proxies(trust: Trust, start_proxy: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The ports of proxy.py, and of proxy.py behind TLS."""
    folder = tmp_path_factory.mktemp("proxy-certificate")
    (folder / "chain.pem").write_bytes(trust.honest.served_pem)
    (folder / "key.pem").write_bytes(trust.honest.key_pem)
    options = ("--cert-file", str(folder / "chain.pem"), "--key-file", str(folder / "key.pem"))
    return {"http": start_proxy(), "https": start_proxy(*options)}


@pytest.fixture(params=SECTIONS, ids=[section.name for section in SECTIONS])
def section(request: pytest.FixtureRequest) -> Section:
    """Each block of the page whose client is installed."""
    found: Section = request.param
    pytest.importorskip(found.module, reason=f"{found.module} is not installed (extra `clients`)")
    if "proxy.example.com" not in found.code:
        return found
    code = found.code
    for scheme, port in request.getfixturevalue("proxies").items():
        code = code.replace(f"{scheme}://proxy.example.com:3128", f"{scheme}://localhost:{port}")
    return found._replace(code=code)


def run(section: Section, trust: Trust, port: int) -> dict[str, Any]:
    """Run a block against the server on a port, and return what it raised."""
    code = section.code.replace("://api.example.com", f"://localhost:{port}")
    code = re.sub(r'"api.example.com", \d+', f'"localhost", {port}', code)
    code = re.sub(r"port=\d+", f"port={port}", code).replace("api.example.com", "localhost")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRELUDE, str(trust.bundle), *trust.pins, code],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def server_of(section: Section, credential: Credential) -> Server:
    """Make the server for a block: of HTTP/2 where the block speaks that."""
    context = credential.server_context()
    if "http2=True" in section.code:
        context.set_alpn_protocols(["h2", "http/1.1"])
    return Server(context, section.name)


def test_the_server_with_the_key_is_spoken_to(section: Section, trust: Trust) -> None:
    """Whatever it answers: it gets what the client has to say."""
    with server_of(section, trust.honest) as server:
        heard = run(section, trust, server.port)
    assert server.received
    assert server.received.startswith(b"PRI * HTTP/2.0") is ("http2=True" in section.code)
    assert heard.get("refused", False) is False


def test_a_man_in_the_middle_gets_nothing(section: Section, trust: Trust) -> None:
    """The client's own error, which the page names, shows whom, what was seen, and what was expected."""
    if section.name == "aiohttp-4" and sys.version_info < (3, 11, 3):
        pytest.skip("before CPython 3.11.3, asyncio fails by itself where aiohttp gives up TLS within TLS")
    with server_of(section, trust.attacker) as server:
        heard = run(section, trust, server.port)
    assert server.received == b""
    module, _, name = heard.pop("raised").rpartition(".")
    assert ("comes as it is" if module == "pinned_requests" else f".{name}`") in section.text
    assert heard == {"refused": True, "host": "localhost", "chain": 3, "expected": list(trust.pins)}
    assert server.connections == (2 if "retries=1" in section.code else 1)

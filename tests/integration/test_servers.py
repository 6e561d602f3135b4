"""The lab's server serves, counts every byte, and leaves nothing behind.

The clients here are sockets, `ssl` and `http.client`: what is sent is known to the byte.
"""

from __future__ import annotations

import gc
import http.client
import socket
import ssl
import struct
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinned_requests.testing import Authority, Credential, Request, Response, TLSServer

if TYPE_CHECKING:
    from collections.abc import Iterator

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def root() -> Authority:
    """A root."""
    return Authority.create()


@pytest.fixture(scope="module")
def credential(root: Authority) -> Credential:
    """What an honest server on loopback presents."""
    return root.intermediate().issue("localhost", "127.0.0.1", "::1")


@pytest.fixture
def server(credential: Credential) -> Iterator[TLSServer]:
    """A running TLS server that answers ``ok``."""
    with TLSServer(credential) as server:
        yield server


def strict(root: Authority) -> ssl.SSLContext:
    """A default client context, as strict on every Python as on 3.13."""
    context = root.client_context()
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def connect(server: TLSServer, root: Authority, host: str = "localhost") -> ssl.SSLSocket:
    """Make a TLS connection, and send nothing over it."""
    sock = socket.create_connection((server.host, server.port), timeout=10)
    try:
        return strict(root).wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def https(server: TLSServer, root: Authority) -> http.client.HTTPSConnection:
    """An HTTP client of the server; close it."""
    return http.client.HTTPSConnection(server.host, server.port, timeout=10, context=strict(root))


def read_all(sock: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_requests_and_responses(root: Authority, credential: Credential) -> None:
    """A handler sees each request whole, over one connection, and its response arrives."""

    def handler(request: Request) -> Response:
        return Response(201, (("X-Lab", request.method),), request.body[::-1])

    with TLSServer(credential, handler=handler) as server:
        client = https(server, root)
        seen = []
        for method, body in (("POST", b"abc"), ("BREW", None), ("PUT", iter([b"ab", b"cd"]))):
            client.request(method, "/p?q=1", body, {"X-Case": "Kept"}, encode_chunked=True)
            with client.getresponse() as response:
                seen.append((response.status, response.headers["x-lab"], response.read()))
        client.close()
        server.settle()

    assert seen == [(201, "POST", b"cba"), (201, "BREW", b""), (201, "PUT", b"dcba")]
    assert [(each.method, each.body) for each in server.requests] == [("POST", b"abc"), ("BREW", b""), ("PUT", b"abcd")]
    assert {"/p?q=1"} == {each.path for each in server.requests}
    assert ("X-Case", "Kept") in server.requests[0].headers
    assert server.requests[0].header("x-case") == "Kept"
    assert server.requests[0].header("x-none") is None
    assert len({each.peer for each in server.requests}) == 1
    assert (server.connections, server.handshakes, server.open_connections) == (1, 1, 0)


def test_a_mapping_of_paths(root: Authority, credential: Credential) -> None:
    """A path is looked up with its query, then without; what is not there is a 404."""
    pages: dict[str, Response | bytes] = {"/": b"home", "/a": Response(202, body=b"a"), "/a?b": b"with query"}
    with TLSServer(credential, handler=pages) as server:
        client = https(server, root)
        seen = {}
        for path in ("/", "/a?c", "/a?b", "/none"):
            client.request("GET", path)
            with client.getresponse() as response:
                seen[path] = (response.status, response.read())
        client.close()
    expected = {"/": (200, b"home"), "/a?c": (202, b"a"), "/a?b": (200, b"with query"), "/none": (404, b"not found")}
    assert expected == seen


def test_responses_without_a_body(root: Authority, credential: Credential) -> None:
    """HEAD and 204 have none, and the connection goes on."""
    pages: dict[str, Response | bytes] = {
        "/": b"home",
        "/204": Response(204),
        "/raw": Response(200, (("Content-Length", "2"),), b"ab"),
    }
    with TLSServer(credential, handler=pages) as server:
        client = https(server, root)
        seen = []
        for method, path in (("HEAD", "/"), ("GET", "/204"), ("GET", "/raw")):
            client.request(method, path)
            with client.getresponse() as response:
                seen.append((response.status, response.headers["Content-Length"], response.read()))
        client.close()
    assert seen == [(200, "4", b""), (204, None, b""), (200, "2", b"ab")]
    assert server.connections == 1


def test_a_handler_that_raises(root: Authority, credential: Credential, capfd: pytest.CaptureFixture[str]) -> None:
    """Its client learns why, and nothing is printed."""

    def handler(_: Request) -> Response:
        raise LookupError("no such thing")

    with TLSServer(credential, handler=handler) as server:
        client = https(server, root)
        client.request("GET", "/")
        with client.getresponse() as response:
            assert response.status == 500
            assert b"no such thing" in response.read()
        client.close()
    assert capfd.readouterr() == ("", "")


def test_a_handshake_alone_brings_no_byte(server: TLSServer, root: Authority) -> None:
    """A client that leaves after the handshake has given nothing away."""
    for _ in range(20):
        connect(server, root).close()
    server.settle()
    assert (server.connections, server.handshakes, server.open_connections) == (20, 20, 0)
    assert (server.application_bytes, server.received, server.requests) == (0, b"", [])
    assert server.failed_handshakes == ()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_count_though_the_client_leaves_at_once(
    root: Authority, credential: Credential, version: ssl.TLSVersion
) -> None:
    """Every byte is counted, whether or not it became a request, however early the counts are read."""
    context = credential.server_context(minimum_version=version, maximum_version=version)
    with TLSServer(credential, context=context) as server:
        for round_ in range(1, 21):
            with connect(server, root) as client:
                assert client.version() == version.name.replace("_", ".")
                client.sendall(b"GET /secret")
            server.settle()
            assert (server.application_bytes, server.handshakes) == (11 * round_, round_)
    assert server.received == b"GET /secret" * 20
    assert server.requests == []


def test_a_client_that_stays_is_at_rest(server: TLSServer, root: Authority) -> None:
    """`settle` does not wait for a client that keeps its connection open, and counts what it has sent."""
    with connect(server, root) as client:
        server.settle()
        assert (server.application_bytes, server.open_connections) == (0, 1)
        client.sendall(b"x" * 100_000)
        server.settle()
        assert server.application_bytes >= 65536
    server.settle()
    assert (server.application_bytes, server.open_connections) == (100_000, 0)
    assert server.received == b"x" * 4096


def test_what_follows_the_end_counts(server: TLSServer, root: Authority) -> None:
    """Bytes behind a request that closes, or behind a malformed one, are counted as well."""
    tail = b"and then some more" * 2000
    closing = GET[:-2] + b"Connection: close\r\n\r\n"
    for head in (closing, b"nonsense\r\n\r\n"):
        before = server.application_bytes
        with connect(server, root) as client:
            client.sendall(head + tail)
            assert read_all(client).startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
        server.settle()
        assert server.application_bytes - before == len(head + tail)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: x\r\n\r\n", b"400"),
        (b"Content-Length: -1\r\n\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\n\r\n2;ext\r\nab\r\n0\r\nTrailer: x\r\n\r\n", b"200"),
    ],
)
def test_framing(server: TLSServer, root: Authority, head: bytes, status: bytes) -> None:
    """A malformed body makes no request, and ends the connection."""
    with connect(server, root) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + head)
        assert read_all(client).split()[1] == status
    assert len(server.requests) == (status == b"200")


@pytest.mark.parametrize("body", [b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n9", b""])
def test_a_request_cut_short(server: TLSServer, root: Authority, body: bytes) -> None:
    """It counts as bytes, not as a request."""
    sent = b"POST / HTTP/1.1\r\n" + body
    with connect(server, root) as client:
        client.sendall(sent)
    server.settle()
    assert (server.application_bytes, server.requests) == (len(sent), [])


def test_a_request_without_host(server: TLSServer, root: Authority) -> None:
    """It is refused, as RFC 9112 §3.2 wants it, and counted."""
    with connect(server, root) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 400 Bad Request")
    server.settle()
    assert (server.application_bytes, server.requests) == (18, [])


def test_a_client_waits_for_100_continue(server: TLSServer, root: Authority) -> None:
    """The server asks for the body that the client announced."""
    with connect(server, root) as client:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\n"
        client.sendall(head + b"Content-Length: 3\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"abc")
        assert read_all(client).endswith(b"ok")
    assert [each.body for each in server.requests] == [b"abc"]


def test_a_large_exchange(root: Authority, credential: Credential) -> None:
    """More than the socket's buffers hold goes through in both directions."""
    with TLSServer(credential, handler=lambda request: Response(body=request.body)) as server:
        client = https(server, root)
        client.request("POST", "/", b"y" * 8_000_000)
        time.sleep(0.05)  # let the server fill the buffers, so that it has to wait
        with client.getresponse() as response:
            assert response.read() == b"y" * 8_000_000
        client.close()


def test_failed_handshakes(server: TLSServer, root: Authority) -> None:
    """A refused certificate, plain HTTP and a client that says nothing: no handshake, no byte, an error for each."""
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, Authority.create())
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, root, "other.example.com")
    server.settle()
    with socket.create_connection((server.host, server.port)) as plain:
        plain.sendall(GET)
        server.settle()
    socket.create_connection((server.host, server.port)).close()
    server.wait_for_connections(4)
    server.settle()
    assert (server.connections, server.handshakes, server.application_bytes) == (4, 0, 0)
    assert len(server.failed_handshakes) == 4
    assert "alert" in server.failed_handshakes[0].lower()
    assert "http request" in server.failed_handshakes[2].lower()


def test_a_client_that_resets_at_once(server: TLSServer) -> None:
    """Its socket is closed by the server, not by the garbage collector with a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with server._tally.changed:  # nothing is accepted under this lock
            client = socket.create_connection((server.host, server.port), timeout=10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        server.wait_for_connections(1)
        server.settle()
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert (server.handshakes, len(server.failed_handshakes)) == (0, 1)


def test_a_silent_client_stops_nobody_else(server: TLSServer, root: Authority) -> None:
    """The handshake is not made in the accept loop."""
    with socket.create_connection((server.host, server.port)):
        server.wait_for_connections(1)
        with connect(server, root) as client:
            client.sendall(GET)
            assert client.recv(4096)
        server.settle()
        assert (server.connections, server.handshakes, server.open_connections) == (2, 1, 1)


def test_many_clients_at_once(server: TLSServer, root: Authority) -> None:
    """The counts are exact with many threads."""

    def client(number: int) -> int:
        with connect(server, root) as sock:
            for _ in range(5):
                sock.sendall(GET)
                sock.recv(4096)
        return number

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(client, range(64))) == sum(range(64))
    server.settle()
    assert (server.connections, server.handshakes, len(server.requests)) == (64, 64, 320)
    assert (server.application_bytes, server.open_connections) == (320 * len(GET), 0)


def test_another_credential(server: TLSServer, root: Authority, credential: Credential) -> None:
    """The next connection gets it; the one that is open goes on."""
    other = root.issue("localhost")
    with connect(server, root) as first:
        assert first.getpeercert(binary_form=True) == credential.certificate_der
        server.credential = other
        with connect(server, root) as second:
            assert second.getpeercert(binary_form=True) == other.certificate_der
        first.sendall(GET)
        assert first.recv(4096).startswith(b"HTTP/1.1 200")
    assert server.credential is other


def test_plain_http(credential: Credential) -> None:
    """Without a credential it is an HTTP server that counts just so, and may turn to TLS."""
    with TLSServer(None) as server:
        assert server.url() == f"http://localhost:{server.port}/"
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(GET)
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        server.settle()
        assert (server.connections, server.handshakes, server.application_bytes) == (1, 0, len(GET))
        server.credential = credential
        assert server.scheme == "https"


def test_url(server: TLSServer) -> None:
    """It is made for a host of the caller's choice."""
    assert server.url() == f"https://localhost:{server.port}/"
    assert server.url("/a?b", "::1") == f"https://[::1]:{server.port}/a?b"


def test_ipv6(root: Authority, credential: Credential) -> None:
    """It listens on an IPv6 address."""
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").is_file():
        pytest.skip("this machine has no IPv6")
    with TLSServer(credential, host="::1") as server, connect(server, root, "::1") as client:
        client.sendall(GET)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.requests[0].peer == client.getsockname()[:2]


def test_nothing_is_left_behind(root: Authority, credential: Credential) -> None:
    """After the block: no thread, no socket and no port, for clients that do different things."""
    threads = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with TLSServer(credential) as server:
            silent = socket.create_connection((server.host, server.port))
            idle = connect(server, root)
            halfway = connect(server, root)
            halfway.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
            closing = connect(server, root)
            closing.sendall(GET[:-2] + b"Connection: close\r\n\r\n")
            server.wait_for_connections(4)
            server.settle()
            assert server.open_connections == 4
            started = time.monotonic()
        assert time.monotonic() - started < 1
        assert server.open_connections == 0
        assert set(threading.enumerate()) <= threads
        assert idle.recv(1) == b""
        for client in (silent, idle, halfway, closing):
            client.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, server.port))
        port = server.port
        del server
        gc.collect()
    assert port


def test_the_limits_of_waiting(credential: Credential, root: Authority) -> None:
    """A wait ends with an error when its time is up; a handler that hangs is named by `stop`."""
    release = threading.Event()

    def hang(_: Request) -> Response:
        release.wait(30)
        return Response()

    server = TLSServer(credential, handler=hang).start()
    with pytest.raises(TimeoutError, match="2 connections"):
        server.wait_for_connections(2, timeout=0.05)
    with connect(server, root) as client:
        client.sendall(GET)
        with pytest.raises(TimeoutError):
            server.settle(timeout=0.3)  # longer than an idle connection has to be quiet
        with pytest.raises(TimeoutError, match="handler"):
            server.stop(timeout=0.05)
        release.set()
        server.settle()
    server.stop()


def test_a_server_starts_once(credential: Credential) -> None:
    """It has no port before, and does not start again; it may be stopped twice."""
    server = TLSServer(credential)
    server.stop()
    with pytest.raises(RuntimeError):
        assert server.port
    with server:
        pass
    server.stop()
    with pytest.raises(RuntimeError):
        server.start()

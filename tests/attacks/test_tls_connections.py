"""What a man in the middle gets from a client with a `PinnedSSLContext`, whichever call is the client's first: nothing.

Rules for the next maintainer:

- The bytes are counted at the server, which counts what comes in the clear, too.
- Each attack has its honest twin: the same call on the same client, with the server that has the key.
"""

from __future__ import annotations

import contextlib
import gc
import io
import select
import socket
import ssl
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import pytest

from pinned_requests import (
    ChainUnavailableError,
    Pin,
    PinMismatchError,
    PinnedSSLContext,
    PinningError,
    PinSet,
    PolicyError,
)
from pinned_requests.enforcement.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinned_requests import ViolationReport
    from pinned_requests.core.verdict import Verdict
    from pinned_requests.testing import TLSServer
    from support.scene import Scene

SECRET = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Secret: the-secret\r\n\r\n"
ResultT = TypeVar("ResultT")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def pinned_context(scene: Scene, **options: Any) -> PinnedSSLContext:
    """Make a context with the honest server's pin, which trusts the root."""
    pins = PinSet([Pin.from_certificate(scene.honest.certificate)], [scene.backup])
    return PinnedSSLContext({"localhost": pins}, **{"cafile": scene.bundle, **options})


def make_file(tls: ssl.SSLSocket, mode: Literal["wb", "rb"]) -> object:
    """Use the socket as a file, unbuffered."""
    with tls.makefile(mode, buffering=0) as file:
        return file.write(SECRET) if mode == "wb" else file.read(1)


def send_file(tls: ssl.SSLSocket) -> object:
    """Send a file of the file system."""
    with tempfile.TemporaryFile() as file:
        file.write(SECRET)
        file.seek(0)
        return tls.sendfile(file)


# A non-blocking socket refuses `sendfile()` and `makefile()` by itself.
BLOCKING_ALONE = {"sendfile", "makefile-write", "makefile-read"}

SENDING: dict[str, Callable[[ssl.SSLSocket], object]] = {
    "write": lambda tls: tls.write(SECRET),
    "send": lambda tls: tls.send(SECRET),
    "sendall": lambda tls: tls.sendall(SECRET),
    "sendfile": send_file,
    "makefile-write": lambda tls: make_file(tls, "wb"),
    "do_handshake": lambda tls: tls.do_handshake(),
}
SOCKET_CALLS: dict[str, Callable[[ssl.SSLSocket], object]] = {
    **SENDING,
    "sendto": lambda tls: tls.sendto(SECRET, ("127.0.0.1", 1)),
    "read": lambda tls: tls.read(),
    "read-into": lambda tls: tls.read(1, bytearray(1)),
    "recv": lambda tls: tls.recv(1),
    "recv_into": lambda tls: tls.recv_into(bytearray(1)),
    "recvfrom": lambda tls: tls.recvfrom(1),
    "recvfrom_into": lambda tls: tls.recvfrom_into(bytearray(1)),
    "makefile-read": lambda tls: make_file(tls, "rb"),
    "unwrap": lambda tls: tls.unwrap(),
}
OBJECT_CALLS: dict[str, Callable[[ssl.SSLObject], object]] = {
    "write": lambda tls: tls.write(SECRET),
    "read": lambda tls: tls.read(),
    "read-into": lambda tls: tls.read(1, bytearray(1)),
    "unwrap": lambda tls: tls.unwrap(),
    "do_handshake": lambda tls: tls.do_handshake(),
}
TIMEOUTS = {"blocking": None, "timeout": 10.0, "non-blocking": 0.0}


def until_done(call: Callable[[], ResultT], sock: ssl.SSLSocket) -> ResultT:
    """Call a method of a non-blocking socket until it neither wants to read nor to write."""
    while True:
        try:
            return call()
        except ssl.SSLWantReadError:
            select.select([sock], [], [], 10)
        except ssl.SSLWantWriteError:
            select.select([], [sock], [], 10)


def open_socket(context: ssl.SSLContext, port: int, timeout: float | None = 10.0) -> ssl.SSLSocket:
    """Connect, and wrap the socket without a handshake."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    tls = context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=False)
    tls.settimeout(timeout)
    return tls


class Pump:
    """A TLS object over a socket, as asyncio, trio and TLS in TLS have it."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.sock = socket.create_connection(("127.0.0.1", port), 10)

    def flush(self) -> None:
        """Send what TLS wants to send."""
        if data := self.outgoing.read():
            self.sock.sendall(data)

    def do(self, call: Callable[[ssl.SSLObject], ResultT]) -> ResultT:
        """Call a method until it neither wants to read nor to write."""
        while True:
            try:
                result = call(self.tls)
            except ssl.SSLWantReadError:
                self.flush()
                self.incoming.write(self.sock.recv(1 << 16))
            else:
                self.flush()
                return result


@pytest.fixture(params=VERSIONS, ids=["1.2", "1.3"])
def versioned(scene: Scene, request: pytest.FixtureRequest) -> Scene:
    """The scene, with servers that speak one version of TLS."""
    scene.tls = request.param
    return scene


@contextlib.contextmanager
def nothing_through(scene: Scene, server: TLSServer, handshakes: int | None = None) -> Iterator[None]:
    """Check that the server has got no application byte in the block, and no byte in the clear."""
    yield
    toll = scene.toll(server)
    assert (toll.application_bytes, server.cleartext_bytes) == (0, 0)
    if handshakes is not None:
        assert toll.handshakes == handshakes


def test_a_plain_context_is_fooled(versioned: Scene) -> None:
    """The attacker of these tests has a certificate that the trust store accepts."""
    mitm = versioned.serve(versioned.attacker)
    context = ssl.create_default_context(cafile=versioned.bundle)
    with open_socket(context, mitm.port) as tls:
        tls.sendall(SECRET)
    assert versioned.toll(mitm).application_bytes == len(SECRET)


@pytest.mark.parametrize("mode", TIMEOUTS)
@pytest.mark.parametrize("name", SOCKET_CALLS)
def test_no_first_call_on_a_socket_sends(versioned: Scene, name: str, mode: str) -> None:
    """OpenSSL makes the handshake inside the first read or write. Every call is refused, and every one after it."""
    mitm = versioned.serve(versioned.attacker, cleartext=True)
    expected: Any = PinMismatchError
    if name in {"sendto", "recvfrom", "recvfrom_into"}:
        expected = (OSError, ValueError)  # TLS has no such calls; they were not to go around it
    if mode == "non-blocking" and name in BLOCKING_ALONE:
        expected = (PinMismatchError, ValueError)
    with nothing_through(versioned, mitm), open_socket(pinned_context(versioned), mitm.port, TIMEOUTS[mode]) as tls:
        with pytest.raises(expected):
            until_done(lambda: SOCKET_CALLS[name](tls), tls)
        with pytest.raises(PinMismatchError):
            until_done(tls.do_handshake, tls)
        for again in SOCKET_CALLS.values():
            with pytest.raises((OSError, ValueError)):
                again(tls)


@pytest.mark.parametrize("mode", TIMEOUTS)
@pytest.mark.parametrize("name", SENDING)
def test_the_honest_server_gets_it(versioned: Scene, name: str, mode: str) -> None:
    """The same first call, and the server with the key."""
    if mode == "non-blocking" and name in BLOCKING_ALONE:
        pytest.skip("a non-blocking socket has no such call")
    server = versioned.serve(versioned.honest)
    with open_socket(pinned_context(versioned), server.port, TIMEOUTS[mode]) as tls:
        until_done(lambda: SENDING[name](tls), tls)
        if name == "do_handshake":
            until_done(lambda: tls.send(SECRET), tls)
        assert until_done(lambda: tls.recv(12), tls) == b"HTTP/1.1 200"
    assert versioned.toll(server) == (1, 1, len(SECRET))


def test_flags_are_refused_as_by_ssl(scene: Scene) -> None:
    """TLS has none, and a call that silently did without them would be another one."""
    server = scene.serve(scene.honest)
    contexts: list[ssl.SSLContext] = [pinned_context(scene), ssl.create_default_context(cafile=scene.bundle)]
    for context in contexts:
        with open_socket(context, server.port) as tls:
            tls.do_handshake()
            with pytest.raises(ValueError, match="non-zero flags not allowed in calls to send"):
                tls.send(SECRET, socket.MSG_DONTWAIT)
    assert scene.toll(server).application_bytes == 0


def test_the_handshake_is_refused_where_the_socket_is_wrapped(versioned: Scene) -> None:
    """What `http.client` and `smtplib` do. The socket is closed, and the error is the one that clients of ssl know."""
    mitm = versioned.serve(versioned.attacker)
    sock = socket.create_connection(("127.0.0.1", mitm.port), 10)
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        pinned_context(versioned).wrap_socket(sock, server_hostname="localhost")
    assert isinstance(caught.value, PinMismatchError)
    assert caught.value.host == "localhost"
    assert caught.value.chain[0].der == versioned.attacker.certificate_der
    assert Pin.from_certificate(versioned.honest.certificate) in caught.value.expected
    assert versioned.toll(mitm).application_bytes == mitm.open_connections == 0


@pytest.mark.parametrize("name", OBJECT_CALLS)
def test_no_first_call_on_an_object_sends(versioned: Scene, name: str) -> None:
    """Also where the client flushes its buffer after the refusal, and goes on as if nothing was."""
    mitm = versioned.serve(versioned.attacker)
    with nothing_through(versioned, mitm):
        pump = Pump(pinned_context(versioned), mitm.port)
        with pump.sock:
            for call in (OBJECT_CALLS[name], *OBJECT_CALLS.values()):
                with pytest.raises(PinMismatchError):
                    pump.do(call)
                pump.flush()


def test_the_honest_server_gets_it_from_an_object(versioned: Scene) -> None:
    """The twin."""
    server = versioned.serve(versioned.honest)
    pump = Pump(pinned_context(versioned), server.port)
    with pump.sock:
        assert pump.do(lambda tls: tls.write(SECRET)) == len(SECRET)
        assert pump.do(lambda tls: tls.read(12)) == b"HTTP/1.1 200"
    assert versioned.toll(server) == (1, 1, len(SECRET))


@pytest.mark.parametrize("end", ["shutdown", "failed-connect", "refused"])
def test_nothing_is_sent_in_the_clear(scene: Scene, end: str) -> None:
    """`ssl.SSLSocket` drops its TLS object, and is a plain socket from then on."""
    server = scene.serve(scene.attacker if end == "refused" else scene.honest, cleartext=True)
    context = pinned_context(scene)
    if end == "failed-connect":
        tls: Any = context.wrap_socket(socket.socket(), server_hostname="localhost")
        tls.settimeout(0)
        with pytest.raises(BlockingIOError):
            tls.connect(("127.0.0.1", server.port))  # it goes on in the background
        select.select([], [tls], [], 10)
    else:
        tls = open_socket(context, server.port)
        with contextlib.suppress(PinningError):
            tls.do_handshake()
    with tls, nothing_through(scene, server):
        if end == "shutdown":
            tls.shutdown(socket.SHUT_RD)
        for call in SOCKET_CALLS.values():
            with pytest.raises((OSError, ValueError, AttributeError)):  # ssl's own, of `None.do_handshake`
                call(tls)


def test_nothing_is_sent_in_the_clear_after_unwrap(scene: Scene) -> None:
    """`ftplib` gives up TLS with CCC; a pinned socket has nothing to send then."""
    client, server = socket.socketpair()
    got: list[bytes] = []

    def serve() -> None:
        with scene.honest.server_context().wrap_socket(server, server_side=True) as tls:
            got.append(tls.recv(100))
            tls.unwrap()
            got.append(tls.recv(100))

    thread = threading.Thread(target=serve)
    thread.start()
    with pinned_context(scene).wrap_socket(client, server_hostname="localhost") as tls:
        tls.sendall(b"hello")
        with contextlib.suppress(ssl.SSLError):
            tls.unwrap()
        for call in SOCKET_CALLS.values():
            with pytest.raises((OSError, ValueError, AttributeError)):
                call(tls)
    thread.join()
    assert got == [b"hello", b""]


def test_a_socket_of_ssl_does_send_in_the_clear(scene: Scene) -> None:
    """The attack of the test above is real."""
    server = scene.serve(scene.honest, cleartext=True)
    with ssl.create_default_context(cafile=scene.bundle).wrap_socket(
        socket.socket(), server_hostname="localhost"
    ) as tls:
        tls.settimeout(0)
        with pytest.raises(BlockingIOError):
            tls.connect(("127.0.0.1", server.port))
        select.select([], [tls], [], 10)
        tls.send(SECRET)
    scene.toll(server)
    assert server.cleartext_bytes == len(SECRET)


def test_connect_is_checked(scene: Scene) -> None:
    """A socket that is wrapped first and connected afterwards."""
    context = pinned_context(scene)
    for credential, refused in ((scene.attacker, True), (scene.honest, False)):
        server = scene.serve(credential)
        with context.wrap_socket(socket.socket(), server_hostname="localhost") as tls:
            tls.settimeout(10)
            with pytest.raises(PinMismatchError) if refused else contextlib.nullcontext():
                tls.connect(("127.0.0.1", server.port))
            with pytest.raises(OSError, match="not open") if refused else contextlib.nullcontext():
                tls.sendall(SECRET)
        assert scene.toll(server).application_bytes == (0 if refused else len(SECRET))


@pytest.mark.parametrize("attribute", ["context", "session"])
@pytest.mark.parametrize("kind", ["socket", "object", "inner"])
def test_a_live_connection_keeps_its_context(scene: Scene, kind: str, attribute: str) -> None:
    """Another context, or a session to resume, would come without the check."""
    mitm = scene.serve(scene.attacker, cleartext=True)
    context = pinned_context(scene)
    pump = Pump(context, mitm.port)
    with nothing_through(scene, mitm), pump.sock, open_socket(context, mitm.port) as sock:
        tls: Any = {"socket": sock, "object": pump.tls, "inner": sock._sslobj}[kind]  # type: ignore[attr-defined]  # an SSLObject
        with pytest.raises((AttributeError, TypeError, PolicyError)):
            setattr(tls, attribute, ssl.create_default_context(cafile=scene.bundle) if attribute == "context" else sock)
        with pytest.raises(PinMismatchError):
            sock.sendall(SECRET)


def test_an_unconnected_socket_keeps_its_context(scene: Scene) -> None:
    """`connect()` wraps the socket by `self.context`."""
    mitm = scene.serve(scene.attacker)
    with (
        nothing_through(scene, mitm),
        pinned_context(scene).wrap_socket(socket.socket(), server_hostname="localhost") as tls,
    ):
        with pytest.raises(AttributeError):
            tls.context = ssl.create_default_context(cafile=scene.bundle)
        with pytest.raises(PinMismatchError):
            tls.connect(("127.0.0.1", mitm.port))


def test_the_host_is_the_one_that_openssl_matched(scene: Scene) -> None:
    """`SSLSocket.server_hostname` can be written after the connection was made."""
    mitm = scene.serve(scene.attacker)
    pins = PinSet([Pin.from_certificate(scene.honest.certificate)], [scene.backup])
    context = PinnedSSLContext({"localhost": pins}, cafile=scene.bundle, unpinned_hosts="allow")
    with nothing_through(scene, mitm), open_socket(context, mitm.port) as tls:
        tls.server_hostname = "other.example.com"
        with pytest.raises(PinMismatchError):
            tls.sendall(SECRET)


def test_an_unknown_method_of_a_later_python_is_not_reachable(scene: Scene) -> None:
    """It might move bytes. The methods that only look are there."""
    server = scene.serve(scene.honest)
    with open_socket(pinned_context(scene), server.port) as tls:
        tls.do_handshake()
        with pytest.raises(AttributeError):
            tls._sslobj.verify_client_post_handshake()  # type: ignore[attr-defined]  # the C object has it
        inner: Any = tls._sslobj  # type: ignore[attr-defined]  # an SSLObject
        assert inner.uses_ktls_for_send() is False  # or CPython 3.15 would send a file by another method
        assert tls.version() == "TLSv1.3"
        assert tls.cipher()
        assert (tls.getpeercert() or {})["subjectAltName"]
        assert tls.pending() == 0
        assert tls.session_reused is False
        assert tls.selected_alpn_protocol() is None


@pytest.mark.parametrize(
    ("step", "error"),
    [("judge", ZeroDivisionError), ("judge", OSError), ("policy", ZeroDivisionError), ("admit", ZeroDivisionError)],
)
def test_an_error_in_the_check_refuses(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, step: str, error: type[Exception]
) -> None:
    """Whatever fails: the chain was not accepted, and the connection stays refused when the failure has passed."""
    server = scene.serve(scene.honest)
    context = pinned_context(scene)

    def fail(*_: object) -> NoReturn:
        raise error

    with nothing_through(scene, server), open_socket(context, server.port) as tls:
        with monkeypatch.context() as patched:
            patched.setattr(Guard, step, property(fail) if step == "policy" else fail)
            with pytest.raises(ChainUnavailableError):
                tls.sendall(SECRET)
        for call in SOCKET_CALLS.values():
            with pytest.raises((OSError, ValueError)):
                call(tls)
        with pytest.raises(ChainUnavailableError):
            tls.sendall(SECRET)


def test_a_refused_connection_is_shut_down(scene: Scene) -> None:
    """The server sees its end, while the client still has the socket. The descriptor is the client's to close."""
    mitm = scene.serve(scene.attacker)
    with open_socket(pinned_context(scene), mitm.port) as tls:
        with pytest.raises(PinMismatchError):
            tls.do_handshake()
        scene.toll(mitm)
        assert mitm.open_connections == 0
        assert tls.fileno() > 0


@pytest.mark.parametrize("refused", [True, False])
def test_threads_make_one_check(scene: Scene, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:  # noqa: FBT001  a parameter
    """Whichever is first, the others wait for its check: all are refused, with one report, or none is."""
    reports: list[ViolationReport] = []
    judge = Guard.judge

    def judge_slowly(*args: Any) -> Verdict:
        time.sleep(0.1)
        return judge(*args)

    monkeypatch.setattr(Guard, "judge", judge_slowly)
    server = scene.serve(scene.attacker if refused else scene.honest)
    with open_socket(pinned_context(scene, on_violation=reports.append), server.port) as tls:
        errors: list[type] = []
        barrier = threading.Barrier(4)

        def use() -> None:
            barrier.wait()
            try:
                tls.do_handshake()  # OpenSSL does not let two threads write
            except PinningError as error:
                errors.append(type(error))

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(errors), len(reports)) == ((4, 1) if refused else (0, 0))
    assert scene.toll(server)[1:] == (1, 0)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the client leaves it to the reference count
def test_no_descriptor_stays_open(scene: Scene) -> None:
    """The garbage collector is off: an error that is kept on a connection would be a cycle."""
    mitm = scene.serve(scene.attacker)
    context = pinned_context(scene)

    def refuse() -> None:
        for wrap in (True, False):
            sock = socket.create_connection(("127.0.0.1", mitm.port), 10)
            with contextlib.suppress(PinningError):
                context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=wrap).sendall(SECRET)

    def descriptors() -> int:
        scene.toll(mitm)
        return len(list(Path("/proc/self/fd").iterdir()))

    refuse()
    before = descriptors()
    gc.disable()
    try:
        for _ in range(5):
            refuse()
        assert descriptors() <= before
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["socket", "object"])
def test_a_refusal_is_made_anew(scene: Scene, kind: str) -> None:
    """Each call raises an error of its own: one that is kept would hold the frames of the first caller."""
    mitm = scene.serve(scene.attacker)
    pump = Pump(pinned_context(scene), mitm.port)
    with open_socket(pinned_context(scene), mitm.port) as sock, pump.sock:
        errors = []
        for _ in range(2):
            with pytest.raises(PinMismatchError) as caught:
                sock.send(SECRET) if kind == "socket" else pump.do(lambda tls: tls.write(SECRET))
            errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert errors[0].args == errors[1].args


def test_buffered_files_send_nothing(scene: Scene) -> None:
    """`http.client` writes by `sendall()` and reads by a buffered file."""
    mitm = scene.serve(scene.attacker)
    with nothing_through(scene, mitm), open_socket(pinned_context(scene), mitm.port) as tls:
        file = tls.makefile("rwb")
        file.write(SECRET)
        with pytest.raises(PinMismatchError):
            file.flush()
        with contextlib.suppress(OSError):
            file.close()
        assert isinstance(file, io.BufferedRWPair)

"""The shared TLS contexts, and the caller's own."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from urllib3.exceptions import SSLError

from pinned_requests import PinMismatchError, PinnedSession, PolicyError
from pinned_requests.testing import Authority, Credential
from pinned_requests.transport import context as contexts
from pinned_requests.transport.context import shared_context
from support.fork import in_a_child, needs_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pinned_requests.testing import TLSServer
    from pinned_requests.transport.context import TLSSettings
    from support.lab import Lab

PASSWORD = "the-password-of-the-key"  # noqa: S105  of a key that lives for the time of the tests
WAIT = 20  # seconds


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    """Begin and end without contexts."""
    contexts._slots.clear()
    yield
    contexts._slots.clear()


def settings_of(lab: Lab, **changes: Any) -> TLSSettings:
    """Return what requests asks for: verification with a bundle."""
    return cast("TLSSettings", {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": lab.bundle, **changes})


def replace_file(path: Path, content: bytes) -> None:
    """Put another file in the place of one, as deployment tools do."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    os.replace(other, path)  # noqa: PTH105  says what it does


def write_client_certificate(path: Path, client: Credential) -> None:
    """Write a key and its certificate into one file."""
    replace_file(path, client.key_pem + client.served_pem)


def demanding(lab: Lab, clients: Authority) -> ssl.SSLContext:
    """Make a server's context that lets in the clients of an authority only."""
    context: ssl.SSLContext = lab.honest.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients.certificate_der)
    return context


def test_one_context_for_the_same_settings(lab: Lab) -> None:
    """Two sessions that need the same context share it; what differs in anything gets another."""
    first = shared_context(settings_of(lab))
    assert shared_context(settings_of(lab)) is first
    others: list[dict[str, Any]] = [
        {"cert_reqs": ssl.CERT_NONE, "check_hostname": False},
        {"check_hostname": False},
        {"ca_certs": None, "ca_cert_data": lab.root.certificate_pem.decode()},
        {"minimum_version": ssl.TLSVersion.TLSv1_3},
        {"maximum_version": ssl.TLSVersion.TLSv1_2},
    ]
    different = [shared_context(settings_of(lab, **changes)) for changes in others]
    assert len({id(context) for context in (first, *different)}) == len(others) + 1

    server = lab.serve(lab.honest)
    contexts._slots.clear()
    for _ in range(3):
        assert lab.trusting(PinnedSession(lab.pins)).get(server.url()).text == "ok"
    assert len(contexts._slots) == 1


def test_what_a_context_is_set_to(lab: Lab) -> None:
    """It is what urllib3 would build, and does not renegotiate."""
    context = shared_context(settings_of(lab))
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.get_ca_certs(binary_form=True) == [lab.root.certificate_der]
    unverified = shared_context(settings_of(lab, cert_reqs=ssl.CERT_NONE, check_hostname=False))
    assert unverified.options & ssl.OP_NO_RENEGOTIATION
    assert (unverified.verify_mode, unverified.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_requests_leave_the_shared_context_alone(lab: Lab) -> None:
    """urllib3 writes into the contexts it is given: of ours it only writes what stands there."""
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(lab.pins))
    session.get(server.url())
    session.get(server.url(), verify=False)
    before = {key: attributes(slot.context) for key, slot in contexts._slots.items() if slot.context}
    assert len(before) == 2
    for verify in (False, lab.bundle, False):
        session.get(server.url(), verify=verify, headers={"Connection": "close"})
    assert {key: attributes(slot.context) for key, slot in contexts._slots.items() if slot.context} == before


def test_a_replaced_bundle(lab: Lab, tmp_path: Path) -> None:
    """The next connection uses the CA bundle that is there then, be it wider or narrower."""
    other = Authority.create("Another Root CA")
    path = tmp_path / "ca.pem"
    path.write_bytes(other.certificate_pem)
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(lab.pins))

    def get() -> requests.Response:
        return session.get(server.url(), verify=str(path), headers={"Connection": "close"})

    for _ in range(2):
        with pytest.raises(requests.exceptions.SSLError):
            get()
        replace_file(path, lab.root.certificate_pem)
        assert get().text == "ok"
        replace_file(path, other.certificate_pem)


def test_a_client_certificate(lab: Lab, tmp_path: Path) -> None:
    """`cert=` works as in requests; the server demands it, and the next connection uses the file that is there then."""
    ours, theirs = Authority.create("Our Clients"), Authority.create("Their Clients")
    for_ours = lab.serve(None, context=demanding(lab, ours))
    for_theirs = lab.serve(None, context=demanding(lab, theirs))
    session = lab.trusting(PinnedSession(lab.pins))
    path = tmp_path / "client.pem"

    def get(server: TLSServer, cert: str | tuple[str, str] | None) -> str:
        return str(session.get(server.url(), cert=cert, headers={"Connection": "close"}).text)

    for server in (for_ours, for_theirs):
        with pytest.raises(requests.exceptions.RequestException):
            get(server, None)

    write_client_certificate(path, ours.issue("client.example.com"))
    assert get(for_ours, str(path)) == "ok"
    with pytest.raises(requests.exceptions.RequestException):
        get(for_theirs, str(path))
    write_client_certificate(path, theirs.issue("client.example.com"))
    assert get(for_theirs, str(path)) == "ok"
    with pytest.raises(requests.exceptions.RequestException):
        get(for_ours, str(path))

    client = ours.issue("client.example.com")
    (tmp_path / "cert.pem").write_bytes(client.served_pem)
    (tmp_path / "key.pem").write_bytes(client.key_pem)
    assert get(for_ours, (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))) == "ok"


def test_a_client_certificate_does_not_stay(lab: Lab, tmp_path: Path) -> None:
    """A request without `cert=` after one with it is made without it."""
    clients = Authority.create("Our Clients")
    server = lab.serve(None, context=demanding(lab, clients))
    session = lab.trusting(PinnedSession(lab.pins))
    write_client_certificate(tmp_path / "client.pem", clients.issue("client.example.com"))
    assert session.get(server.url(), cert=str(tmp_path / "client.pem")).text == "ok"
    with pytest.raises(requests.exceptions.RequestException):
        session.get(server.url())


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["absent", "empty", "garbage"])
def test_a_failure_is_not_kept(lab: Lab, tmp_path: Path, content: bytes | None) -> None:
    """A bundle that cannot be read fails each time, until it can be."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    settings = settings_of(lab, ca_certs=str(path))
    for _ in range(2):
        with pytest.raises(SSLError):
            shared_context(settings)
    path.write_bytes(lab.root.certificate_pem)
    assert shared_context(settings).get_ca_certs(binary_form=True) == [lab.root.certificate_der]


def test_the_cache_is_bounded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not used for longest goes first."""
    monkeypatch.setattr(contexts, "MAX_CONTEXTS", 3)
    data = [lab.root.certificate_pem + b"\n" * number for number in range(10)]
    settings = [settings_of(lab, ca_certs=None, ca_cert_data=each.decode()) for each in data]
    first = shared_context(settings[0])
    for each in settings:
        shared_context(each)
        assert shared_context(settings[0]) is first
        assert len(contexts._slots) <= 3


def test_many_threads_get_one_context(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen threads that need the same context at once wait for the one that builds it."""
    built = []
    build = contexts._build

    def slow_build(settings: TLSSettings) -> ssl.SSLContext:
        time.sleep(0.05)  # long enough for the others to arrive; without them the test proves less, and passes
        built.append(settings)
        return build(settings)

    monkeypatch.setattr(contexts, "_build", slow_build)
    barrier = threading.Barrier(16)

    def get(_: int) -> ssl.SSLContext:
        barrier.wait(WAIT)
        return shared_context(settings_of(lab))

    with ThreadPoolExecutor(16) as pool:
        assert len(set(map(id, pool.map(get, range(16))))) == 1
    assert len(built) == 1


def test_a_slow_build_delays_nobody_else(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one context is built on a hanging file system, others are given out."""
    build, hanging, released = contexts._build, threading.Event(), threading.Event()

    def hang(settings: TLSSettings) -> ssl.SSLContext:
        if settings["cert_reqs"] is ssl.CERT_NONE:
            hanging.set()
            released.wait(WAIT)
        return build(settings)

    monkeypatch.setattr(contexts, "_build", hang)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(shared_context, settings_of(lab, cert_reqs=ssl.CERT_NONE, check_hostname=False))
        assert hanging.wait(WAIT)
        assert shared_context(settings_of(lab))
        assert not slow.done()
        released.set()
        assert slow.result(WAIT)


@pytest.mark.parametrize("password", [PASSWORD, PASSWORD.encode()], ids=["text", "bytes"])
def test_no_password_is_kept(lab: Lab, tmp_path: Path, password: str | bytes) -> None:
    """The key of the cache tells passwords apart, and holds none."""
    client = lab.root.issue("client.example.com")
    encrypted = client.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )
    (tmp_path / "cert.pem").write_bytes(client.served_pem)
    (tmp_path / "key.pem").write_bytes(encrypted)
    files = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    settings = settings_of(lab, key_password=password, **files)
    assert shared_context(settings) is shared_context(settings)
    with pytest.raises((SSLError, ssl.SSLError)):
        shared_context(settings_of(lab, key_password=PASSWORD[::-1], **files))
    with pytest.raises(SSLError):
        shared_context(settings_of(lab, **files))
    assert len(contexts._slots) >= 1
    for key, slot in contexts._slots.items():
        for text in (repr(key), repr(vars(slot))):
            assert PASSWORD not in text
            assert PASSWORD.encode().hex() not in text


@needs_fork
def test_fork(lab: Lab) -> None:
    """A child makes connections of its own, and the parent's goes on, neither writing into the other's TLS."""
    server = lab.serve(lab.honest)
    mitm = lab.serve(lab.attacker)
    session = lab.trusting(PinnedSession(lab.pins))
    assert session.get(server.url()).text == "ok"

    def work() -> str:
        with pytest.raises(PinMismatchError):
            session.get(mitm.url())
        return session.get(server.url()).text + session.get(server.url()).text

    assert in_a_child(work) == "okok"
    assert session.get(server.url()).text == "ok"
    server.settle()
    mitm.settle()
    peers = [request.peer for request in server.requests]
    assert len(peers) == 4
    assert peers[0] == peers[3] != peers[1] == peers[2]
    assert (server.handshakes, mitm.handshakes, mitm.application_bytes) == (2, 1, 0)


@needs_fork
def test_fork_while_a_lock_is_held(lab: Lab) -> None:
    """A thread that held a lock of the cache when the process was forked is not there to release it."""
    shared_context(settings_of(lab))
    with contexts._slots_lock, next(iter(contexts._slots.values())).lock:
        assert in_a_child(lambda: shared_context(settings_of(lab)).verify_mode.name) == "CERT_REQUIRED"


def attributes(context: ssl.SSLContext) -> dict[str, object]:
    """Return all of a context that can be set and read."""
    names = ("verify_mode", "check_hostname", "options", "verify_flags", "minimum_version", "maximum_version")
    values: dict[str, object] = {name: getattr(context, name) for name in names}
    values |= {name: getattr(context, name) for name in ("keylog_filename", "post_handshake_auth", "num_tickets")}
    values |= {"security_level": getattr(context, "security_level", None), "ciphers": context.get_ciphers()}
    values |= {"hostname_checks_common_name": context.hostname_checks_common_name}
    return values | {"store": context.cert_store_stats(), "authorities": context.get_ca_certs(binary_form=True)}


def strict(lab: Lab) -> ssl.SSLContext:
    """Make a context as strict as they come."""
    context: ssl.SSLContext = lab.root.client_context()
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def lax(lab: Lab) -> ssl.SSLContext:
    """Make a context that verifies nothing."""
    del lab
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def nameless(lab: Lab) -> ssl.SSLContext:
    """Make a context that verifies the chain and not the name."""
    context: ssl.SSLContext = lab.root.client_context()
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def trusts_nobody(lab: Lab) -> ssl.SSLContext:
    """Make a context without an authority, which requests must not fill."""
    del lab
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("make", [strict, lax, nameless, trusts_nobody])
def test_the_callers_context_is_not_changed(lab: Lab, make: Callable[[Lab], ssl.SSLContext]) -> None:
    """It is the same after requests, failing ones included; it is used as it is, so what it does not trust fails."""
    context = make(lab)
    before = attributes(context)
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    stranger = lab.serve(Credential.self_signed("localhost"))
    results = []
    with PinnedSession(lab.pins, ssl_context=context) as session:
        for url in (
            server.url(),
            mitm.url(),
            stranger.url(),
            "http://localhost/",
            "https://localhost:1/",
            server.url(),
        ):
            try:
                results.append(session.get(url).status_code)
            except requests.exceptions.RequestException:
                results.append(0)
            assert attributes(context) == before
        for verify in (False, lab.bundle, 0, ""):
            with pytest.raises(PolicyError, match="ssl_context"):
                session.get(server.url(), verify=verify)  # type: ignore[arg-type]  # 0
    assert attributes(context) == before
    assert results == ([0] * 6 if make is trusts_nobody else [200, 0, 0, 0, 0, 200])
    assert (mitm.application_bytes, stranger.application_bytes) == (0, 0)


def test_a_bundle_of_the_environment_does_not_reach_the_callers_context(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE is a setting of the machine, and the context is the caller's."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    server = lab.serve(lab.honest)
    for make in (strict, trusts_nobody):
        context = make(lab)
        before = attributes(context)
        with PinnedSession(lab.pins, ssl_context=context) as session:
            if make is strict:
                assert session.get(server.url()).text == "ok"
            else:
                with pytest.raises(requests.exceptions.SSLError):
                    session.get(server.url())
        assert attributes(context) == before


def test_what_contradicts_the_callers_context(lab: Lab, tmp_path: Path) -> None:
    """`verify=False`, `verify=PATH` and `cert=` would change it: they are refused before a connection is made."""
    server = lab.serve(lab.honest)
    write_client_certificate(tmp_path / "client.pem", lab.root.issue("client.example.com"))
    with PinnedSession(lab.pins, ssl_context=strict(lab)) as session:
        settings: list[dict[str, Any]] = [
            {"verify": False},
            {"verify": lab.bundle},
            {"cert": str(tmp_path / "client.pem")},
        ]
        for each in settings:
            with pytest.raises(PolicyError, match="ssl_context"):
                session.get(server.url(), **each)
            for name, value in each.items():
                default = getattr(session, name)
                setattr(session, name, value)
                with pytest.raises(PolicyError, match="ssl_context"):
                    session.get(server.url())
                setattr(session, name, default)
        assert server.connections == 0
        assert session.get(server.url(), verify=True).text == "ok"


def test_a_client_certificate_in_the_callers_context(lab: Lab, tmp_path: Path) -> None:
    """What `cert=` would do, the caller does on the context."""
    clients = Authority.create("Our Clients")
    server = lab.serve(None, context=demanding(lab, clients))
    write_client_certificate(tmp_path / "client.pem", clients.issue("client.example.com"))
    context = strict(lab)
    context.load_cert_chain(tmp_path / "client.pem")
    with PinnedSession(lab.pins, ssl_context=context) as session:
        assert session.get(server.url()).text == "ok"


def test_a_server_that_renegotiates(lab: Lab, tmp_path: Path) -> None:
    """In TLS 1.2 a server may ask for another handshake, after the check: it is told that there is none."""
    (tmp_path / "server.pem").write_bytes(lab.honest.key_pem + lab.honest.certificate_pem)
    (tmp_path / "chain.pem").write_bytes(lab.honest.served_pem)
    # It sends what is written to it, and renegotiates where that begins with an r.
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_2", "-naccept", "1"]
    command += ["-cert", str(tmp_path / "server.pem"), "-cert_chain", str(tmp_path / "chain.pem")]
    session = lab.trusting(PinnedSession(lab.pins))
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        ) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            port = int(read_to(server, b"ACCEPT ", b"\n").split()[-1].rpartition(b":")[2])
            answer = pool.submit(session.get, f"https://localhost:{port}/", timeout=WAIT)
            read_to(server, b"GET / HTTP/1.1", b"\r\n\r\n")
            write_to(server, b"r\n")
            read_to(server, b"SSL_do_handshake")
            assert b"no renegotiation" in read_to(server, b"no renegotiation")
            with pytest.raises(requests.exceptions.RequestException):
                answer.result(WAIT)
        finally:
            server.terminate()


def read_to(process: subprocess.Popen[bytes], *marks: bytes) -> bytes:
    """Return what a process prints, until some marks have come one after the other."""
    output = b""
    for mark in marks:
        start = len(output)
        while mark not in output[start:]:
            byte = process.stdout.read(1) if process.stdout else b""
            if not byte:
                raise EOFError(output)
            output += byte
    return output


def write_to(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Let a process read a text."""
    if process.stdin:
        process.stdin.write(text)

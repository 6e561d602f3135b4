"""A `PinnedSSLContext` whose policy changes while connections are open: it holds from the next write on."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import (
    BlockedKeyError,
    ChainUnavailableError,
    Pin,
    PinMismatchError,
    PinnedSSLContext,
    PinningError,
    PinPolicy,
    PinSet,
    PinsExpiredError,
    PolicyStore,
    UnpinnedHostError,
)
from pinned_requests.core.verdict import Outcome
from pinned_requests.enforcement import guard
from pinned_requests.policy_store import SETTLED
from pinned_requests.testing import Response
from pinned_requests.tls import connection as tls_connection
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinned_requests import ViolationReport
    from pinned_requests.core.verdict import Verdict
    from pinned_requests.testing import Credential
    from support.scene import Scene

    Write = Callable[[bytes], None]
    Connect = Callable[[ssl.SSLContext, int], Write]

LIFE = 0.5  # seconds of pins and policies that end while a connection is open: less than SETTLED
PART = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"


def pins_of(scene: Scene, credential: Credential, **fields: Any) -> PinSet:
    """Pin a credential's key."""
    return PinSet([Pin.from_certificate(credential.certificate)], [scene.backup], **fields)


def issuer_of(scene: Scene) -> Pin:
    """The pin of the honest server's CA."""
    return Pin.from_certificate(scene.intermediate.certificate)


@pytest.fixture(params=["fixed", "followed"])
def store(request: pytest.FixtureRequest, scene: Scene) -> PolicyStore:
    """A store of a fixed policy, and one that follows a source."""
    policy = PinPolicy({"localhost": pins_of(scene, scene.honest)})
    return PolicyStore(policy) if request.param == "fixed" else PolicyStore(lambda: policy, max_age=3600)


@pytest.fixture(params=["socket", "object"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """A function that makes an open connection of a context, and returns its write method."""
    opened: list[socket.socket] = []

    def connect(context: ssl.SSLContext, port: int) -> Write:
        sock = socket.create_connection(("127.0.0.1", port), 10)
        opened.append(sock)
        if request.param == "socket":
            tls: Any = context.wrap_socket(sock, server_hostname="localhost")
            opened.append(tls)
            return tls.sendall
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

        def write(data: bytes) -> None:
            while True:
                try:
                    tls.write(data)
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(1 << 16))
                else:
                    sock.sendall(outgoing.read())
                    return

        return write

    yield connect
    for each in opened:
        each.close()


def test_a_new_policy_holds_from_the_next_write_on(scene: Scene, store: PolicyStore, connection: Connect) -> None:
    """In the middle of an upload. The key is not pinned any more, so nothing more goes out."""
    server = scene.serve(scene.honest)
    write = connection(PinnedSSLContext(store, cafile=scene.bundle), server.port)
    write(PART)
    store.set({"localhost": pins_of(scene, scene.attacker)})
    for _ in range(2):
        with pytest.raises(PinMismatchError):
            write(PART)
    store.set({"localhost": pins_of(scene, scene.honest)})
    with pytest.raises(PinMismatchError):  # it was shut down
        write(PART)
    assert scene.toll(server).application_bytes == len(PART)


def test_there_and_back_between_two_writes(scene: Scene, store: PolicyStore, connection: Connect) -> None:
    """The policy in force accepts the chain: what held in between does not matter."""
    server = scene.serve(scene.honest)
    write = connection(PinnedSSLContext(store, cafile=scene.bundle), server.port)
    before = store.current
    write(PART)
    store.set({"localhost": pins_of(scene, scene.attacker)})
    store.set(before)
    write(PART)
    store.set({"localhost": pins_of(scene, scene.honest)})
    write(PART)
    store.set({"localhost": pins_of(scene, scene.attacker)})
    with pytest.raises(PinMismatchError):
        write(PART)
    assert scene.toll(server).application_bytes == 3 * len(PART)


@pytest.mark.parametrize("kind", ["socket", "object"])
def test_a_connection_stays_refused_when_the_policy_comes_back(scene: Scene, kind: str) -> None:
    """It accepted the chain before, and would again. What was refused is gone, for reads, too."""
    server = scene.serve(scene.honest)
    context = PinnedSSLContext({"localhost": pins_of(scene, scene.honest)}, cafile=scene.bundle)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        if kind == "socket":
            tls: Any = context.wrap_socket(sock, server_hostname="localhost")
        else:
            tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    break
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(1 << 16))
            sock.sendall(outgoing.read())
        before = context.store.current
        context.store.set({"localhost": pins_of(scene, scene.attacker)})
        with pytest.raises(PinMismatchError):
            tls.write(PART)
        context.store.set(before)
        for call in (lambda: tls.write(PART), tls.read, tls.do_handshake, tls.unwrap):
            with pytest.raises(PinMismatchError):
                call()
        if kind == "socket":
            tls.close()
    assert scene.toll(server).application_bytes == outgoing.pending == 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda scene: {"localhost": pins_of(scene, scene.honest, blocked_pins=[issuer_of(scene)])}, BlockedKeyError),
        (
            lambda scene: PinPolicy({"localhost": pins_of(scene, scene.honest)}, blocked_pins=[issuer_of(scene)]),
            BlockedKeyError,
        ),
        (lambda scene: PinPolicy({"localhost": PinSet.exempt()}, blocked_pins=[issuer_of(scene)]), BlockedKeyError),
        (lambda scene: {"other.example.com": pins_of(scene, scene.honest)}, UnpinnedHostError),
        (
            lambda scene: {
                "localhost": pins_of(scene, scene.honest, expires="2020-01-01T00:00:00Z", on_expiry="block")
            },
            PinsExpiredError,
        ),
        (
            lambda scene: {
                "localhost": pins_of(scene, scene.honest),
                "localhost:8443": pins_of(scene, scene.attacker),
            },
            PinMismatchError,
        ),
    ],
    ids=["blocked", "blocked-for-all", "blocked-exempt", "unpinned", "expired", "another-port"],
)
def test_other_changes(
    scene: Scene,
    store: PolicyStore,
    connection: Connect,
    change: Callable[[Scene], PinPolicy | dict[str, PinSet]],
    error: type[Exception],
) -> None:
    """A key that is blocked, a host that is not pinned any more, pins that have expired, an entry for another port."""
    server = scene.serve(scene.honest)
    write = connection(PinnedSSLContext(store, cafile=scene.bundle), server.port)
    write(PART)
    store.set(change(scene))
    with pytest.raises(error):
        write(PART)
    assert scene.toll(server).application_bytes == len(PART)


@pytest.mark.parametrize("on_expiry", ["block", "unpin"])
def test_expiry_holds_on_open_connections(
    scene: Scene, store: PolicyStore, connection: Connect, on_expiry: str
) -> None:
    """No policy changes; the time does. With "unpin" the CA validation of the handshake is what is left."""
    reports: list[ViolationReport] = []
    server = scene.serve(scene.honest)
    context = PinnedSSLContext(store, cafile=scene.bundle, on_violation=reports.append)
    write = connection(context, server.port)
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=LIFE)
    store.set({"localhost": pins_of(scene, scene.honest, expires=expires, on_expiry=on_expiry)})
    write(PART)
    wait_until(lambda: dt.datetime.now(dt.UTC) > expires)
    if on_expiry == "block":
        with pytest.raises(PinsExpiredError):
            write(PART)
    else:
        write(PART)
        write(PART)
    assert scene.toll(server).application_bytes == (1 if on_expiry == "block" else 3) * len(PART)
    assert [report.outcome for report in reports] == [Outcome.EXPIRED]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that lets so much time pass as a clock that was set may go unnoticed."""

    def pass_by() -> None:
        monkeypatch.setattr(tls_connection, "monotonic", lambda: time.monotonic() + SETTLED)

    return pass_by


def test_a_policy_that_is_too_old_refuses(scene: Scene, connection: Connect) -> None:
    """`max_age` holds on open connections."""
    policy = PinPolicy({"localhost": pins_of(scene, scene.honest)})
    server = scene.serve(scene.honest)
    store = PolicyStore(lambda: policy, max_age=LIFE)
    write = connection(PinnedSSLContext(store, cafile=scene.bundle), server.port)
    write(PART)
    wait_until(lambda: store.age > LIFE)
    with pytest.raises(PinsExpiredError):
        write(PART)
    assert scene.toll(server).application_bytes == len(PART)


@pytest.mark.parametrize("clock", [0, 1], ids=["monotonic", "wall"])
def test_a_clock_that_is_set(scene: Scene, connection: Connect, later: Callable[[], None], clock: int) -> None:
    """A policy is as old as the clock says that says more: the wall clock can be set back, the other stand still."""
    policy = PinPolicy({"localhost": pins_of(scene, scene.honest)})
    server = scene.serve(scene.honest)
    store = PolicyStore(lambda: policy, max_age=7200)
    write = connection(PinnedSSLContext(store, cafile=scene.bundle), server.port)
    write(PART)
    loaded = list(store._loaded)
    loaded[clock] -= 7200
    store._loaded = loaded[0], loaded[1]
    later()
    with pytest.raises(PinsExpiredError):
        write(PART)
    assert scene.toll(server).application_bytes == len(PART)


@pytest.mark.parametrize("begin", [2998, 3000])
def test_a_clock_that_is_put_right(
    scene: Scene, connection: Connect, monkeypatch: pytest.MonkeyPatch, later: Callable[[], None], begin: int
) -> None:
    """Pins that had expired by it are in force again, and those that had not have expired."""
    is_expired = begin == 3000
    server = scene.serve(scene.attacker if is_expired else scene.honest)
    on_expiry = "unpin" if is_expired else "block"
    pins = pins_of(scene, scene.honest, expires="2999-01-01T00:00:00Z", on_expiry=on_expiry)
    now = dt.datetime(begin, 1, 1, tzinfo=dt.UTC)
    with monkeypatch.context() as patch:
        patch.setattr(guard, "_now", lambda: now)
        patch.setattr(tls_connection, "time", now.timestamp)
        write = connection(PinnedSSLContext({"localhost": pins}, cafile=scene.bundle), server.port)
        write(PART)
    later()
    monkeypatch.setattr(guard, "_now", lambda: now.replace(year=5998 - begin))
    with pytest.raises(PinMismatchError if is_expired else PinsExpiredError):
        write(PART)
    assert scene.toll(server).application_bytes == len(PART)


def test_a_source_of_new_objects_is_waited_for_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An equal policy in a new object, as from a vault that is parsed at each look, does not make it wait again."""
    judged: list[object] = []
    judge = guard.Guard.judge

    def noting(*args: Any) -> Verdict:
        judged.append(args)
        return judge(*args)

    monkeypatch.setattr(guard.Guard, "judge", noting)
    pins = pins_of(scene, scene.honest)
    store = PolicyStore(lambda: PinPolicy({"localhost": pins}), refresh_after=0.05, confirm_refusals=5)
    server = scene.serve(scene.attacker)
    context = PinnedSSLContext(store, cafile=scene.bundle)
    with socket.create_connection(("127.0.0.1", server.port)) as sock, pytest.raises(PinMismatchError):
        context.wrap_socket(sock, server_hostname="localhost")
    assert len(judged) == 2


def test_a_store_that_never_settles_refuses(scene: Scene, connection: Connect) -> None:
    """Another policy at each look is never the one that has accepted the chain."""

    class Unsettled(PolicyStore):
        @property
        def current(self) -> PinPolicy:
            return PinPolicy({"localhost": pins_of(scene, scene.honest)})

    server = scene.serve(scene.honest)
    context = PinnedSSLContext(Unsettled(PinPolicy({"localhost": PinSet.exempt()})), cafile=scene.bundle)
    with pytest.raises(ChainUnavailableError):
        connection(context, server.port)(PART)
    assert scene.toll(server).application_bytes == 0


def test_a_policy_that_comes_back_is_evaluated_again(scene: Scene, connection: Connect) -> None:
    """A refusal is put off for a newer policy, which is gone before the chain was evaluated by it."""
    strict, lax = (PinPolicy({"localhost": pins_of(scene, each)}) for each in (scene.honest, scene.attacker))

    class Flickering(PolicyStore):
        looks = 0
        is_new = False

        @property
        def current(self) -> PinPolicy:
            is_new, self.is_new = self.is_new, False
            return lax if is_new else strict

        def confirm(self, *, may_wait: bool) -> bool:  # noqa: ARG002  as in the base class
            self.looks += 1
            self.is_new = self.looks == 1
            return True

    server = scene.serve(scene.attacker)
    context = PinnedSSLContext(Flickering(strict), cafile=scene.bundle)
    with pytest.raises(PinMismatchError):
        connection(context, server.port)(PART)
    assert scene.toll(server).application_bytes == 0


def test_report_only_is_reported_once_a_connection(scene: Scene, connection: Connect) -> None:
    """However much is written; another connection is another report."""
    reports: list[ViolationReport] = []
    pins = pins_of(scene, scene.honest, report_only=True)
    context = PinnedSSLContext({"localhost": pins}, cafile=scene.bundle, on_violation=reports.append)
    server = scene.serve(scene.attacker)
    for connections in (1, 2):
        write = connection(context, server.port)
        for _ in range(3):
            write(PART)
        assert [report.outcome for report in reports] == [Outcome.MISMATCH] * connections
    assert reports[0].served_chain[0] == scene.attacker.certificate_der
    assert scene.toll(server).application_bytes == 6 * len(PART)


def test_a_refusal_is_reported_once(scene: Scene) -> None:
    """However often the client tries."""
    reports: list[ViolationReport] = []
    mitm = scene.serve(scene.attacker)
    pins = {"localhost": pins_of(scene, scene.honest)}
    context = PinnedSSLContext(pins, cafile=scene.bundle, on_violation=reports.append)
    sock = socket.create_connection(("127.0.0.1", mitm.port), 10)
    with context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=False) as tls:
        for _ in range(3):
            with pytest.raises(PinMismatchError):
                tls.sendall(PART)
    (report,) = reports
    assert (report.outcome, report.host, report.port) == (Outcome.MISMATCH, "localhost", None)
    assert report.served_chain[0] == scene.attacker.certificate_der


def test_a_sink_that_uses_the_connection(scene: Scene) -> None:
    """It is called in the middle of the check, and does not get around it, nor hang."""
    mitm = scene.serve(scene.attacker)
    errors: list[Exception] = []

    def use(_report: ViolationReport) -> None:
        try:
            tls.sendall(PART)
        except Exception as error:
            errors.append(error)
            raise

    context = PinnedSSLContext({"localhost": pins_of(scene, scene.honest)}, cafile=scene.bundle, on_violation=use)
    sock = socket.create_connection(("127.0.0.1", mitm.port), 10)
    tls = context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=False)
    with tls, pytest.raises(PinMismatchError):
        tls.sendall(PART)
    assert scene.toll(mitm).application_bytes == 0
    assert len(errors) == 1
    assert all(isinstance(error, PinningError) for error in errors)


def test_a_sink_that_changes_the_policy(scene: Scene, connection: Connect) -> None:
    """The new policy holds for the write in which the sink is called."""
    mitm = scene.serve(scene.attacker)
    store = PolicyStore({"localhost": pins_of(scene, scene.honest, report_only=True)})

    def enforce(_report: ViolationReport) -> None:
        store.set({"localhost": pins_of(scene, scene.honest)})

    context = PinnedSSLContext(store, cafile=scene.bundle, on_violation=enforce)
    with pytest.raises(PinMismatchError):
        connection(context, mitm.port)(PART)
    assert scene.toll(mitm).application_bytes == 0


@pytest.mark.parametrize("moment", ["handshake", "open"])
def test_no_handler_of_the_loop_is_called(scene: Scene, moment: str) -> None:
    """A loop tells its handler of errors that are not those of a connection. A refusal is one of a connection."""
    told: list[dict[str, Any]] = []
    server = scene.serve(scene.attacker if moment == "handshake" else scene.honest, handler=lambda _request: Response())
    store = PolicyStore({"localhost": pins_of(scene, scene.honest)})
    context = PinnedSSLContext(store, cafile=scene.bundle)

    async def talk() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, details: told.append(details))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=context, server_hostname="localhost"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.read(12)
        store.set({"localhost": pins_of(scene, scene.attacker)})
        writer.write(PART)
        try:
            await writer.drain()
            await reader.read()
            await writer.wait_closed()
        finally:
            writer.close()

    with pytest.raises(PinMismatchError):
        asyncio.run(talk())
    assert told == []
    assert scene.toll(server).application_bytes == (0 if moment == "handshake" else 35)

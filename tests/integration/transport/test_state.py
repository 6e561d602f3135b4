"""Sessions that are pickled, copied, subclassed, closed, forked and shared: used afterwards, and still pinned."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from pinned_requests import (
    Pin,
    PinMismatchError,
    PinnedAdapter,
    PinnedPoolManager,
    PinnedSession,
    PinSet,
    PolicyStore,
)
from pinned_requests.testing import Response
from support.fork import in_a_child, needs_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.testing import Request
    from support.lab import Lab

THREADS = 32
WAIT = 20.0  # seconds


class MarkedAdapter(HTTPAdapter):
    """A plain adapter of somebody else's, with a setting of its own that it pickles."""

    __attrs__ = (*HTTPAdapter.__attrs__, "mark")  # type: ignore[assignment]  # a list in requests

    def __init__(self, mark: str, **kwargs: Any) -> None:
        self.mark = mark
        super().__init__(**kwargs)

    def add_headers(self, request: requests.PreparedRequest, **_: Any) -> None:
        """Do what an adapter of somebody else's does."""
        request.headers["X-Mark"] = self.mark


class MarkedPinnedAdapter(PinnedAdapter):
    """A pinned adapter with a setting of its own."""

    __attrs__ = (*PinnedAdapter.__attrs__, "mark")  # type: ignore[assignment]  # as above

    def __init__(self, mark: str, *args: Any, **kwargs: Any) -> None:
        self.mark = mark
        super().__init__(*args, **kwargs)


def by_pickle(protocol: int) -> Callable[[Any], Any]:
    """Return what duplicates by a protocol of pickle."""
    return lambda value: pickle.loads(pickle.dumps(value, protocol))  # noqa: S301  our own bytes


DUPLICATES = pytest.mark.parametrize(
    "duplicate",
    [
        *(
            pytest.param(by_pickle(protocol), id=f"pickle-{protocol}")
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda value: copy.deepcopy(copy.copy(copy.deepcopy(value))), id="thrice"),
    ],
)


def refuses_and_works(lab: Lab, session: requests.Session) -> None:
    """Assert that a session refuses the attacker, who gets nothing, and reaches the honest server, over one handshake.

    What the honest server answered is fetched twice, so that the connection was kept alive in between.
    """
    mitm, server = lab.serve(lab.attacker), lab.serve(lab.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", "password"))
    assert [session.get(server.url()).text for _ in range(2)] == ["ok", "ok"]
    mitm.settle()
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (1, 1, 0)
    assert server.handshakes == 1


@DUPLICATES
def test_a_session(lab: Lab, duplicate: Callable[[Any], Any]) -> None:
    """With its settings and cookies, and an adapter that was pinned in place; the original goes on working."""
    session = lab.trusting(PinnedSession(lab.pins, max_retries=2))
    session.cookies.set("crumb", "1")
    session.mount("https://localhost", MarkedAdapter("mine", max_retries=3))
    refuses_and_works(lab, session)
    other = lab.trusting(duplicate(session))
    assert list(other.adapters) == list(session.adapters)
    assert other.policy == session.policy
    assert other.cookies.get("crumb") == "1"
    adapter = other.get_adapter("https://localhost/")
    assert (adapter.mark, adapter.max_retries.total) == ("mine", 3)
    assert isinstance(adapter, MarkedAdapter)
    refuses_and_works(lab, other)
    refuses_and_works(lab, session)


@DUPLICATES
@pytest.mark.parametrize(
    "make",
    [lambda pins: PinnedAdapter(pins, max_retries=4), lambda pins: MarkedPinnedAdapter("mine", pins, max_retries=4)],
    ids=["PinnedAdapter", "subclass"],
)
def test_an_adapter(
    lab: Lab, duplicate: Callable[[Any], Any], make: Callable[[Mapping[str, PinsLike]], PinnedAdapter]
) -> None:
    """It is mounted on a plain session, and is all that pins it."""
    adapter = make(lab.pins)
    other = duplicate(adapter)
    assert type(other) is type(adapter)
    assert (other.policy, other.max_retries.total) == (adapter.policy, 4)
    assert getattr(other, "mark", None) == getattr(adapter, "mark", None)
    for each in (adapter, other):
        session = lab.trusting(requests.Session())
        session.mount("https://", each)
        refuses_and_works(lab, session)


@DUPLICATES
def test_an_adapter_that_was_pinned_in_place(lab: Lab, duplicate: Callable[[Any], Any]) -> None:
    """By itself, on a plain session, the duplicate is still pinned, and still the adapter that it was."""
    adapter = MarkedAdapter("mine", pool_maxsize=3)
    session = lab.trusting(PinnedSession(lab.pins))
    session.mount("https://", adapter)
    refuses_and_works(lab, session)
    other = duplicate(adapter)
    assert isinstance(other, MarkedAdapter)
    assert (other.mark, other._pool_maxsize) == ("mine", 3)
    plain = lab.trusting(requests.Session())
    plain.mount("https://", other)
    refuses_and_works(lab, plain)


def test_a_pool_manager_does_what_that_of_urllib3_does(lab: Lab) -> None:
    """It does not pickle and has no deep copy, as urllib3's has none; a shallow copy shares the pools."""
    manager = PinnedPoolManager(lab.pins, ca_certs=lab.bundle)
    for act in (pickle.dumps, copy.deepcopy):
        for each in (urllib3.PoolManager(), manager):
            with pytest.raises(TypeError, match="pickle"):
                act(each)
    mitm, server = lab.serve(lab.attacker), lab.serve(lab.honest)
    for each in (manager, copy.copy(manager)):
        with pytest.raises(PinMismatchError):
            each.request("GET", mitm.url())
        assert each.request("GET", server.url()).data == b"ok"
    manager.clear()
    mitm.settle()
    assert (mitm.handshakes, mitm.application_bytes, server.handshakes) == (2, 0, 1)


class Required(PinnedSession):
    """A subclass that gives its pins by `super().__init__`, and takes another argument."""

    def __init__(self, pins: Mapping[str, PinsLike], token: str) -> None:
        super().__init__(pins, max_retries=1)
        self.headers["X-Token"] = token


class Late(PinnedSession):
    """A subclass that sets its pins itself, before it calls `super().__init__()` without arguments."""

    def __init__(self, pins: Mapping[str, PinsLike]) -> None:
        self.pins = pins
        type(self).pins = None  # type: ignore[assignment]  # the option is declared, as the class attribute would be
        super().__init__()


class Mounting(PinnedSession):
    """A subclass that mounts in its constructor."""

    def __init__(self, pins: Mapping[str, PinsLike]) -> None:
        super().__init__(pins)
        self.mount("https://", HTTPAdapter(max_retries=3))


def declared(pins: Mapping[str, PinsLike]) -> PinnedSession:
    """Make a session of a subclass that has its pins as a class attribute and no constructor."""

    class Declared(PinnedSession):
        pass

    Declared.pins = pins  # type: ignore[attr-defined]  # an option as an attribute
    return Declared()


@pytest.mark.parametrize(
    "make", [declared, lambda pins: Required(pins, "t"), Late, Mounting], ids=["declared", "required", "late", "mount"]
)
def test_a_subclass(lab: Lab, make: Callable[[Mapping[str, PinsLike]], PinnedSession]) -> None:
    """With and without arguments for `super().__init__`."""
    refuses_and_works(lab, lab.trusting(make(lab.pins)))


class OldSession(requests.Session):
    """A session of somebody else's, who calls the constructor of requests by its name."""

    def __init__(self) -> None:
        requests.Session.__init__(self)
        self.old = True


def test_a_subclass_whose_other_base_calls_requests_by_name(lab: Lab) -> None:
    """The other constructor passes ours by, or comes behind it: pinned where ours was called at all."""

    class Behind(PinnedSession, OldSession):
        pass

    session = lab.trusting(Behind(lab.pins))
    assert session.old
    refuses_and_works(lab, session)

    class PassedBy(OldSession, PinnedSession):
        """Nobody calls `PinnedSession.__init__`."""

        pins = lab.pins

    server = lab.serve(lab.attacker)
    with pytest.raises(Exception) as caught, PassedBy() as passed:  # noqa: PT011, PT012  whatever it is, no request
        passed.verify = lab.bundle
        passed.get(server.url())
    assert not isinstance(caught.value, AssertionError)
    server.settle()
    assert server.application_bytes == 0


def test_close_and_reuse(lab: Lab) -> None:
    """A closed session connects anew, as that of requests does, and looks again."""
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(lab.pins))
    for count in (1, 2, 3):
        assert session.get(server.url()).text == "ok"
        session.close()
        server.settle()
        assert (server.handshakes, server.open_connections) == (count, 0)
    server.credential = lab.attacker
    before = server.application_bytes
    with pytest.raises(PinMismatchError):
        session.get(server.url())
    server.settle()
    assert server.application_bytes == before


def test_context_manager(lab: Lab) -> None:
    """It gives the session, closes its connections at the end, and may be entered again."""
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(lab.pins))
    for count in (1, 2):
        with session as entered:
            assert entered is session
            assert session.get(server.url()).text == "ok"
            assert server.open_connections == 1
        server.settle()
        assert (server.handshakes, server.open_connections) == (count, 0)
    refuses_and_works(lab, session)


def session_of(pins: Mapping[str, PinsLike]) -> requests.Session:
    """Make a session with the adapters that it makes."""
    return PinnedSession(pins)


def session_with_adapter_of_others(pins: Mapping[str, PinsLike]) -> requests.Session:
    """Make a session with an adapter that it pins in place."""
    session = PinnedSession(pins)
    session.mount("https://", MarkedAdapter("mine"))
    return session


def session_of_requests(pins: Mapping[str, PinsLike]) -> requests.Session:
    """Make a plain session with a pinned adapter."""
    session = requests.Session()
    session.mount("https://", PinnedAdapter(pins))
    return session


@needs_fork
@pytest.mark.parametrize("end", ["drop", "close"])
@pytest.mark.parametrize("make", [session_of, session_with_adapter_of_others, session_of_requests])
def test_fork_after_use(lab: Lab, make: Callable[[Mapping[str, PinsLike]], requests.Session], end: str) -> None:
    """The child makes its own handshake; that it drops or closes what it inherited does not end the parent's TLS."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    session = lab.trusting(make(lab.pins))
    assert session.get(server.url("/parent")).text == "ok"

    def work() -> object:
        texts = []
        if end == "close":
            session.close()  # with the inherited connection in its pool
        texts += [session.get(server.url("/child")).text for _ in range(2)]
        try:
            session.get(mitm.url())
        except PinMismatchError:
            texts.append("refused")
        session.close()
        return texts

    for children in (1, 2):
        assert in_a_child(work) == "['ok', 'ok', 'refused']"
        assert [session.get(server.url("/parent")).text for _ in range(2)] == ["ok", "ok"]
        assert (server.handshakes, mitm.handshakes) == (1 + children, children)
    server.settle()
    mitm.settle()
    peers = {path: {each.peer for each in server.requests if each.path == path} for path in ("/parent", "/child")}
    assert (len(peers["/parent"]), len(peers["/child"])) == (1, 2)
    assert not peers["/parent"] & peers["/child"]
    assert mitm.application_bytes == 0


@needs_fork
def test_fork_with_a_pool_manager(lab: Lab) -> None:
    """The same for a client that is built straight on urllib3."""
    server = lab.serve(lab.honest)
    manager = PinnedPoolManager(lab.pins, ca_certs=lab.bundle)

    def fetch() -> object:
        return manager.request("GET", server.url()).data.decode()

    assert fetch() == "ok"
    assert in_a_child(fetch) == "ok"
    assert fetch() == "ok"
    manager.clear()
    server.settle()
    peers = [request.peer for request in server.requests]
    assert peers[0] == peers[2] != peers[1]
    assert server.handshakes == 2


@needs_fork
def test_fork_with_a_connection_without_tls(lab: Lab) -> None:
    """To a host that need not be pinned: two processes do not write into one connection either."""
    server = lab.serve(None)
    session = lab.trusting(PinnedSession({"unrelated.test": PinSet.exempt()}, unpinned_hosts="allow"))
    assert session.get(server.url()).text == "ok"
    assert in_a_child(lambda: session.get(server.url()).text) == "ok"
    assert session.get(server.url()).text == "ok"
    server.settle()
    peers = [request.peer for request in server.requests]
    assert peers[0] == peers[2] != peers[1]


@needs_fork
def test_a_policy_that_changes_after_the_fork(lab: Lab) -> None:
    """Each process has its own policy from then on."""
    store = PolicyStore(lab.pins)
    server = lab.serve(lab.honest)
    session = lab.trusting(PinnedSession(store))
    assert session.get(server.url()).text == "ok"

    def work() -> object:
        store.set({"localhost": [Pin.from_certificate(lab.attacker.certificate), lab.backup]})
        try:
            return session.get(server.url()).text
        except PinMismatchError:
            return "refused"

    assert in_a_child(work) == "refused"
    assert session.get(server.url()).text == "ok"
    server.settle()
    assert len(server.requests) == 2


def test_many_threads_on_one_session(lab: Lab) -> None:
    """Each gets its own answers, from the honest server alone; the attacker gets handshakes, and nothing else."""

    def answer(request: Request) -> Response:
        return Response(body=request.path.encode())

    server, mitm = lab.serve(lab.honest, handler=answer), lab.serve(lab.attacker)
    session = lab.trusting(PinnedSession(lab.pins, pool_maxsize=THREADS))
    together = threading.Barrier(THREADS)

    def work(number: int) -> list[str]:
        together.wait(WAIT)
        answers = []
        for turn in range(6):
            if (number + turn) % 3 == 0:
                try:
                    session.get(mitm.url())
                except PinMismatchError:
                    answers.append("refused")
            else:
                answers.append(session.get(server.url(f"/{number}/{turn}")).text)
        return answers

    with ThreadPoolExecutor(THREADS) as pool:
        for number, answers in enumerate(pool.map(work, range(THREADS))):
            expected = ["refused" if (number + turn) % 3 == 0 else f"/{number}/{turn}" for turn in range(6)]
            assert answers == expected
    mitm.settle()
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (THREADS * 2, THREADS * 2, 0)
    assert server.handshakes <= THREADS


def test_nothing_is_sent_after_the_policy_was_set(lab: Lab) -> None:
    """Whoever asks after `set()` returned gets the new policy, also over a connection that was open before."""
    others = {"localhost": [Pin.from_certificate(lab.attacker.certificate), lab.backup]}
    store = PolicyStore(lab.pins)
    session = lab.trusting(PinnedSession(store, pool_maxsize=8))
    server = lab.serve(lab.honest)
    is_changed = threading.Event()
    together = threading.Barrier(9)

    def work() -> list[str]:
        assert session.get(server.url("/before")).text == "ok"
        together.wait(WAIT)
        refused: list[str] = []
        while refused.count("after") < 3:
            state = "after" if is_changed.is_set() else "before"
            try:
                session.get(server.url(f"/{state}"))
            except PinMismatchError:
                refused.append(state)
            else:
                assert state == "before"
        return refused

    for _ in range(3):
        store.set(lab.pins)
        is_changed.clear()
        with ThreadPoolExecutor(8) as pool:
            working = [pool.submit(work) for _ in range(8)]
            together.wait(WAIT)
            store.set(others)
            is_changed.set()
            for each in working:
                each.result(WAIT)
    server.settle()
    assert {request.path for request in server.requests} == {"/before"}
    store.set(lab.pins)
    assert session.get(server.url("/again")).text == "ok"

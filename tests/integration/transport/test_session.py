"""`PinnedSession`, `PinnedAdapter` and the module functions as a user of requests meets them."""

from __future__ import annotations

import contextlib
import copy
import pickle
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import InsecureRequestWarning

import pinned_requests
from pinned_requests import (
    ChainUnavailableError,
    Pin,
    PinFormatError,
    PinMismatchError,
    PinnedAdapter,
    PinnedSession,
    PinningError,
    PinPolicy,
    PinSet,
    PolicyError,
    PolicyStore,
    UnpinnableAdapterError,
    UnpinnedHostError,
    ViolationReport,
)
from pinned_requests.testing import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pinned_requests.core.pinset import PinsLike
    from support.lab import Lab

PINS = ["sha256/" + "A" * 43 + "=", "sha256/" + "B" * 42 + "A="]
THREADS = 16
WAIT = 20.0  # seconds


def refuses_and_works(lab: Lab, session: requests.Session) -> None:
    """Assert that a session refuses the attacker, who gets nothing, and reaches the honest server."""
    mitm, server = lab.serve(lab.attacker), lab.serve(lab.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", "password"))
    mitm.settle()
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"
    assert session.get(server.url()).text == "ok"
    assert server.handshakes == 1


@pytest.mark.parametrize("name", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_module_functions(lab: Lab, name: str) -> None:
    """They are requests' functions, with pins, which they cannot do without."""
    mitm, server = lab.serve(lab.attacker), lab.serve(lab.honest)
    function = getattr(pinned_requests, name)
    assert function(server.url("/a"), pins=lab.pins, params={"b": "c"}, verify=lab.bundle).status_code == 200
    assert [(request.method, request.path) for request in server.requests] == [(name.upper(), "/a?b=c")]
    with pytest.raises(PinMismatchError):
        function(mitm.url(), pins=lab.pins, verify=lab.bundle)
    with pytest.raises(TypeError):
        function(server.url(), verify=lab.bundle)
    mitm.settle()
    server.settle()
    assert mitm.application_bytes == 0
    assert (server.open_connections, mitm.open_connections) == (0, 0)


def test_module_functions_take_what_those_of_requests_take(lab: Lab) -> None:
    """Bodies by position, `json`, and a HEAD that does not follow redirects."""
    server = lab.serve(lab.honest, handler={"/": b"ok", "/moved": Response(302, (("Location", "/"),))})
    options: dict[str, Any] = {"pins": lab.pins, "verify": lab.bundle}
    pinned_requests.post(server.url(), b"data", **options)
    pinned_requests.post(server.url(), None, {"a": 1}, **options)
    pinned_requests.put(server.url(), b"data", **options)
    pinned_requests.patch(server.url(), b"data", **options)
    pinned_requests.get(server.url(), {"a": "b"}, **options)
    pinned_requests.request("BREW", server.url(), data=b"data", **options)
    assert [request.body for request in server.requests] == [b"data", b'{"a": 1}', b"data", b"data", b"", b"data"]
    assert server.requests[4].path == "/?a=b"
    assert pinned_requests.head(server.url("/moved"), **options).status_code == 302
    assert pinned_requests.get(server.url("/moved"), **options).text == "ok"


@pytest.mark.parametrize("wrap", [dict, PinPolicy, PolicyStore, lambda pins: PolicyStore(PinPolicy(pins))])
def test_what_pins_may_be(
    lab: Lab, wrap: Callable[[Mapping[str, PinsLike]], PolicyStore | PinPolicy | Mapping[str, PinsLike]]
) -> None:
    """A mapping, a policy or a store."""
    session = lab.trusting(PinnedSession(wrap(lab.pins)))
    assert session.policy == PinPolicy(lab.pins)
    refuses_and_works(lab, session)
    with pytest.raises(UnpinnedHostError):
        session.get("https://unpinned.example.com/")


def test_constructor_options(lab: Lab) -> None:
    """They come to the adapters, as HTTPAdapter's arguments would; the prefixes are those of requests, in its order."""
    retries = Retry(3)
    session = lab.trusting(
        PinnedSession(lab.pins, max_retries=retries, pool_connections=2, pool_maxsize=3, pool_block=True)
    )
    assert list(session.adapters) == list(requests.Session().adapters)
    for adapter in session.adapters.values():
        assert isinstance(adapter, PinnedAdapter)
        assert adapter.max_retries is retries
        kept = (adapter._pool_connections, adapter._pool_maxsize, adapter._pool_block)
        assert kept == (2, 3, True)
    refuses_and_works(lab, session)


def test_defaults_are_those_of_requests(lab: Lab) -> None:
    """Without options an adapter is set up as HTTPAdapter is."""
    plain = HTTPAdapter()
    for adapter in lab.trusting(PinnedSession(lab.pins)).adapters.values():
        assert isinstance(adapter, HTTPAdapter)
        assert adapter.max_retries.total == plain.max_retries.total
        for name in ("_pool_connections", "_pool_maxsize", "_pool_block", "config"):
            assert getattr(adapter, name) == getattr(plain, name)


def test_options_as_class_attributes(lab: Lab) -> None:
    """A subclass says them once and for all, and what is given to the constructor wins."""
    reports: list[ViolationReport] = []

    class API(PinnedSession):
        """A session for one service."""

        pins = lab.pins
        unpinned_hosts = "allow"
        max_retries = 4
        pool_maxsize = 5
        on_violation = reports.append

    session = lab.trusting(API())
    assert session.policy == PinPolicy(lab.pins, unpinned_hosts="allow")
    adapters: list[Any] = [*session.adapters.values()]
    assert {(each.max_retries.total, each._pool_maxsize) for each in adapters} == {(4, 5)}
    refuses_and_works(lab, session)
    assert len(reports) == 1

    other = lab.trusting(API({"other.example.com": PINS}, unpinned_hosts="block", max_retries=1))
    assert other.policy == PinPolicy({"other.example.com": PINS})
    adapter = other.get_adapter("https://other.example.com/")
    assert isinstance(adapter, HTTPAdapter)
    assert adapter.max_retries.total == 1


def test_subclass_with_a_constructor_of_its_own(lab: Lab) -> None:
    """The constructor is cooperative: what it does not know goes to the next class."""

    class Mixin:
        def __init__(self, *args: Any, base: str, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.base = base

    class Before(Mixin, PinnedSession):
        pass

    class Last(requests.Session):
        def __init__(self, *, base: str) -> None:
            super().__init__()
            self.base = base

    class After(PinnedSession, Last):
        pass

    for kind in (Before, After):
        session = lab.trusting(kind(lab.pins, base="/v1"))
        assert session.base == "/v1"
        refuses_and_works(lab, session)
    with pytest.raises(TypeError):
        PinnedSession(lab.pins, nonsense=True)


@pytest.mark.parametrize(
    ("pins", "options", "named"),
    [
        (None, {}, "pins"),
        (42, {}, "42"),
        ("api.example.com", {}, "api.example.com"),
        ({"https://api.example.com": PINS}, {}, "https://api.example.com"),
        ({"api.*.example.com": PINS}, {}, "api.*.example.com"),
        ({"*.192.0.2.1": PINS}, {}, "192.0.2.1"),
        ({"api.example.com": []}, {}, "api.example.com"),
        ({"api.example.com": ["deadbeef" * 8]}, {}, "deadbeef"),
        ({"api.example.com": {"pin": PINS}}, {}, "did you mean 'pins'"),
        ({"api.example.com": {"pins": PINS, "expires": "2030-01-01"}}, {}, "2030-01-01"),
        ({"api.example.com": {"blocked_pins": PINS}}, {}, "api.example.com"),
        ({"api.example.com": PINS, "API.example.com.": PINS}, {}, "API.example.com."),
        ({"api.example.com": PINS}, {"unpinned_hosts": "alow"}, "did you mean 'allow'"),
        ({"api.example.com": PINS}, {"unpinned_hosts": True}, "unpinned_hosts"),
        (PinPolicy({"api.example.com": PINS}), {"unpinned_hosts": "allow"}, "contradicts"),
        (PolicyStore({"api.example.com": PINS}), {"unpinned_hosts": "allow"}, "contradicts"),
        (PinPolicy({"api.example.com": PINS}, unpinned_hosts="allow"), {"unpinned_hosts": "block"}, "contradicts"),
    ],
)
def test_wrong_configuration(pins: Any, options: dict[str, Any], named: str) -> None:
    """It is refused at construction, with the offending value and the fix in one sentence."""
    with pytest.raises(PolicyError) as caught:
        PinnedSession(pins, **options)
    assert isinstance(caught.value, ValueError)
    text = str(caught.value)
    assert named in text
    assert "\n" not in text
    assert any(word in text for word in (";", ":", ","))  # what is wrong, and then what to do


def test_wrong_configuration_as_class_attributes() -> None:
    """A subclass without pins is no session either."""

    class API(PinnedSession):
        unpinned_hosts = "allow"

    with pytest.raises(PolicyError, match="needs pins"):
        API()
    with pytest.raises(PolicyError):
        PinnedAdapter(None)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(PinFormatError):
        PinnedAdapter({"api.example.com": "nonsense"})


def test_agreeing_options() -> None:
    """Saying twice the same is no contradiction."""
    policy = PinPolicy({"api.example.com": PINS}, unpinned_hosts="allow")
    for pins in (policy, PolicyStore(policy)):
        with PinnedSession(pins, unpinned_hosts="allow") as session:
            assert session.policy is policy


def test_a_session_is_true(lab: Lab) -> None:
    """`session or requests.Session()` keeps the pinned session, whatever a subclass adds."""

    class Sized(PinnedSession):
        def __len__(self) -> int:
            return 0

    for kind in (PinnedSession, Sized):
        session = lab.trusting(kind(lab.pins))
        assert (session or requests.Session()) is session


@pytest.mark.parametrize(
    "duplicate",
    [lambda session: pickle.loads(pickle.dumps(session)), copy.copy, copy.deepcopy],  # noqa: S301  our own bytes
    ids=["pickle", "copy", "deepcopy"],
)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_duplicates_stay_pinned(lab: Lab, duplicate: Callable[[Any], Any], *, used: bool) -> None:
    """A session, and a plain one with a PinnedAdapter, are pinned after pickle and copy, with all their settings."""
    pinned = PinnedSession(lab.pins, max_retries=2, pool_maxsize=7, on_violation=print)
    plain = requests.Session()
    plain.mount("https://", PinnedAdapter(lab.pins, max_retries=2, pool_maxsize=7, on_violation=print))
    server = lab.serve(lab.honest)
    for session in map(lab.trusting, (pinned, plain)):
        session.headers["X-Mine"] = "kept"
        if used:
            assert session.get(server.url()).text == "ok"
        other = lab.trusting(duplicate(session))
        adapter = other.get_adapter("https://localhost/")
        assert (type(other), type(adapter)) == (type(session), PinnedAdapter)
        assert (adapter.max_retries.total, adapter._pool_maxsize) == (2, 7)
        assert adapter.policy == PinPolicy(lab.pins)
        assert other.headers["X-Mine"] == "kept"
        refuses_and_works(lab, other)
        refuses_and_works(lab, session)


def test_a_duplicate_follows_the_same_store(lab: Lab) -> None:
    """A shallow copy shares the store of the policy, as it shares the adapters."""
    store = PolicyStore(lab.pins)
    session = lab.trusting(PinnedSession(store))
    other = lab.trusting(copy.copy(session))
    store.set({"other.example.com": PINS})
    server = lab.serve(lab.honest)
    for each in (session, other):
        with pytest.raises(UnpinnedHostError):
            each.get(server.url())
    assert server.connections == 0


def test_adapter_on_a_plain_session(lab: Lab) -> None:
    """A PinnedAdapter is complete on its own."""
    session = lab.trusting(requests.Session())
    session.mount("https://", PinnedAdapter(lab.pins))
    session.mount("http://", PinnedAdapter(lab.pins))
    refuses_and_works(lab, session)
    plain = lab.serve(None)
    with pytest.raises(pinned_requests.InsecureURLError):
        session.get(plain.url())
    with pytest.raises(UnpinnedHostError):
        session.get("https://unpinned.example.com/")
    assert plain.connections == 0


class OldAdapter(HTTPAdapter):
    """Sets up its pools without `super()`, and goes to them as before requests 2.32."""

    def __init__(self, *args: Any, mark: str = "", **kwargs: Any) -> None:
        self.mark = mark
        super().__init__(*args, **kwargs)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002  as in requests
        """Make a pool manager of its own."""
        self.poolmanager = urllib3.PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_minimum_version=ssl.TLSVersion.TLSv1_2, **kwargs
        )

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str,  # noqa: FBT001  as in requests
        proxies: dict[str, str] | None = None,
        cert: str | tuple[str, str] | None = None,
    ) -> urllib3.HTTPConnectionPool:
        """Ask for a pool by the URL alone."""
        del verify, cert
        with pytest.warns(DeprecationWarning, match="get_connection"):
            return self.get_connection(request.url or "", proxies)


class First(PinnedAdapter, OldAdapter):
    """The pinned adapter first."""


class Second(OldAdapter, PinnedAdapter):
    """The pinned adapter last."""


@pytest.mark.parametrize("kind", [First, Second])
def test_adapter_among_several_base_classes(lab: Lab, kind: Callable[..., First | Second]) -> None:
    """Another base class may override how pools are made and found: they are pinned all the same."""
    adapter = kind(lab.pins, mark="mine", max_retries=2)
    assert (adapter.mark, adapter.max_retries.total) == ("mine", 2)
    session = lab.trusting(requests.Session())
    session.mount("https://", adapter)
    refuses_and_works(lab, session)
    adapter.init_poolmanager(1, 1)  # once more, on a live adapter
    refuses_and_works(lab, session)


def test_plain_adapter_on_a_pinned_session(lab: Lab) -> None:
    """The usual way to set retries: the adapter keeps its identity, its settings and its place, and is pinned."""
    session = lab.trusting(PinnedSession(lab.pins))
    adapter = HTTPAdapter(max_retries=3, pool_maxsize=4)
    session.mount("https://localhost", adapter)
    assert session.adapters["https://localhost"] is adapter
    assert list(session.adapters) == ["https://localhost", "https://", "http://"]
    refuses_and_works(lab, session)
    assert session.get_adapter("https://localhost/") is adapter
    assert (adapter.max_retries.total, adapter._pool_maxsize) == (3, 4)


class Unpinnable(BaseAdapter):
    """Answers without a connection that could be looked at."""

    sent = 0

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Count the requests."""
        del args, kwargs
        self.sent += 1
        response = requests.Response()
        response.status_code = 200
        return response

    def close(self) -> None:
        """Nothing is open."""


def test_adapter_that_cannot_be_pinned(lab: Lab) -> None:
    """It is mounted, and refused when it is about to carry a request to a host that must be pinned."""
    adapter = Unpinnable()
    session = lab.trusting(PinnedSession(lab.pins))
    for prefix in ("https://", "http://", "mock://"):
        session.mount(prefix, adapter)
    with pytest.raises(UnpinnableAdapterError) as caught:
        session.get("https://localhost/")
    assert isinstance(caught.value, PolicyError)
    assert isinstance(caught.value, requests.exceptions.RequestException)
    for url in ("https://unpinned.example.com/", "http://unpinned.example.com/", "http://localhost/"):
        with pytest.raises(PinningError):
            session.get(url)
    assert adapter.sent == 0
    assert session.get("mock://localhost/").status_code == 200

    free = lab.trusting(PinnedSession(lab.pins, unpinned_hosts="allow"))
    free.mount("https://", adapter)
    assert free.get("https://unpinned.example.com/").status_code == 200
    with pytest.raises(UnpinnableAdapterError):
        free.get("https://localhost/")
    assert adapter.sent == 2


def outcome(session: requests.Session, url: str, **kwargs: Any) -> type[BaseException]:
    """Return the type of what a request raises."""
    with pytest.raises(requests.exceptions.RequestException) as caught:
        session.get(url, **kwargs)
    return type(caught.value)


@pytest.fixture
def both(lab: Lab) -> tuple[PinnedSession, requests.Session]:
    """A pinned session and a plain one."""
    return lab.trusting(PinnedSession(lab.pins)), lab.trusting(requests.Session())


@pytest.mark.parametrize("timeout", [0.2, (0.2, WAIT), (0.2, None)], ids=str)
def test_a_hanging_handshake(
    both: tuple[PinnedSession, requests.Session], timeout: float | tuple[float, float | None]
) -> None:
    """A server that accepts and says nothing: the time-out holds, and the error is that of requests."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://localhost:{silent.getsockname()[1]}/"
        pinned, plain = (outcome(session, url, timeout=timeout) for session in both)
    assert pinned is plain
    assert issubclass(pinned, requests.exceptions.Timeout)


@pytest.mark.parametrize(
    "answer", [None, b"", b"\x15\x03\x03\x00\x02\x02\x28", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=repr
)
def test_a_server_that_ends_the_handshake(both: tuple[PinnedSession, requests.Session], answer: bytes | None) -> None:
    """It closes, says that the handshake failed, or speaks no TLS: the error is that of requests."""

    def serve(listener: socket.socket) -> None:
        for _ in both:
            connection, _ = listener.accept()
            with connection:
                if answer is not None:
                    connection.recv(65536)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(WAIT)
        serving = pool.submit(serve, listener)
        url = f"https://localhost:{listener.getsockname()[1]}/"
        pinned, plain = (outcome(session, url, timeout=WAIT) for session in both)
        serving.result(WAIT)
    if answer is None:
        # With the hello unread, the kernel resets or closes, whichever comes first.
        assert issubclass(pinned, requests.exceptions.ConnectionError)
    else:
        assert pinned is plain


def test_nobody_listens(both: tuple[PinnedSession, requests.Session]) -> None:
    """A connection that is refused, and a name that leads nowhere, fail as in requests."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pinned, plain = (outcome(session, f"https://localhost:{port}/") for session in both)
    assert pinned is plain is requests.exceptions.ConnectionError


def test_many_threads(lab: Lab) -> None:
    """Sixteen threads on one session: requests to the honest server succeed, those to the attacker are refused."""
    session = lab.trusting(PinnedSession(lab.pins, pool_maxsize=THREADS))
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    barrier = threading.Barrier(THREADS)

    def work(number: int) -> list[str]:
        barrier.wait(WAIT)
        results = []
        for _ in range(10):
            target = mitm if number % 4 == 0 else server
            refused = pytest.raises(PinMismatchError) if target is mitm else contextlib.nullcontext()
            with refused:
                results.append(session.get(target.url()).text)
        return results

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(work, range(THREADS)))
    assert results == [[] if number % 4 == 0 else ["ok"] * 10 for number in range(THREADS)]
    mitm.settle()
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (40, 40, 0)
    assert mitm.open_connections == 0
    assert server.handshakes <= THREADS
    assert len(server.requests) == 120


def test_the_policy_changes_under_many_threads(lab: Lab) -> None:
    """While the policy goes back and forth, each request is sent or refused, whole."""
    store = PolicyStore(lab.pins)
    session = lab.trusting(PinnedSession(store, pool_maxsize=4))
    server = lab.serve(lab.honest)
    other = {"localhost": [Pin.from_certificate(lab.attacker.certificate), lab.backup]}
    done = threading.Event()

    def flip() -> None:
        while not done.is_set():
            store.set(other)
            store.set(lab.pins)

    def work(_: int) -> int:
        sent = 0
        for _ in range(10):
            with contextlib.suppress(PinMismatchError):
                sent += session.get(server.url()).text == "ok"
        return sent

    with ThreadPoolExecutor(5) as pool:
        flipping = pool.submit(flip)
        try:
            sent = sum(pool.map(work, range(4)))
        finally:
            done.set()
        flipping.result(WAIT)
    assert len(server.requests) == sent
    assert session.get(server.url()).text == "ok"


class Resuming(ssl.SSLContext):
    """A caller's context that resumes the session of its last connection."""

    saved: ssl.SSLSession | None = None
    resumed: list[bool | None]

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Make a handshake, shorter where the server agrees."""
        tls = super().wrap_socket(*args, **{**kwargs, "session": self.saved})
        self.saved = tls.session
        self.resumed.append(tls.session_reused)
        return tls


@pytest.fixture
def resuming(lab: Lab) -> Iterator[Resuming]:
    """A context that resumes, for TLS 1.2, whose sessions are there as soon as the handshake is done."""
    context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(lab.bundle)
    context.resumed = []
    yield context
    context.saved = None


def test_a_resumed_session_has_no_chain(lab: Lab, resuming: Resuming) -> None:
    """Who resumes shows no certificate: there is nothing to compare, and nothing is sent."""
    server = lab.serve(lab.honest)
    with PinnedSession(lab.pins, ssl_context=resuming) as session:
        assert session.get(server.url(), headers={"Connection": "close"}).text == "ok"
        server.settle()
        before = server.application_bytes
        with pytest.raises(ChainUnavailableError, match="resumed"):
            session.get(server.url())
        server.settle()
        assert resuming.resumed == [False, True]
        assert server.application_bytes == before
        assert server.open_connections == 0

        resuming.saved = None
        assert session.get(server.url()).text == "ok"
        assert server.handshakes == 3


def test_every_connection_makes_a_full_handshake(lab: Lab) -> None:
    """Sessions are not resumed though the server offers it: each new connection shows its certificate."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = lab.honest.server_context(minimum_version=version, maximum_version=version, num_tickets=2)
        server = lab.serve(None, context=context)
        session = lab.trusting(PinnedSession(lab.pins))
        for _ in range(3):
            assert session.get(server.url(), headers={"Connection": "close"}).text == "ok"
        server.settle()
        assert server.handshakes == 3
        assert context.session_stats()["hits"] == 0


def test_no_warning_where_the_leaf_pin_matched(lab: Lab) -> None:
    """Under `verify=False` the connection is verified by its pin; a mismatch that is only reported is not verified."""
    server = lab.serve(lab.honest)
    with PinnedSession(lab.pins) as session, warnings.catch_warnings():
        warnings.simplefilter("error", InsecureRequestWarning)
        assert session.get(server.url(), verify=False).text == "ok"
    reported = PinSet([lab.backup], [Pin("spki", bytes(32))], report_only=True)
    with PinnedSession({"localhost": reported}) as session, pytest.warns(InsecureRequestWarning):
        assert session.get(server.url(), verify=False).text == "ok"


def test_a_refusal_imports_no_reporter() -> None:
    """What counts and logs violations is not in `reporting/`."""
    code = """
import sys
from pinned_requests import PinnedSession, PinningError, PinSet
session = PinnedSession({"unrelated.test": PinSet.exempt()})
try:
    session.get("https://localhost:1/")
except PinningError:
    print([name for name in sys.modules if name.startswith("pinned_requests.reporting")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"

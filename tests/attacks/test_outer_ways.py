"""Ways around the check from outside of it: rewritten URLs, odd classes, pools and connections used directly.

Each has its honest twin, and counts the bytes at the server that would have got them.
"""

from __future__ import annotations

import copy
import functools
import http.client
import pickle
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager

from pinned_requests import (
    ChainUnavailableError,
    InsecureURLError,
    Pin,
    PinMismatchError,
    PinnedAdapter,
    PinnedPoolManager,
    PinnedProxyManager,
    PinnedSession,
    PinningError,
    PinPolicy,
    PinSet,
    PolicyError,
    PolicyStore,
    UnpinnableAdapterError,
)
from pinned_requests.enforcement.guard import Guard
from pinned_requests.transport.adapter import pin_adapter
from pinned_requests.transport.connection import Pinning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinned_requests import ViolationReport
    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.transport.context import TLSSettings
    from support.scene import Scene

SECRET = "the-secret-of-the-request"  # noqa: S105  what the attacker is after


# --- Adapters and sessions -------------------------------------------------------------------------------------------


def at_the_address(url: str | None) -> str:
    """Put the address in the place of a URL's host."""
    return (url or "").replace(urlsplit(url or "").hostname or "", "127.0.0.1", 1)


class Resolving(HTTPAdapter):
    """Puts the address in the place of the host, as adapters do that resolve names by themselves."""

    named = True

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send to the address."""
        host = urlsplit(request.url or "").hostname or ""
        if self.named:
            self.poolmanager.connection_pool_kw["assert_hostname"] = host
        request.url = at_the_address(request.url)
        request.headers["Host"] = host
        return super().send(request, *args, **kwargs)


class Rewriting(Resolving):
    """Says nothing of the name to the TLS library."""

    named = False


class PinnedResolving(Resolving, PinnedAdapter):
    """The same, as a subclass of ours."""


@pytest.mark.parametrize("others", ["allow", "exempt"])
@pytest.mark.parametrize("kind", [Resolving, Rewriting, PinnedResolving])
def test_an_adapter_that_connects_to_another_host(scene: Scene, kind: type[HTTPAdapter], others: str) -> None:
    """The URL's host decides: where the adapter connects to does not unpin it."""
    hosts: dict[str, PinsLike] = {"localhost": scene.pins_of(scene.honest)}
    if others == "exempt":
        hosts["127.0.0.1"] = PinSet.exempt()
    policy = PinPolicy(hosts, unpinned_hosts="block" if others == "exempt" else "allow")
    session = scene.trusting(requests.Session() if kind is PinnedResolving else PinnedSession(policy))
    session.mount("https://", kind(policy) if kind is PinnedResolving else kind())
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinningError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm).application_bytes == 0
    if kind is not Rewriting:  # whose connection shows the pinned name to no one
        assert session.get(server.url()).text == "ok"


class Copying(HTTPAdapter):
    """Leaves the request as it is, and sends a copy to the address."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a copy; or a request of its own, and then the one that it was given."""
        copied = request.copy()
        copied.url = at_the_address(request.url)
        if urlsplit(request.url).path == "/secret":
            return super().send(copied, *args, **kwargs)
        if copied.url != request.url:
            self.send(copied, *args, **kwargs)
        return super().send(request, *args, **kwargs)


class Making(HTTPAdapter):
    """Sends a request of its own to the address, twice if the first fails."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send another request."""
        url = at_the_address(request.url)
        made = requests.Request(request.method, url, headers=request.headers).prepare()
        try:
            return super().send(made, *args, **kwargs)
        except PinningError:
            return super().send(made, *args, **kwargs)


class Elsewhere(HTTPAdapter):
    """Sends the request to the address, from another thread."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Change the request, and send it there."""
        request.url = at_the_address(request.url)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(super().send, request, *args, **kwargs).result()


@pytest.mark.parametrize("is_ours", [False, True])
@pytest.mark.parametrize("kind", [Copying, Making, Elsewhere])
def test_an_adapter_that_sends_another_request(scene: Scene, kind: type[HTTPAdapter], *, is_ours: bool) -> None:
    """A copy of a request, or another in its place, is for the host of the URL that came to the adapter."""
    policy = PinPolicy({"localhost": scene.pins_of(scene.honest)}, unpinned_hosts="allow")
    session = scene.trusting(requests.Session() if is_ours else PinnedSession(policy))
    session.mount("https://", type("Ours", (kind, PinnedAdapter), {})(policy) if is_ours else kind())
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(UnpinnableAdapterError):
        session.get(mitm.url("/secret"), auth=("user", SECRET))
    assert scene.toll(mitm).application_bytes == 0
    host = "localhost" if kind is Copying else "127.0.0.1"
    assert session.get(server.url(host=host)).text == "ok"
    again = session.prepare_request(requests.Request("GET", server.url("/secret")))
    with pytest.raises(UnpinnableAdapterError):
        session.send(again)
    again.url = server.url(host=host)  # the same object, now for a host of its own
    assert session.send(again, verify=scene.bundle).text == "ok"


def test_a_look_up_of_attributes_of_its_own(scene: Scene) -> None:
    """A class whose `__getattribute__` does not call the inherited one is refused where it is made or used."""

    class Plain(HTTPAdapter):
        def __getattribute__(self, name: str) -> object:
            return object.__getattribute__(self, name)

    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    session.mount("https://", Plain())
    mitm = scene.serve(scene.attacker)
    with pytest.raises(UnpinnableAdapterError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (0, 0, 0)
    for base in (PinnedAdapter, PinnedSession):
        with pytest.raises(PolicyError, match="__getattr__"):
            type("Own", (base,), {"__getattribute__": object.__getattribute__})


def test_the_look_up_of_another_session(scene: Scene) -> None:
    """`b.get_adapter = a.get_adapter`: the adapter belongs to the session with the other policy, and is refused."""
    theirs = scene.trusting(PinnedSession({"localhost": scene.pins_of(scene.attacker)}))
    ours = scene.trusting(PinnedSession({"localhost": scene.pins_of(scene.honest)}))
    ours.get_adapter = theirs.get_adapter  # type: ignore[method-assign]  # the attack
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(UnpinnableAdapterError):
        ours.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (0, 0, 0)
    del ours.get_adapter
    assert ours.get(server.url()).text == "ok"


def test_two_sessions_that_pin_one_adapter_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two threads one pins it; the session of the other one refuses it."""
    adapter, entered, go = HTTPAdapter(), threading.Event(), threading.Event()
    guards = [Guard({"localhost": scene.pins_of(each)}) for each in (scene.honest, scene.attacker)]
    from pinned_requests.transport import adapter as module  # noqa: PLC0415  to hold a thread in it

    pinned_class = module._pinned_class

    def slow(base: Any) -> type[HTTPAdapter]:
        entered.set()
        go.wait(10)
        return pinned_class(base)

    monkeypatch.setattr(module, "_pinned_class", slow)
    first = threading.Thread(target=lambda: pin_adapter(adapter, Pinning(guards[0])))
    first.start()
    entered.wait(10)
    refused: list[BaseException] = []

    def second() -> None:
        try:
            pin_adapter(adapter, Pinning(guards[1]))
        except UnpinnableAdapterError as e:
            refused.append(e)

    other = threading.Thread(target=second)
    other.start()
    go.set()
    first.join(10)
    other.join(10)
    assert adapter.pinned_by.guard is guards[0]  # type: ignore[attr-defined]  # it is pinned now
    assert len(refused) == 1


class Stateful(HTTPAdapter):
    """Pickles and copies in its own way."""

    __attrs__ = ["max_retries"]  # noqa: RUF012  as in requests

    def __getstate__(self) -> dict[str, Any]:
        return {"max_retries": self.max_retries, "config": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # as some do
        vars(self).update(state)


def test_an_adapter_with_a_state_of_its_own(scene: Scene) -> None:
    """It stays pinned when it is pickled."""
    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    session.mount("https://", Stateful())
    again = pickle.loads(pickle.dumps(session.adapters["https://"]))  # noqa: S301  our own
    plain = scene.trusting(requests.Session())
    plain.mount("https://", again)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        plain.get(mitm.url(), auth=("user", SECRET))
    assert plain.get(server.url()).text == "ok"


# --- Managers, pools and connections ---------------------------------------------------------------------------------


def own_pool(url: str | None, bundle: str) -> urllib3.HTTPConnectionPool:
    """A pool that no manager of ours has made."""
    return urllib3.connectionpool.connection_from_url(url or "", ca_certs=bundle)


@pytest.mark.parametrize(
    "name", ["connection_from_host", "connection_from_url", "connection_from_context", "connection_from_pool_key"]
)
@pytest.mark.parametrize("inside", ["manager", "adapter"])
def test_a_manager_that_makes_its_pools_by_itself(scene: Scene, name: str, inside: str) -> None:
    """Whichever method a subclass overrides, what it gives out is pinned."""
    pins = {"localhost": scene.pins_of(scene.honest)}
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    current = [mitm]
    own = {name: lambda *_args, **_kwargs: own_pool(current[0].url(), scene.bundle)}
    if inside == "manager":
        manager: Any = type("Own", (PinnedPoolManager,), own)(pins, ca_certs=scene.bundle)
    else:
        session = scene.trusting(PinnedSession(pins))
        adapter = HTTPAdapter()
        adapter.poolmanager = type("Own", (PoolManager,), own)(ca_certs=scene.bundle)
        session.mount("https://", adapter)
        manager = adapter.poolmanager
    with pytest.raises(PinMismatchError):
        manager.request("GET", mitm.url(), headers={"X": SECRET})
    assert scene.toll(mitm) == (1, 1, 0)
    current[0] = server
    assert manager.request("GET", server.url()).data == b"ok"


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("connection_from_host", ["localhost", 443, "https"]),
        ("connection_from_url", ["https://localhost/"]),
        ("connection_from_context", [{"scheme": "https", "host": "localhost", "port": 443}]),
        ("connection_from_pool_key", [None, {}]),
    ],
)
def test_a_manager_whose_base_makes_its_pools_by_itself(scene: Scene, name: str, asked: list[Any]) -> None:
    """Each method pins what the next class gives out, also if it is asked directly."""
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    current = [mitm]
    base: Any = type("Own", (PoolManager,), {name: lambda *_a, **_k: own_pool(current[0].url(), scene.bundle)})
    manager = type("Both", (PinnedPoolManager, base), {})({"localhost": scene.pins_of(scene.honest)})
    with pytest.raises(PinMismatchError):
        getattr(manager, name)(*asked).request("GET", "/", headers={"X": SECRET})
    assert scene.toll(mitm) == (1, 1, 0)
    current[0] = server
    assert getattr(manager, name)(*asked).request("GET", "/").data == b"ok"


class OwnPool:
    """Not a pool of urllib3's, and not a subclass."""

    def __init__(self, host: str, port: int, **_: Any) -> None:
        self.inner = urllib3.HTTPSConnectionPool(host, port, cert_reqs="CERT_NONE")

    def urlopen(self, method: str, url: str, **_: Any) -> urllib3.BaseHTTPResponse:
        """Send without a look at any key."""
        return self.inner.urlopen(method, url, headers={"X": SECRET})

    def close(self) -> None:
        """Close."""
        self.inner.close()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_pool_class_that_is_not_urllib3s(scene: Scene) -> None:
    """It is used for hosts that the policy leaves alone, and refused for others, also if keys are blocked."""
    mitm = scene.serve(scene.attacker)
    policy = PinPolicy({"localhost": scene.pins_of(scene.honest)}, unpinned_hosts="allow")
    blocking = PinPolicy(policy.hosts, unpinned_hosts="allow", blocked_pins=[scene.backup])
    for each, host in ((policy, "localhost"), (blocking, "localhost"), (blocking, "127.0.0.1")):
        manager = PinnedPoolManager(each)
        manager.pool_classes_by_scheme = {"https": OwnPool}
        with pytest.raises(UnpinnableAdapterError):
            manager.request("GET", mitm.url(host=host))
    assert scene.toll(mitm) == (0, 0, 0)
    manager = PinnedPoolManager(policy)
    manager.pool_classes_by_scheme = {"https": OwnPool}
    assert manager.request("GET", mitm.url(host="127.0.0.1")).data == b"ok"
    manager.clear()


def test_the_client_certificate_is_not_for_the_proxy(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The context of the handshake with a proxy, also with one that forwards, has no client certificate."""
    from pinned_requests.transport import connection  # noqa: PLC0415  to see which settings are asked for

    client = tmp_path / "client.pem"
    credential = scene.root.issue("client.example.com")
    client.write_bytes(credential.key_pem + credential.certificate_pem)
    asked: list[TLSSettings] = []
    shared_context = connection.shared_context  # type: ignore[attr-defined]  # imported there

    def asking(settings: TLSSettings) -> ssl.SSLContext:
        asked.append(settings)
        return shared_context(settings)

    monkeypatch.setattr(connection, "shared_context", asking)
    proxy = scene.serve(scene.honest)
    manager = PinnedProxyManager(
        {"start.test": PinSet.exempt()}, proxy.url(), ca_certs=scene.bundle, cert_file=str(client)
    )
    assert manager.request("GET", "http://start.test/").data == b"ok"
    assert [settings["cert_file"] for settings in asked] == [None]
    manager.clear()
    named = PinnedProxyManager(
        {"start.test": PinSet.exempt()}, proxy.url(), ca_certs=scene.bundle, proxy_assert_hostname="localhost"
    )
    assert named.request("GET", "http://start.test/").data == b"ok"
    assert [settings["check_hostname"] for settings in asked] == [True, False]  # urllib3 writes it into the context
    named.clear()


def test_a_plain_pool_with_a_proxy_that_it_does_not_use(scene: Scene) -> None:
    """urllib3's plain pools connect to their own host, also if they have a proxy."""
    plain = scene.serve(None)
    proxy = urllib3.util.parse_url("http://127.0.0.1:9")
    manager = PinnedPoolManager({"unrelated.test": PinSet.exempt()})
    context = {"scheme": "http", "host": "localhost", "port": plain.port, "_proxy": proxy}
    by_name = manager._new_pool("http", "localhost", plain.port, {"_proxy": proxy})
    pools = [manager.connection_from_context({**context}), by_name]
    for pool in pools:
        with pytest.raises(InsecureURLError):
            pool.urlopen("GET", "/secret")
    assert scene.toll(plain) == (0, 0, 0)
    free = PinnedPoolManager({"localhost": PinSet.exempt()})
    assert free.connection_from_context({**context}).urlopen("GET", "/").data == b"ok"
    manager.clear()
    free.clear()


def test_a_page_of_the_proxy_itself(scene: Scene) -> None:
    """A path on the proxy's pool is a request for the proxy as a host, which the policy blocks."""
    proxy = scene.serve(None)
    manager = PinnedProxyManager({"start.test": PinSet.exempt()}, proxy.url())
    pool = manager.connection_from_url("http://start.test/")
    with pytest.raises(InsecureURLError):
        pool.urlopen("GET", "/secret")
    assert scene.toll(proxy) == (0, 0, 0)
    assert pool.urlopen("GET", "http://start.test/", assert_same_host=False).data == b"ok"
    manager.clear()


def test_a_connection_out_of_a_pool(scene: Scene) -> None:
    """`_new_conn()` gives a connection that checks the chain."""
    mitm = scene.serve(scene.attacker)
    manager = PinnedPoolManager({"localhost": scene.pins_of(scene.honest)}, ca_certs=scene.bundle)
    connection = manager.connection_from_url(mitm.url())._new_conn()
    with pytest.raises(Exception, match="holds none of its pins"):
        connection.request("GET", "/", headers={"X": SECRET})
    assert scene.toll(mitm) == (1, 1, 0)
    manager.clear()


def test_a_tunnel_to_a_pinned_host(scene: Scene) -> None:
    """A connection that is told to tunnel is checked by the tunnel's host, before the proxy is asked."""
    expired = PinSet(scene.pins_of(scene.honest), expires="2020-01-01T00:00:00Z", on_expiry="block")
    hosts = {"localhost": expired, "127.0.0.1": PinSet.exempt()}
    proxy = scene.serve(None)
    manager = PinnedPoolManager(hosts, ca_certs=scene.bundle)
    connection = manager.connection_from_host("127.0.0.1", proxy.port, "https")._new_conn()
    connection.set_tunnel("localhost", 443, headers={"Proxy-Authorization": SECRET}, scheme="http")
    with pytest.raises(Exception, match="expired"):
        connection.connect()
    assert scene.toll(proxy) == (0, 0, 0)
    manager.clear()


@pytest.mark.parametrize("is_kept_alive", [False, True])
def test_a_policy_that_changes_while_a_sink_runs(scene: Scene, *, is_kept_alive: bool) -> None:
    """The request is decided by the policy that is in force when it begins."""
    reported = PinSet(scene.pins_of(scene.honest), report_only=True)
    store = PolicyStore({"localhost": reported, "elsewhere.test": PinSet.exempt()})
    mitm = scene.serve(scene.attacker)
    calls = 0

    def react(_report: ViolationReport) -> None:
        nonlocal calls
        calls += 1
        if calls == 1 + is_kept_alive:
            store.set({"localhost": scene.pins_of(scene.honest)})

    session = scene.trusting(PinnedSession(store, on_violation=react))
    if is_kept_alive:
        assert session.get(mitm.url()).text == "ok"
        store.set({"localhost": reported, "other.test": PinSet.exempt()})
        session.close()
    before = scene.toll(mitm).application_bytes
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm).application_bytes == before


class OwnRequest(urllib3.connection.HTTPSConnection):
    """Begins a request by itself, as HTTP/2's connection does."""

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        """Write the request line, without `super()`."""
        http.client.HTTPConnection.putrequest(self, *args, **kwargs)


def test_a_policy_that_changes_before_a_connection_of_its_own_begins(scene: Scene) -> None:
    """The last look at the policy is taken before a `putrequest()` that does not call the inherited one."""
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    reported = PinSet(scene.pins_of(scene.honest), report_only=True)
    store = PolicyStore({"localhost": reported})
    strict = {"localhost": scene.pins_of(scene.honest)}
    manager = PinnedPoolManager(store, ca_certs=scene.bundle, on_violation=lambda _: store.set(strict))
    own_pool: Any = type("Own", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": OwnRequest})
    manager.pool_classes_by_scheme = {"https": own_pool}
    with pytest.raises(PinMismatchError):
        manager.request("GET", mitm.url(), headers={"X": SECRET})
    assert scene.toll(mitm) == (1, 1, 0)
    assert manager.request("GET", server.url()).data == b"ok"
    manager.clear()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize(
    ("base", "host_session"), [(HTTPAdapter, "pinned"), (PinnedAdapter, "pinned"), (PinnedAdapter, "plain")]
)
def test_a_class_that_hides_its_subclasses(scene: Scene, base: type[HTTPAdapter], host_session: str) -> None:
    """A base that keeps `__init_subclass__` to itself hides no override."""

    class Hiding:
        def __init_subclass__(cls) -> None:
            pass

    def find(
        _self: object, request: requests.PreparedRequest, *_args: object, **_kwargs: object
    ) -> urllib3.HTTPConnectionPool:
        return own_pool(request.url, scene.bundle)

    kind = type("Own", (Hiding, base), {"get_connection_with_tls_context": find})
    pins = {"localhost": scene.pins_of(scene.honest)}
    session = scene.trusting(PinnedSession(pins) if host_session == "pinned" else requests.Session())
    session.mount("https://", kind(pins) if base is PinnedAdapter else kind())
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


@pytest.mark.parametrize("kind", ["adapter", "session", "manager"])
def test_an_override_with_the_attributes_of_ours(scene: Scene, kind: str) -> None:
    """`functools.wraps()` copies what is set on a method: an override that uses it is surrounded all the same."""
    pins = {"localhost": scene.pins_of(scene.honest)}
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)

    class Adapter(PinnedAdapter):
        @functools.wraps(PinnedAdapter.get_connection_with_tls_context)
        def get_connection_with_tls_context(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:  # type: ignore[override]  # fewer parameters
            return own_pool(request.url, scene.bundle)

    class Session(PinnedSession):
        @functools.wraps(PinnedSession.get_adapter)
        def get_adapter(self, *_: Any, **__: Any) -> HTTPAdapter:  # type: ignore[override]  # as above
            return HTTPAdapter()

    class Manager(PinnedPoolManager):
        @functools.wraps(PinnedPoolManager.connection_from_host)
        def connection_from_host(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]  # as above
            return own_pool(current.url(), scene.bundle)

    session: Any = scene.trusting(Session(pins) if kind == "session" else requests.Session())
    if kind == "adapter":
        session.mount("https://", Adapter(pins))
    manager = Manager(pins, ca_certs=scene.bundle)
    get = (lambda url: manager.request("GET", url)) if kind == "manager" else session.get
    current = mitm
    with pytest.raises(PinMismatchError):
        get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    current = server
    assert (get(server.url()).status if kind == "manager" else get(server.url()).status_code) == 200
    manager.clear()


def test_a_look_up_that_caches_itself(scene: Scene) -> None:
    """`functools.cached_property` puts what it found into the object: it is pinned the second time, too."""

    class Session(PinnedSession):
        @functools.cached_property
        def get_adapter(self) -> Callable[..., HTTPAdapter]:
            """Find an adapter that nothing else has seen."""
            return lambda *_, **__: HTTPAdapter()

    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    session = scene.trusting(Session({"localhost": scene.pins_of(scene.honest)}))
    for _ in range(2):
        with pytest.raises(PinMismatchError):
            session.get(mitm.url(), auth=("user", SECRET))
        assert session.get(server.url()).text == "ok"
    assert scene.toll(mitm) == (2, 2, 0)


def test_a_store_that_decides_in_current(scene: Scene) -> None:
    """A subclass of `PolicyStore` says what is in force, not the policy that it was made of."""
    strict = PinPolicy({"localhost": scene.pins_of(scene.honest)})

    class Strict(PolicyStore):
        @property
        def current(self) -> PinPolicy:
            return strict

    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    session = scene.trusting(PinnedSession(Strict({"localhost": scene.pins_of(scene.attacker)})))
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


def test_a_manager_that_is_made_when_it_is_needed(scene: Scene) -> None:
    """An adapter with a property of its own for its manager: that is asked, and what it returns is pinned."""

    class Lazy(HTTPAdapter):
        made: PoolManager | None = None

        @property
        def poolmanager(self) -> PoolManager:
            """Make a manager."""
            if self.made is None:
                self.made = PoolManager(ca_certs=scene.bundle)
            return self.made

        @poolmanager.setter
        def poolmanager(self, _: PoolManager) -> None:
            """Keep the own one."""

    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    session = scene.trusting(PinnedSession({"localhost": scene.pins_of(scene.honest)}))
    session.mount("https://", Lazy())
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


def test_a_class_that_is_assigned_to(scene: Scene) -> None:
    """A method that a class of adapters gets after its adapter was mounted is pinned, too."""
    kind: type[HTTPAdapter] = type("Own", (HTTPAdapter,), {})
    session = scene.trusting(PinnedSession({"localhost": scene.pins_of(scene.honest)}))
    session.mount("https://", kind())
    pinned_class: Any = type(session.get_adapter("https://localhost/"))
    find = lambda _self, request, *_, **__: own_pool(request.url, scene.bundle)  # noqa: E731  a method
    pinned_class.get_connection_with_tls_context = find
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


def test_a_method_in_the_dictionary_of_an_adapter(scene: Scene) -> None:
    """What is put there, around `__setattr__`, is pinned when the session finds the adapter."""
    session = scene.trusting(PinnedSession({"localhost": scene.pins_of(scene.honest)}))
    adapter = session.get_adapter("https://localhost/")
    vars(adapter)["get_connection_with_tls_context"] = lambda request, *_, **__: own_pool(request.url, scene.bundle)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


def test_a_deep_copy_of_an_adapter(scene: Scene) -> None:
    """It follows the policy of the adapter, so that the session of that takes it."""
    store = PolicyStore({"localhost": scene.pins_of(scene.attacker)})
    session = scene.trusting(PinnedSession(store))
    session.mount("https://", copy.deepcopy(session.get_adapter("https://localhost/")))
    store.set({"localhost": scene.pins_of(scene.honest)})
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


def test_a_full_pool(scene: Scene) -> None:
    """A refusal of plain HTTP takes no place in a pool that blocks."""
    plain = scene.serve(None)
    session = scene.trusting(
        PinnedSession(
            {"localhost": scene.pins_of(scene.honest), "127.0.0.1": PinSet.exempt()}, pool_block=True, pool_maxsize=1
        )
    )
    for _ in range(3):
        with pytest.raises(InsecureURLError):
            session.get(plain.url())
    assert session.get(plain.url(host="127.0.0.1")).text == "ok"


def test_block_while_the_policy_changes(scene: Scene) -> None:
    """`unpinned_hosts="block"` holds also if the store changes while the guard is made."""
    pins = {"localhost": scene.pins_of(scene.honest)}
    block, allow = (PinPolicy(pins, unpinned_hosts=each) for each in ("block", "allow"))

    class Changing(PolicyStore):
        answers = iter([block, block, allow])

        @property
        def current(self) -> PinPolicy:
            return next(self.answers, allow)

    guard = Guard(Changing(block), unpinned_hosts="block")
    assert guard.policy.unpinned_hosts == "block"


# --- Contexts --------------------------------------------------------------------------------------------------------


def test_default_authorities_that_change(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a CA bundle of its own, a manager trusts what OpenSSL trusts now: a withdrawn CA is not trusted."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(scene.root.certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    manager = PinnedPoolManager({"unrelated.test": PinSet.exempt()}, unpinned_hosts="allow")
    server = scene.serve(scene.honest)
    assert manager.request("GET", server.url()).data == b"ok"
    manager.clear()
    from pinned_requests.testing import Authority  # noqa: PLC0415  for this test alone

    replaced = tmp_path / "new.pem"
    replaced.write_bytes(Authority.create().certificate_pem)
    replaced.replace(bundle)
    with pytest.raises(urllib3.exceptions.HTTPError):
        manager.request("GET", server.url(), retries=False)
    manager.clear()


def test_a_request_that_could_not_be_made_unverified(scene: Scene) -> None:
    """A context that checks host names refuses CERT_NONE: it was not used unverified, and still vouches."""

    class Own(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=ssl.create_default_context(cafile=scene.bundle), **kwargs)

    session = scene.pinned(Pin.from_certificate(scene.root.certificate))
    session.mount("https://", Own())
    server = scene.serve(scene.honest)
    with pytest.raises(ValueError, match="check_hostname"):
        session.get(server.url(), verify=False)
    assert session.get(server.url()).text == "ok"


# --- check() ---------------------------------------------------------------------------------------------------------


def test_check_says_what_get_does(scene: Scene) -> None:
    """An adapter that cannot be pinned, and a pool whose connections cannot: no answer that `get()` would not give."""

    class Own(HTTPAdapter):
        send = HTTPAdapter.close  # type: ignore[assignment]  # anything that does not send through requests

    class Plain(urllib3.connection.HTTPConnection):
        def __init__(self, host: str, port: int, **_: Any) -> None:
            super().__init__(host, port)

    class Plainly(HTTPAdapter):
        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> urllib3.HTTPConnectionPool:
            pool = super().get_connection_with_tls_context(*args, **kwargs)
            pool.ConnectionCls = Plain
            return pool

    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    server = scene.serve(scene.honest)
    assert session.check(server.url()).ok
    session.mount("https://", Plainly())
    with pytest.raises(ChainUnavailableError):
        session.get(server.url())
    assert session.check(server.url()).outcome == "chain-unavailable"
    session.mount("https://", Own())
    with pytest.raises(UnpinnableAdapterError):
        session.check(server.url())
    with pytest.raises(UnpinnableAdapterError):
        session.get(server.url())

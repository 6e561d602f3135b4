"""Ways around the check that once were open: each is closed, beside its honest twin.

Each test says where the bytes would have gone, and counts them at the server that would have got them.
"""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from urllib3 import HTTPResponse, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool

from pinned_requests import (
    BlockedKeyError,
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
    PolicyStore,
    UnpinnableAdapterError,
    UnpinnedHostError,
)
from pinned_requests.testing import Authority, Credential, Response, TLSServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3 import HTTPSConnectionPool

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import UnpinnedHosts
    from pinned_requests.testing import Request
    from support.proxy import Proxy
    from support.scene import Scene

    Verify = bool | str  # as in requests
    Cert = str | tuple[str, str] | None

SECRET = "the-secret-of-the-request"  # noqa: S105  what the attacker is after


def got_no_byte(scene: Scene, server: TLSServer) -> bool:
    """Say whether a server got nothing of HTTP."""
    return bool(scene.toll(server).application_bytes == 0 and SECRET.encode() not in server.received)


# --- 1. An unverified chain that passes for verified -----------------------------------------------------------------


class OwnContext(HTTPAdapter):
    """An adapter that brings a context, which urllib3 then writes to for each connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Hand the context to the pool manager."""
        super().init_poolmanager(*args, ssl_context=self.context, **kwargs)


def context_of(scene: Scene) -> ssl.SSLContext:
    """A context of the caller's, as one writes it for an adapter."""
    context = ssl.create_default_context(cafile=scene.bundle)
    context.check_hostname = False
    return context


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_context_that_was_used_unverified_vouches_no_more(scene: Scene) -> None:
    """One request with `verify=False` over a shared context, and the context does not vouch for a chain again.

    Only the leaf counts from then on: a pin of the CA does not match, a pin of the leaf does.
    """
    context = context_of(scene)
    root_pin = Pin.from_certificate(scene.root.certificate)
    leaf_pin = Pin.from_certificate(scene.honest.certificate)
    policy = PinPolicy(
        {"localhost": [root_pin, scene.backup], "127.0.0.1": [leaf_pin, scene.backup]}, unpinned_hosts="allow"
    )
    session = scene.trusting(PinnedSession(policy))
    session.mount("https://", OwnContext(context))
    server, other = scene.serve(scene.honest), scene.serve(scene.honest)
    assert session.get(server.url()).text == "ok"  # honest twin: verified so far
    assert session.get(other.url(host="127.0.0.1")).text == "ok"
    free = scene.trusting(PinnedSession({"unrelated.test": PinSet.exempt()}, unpinned_hosts="allow"))
    free.mount("https://", OwnContext(context))
    assert free.get(server.url(), verify=False).text == "ok"
    session.close()
    before = scene.toll(server).application_bytes
    with pytest.raises(PinMismatchError) as caught:
        session.get(server.url(), auth=("user", SECRET))
    assert "not verified" in str(caught.value)
    assert scene.toll(server).application_bytes == before
    assert session.get(other.url(host="127.0.0.1")).text == "ok"  # the leaf's key is proven by the handshake


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("victim_verifies", [True, False])
def test_threads_that_write_to_one_context(scene: Scene, victim_verifies: bool) -> None:  # noqa: FBT001  pytest's way
    """A forged leaf with the real CA behind it, while other threads turn verification off and on."""
    attacker = forge(scene)
    context = context_of(scene)
    root_pin = Pin.from_certificate(scene.root.certificate)
    policy = PinPolicy({"localhost": [root_pin, scene.backup]}, unpinned_hosts="allow")
    session = scene.trusting(PinnedSession(policy))
    session.mount("https://", OwnContext(context))
    mitm, neutral = scene.serve(attacker), scene.serve(scene.honest)
    stop = threading.Event()

    def disturb() -> None:
        verify = False
        while not stop.is_set():
            session.get(
                neutral.url(host="127.0.0.1"), verify=scene.bundle if verify else False, headers={"Connection": "close"}
            )
            verify = not verify

    with ThreadPoolExecutor(2) as pool:
        disturbing = [pool.submit(disturb) for _ in range(2)]
        try:
            for _ in range(40):
                with pytest.raises(requests.exceptions.SSLError):
                    session.get(mitm.url(), auth=("user", SECRET), verify=scene.bundle if victim_verifies else False)
        finally:
            stop.set()
        for each in disturbing:
            each.result(30)
    assert got_no_byte(scene, mitm)


def forge(scene: Scene) -> Credential:
    """A certificate for localhost by a CA of the attacker's that has the root's name, with the real root behind it."""
    false = Authority.forge(scene.root).issue("localhost", "127.0.0.1")
    return false.with_served(false.certificate, scene.root.certificate)


# --- 2. The wrong session's policy -----------------------------------------------------------------------------------


def test_digest_auth_is_judged_by_the_policy_of_its_session(scene: Scene) -> None:
    """`HTTPDigestAuth` sends again by `response.connection.send()`; the adapter is refused on a second session."""

    def challenge(request: Request) -> Response:
        if "Authorization" in dict(request.headers):
            return Response(body=b"in")
        return Response(401, headers=(("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"'),))

    honest, attacker = scene.serve(scene.honest, handler=challenge), scene.serve(scene.attacker, handler=challenge)
    ours = scene.trusting(PinnedSession({"localhost": scene.pins_of(scene.honest)}))
    theirs = scene.trusting(PinnedSession({"localhost": scene.pins_of(scene.attacker)}))
    adapter = HTTPAdapter()
    theirs.mount("https://", adapter)  # its policy accepts the attacker
    ours.mount("https://", adapter)
    with pytest.raises(UnpinnableAdapterError):
        ours.get(attacker.url(), auth=HTTPDigestAuth("user", SECRET))
    assert scene.toll(attacker) == (0, 0, 0)
    ours.mount("https://", HTTPAdapter())
    assert ours.get(honest.url(), auth=HTTPDigestAuth("user", SECRET)).text == "in"
    honest.credential = scene.attacker
    ours.close()
    with pytest.raises(PinMismatchError):
        ours.get(honest.url(), auth=HTTPDigestAuth("user", SECRET))


# --- 3. A URL that two parsers read differently ----------------------------------------------------------------------

AMBIGUOUS = [
    *("http://pinned.test\\@start.test/", "http://x[@pinned.test/", "http://start.test@pinned.test\\"),
    *("evil.test/secret", "pinned.test/", "http:///secret", "//pinned.test/"),
]


@pytest.mark.filterwarnings("ignore:URLs without a scheme:FutureWarning")
@pytest.mark.parametrize("url", AMBIGUOUS)
@pytest.mark.parametrize("unpinned_hosts", ["block", "allow"])
def test_urls_that_parsers_read_differently(scene: Scene, url: str, unpinned_hosts: UnpinnedHosts) -> None:
    """None of them makes the proxy forward something to a host that must be pinned, whichever parser reads it."""
    proxy = scene.serve(None)
    hosts: dict[str, PinsLike] = {"pinned.test": scene.pins_of(scene.honest), "start.test": PinSet.exempt()}
    manager = PinnedProxyManager(PinPolicy(hosts, unpinned_hosts=unpinned_hosts), proxy.url())
    pool = manager.connection_from_url("http://start.test/")
    for send in (manager.urlopen, manager.request, partial(pool.urlopen, assert_same_host=False)):
        with contextlib.suppress(PinningError, urllib3.exceptions.HTTPError):
            send("GET", url, headers={"X": SECRET}, retries=False)
    scene.toll(proxy)
    for target in (request.path for request in proxy.requests):
        if not target.startswith("/"):  # else the proxy is asked for a page of its own
            seen = {urlsplit(target).hostname, urllib3.util.parse_url(target).host} - {None}
            assert seen <= ({"start.test", "evil.test"} if unpinned_hosts == "allow" else {"start.test"})
    assert manager.request("GET", "http://start.test/").data == b"ok"  # honest twin
    manager.clear()


@pytest.mark.filterwarnings("ignore:URLs without a scheme:FutureWarning")
def test_a_redirect_to_such_a_url(scene: Scene) -> None:
    """The same by a redirect, which a server chooses."""
    for location in AMBIGUOUS:
        to = Response(302, headers=(("Location", location),))
        proxy = scene.serve(None, handler=lambda request, to=to: Response() if "pinned" in request.path else to)
        hosts: dict[str, PinsLike] = {"pinned.test": scene.pins_of(scene.honest), "start.test": PinSet.exempt()}
        manager = PinnedProxyManager(hosts, proxy.url())
        with contextlib.suppress(PinningError, urllib3.exceptions.HTTPError, ValueError):
            manager.request("GET", "http://start.test/", headers={"X": SECRET}, retries=3)
        scene.toll(proxy)
        targets = [request.path for request in proxy.requests if not request.path.startswith("/")]
        assert {urllib3.util.parse_url(target).host for target in targets} == {"start.test"}
        manager.clear()


@pytest.mark.filterwarnings("ignore:URLs without a scheme:FutureWarning")
def test_a_url_without_a_scheme_or_host(scene: Scene) -> None:
    """`evil.test/secret` is plain http:// to urllib3; a URL without a host is refused under any policy."""
    proxy = scene.serve(None)
    hosts: dict[str, PinsLike] = {"pinned.test": scene.pins_of(scene.honest), "start.test": PinSet.exempt()}
    for unpinned_hosts in ("block", "allow"):
        manager = PinnedProxyManager(PinPolicy(hosts, unpinned_hosts=unpinned_hosts), proxy.url())
        with pytest.raises(InsecureURLError):
            manager.urlopen("GET", "pinned.test/secret")
        pool = manager.connection_from_url("http://start.test/")
        with pytest.raises(UnpinnedHostError):
            pool.urlopen("GET", "http:///secret", retries=False, assert_same_host=False)
    assert scene.toll(proxy) == (0, 0, 0)


# --- 4. Forwarding ---------------------------------------------------------------------------------------------------


def test_a_pool_that_forwards_https(scene: Scene) -> None:
    """A proxied plain pool sends `GET https://pinned.test/` in plain text if it is told not to compare hosts."""
    proxy = scene.serve(None)
    policy = PinPolicy({"pinned.test": scene.pins_of(scene.honest)}, unpinned_hosts="allow")
    pool = PinnedProxyManager(policy, proxy.url()).connection_from_url("http://start.test/")
    with pytest.raises(ChainUnavailableError):
        pool.urlopen("GET", "https://pinned.test/", headers={"X": SECRET}, assert_same_host=False)
    assert scene.toll(proxy) == (0, 0, 0)
    assert pool.urlopen("GET", "http://start.test/", assert_same_host=False).data == b"ok"  # honest twin
    pool.close()


def test_a_redirect_of_a_pool_that_forwards(scene: Scene) -> None:
    """The same by a redirect at the level of the pool."""
    to = Response(302, headers=(("Location", "https://pinned.test/"),))
    proxy = scene.serve(None, handler=lambda request: to if "start.test" in request.path else Response(body=b"ok"))
    policy = PinPolicy({"pinned.test": scene.pins_of(scene.honest)}, unpinned_hosts="allow")
    pool = PinnedProxyManager(policy, proxy.url()).connection_from_url("http://start.test/")
    with pytest.raises(ChainUnavailableError):
        pool.urlopen("GET", "http://start.test/", assert_same_host=False, retries=3)
    scene.toll(proxy)
    assert [request.path for request in proxy.requests] == ["http://start.test/"]
    pool.close()


def test_a_proxy_that_is_asked_for_a_page_of_its_own(scene: Scene) -> None:
    """An https proxy is exempt from `unpinned_hosts="block"` as a proxy, and not as the host of a URL."""
    proxy = scene.serve(scene.honest)
    policy = PinPolicy({"start.test": PinSet.exempt(), "pinned.test": scene.pins_of(scene.honest)})
    manager = PinnedProxyManager(policy, proxy.url(), ca_certs=scene.bundle, use_forwarding_for_https=True)
    with pytest.raises(UnpinnedHostError):
        manager.request("GET", proxy.url("/secret"), headers={"X": SECRET})
    assert scene.toll(proxy) == (0, 0, 0)
    assert manager.request("GET", "http://start.test/").data == b"ok"
    manager.clear()


# --- 5. `adapter.poolmanager` ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["poolmanager", "proxy_manager_for", "proxy_manager", "get_connection"])
@pytest.mark.filterwarnings("ignore:`get_connection` has been deprecated:DeprecationWarning")
def test_managers_and_pools_out_of_an_adapter(scene: Scene, proxy: Proxy, way: str) -> None:
    """A manager or pool that is taken out of the adapter is pinned, and raises the public error."""
    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    adapter = session.get_adapter(mitm.url())
    assert isinstance(adapter, HTTPAdapter)

    def pool_to(url: str) -> Any:
        if way == "poolmanager":
            return adapter.poolmanager.connection_from_url(url, {"ca_certs": scene.bundle})
        if way == "proxy_manager_for":
            return adapter.proxy_manager_for(proxy.url).connection_from_url(url, {"ca_certs": scene.bundle})
        if way == "proxy_manager":
            adapter.proxy_manager["mine"] = PoolManager(ca_certs=scene.bundle)
            return adapter.proxy_manager["mine"].connection_from_url(url)
        pool: Any = adapter.get_connection(url)
        pool.ca_certs = scene.bundle
        return pool

    with pytest.raises(PinMismatchError):
        pool_to(mitm.url()).urlopen("GET", "/", headers={"X": SECRET})
    assert scene.toll(mitm) == (1, 1, 0)
    assert pool_to(server.url()).urlopen("GET", "/").data == b"ok"


# --- 6. Subclasses and instances of PinnedAdapter --------------------------------------------------------------------


def speak(url: str) -> requests.Response:
    """Send a request over a socket of its own, which checks no key."""
    parts = urlsplit(url)
    context = ssl._create_unverified_context()  # noqa: S323  of an adapter that checks nothing
    with socket.create_connection((parts.hostname, parts.port), 10) as sock, context.wrap_socket(sock) as tls:
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {parts.hostname}\r\nX: {SECRET}\r\n\r\n".encode())
        tls.recv(100)
    raw = HTTPResponse(io.BytesIO(b"own"), status=200, preload_content=False)
    return HTTPAdapter().build_response(requests.Request("GET", url).prepare(), raw)


class Own(HTTPAdapter):
    """Opens a socket of its own."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send without the inherited method."""
        del args, kwargs
        return speak(request.url or "")


class Unpinned(Own, PinnedAdapter):
    """Has `PinnedAdapter` among its bases, and does not send through it."""


def replaced(pins: Mapping[str, PinsLike]) -> PinnedAdapter:
    """An instance whose `send` was replaced."""
    adapter = PinnedAdapter(pins)
    adapter.send = lambda request, **_: speak(request.url or "")  # type: ignore[method-assign]  # the attack
    return adapter


def patched(pins: Mapping[str, PinsLike]) -> PinnedAdapter:
    """An instance of a subclass whose `send` was replaced on the class."""

    class Patched(PinnedAdapter):
        pass

    Patched.send = lambda self, request, **_: speak(request.url or "")  # type: ignore[method-assign]  # noqa: ARG005  the attack
    return Patched(pins)


def disguised(pins: Mapping[str, PinsLike]) -> PinnedAdapter:
    """An instance of a subclass whose `send` looks like the inherited one, as `functools.wraps()` makes it."""

    class Disguised(PinnedAdapter):
        @functools.wraps(PinnedAdapter.send)
        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:  # type: ignore[override]  # fewer parameters
            return speak(request.url or "")

    return Disguised(pins)


class Swapping(PinnedAdapter):
    """Overrides both methods that see its pools."""

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Verify,
        proxies: dict[str, str] | None = None,
        cert: Cert = None,
    ) -> HTTPConnectionPool:
        """Return a pool of its own."""
        del verify, proxies, cert
        return urllib3.connectionpool.connection_from_url(request.url or "", cert_reqs="CERT_NONE")

    def cert_verify(self, conn: HTTPSConnectionPool, url: str, verify: Verify, cert: Cert) -> None:
        """Leave the pool as it is."""


@pytest.mark.parametrize("host_session", ["pinned", "plain"])
@pytest.mark.parametrize("make", [Unpinned, replaced, patched, disguised])
def test_pinned_adapters_that_do_not_send_through_requests(
    scene: Scene, make: Callable[[Mapping[str, PinsLike]], PinnedAdapter], host_session: str
) -> None:
    """They are refused for a pinned host, on a pinned session and on a plain one, and used for an exempt one."""
    pins: dict[str, PinsLike] = {"localhost": scene.pins_of(scene.honest), "127.0.0.1": PinSet.exempt()}
    session = scene.trusting(PinnedSession(pins) if host_session == "pinned" else requests.Session())
    session.mount("https://", make(pins))
    mitm = scene.serve(scene.attacker)
    with pytest.raises(UnpinnableAdapterError) as caught:
        session.get(mitm.url())
    assert caught.value.request is not None
    assert scene.toll(mitm) == (0, 0, 0)
    assert session.get(mitm.url(host="127.0.0.1")).text == "own"


@pytest.mark.parametrize("base", [HTTPAdapter, PinnedAdapter])
def test_a_decorated_send_is_not_refused(scene: Scene, base: type[HTTPAdapter]) -> None:
    """The twin of the disguised one: a decorator that calls what it wraps, around a `send()` that calls `super()`."""

    def traced(send: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
        @functools.wraps(send)
        def call(*args: Any, **kwargs: Any) -> requests.Response:
            return send(*args, **kwargs)

        return call

    class Traced(base):  # type: ignore[misc, valid-type]  # a parameter
        @traced
        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            return super().send(*args, **kwargs)

    pins = {"localhost": scene.pins_of(scene.honest)}
    session = scene.trusting(PinnedSession(pins))
    session.mount("https://", Traced(pins) if base is PinnedAdapter else Traced())
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("host_session", ["pinned", "plain"])
def test_a_pinned_adapter_that_returns_pools_of_its_own(scene: Scene, host_session: str) -> None:
    """Its pools are pinned as they leave it."""
    pins = {"localhost": scene.pins_of(scene.honest)}
    session = scene.trusting(PinnedSession(pins) if host_session == "pinned" else requests.Session())
    session.mount("https://", Swapping(pins))
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


# --- 7. mount() pins -------------------------------------------------------------------------------------------------


def test_a_mounted_adapter_is_pinned_before_any_look_up(scene: Scene) -> None:
    """`session.adapters["https://"].send(prepared)`, or the adapter itself, right after `mount()`."""
    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    mounted = HTTPAdapter()
    session.mount("https://", mounted)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    prepared = requests.Request("GET", mitm.url(), headers={"X": SECRET}).prepare()
    for adapter in (mounted, session.adapters["https://"]):
        with pytest.raises(PinMismatchError):
            adapter.send(prepared, verify=scene.bundle)
    assert scene.toll(mitm) == (2, 2, 0)
    session.adapters["https://x"] = HTTPAdapter()
    with pytest.raises(PinMismatchError):
        session.adapters["https://x"].send(prepared, verify=scene.bundle)
    assert scene.toll(mitm) == (3, 3, 0)
    assert mounted.send(requests.Request("GET", server.url()).prepare(), verify=scene.bundle).text == "ok"


class Lax(HTTPAdapter):
    """Brings a pinned manager with a policy of its own."""

    def __init__(self, store: PolicyStore, bundle: str) -> None:
        self.store, self.bundle = store, bundle
        super().__init__()

    def init_poolmanager(self, *_args: Any, **_kwargs: Any) -> None:
        """Make the manager."""
        self.poolmanager = PinnedPoolManager(self.store, ca_certs=self.bundle)


def test_an_adapter_with_a_laxer_manager_inside(scene: Scene) -> None:
    """The session's policy is not overridden by that of a manager; one store for both is fine."""
    lax = PolicyStore(PinPolicy({"unrelated.test": PinSet.exempt()}, unpinned_hosts="allow"))
    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    session.mount("https://", Lax(lax, scene.bundle))
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(UnpinnableAdapterError):
        session.get(mitm.url(), auth=("user", SECRET))
    with pytest.raises(UnpinnableAdapterError):
        session.get_adapter(mitm.url()).poolmanager.connection_from_url(mitm.url())  # type: ignore[attr-defined]  # an HTTPAdapter
    session.close()  # a manager that is refused can be closed
    assert scene.toll(mitm) == (0, 0, 0)
    store = PolicyStore({"localhost": scene.pins_of(scene.honest)})
    shared = scene.trusting(PinnedSession(store))
    shared.mount("https://", Lax(store, scene.bundle))
    assert shared.get(server.url()).text == "ok"
    with pytest.raises(PinMismatchError):
        shared.get(mitm.url())


# --- 8. A plain pool with a connection class of its own --------------------------------------------------------------


class OwnConnection(HTTPConnection):
    """Connects without the inherited method."""

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.create_connection((self.host, self.port or 80), 10)


class OwnPlainPool(HTTPConnectionPool):
    """A pool of such connections."""

    ConnectionCls = OwnConnection


def test_a_plain_pool_with_a_connection_class_of_its_own(scene: Scene) -> None:
    """Plain HTTP to a pinned host is refused by the pool, whatever its connections do."""
    plain = scene.serve(None)
    policy = PinPolicy({"localhost": scene.pins_of(scene.honest)}, unpinned_hosts="allow")
    manager = PinnedPoolManager(policy)
    manager.pool_classes_by_scheme = {"http": OwnPlainPool, "https": urllib3.HTTPSConnectionPool}
    with pytest.raises(InsecureURLError):
        manager.request("GET", plain.url(), headers={"X": SECRET})
    assert scene.toll(plain) == (0, 0, 0)
    assert manager.request("GET", plain.url(host="127.0.0.1")).data == b"ok"
    manager.clear()


class OwnTLSConnection(HTTPSConnection):
    """Makes the handshake without the inherited method."""

    def connect(self) -> None:
        """Connect."""
        context = ssl._create_unverified_context()  # noqa: S323  of a connection that checks nothing
        self.sock = context.wrap_socket(socket.create_connection((self.host, self.port), 10))
        self.is_verified = True


class OwnTransport(HTTPSConnection):
    """Sends over a socket that its pool never sees."""

    def connect(self) -> None:
        """Leave the connection closed, as far as the pool can see."""
        self.is_verified = True

    def request(self, method: str, url: str, *_args: Any, **_kwargs: Any) -> None:
        """Send."""
        speak(f"https://{self.host}:{self.port}{url}?{method}")


@pytest.mark.parametrize("connection_class", [OwnTLSConnection, OwnTransport])
def test_a_tls_pool_with_a_connection_class_of_its_own(scene: Scene, connection_class: Any) -> None:
    """A connection whose chain was not evaluated is not used, however it was made."""
    mitm = scene.serve(scene.attacker)
    manager = PinnedPoolManager({"localhost": scene.pins_of(scene.honest)}, ca_certs=scene.bundle)
    pool = manager.connection_from_url(mitm.url())
    pool.ConnectionCls = connection_class
    with pytest.raises(ChainUnavailableError):
        pool.urlopen("GET", "/", headers={"X": SECRET})
    assert got_no_byte(scene, mitm)
    pool.ConnectionCls = urllib3.HTTPSConnectionPool.ConnectionCls
    mitm.credential = scene.honest
    assert pool.urlopen("GET", "/").data == b"ok"
    manager.clear()


# --- 10 and 11. `unpinned_hosts` beside a store; a proxy that is named -----------------------------------------------


def test_block_beside_a_store_outlasts_its_policies(scene: Scene) -> None:
    """`unpinned_hosts="block"` is the session's word, also when a later policy of the store allows unpinned hosts."""
    pins = {"localhost": scene.pins_of(scene.honest)}
    store = PolicyStore(PinPolicy(pins))
    strict = scene.trusting(PinnedSession(store, unpinned_hosts="block"))
    lax = scene.trusting(PinnedSession(store))
    server = scene.serve(scene.honest)
    store.set(PinPolicy(pins, unpinned_hosts="allow"))
    with pytest.raises(UnpinnedHostError):
        strict.get(server.url(host="127.0.0.1"))
    assert scene.toll(server) == (0, 0, 0)
    assert strict.get(server.url()).text == lax.get(server.url(host="127.0.0.1")).text == "ok"


def test_credentials_for_a_pinned_proxy_do_not_travel_in_plain_text(scene: Scene) -> None:
    """A proxy with an entry of its own is not spoken to over `http://`; one without an entry is."""
    stand_in, server = scene.serve(None), scene.serve(None)
    own: dict[str, PinsLike] = {"127.0.0.1": scene.pins_of(scene.honest), "localhost": PinSet.exempt()}
    session = scene.trusting(PinnedSession(PinPolicy(own, unpinned_hosts="allow")))
    session.proxies = dict.fromkeys(("http", "https"), f"http://user:{SECRET}@127.0.0.1:{stand_in.port}")
    for url in (server.url(), "https://api.example.com/"):
        with pytest.raises(InsecureURLError) as caught:
            session.get(url)
        assert caught.value.host == "127.0.0.1"
    assert scene.toll(stand_in) == (0, 0, 0)
    session.proxies = {"http": f"http://user:{SECRET}@localhost:{stand_in.port}"}
    assert session.get(server.url()).text == "ok"
    assert len(stand_in.requests) == 1


# --- Blocked keys of the whole policy --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [PinnedSession, PinnedPoolManager])
def test_a_leaked_authority_is_blocked_for_every_host(scene: Scene, make: Callable[..., Any]) -> None:
    """A policy of blocked pins alone refuses the CA's certificates for unpinned hosts, and nothing else."""
    careless = Pin.from_certificate(scene.attacker.chain[1])
    policy = PinPolicy({}, unpinned_hosts="allow", blocked_pins=[careless])
    options = {} if make is PinnedSession else {"ca_certs": scene.bundle}
    client = make(policy, **options)
    if make is PinnedSession:
        scene.trusting(client)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(BlockedKeyError):
        client.request("GET", mitm.url(), headers={"X": SECRET})
    assert scene.toll(mitm) == (1, 1, 0)
    response = client.request("GET", server.url())
    assert (response.content if make is PinnedSession else response.data) == b"ok"
    if make is PinnedPoolManager:
        client.clear()

"""Adapters of others on a pinned session: each is pinned where it stands, or refused before it carries a request.

Rules for the next maintainer:

- A new adapter is a row of `PINNABLE` or of `UNPINNABLE`; each shows, besides the refusal, that it still does what it
  is for.
- What cannot be pinned counts what it sent: "refused" means that nothing was.
"""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import ssl
import threading
from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests
from cachecontrol import CacheControlAdapter
from requests.adapters import BaseAdapter, HTTPAdapter
from requests_toolbelt.adapters.host_header_ssl import HostHeaderSSLAdapter
from requests_toolbelt.adapters.socket_options import SocketOptionsAdapter, TCPKeepAliveAdapter
from requests_toolbelt.adapters.source import SourceAddressAdapter
from requests_toolbelt.adapters.ssl import SSLAdapter
from urllib3 import HTTPResponse, HTTPSConnectionPool, PoolManager, ProxyManager, Retry
from urllib3.util.ssl_ import create_urllib3_context

from pinned_requests import (
    InsecureURLError,
    PinMismatchError,
    PinnedAdapter,
    PinnedSession,
    PinningError,
    PinPolicy,
    PinSet,
    PolicyError,
    PolicyStore,
    UnpinnableAdapterError,
)
from pinned_requests.testing import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from urllib3 import HTTPConnectionPool

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.testing import MITMLab, TLSServer
    from support.proxy import Proxy
    from support.scene import Scene

    Verify = bool | str  # as in requests
    Cert = str | tuple[str, str] | None
    Send = Callable[[requests.Session, str], requests.Response]
    WayIn = Callable[[Scene, PinPolicy, BaseAdapter], tuple[PinnedSession, Send]]

SECRET = "the-secret-of-the-request"  # noqa: S105  what the attacker is after
CIPHER = "ECDHE-ECDSA-CHACHA20-POLY1305"
ROUNDS = 25  # requests a thread


def pinned(scene: Scene, *hosts: str, **options: Any) -> PinnedSession:
    """Make a session with the pin of the honest server's key, for localhost and for other names of it."""
    pins = scene.pins_of(scene.honest)
    return scene.trusting(PinnedSession(dict.fromkeys(("localhost", *hosts), pins), **options))


class WithoutSuper(HTTPAdapter):
    """Makes its pool manager by itself."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002  as in requests
        """Make a pool manager."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kwargs)


class Renewing(HTTPAdapter):
    """Makes a new pool manager for each request, on the live adapter."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send with a new pool manager."""
        self.poolmanager.clear()
        self.init_poolmanager(1, 1, block=True)
        return super().send(*args, **kwargs)


class OwnProxyManager(HTTPAdapter):
    """Makes its proxy managers by itself."""

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Make a proxy manager."""
        if proxy not in self.proxy_manager:
            self.proxy_manager[proxy] = ProxyManager(proxy, proxy_headers=self.proxy_headers(proxy), **proxy_kwargs)
        return self.proxy_manager[proxy]


class OwnVerification(HTTPAdapter):
    """Sets verification by itself."""

    def cert_verify(self, conn: HTTPSConnectionPool, url: str, verify: Verify, cert: Cert) -> None:
        """Set it on the pool."""
        del url, cert
        conn.cert_reqs, conn.ca_certs = "CERT_REQUIRED", str(verify)


class Old(HTTPAdapter):
    """Written before requests 2.32, and made to work with it in the way that its notes advised."""

    def get_connection(self, url: str, proxies: dict[str, str] | None = None) -> HTTPConnectionPool:
        """Return the pool for a URL."""
        proxy = requests.utils.select_proxy(url, proxies)
        manager = self.proxy_manager_for(proxy) if proxy else self.poolmanager
        return manager.connection_from_url(url)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Verify,
        proxies: dict[str, str] | None = None,
        cert: Cert = None,
    ) -> HTTPConnectionPool:
        """Return the pool for a request."""
        del verify, cert
        return self.get_connection(request.url or "", proxies)


class Everything(WithoutSuper, OwnProxyManager, OwnVerification, Old):
    """Overrides all of it at once."""


class OwnPool(HTTPAdapter):
    """Returns a pool of its own, and sets verification by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.own = PoolManager()

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Verify,
        proxies: dict[str, str] | None = None,
        cert: Cert = None,
    ) -> HTTPConnectionPool:
        """Return a pool that nothing else has seen."""
        del verify, cert
        proxy = requests.utils.select_proxy(request.url or "", proxies)
        return (
            ProxyManager(proxy, proxy_headers=self.proxy_headers(proxy)) if proxy else self.own
        ).connection_from_url(request.url or "")

    def cert_verify(self, conn: HTTPSConnectionPool, url: str, verify: Verify, cert: Cert) -> None:
        """Set it on the pool."""
        del url, cert
        conn.cert_reqs, conn.ca_certs = "CERT_REQUIRED", str(verify)


class Hooked(HTTPAdapter):
    """Both ways to its pools are replaced on the object, so that none of them would be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.get_connection_with_tls_context = super().get_connection_with_tls_context  # type: ignore[method-assign]  # a hook
        self.cert_verify = lambda pool, *_: vars(pool).update(cert_reqs="CERT_NONE")  # type: ignore[method-assign]  # a hook


class Ciphers(HTTPAdapter):
    """The usual way to choose cipher suites."""

    @staticmethod
    def context() -> ssl.SSLContext:
        """Make a context."""
        context = create_urllib3_context(ciphers=CIPHER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
        """Hand the context to the pool manager."""
        return super().init_poolmanager(*args, ssl_context=self.context(), **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Hand the context to the proxy manager."""
        return super().proxy_manager_for(*args, ssl_context=self.context(), **kwargs)


class Kind(NamedTuple):
    """A class of adapters, and what shows that one does what it is for."""

    base: type[HTTPAdapter]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    works: Callable[[Any, TLSServer], object] = lambda adapter, _server: adapter

    def make(self) -> HTTPAdapter:
        """Make an adapter as its user does."""
        return self.base(*self.arguments, **self.options)

    def make_beside(self, policy: Mapping[str, PinsLike]) -> PinnedAdapter:
        """Make one of a class that has `PinnedAdapter` in front."""
        both = type(f"Pinned{self.base.__name__}", (PinnedAdapter, self.base), {})
        return both(policy, *self.arguments, **self.options)


def connection_of(adapter: HTTPAdapter) -> Any:
    """Return the one idle connection of an adapter."""
    managers = [adapter.poolmanager, *adapter.proxy_manager.values()]
    pools = [manager.pools[key] for manager in managers for key in manager.pools.keys()]  # noqa: SIM118  urllib3's container does not iterate
    (connection,) = (each for pool in pools for each in pool.pool.queue if each is not None and each.sock is not None)
    return connection


def retries_kept(adapter: HTTPAdapter, _server: TLSServer) -> bool:
    """See that the settings are those of the user."""
    return (adapter.max_retries.total, adapter._pool_maxsize) == (3, 4)


def keeps_alive(adapter: HTTPAdapter, _server: TLSServer) -> bool:
    """See that the option is set on the socket."""
    return bool(connection_of(adapter).sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


class Named(HTTPAdapter):
    """Names the method that it inherits anyway."""

    send = HTTPAdapter.send


WRITTEN_HERE = [WithoutSuper, Renewing, OwnProxyManager, OwnVerification, Old, Everything, OwnPool, Hooked, Named]
PINNABLE = {
    "HTTPAdapter": Kind(HTTPAdapter, (), {"max_retries": Retry(3), "pool_maxsize": 4}, retries_kept),
    "CacheControl": Kind(CacheControlAdapter, works=lambda adapter, _: adapter.cache.data),
    "SourceAddress": Kind(
        SourceAddressAdapter, ("127.0.0.2",), works=lambda _, server: server.requests[0].peer[0] == "127.0.0.2"
    ),
    "SocketOptions": Kind(
        SocketOptionsAdapter, (), {"socket_options": [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]}, keeps_alive
    ),
    "TCPKeepAlive": Kind(TCPKeepAliveAdapter, works=keeps_alive),
    "SSLAdapter": Kind(
        SSLAdapter, (ssl.PROTOCOL_TLSv1_2,), works=lambda adapter, _: connection_of(adapter).sock.version() == "TLSv1.2"
    ),
    "HostHeaderSSL": Kind(HostHeaderSSLAdapter),
    "Ciphers": Kind(Ciphers, works=lambda adapter, _: connection_of(adapter).sock.cipher()[0] == CIPHER),
    **{each.__name__: Kind(each) for each in WRITTEN_HERE},
}
DIRECT_ALONE = {"SourceAddress", "SocketOptions", "TCPKeepAlive"}  # the server sees the proxy; tunnels get no options


@pytest.mark.parametrize("how", ["in place", "beside"])
@pytest.mark.parametrize("through", ["direct", "proxy"])
@pytest.mark.parametrize("name", PINNABLE)
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # of Hooked, which does not verify
@pytest.mark.filterwarnings("ignore:'ssl_version' option is deprecated")  # what SSLAdapter is for
@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLSv1_2 is deprecated:DeprecationWarning")
def test_adapters_of_others(scene: Scene, proxy: Proxy, name: str, through: str, how: str) -> None:
    """A man in the middle, and an adapter that others wrote without a thought of pins."""
    kind = PINNABLE[name]
    session: requests.Session
    if how == "in place":
        session = pinned(scene)
        adapter = kind.make()
    else:
        session = scene.trusting(requests.Session())
        adapter = kind.make_beside({"localhost": scene.pins_of(scene.honest)})
    session.mount("https://", adapter)
    if through == "proxy":
        session.proxies = {"https": proxy.url}
    mitm = scene.serve(scene.attacker)
    cacheable = Response(headers=(("Cache-Control", "max-age=3600"),))
    server = scene.serve(scene.honest, handler=lambda _: cacheable)
    for method in ("get", "post"):
        before = scene.toll(mitm)
        with pytest.raises(PinMismatchError):
            session.request(method, mitm.url(), auth=("user", SECRET))
        after = scene.toll(mitm)
        assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 0]

    assert session.get(server.url(), auth=("user", SECRET)).text == "ok"
    assert session.get_adapter(server.url()) is session.adapters["https://"] is adapter
    assert isinstance(adapter, kind.base)
    if through == "direct" or name not in DIRECT_ALONE:
        assert kind.works(adapter, server)
    assert [secret for secret in proxy.secrets if secret.lower() in server.received.lower()] == []


def test_host_header(scene: Scene) -> None:
    """The name to verify comes from a header; whom the pins are for is still told by the URL alone."""
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    session = scene.trusting(
        PinnedSession({"127.0.0.1": scene.pins_of(scene.honest), "api.example.com": PinSet.exempt()})
    )
    session.mount("https://", HostHeaderSSLAdapter())
    headers = {"Host": "api.example.com"}
    with pytest.raises(PinMismatchError) as caught:
        session.get(mitm.url(host="127.0.0.1"), headers=headers)
    assert caught.value.host == "127.0.0.1"
    assert scene.toll(mitm) == (1, 1, 0)
    before = scene.toll(server)
    with pytest.raises(requests.exceptions.SSLError) as wrong_name:
        session.get(server.url(host="127.0.0.1"), headers={"Host": "no-such-name.example.com"})
    assert not isinstance(wrong_name.value, PinningError)
    assert scene.toll(server).application_bytes == before.application_bytes
    assert session.get(server.url(host="127.0.0.1"), headers=headers).text == "ok"


def test_the_usual_way_to_set_retries(scene: Scene) -> None:
    """Identity, settings and place are those of a plain session, whatever the prefixes and their order."""
    plain, session = requests.Session(), pinned(scene)
    mounted: dict[str, HTTPAdapter] = {}
    for prefix in ("https://", "https://localhost", "http://", "https://localhost:1/path", "https://lo", "ftp://"):
        mounted[prefix] = HTTPAdapter(max_retries=Retry(3, backoff_factor=0))
        session.mount(prefix, mounted[prefix])
        plain.mount(prefix, HTTPAdapter())
        assert list(session.adapters) == list(plain.adapters)
    server, mitm = scene.serve(scene.honest), scene.serve(scene.attacker)
    assert session.get(server.url()).text == "ok"
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    for prefix, adapter in mounted.items():
        assert session.adapters[prefix] is adapter
        assert session.get_adapter(f"{prefix}x") is adapter
        assert adapter.max_retries.total == 3
    assert list(session.adapters) == list(plain.adapters)


@contextlib.contextmanager
def dropping() -> Iterator[tuple[int, list[int]]]:
    """Accept connections and close them at once; give the port, and a list that grows with each."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    seen.append(1)
                    if len(seen) > 64:
                        return
                    if connection.recv(1) == b".":
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port, seen
        finally:
            with socket.create_connection(("127.0.0.1", port)) as last:
                last.sendall(b".")
            thread.join(10)


def test_retries_are_made_but_for_refusals(scene: Scene) -> None:
    """A server that drops its clients is tried as often as a plain session would; a wrong key once."""
    counts = []
    session = pinned(scene)
    for each in (requests.Session(), session):
        each.mount("https://", HTTPAdapter(max_retries=Retry(3, backoff_factor=0)))
        with dropping() as (port, seen):
            with pytest.raises(requests.exceptions.ConnectionError):
                scene.trusting(each).get(f"https://localhost:{port}/")
            counts.append(len(seen))
    assert counts == [4, 4]
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


def test_one_adapter_on_two_sessions(scene: Scene) -> None:
    """An adapter belongs to the session that pinned it; a session with another policy refuses to send through it."""
    adapter = HTTPAdapter()
    ours, theirs = pinned(scene), scene.trusting(PinnedSession({"localhost": scene.pins_of(scene.attacker)}))
    for session in (ours, theirs):
        session.mount("https://", adapter)
        assert session.adapters["https://"] is adapter
    honest, attacker = scene.serve(scene.honest), scene.serve(scene.attacker)
    for _ in range(2):
        assert ours.get(honest.url()).text == "ok"
        with pytest.raises(PinMismatchError):
            ours.get(attacker.url(), auth=("user", SECRET))
        for server in (attacker, honest):
            with pytest.raises(UnpinnableAdapterError):
                theirs.get(server.url(), auth=("user", SECRET))
    assert scene.toll(attacker) == (2, 2, 0)
    assert b"Authorization" not in honest.received
    theirs.mount("https://", HTTPAdapter())
    assert theirs.get(attacker.url()).text == "ok"


def test_one_adapter_on_two_sessions_of_one_store(scene: Scene) -> None:
    """Sessions that share a store may share an adapter; a stricter one may not use the adapter of a laxer one."""
    store = PolicyStore(PinPolicy({"localhost": scene.pins_of(scene.honest)}, unpinned_hosts="block"))
    adapter = HTTPAdapter()
    first, second = (scene.trusting(PinnedSession(store)) for _ in range(2))
    strict = scene.trusting(PinnedSession(store, unpinned_hosts="block"))
    for session in (first, second, strict):
        session.mount("https://", adapter)
    honest = scene.serve(scene.honest)
    assert first.get(honest.url()).text == second.get(honest.url()).text == "ok"
    with pytest.raises(UnpinnableAdapterError):
        strict.get(honest.url())


def test_adapter_with_a_policy_of_its_own(scene: Scene) -> None:
    """It follows its own pins; plain http is the session's business; and it is the same on any other session after."""
    own = PinnedAdapter(
        PinPolicy({"localhost": scene.pins_of(scene.attacker), "127.0.0.1": PinSet.exempt()}, unpinned_hosts="allow")
    )
    session = pinned(scene, "127.0.0.1")
    default = session.adapters["https://"]
    session.mount("https://localhost", own)
    session.mount("http://", own)
    honest, attacker, plain = scene.serve(scene.honest), scene.serve(scene.attacker), scene.serve(None)
    for each in (session, scene.trusting(requests.Session())):
        each.mount("https://localhost", own)
        before = scene.toll(honest)
        with pytest.raises(PinMismatchError):
            each.get(honest.url())
        after = scene.toll(honest)
        assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 0]
        assert each.get(attacker.url()).text == "ok"
    for host in ("localhost", "127.0.0.1"):
        with pytest.raises(InsecureURLError):
            session.get(plain.url(host=host))
    assert scene.toll(plain) == (0, 0, 0)
    assert session.get_adapter(honest.url(host="127.0.0.1")) is default
    assert session.get(honest.url(host="127.0.0.1")).text == "ok"
    with pytest.raises(PinMismatchError):
        session.get(attacker.url(host="127.0.0.1"))

    elsewhere = scene.trusting(requests.Session())
    elsewhere.mount("http://", own)
    assert elsewhere.get(plain.url(host="127.0.0.1")).text == "ok"  # the adapter alone says that this is exempt


def test_an_adapter_keeps_its_policy(scene: Scene) -> None:
    """An adapter that a pinned session has pinned stays pinned on a plain session."""
    adapter = HTTPAdapter()
    first = pinned(scene)
    honest, attacker = scene.serve(scene.honest), scene.serve(scene.attacker)
    first.mount("https://", adapter)
    plain = scene.trusting(requests.Session())
    plain.mount("https://", adapter)
    with pytest.raises(PinMismatchError):
        plain.get(attacker.url(), auth=("user", SECRET))
    assert scene.toll(attacker) == (1, 1, 0)
    assert plain.get(honest.url()).text == "ok"


@pytest.mark.parametrize("through", ["direct", "proxy"])
def test_idle_connections_of_an_adopted_pool(scene: Scene, proxy: Proxy, through: str) -> None:
    """An adapter comes with connections that nobody looked at: what is sent from now on does not go over them."""
    adapter = HTTPAdapter()
    plain, session = scene.trusting(requests.Session()), pinned(scene)
    plain.mount("https://", adapter)
    if through == "proxy":
        plain.proxies = session.proxies = {"https": proxy.url}
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    for each in (mitm, server):
        assert plain.get(each.url()).text == "ok"
        assert scene.toll(each)[:2] == (1, 1)
        assert each.open_connections == 1
    before = scene.toll(mitm)

    session.mount("https://", adapter)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), auth=("user", SECRET))
    assert scene.toll(mitm) == (2, 2, before.application_bytes)
    for _ in range(2):
        assert session.get(server.url()).text == "ok"
    assert scene.toll(server)[:2] == (2, 2)


def answer(request: requests.PreparedRequest) -> requests.Response:
    """Make a response out of nothing."""
    raw = HTTPResponse(io.BytesIO(b"own"), status=200, preload_content=False)
    return HTTPAdapter().build_response(request, raw)


def speak(url: str, *, say: str = "sendall") -> bytes:
    """Ask without a look at any key."""
    parts = urlsplit(url)
    context = ssl._create_unverified_context()  # noqa: S323  the one of an adapter that cares for nothing
    with socket.create_connection((parts.hostname, parts.port or 443), 10) as sock:
        tls = context.wrap_socket(sock) if parts.scheme == "https" else sock
        getattr(tls, say)(f"GET / HTTP/1.1\r\nHost: {parts.hostname}\r\nX: {SECRET}\r\n\r\n".encode())
        data: bytes = tls.recv(100)
        tls.close()
    return data


class Sockets(HTTPAdapter):
    """Opens its own sockets."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Speak by itself."""
        del args, kwargs
        speak(request.url or "")
        return answer(request)


class SocketsWithSend(HTTPAdapter):
    """Opens its own sockets, and calls their `send()`: not the one that it inherits."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Speak by itself."""
        del args, kwargs
        parts = urlsplit(request.url or "")
        context = ssl._create_unverified_context()  # noqa: S323  the one of an adapter that cares for nothing
        with socket.create_connection((parts.hostname, parts.port or 443), 10) as sock:
            tls = context.wrap_socket(sock) if parts.scheme == "https" else sock
            tls.send(f"GET / HTTP/1.1\r\nHost: {parts.hostname}\r\nX: {SECRET}\r\n\r\n".encode())
            tls.recv(100)
            tls.close()
        return answer(request)


class Wrapping(HTTPAdapter):
    """Hands on to another adapter, which it has inside."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = HTTPAdapter()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Let the inner one send."""
        return self.inner.send(request, *args, **kwargs)


class Fresh(HTTPAdapter):
    """Hands on to an adapter that it makes for each request."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Let the new one send."""
        return HTTPAdapter().send(request, *args, **kwargs)


class Bare(BaseAdapter):
    """No HTTPAdapter at all."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Speak by itself."""
        del args, kwargs
        speak(request.url or "")
        return answer(request)

    def close(self) -> None:
        """Hold nothing."""


class Duck:
    """No adapter by its class: requests does not mind."""

    send = Bare.send
    close = Bare.close


class Replaced(HTTPAdapter):
    """Its `send` is replaced on the object, as a wrapper for tests or for tracing would do."""

    def __init__(self) -> None:
        super().__init__()
        self.send = lambda request, **_: speak(request.url or "") and answer(request)  # type: ignore[assignment, method-assign]  # the wrapper


class Partial(HTTPAdapter):
    """Its `send` is not a function, so it has no bytecode to read."""

    send = functools.partialmethod(Bare.send)


UNPINNABLE = [Sockets, SocketsWithSend, Wrapping, Fresh, Bare, Duck, Replaced, Partial]


def get(session: requests.Session, url: str) -> requests.Response:
    """Send in the usual way."""
    response: requests.Response = session.get(url)
    return response


def by_mount(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Mount it."""
    session = scene.trusting(PinnedSession(policy))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session, get


def by_item(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Put it where mount() would."""
    session = scene.trusting(PinnedSession(policy))
    session.adapters["https://"] = session.adapters["http://"] = adapter
    return session, get


def by_adapters(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Replace all adapters."""
    session = scene.trusting(PinnedSession(policy))
    session.adapters = OrderedDict({"https://": adapter, "http://": adapter})
    return session, get


def by_get_adapter(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Replace the look-up on the session."""
    session = scene.trusting(PinnedSession(policy))
    session.get_adapter = lambda url: adapter  # type: ignore[method-assign]  # noqa: ARG005  the way in
    return session, get


def by_unbound_get_adapter(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Replace the look-up on the session by that of requests."""
    session, _ = by_mount(scene, policy, adapter)
    session.get_adapter = lambda url: requests.Session.get_adapter(session, url)  # type: ignore[method-assign]  # the way in
    return session, get


def by_subclass(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Override the look-up in a subclass."""

    class Own(PinnedSession):
        def get_adapter(self, url: str) -> BaseAdapter:
            """Find the same for every URL."""
            del url
            return adapter

    return scene.trusting(Own(policy)), get


def by_subclass_of_subclass(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Override the look-up, and call the inherited one, in a subclass of a subclass."""

    class Own(PinnedSession):
        def get_adapter(self, url: str) -> BaseAdapter:
            """Ask requests' own, unbound."""
            return requests.Session.get_adapter(self, url)

    class Further(Own):
        def get_adapter(self, url: str) -> BaseAdapter:
            """Ask the inherited one."""
            super().get_adapter(url)
            return adapter

    return scene.trusting(Further(policy)), get


class Mixin:
    """Finds the same adapter for every URL."""

    found: BaseAdapter

    def get_adapter(self, url: str) -> BaseAdapter:
        """Find it."""
        del url
        return self.found


def by_mixin(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Mix in another look-up in front."""

    class Own(Mixin, PinnedSession):
        found = adapter

    return scene.trusting(Own(policy)), get


def by_unbound_send(scene: Scene, policy: PinPolicy, adapter: BaseAdapter) -> tuple[PinnedSession, Send]:
    """Call the methods of `requests.Session` with the pinned session."""
    session, _ = by_mount(scene, policy, adapter)

    def send(session: requests.Session, url: str) -> requests.Response:
        prepared = requests.Session.prepare_request(session, requests.Request("GET", url))
        return requests.Session.send(session, prepared)

    return session, send


WAYS_IN = [
    by_mount,
    by_item,
    by_adapters,
    by_get_adapter,
    by_unbound_get_adapter,
    by_subclass,
    by_subclass_of_subclass,
    by_mixin,
    by_unbound_send,
]


@pytest.mark.parametrize("way_in", WAYS_IN)
@pytest.mark.parametrize("kind", UNPINNABLE)
def test_what_cannot_be_pinned(scene: Scene, kind: type[BaseAdapter], way_in: WayIn) -> None:
    """It connects in a way of its own, where nobody could look at the key: it gets no request for a pinned host."""
    policy = PinPolicy({"localhost": scene.pins_of(scene.honest), "127.0.0.1": PinSet.exempt()}, unpinned_hosts="block")
    session, send = way_in(scene, policy, kind())
    mitm, plain = scene.serve(scene.attacker), scene.serve(None)
    with pytest.raises(UnpinnableAdapterError) as caught:
        send(session, mitm.url())
    assert isinstance(caught.value, PinningError)
    assert isinstance(caught.value, PolicyError)
    assert caught.value.request is not None
    assert caught.value.request.url == mitm.url()
    with pytest.raises(UnpinnableAdapterError):
        send(session, plain.url())
    with pytest.raises(PinningError):
        send(session, "https://unpinned.example.com/")
    assert scene.toll(mitm) == scene.toll(plain) == (0, 0, 0)

    for server in (mitm, plain):
        assert send(session, server.url(host="127.0.0.1")).status_code == 200  # exempt
        assert len(server.requests) == 1


@pytest.mark.parametrize("kind", UNPINNABLE)
def test_what_cannot_be_pinned_where_unpinned_hosts_are_allowed(scene: Scene, kind: type[BaseAdapter]) -> None:
    """It carries what is for other hosts, as ever, and is refused for the pinned one whether by redirect or not."""
    policy = PinPolicy({"localhost": scene.pins_of(scene.honest)}, unpinned_hosts="allow")
    session, _ = by_mount(scene, policy, kind())
    mitm = scene.serve(scene.attacker)
    for url in (mitm.url(), mitm.url(host="LOCALHOST."), mitm.url(host="localhost.")):
        with pytest.raises(UnpinnableAdapterError):
            session.get(url)
    assert scene.toll(mitm) == (0, 0, 0)
    assert session.get(mitm.url(host="127.0.0.1")).status_code == 200


def test_mixin_behind(scene: Scene) -> None:
    """A look-up that stands behind the pinned session's is not asked, as in any class."""

    class Own(PinnedSession, Mixin):
        found = Bare()

    session = scene.trusting(Own({"localhost": scene.pins_of(scene.honest)}))
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"


@pytest.mark.parametrize("way_in", WAYS_IN)
def test_whichever_way_an_adapter_comes_it_is_pinned(scene: Scene, way_in: WayIn) -> None:
    """The ways in of the last tests, with an adapter that can be pinned."""
    adapter = HTTPAdapter()
    session, send = way_in(scene, PinPolicy({"localhost": scene.pins_of(scene.honest)}), adapter)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        send(session, mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    assert send(session, server.url()).text == "ok"
    assert session.get_adapter(server.url()) is adapter


def test_wrapped_on_the_object(scene: Scene) -> None:
    """A wrapper around the object's own `send` could do anything: it is refused where the host must be pinned."""
    adapter: Any = HTTPAdapter()
    inner = adapter.send

    def traced(*args: Any, **kwargs: Any) -> requests.Response:
        response: requests.Response = inner(*args, **kwargs)
        return response

    adapter.send = traced
    pins: dict[str, PinsLike] = {"localhost": scene.pins_of(scene.honest), "127.0.0.1": PinSet.exempt()}
    session = scene.trusting(PinnedSession(pins))
    session.mount("https://", adapter)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    for each in (mitm, server):
        with pytest.raises(UnpinnableAdapterError):
            session.get(each.url())
        assert scene.toll(each) == (0, 0, 0)
    assert session.get(server.url(host="127.0.0.1")).text == "ok"


@pytest.mark.parametrize("prefix", ["file://", "mock://", "http+unix://", "ftp://"])
@pytest.mark.parametrize("kind", [Bare, Duck, HTTPAdapter])
def test_other_schemes(scene: Scene, prefix: str, kind: type[BaseAdapter]) -> None:
    """What is no http is none of the pins' business: the adapter is not touched."""

    class Silent(kind):  # type: ignore[misc, valid-type]  # the base is a parameter
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            """Answer by itself."""
            del args, kwargs
            return answer(request)

    session, adapter = pinned(scene), Silent()
    session.mount(prefix, adapter)
    assert session.get(f"{prefix}localhost/path").text == "own"
    assert session.get_adapter(f"{prefix}localhost/path") is adapter
    assert type(adapter) is Silent
    mitm = scene.serve(scene.attacker)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())


@pytest.mark.parametrize(
    "adapter", [None, object(), "adapter", 42, HTTPAdapter, Bare, Sockets()], ids=lambda adapter: type(adapter).__name__
)
def test_mount_never_raises(scene: Scene, adapter: Any) -> None:
    """What requests takes is taken; that it cannot carry a request is said when it is about to."""
    plain, session = requests.Session(), pinned(scene)
    for prefix in ("https://", "http://", "", "x", "https://localhost"):
        plain.mount(prefix, adapter)
        session.mount(prefix, adapter)
        assert list(session.adapters) == list(plain.adapters)
        assert session.adapters[prefix] is adapter
    mitm = scene.serve(scene.attacker)
    with pytest.raises(UnpinnableAdapterError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (0, 0, 0)
    session.adapters.clear()  # closed with the session, and most of these cannot be


class WithoutAPort(HTTPAdapter):
    """Makes a pool as urllib3 lets one: without a port, which is then the default one."""

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *_args: Any, **_kwargs: Any
    ) -> HTTPSConnectionPool:
        """Make a pool for each request."""
        return HTTPSConnectionPool(urlsplit(request.url or "").hostname or "")


def test_a_pool_without_a_port_has_the_default_one(mitm_lab: MITMLab, scene: Scene) -> None:
    """Pins for port 443 hold for it; the lab leads that port to the attacker, whose certificate is believed."""
    with mitm_lab.honest("api.example.com") as honest:
        session = PinnedSession({"api.example.com:443": [*honest.pins, scene.backup]}, unpinned_hosts="allow")
        session.mount("https://", WithoutAPort())
        with session:
            assert session.get("https://api.example.com/").ok
    with mitm_lab.impersonate("api.example.com") as attack, session, pytest.raises(PinMismatchError):
        session.get("https://api.example.com/", headers={"Authorization": SECRET})
    attack.assert_rejected()

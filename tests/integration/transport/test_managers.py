"""`PinnedPoolManager` and `PinnedProxyManager`, for clients that are built straight on urllib3."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from urllib3 import Retry, Timeout

from pinned_requests import (
    BlockedKeyError,
    ChainUnavailableError,
    InsecureURLError,
    Pin,
    PinMismatchError,
    PinnedPoolManager,
    PinnedProxyManager,
    PinningError,
    PinPolicy,
    PolicyError,
    PolicyStore,
    UnpinnedHostError,
    ViolationReport,
)
from pinned_requests.testing import Authority, Credential, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Literal

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.testing import TLSServer
    from support.lab import Certificates, Lab

WAIT = 20.0  # seconds


@pytest.fixture
def managers(lab: Lab) -> Iterator[Callable[..., PinnedPoolManager]]:
    """Make managers that trust the root, and clear them after the test."""
    made: list[PinnedPoolManager] = []

    def make(pins: PolicyStore | PinPolicy | Mapping[str, PinsLike] | None = None, **options: Any) -> PinnedPoolManager:
        settings: dict[str, Any] = (
            {} if "ssl_context" in options or "cert_reqs" in options else {"ca_certs": lab.bundle}
        )
        made.append(PinnedPoolManager(lab.pins if pins is None else pins, **settings, **options))
        return made[-1]

    yield make
    for each in made:
        each.clear()


def assert_nothing_leaked(mitm: TLSServer, handshakes: int = 1) -> None:
    """Assert that an attacker got so many handshakes, and nothing after them."""
    mitm.settle()
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (handshakes, handshakes, 0)
    assert mitm.open_connections == 0


def test_right_and_wrong_key(lab: Lab, managers: Callable[..., PinnedPoolManager]) -> None:
    """The honest server answers over one connection, the attacker gets one handshake; the error says what was seen."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    manager = managers()
    with pytest.raises(PinMismatchError) as caught:
        manager.request("POST", mitm.url(), body=b"secret", headers={"Authorization": "Basic secret"})
    assert (caught.value.host, caught.value.port, caught.value.request) == ("localhost", mitm.port, None)
    assert caught.value.chain[0].spki_pin == Pin.from_certificate(lab.attacker.certificate)
    assert set(caught.value.expected) == set(lab.pins["localhost"])
    assert_nothing_leaked(mitm)
    answers = [manager.request("GET", server.url()) for _ in range(3)]
    assert [(each.status, each.data) for each in answers] == [(200, b"ok")] * 3
    assert server.handshakes == 1


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_each_depth(lab: Lab, managers: Callable[..., PinnedPoolManager], depth: int) -> None:
    """A leaf, an intermediate and a root can be pinned."""
    server = lab.serve(lab.honest)
    manager = managers({"localhost": [Pin.from_certificate(lab.honest.chain[depth]), lab.backup]})
    assert manager.request("GET", server.url()).data == b"ok"


@pytest.mark.parametrize("by", ["connection_from_host", "connection_from_url", "connection_from_context"])
def test_its_pools(lab: Lab, managers: Callable[..., PinnedPoolManager], by: str) -> None:
    """They are pinned by themselves, however they were got, and raise the same error."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    manager = managers()

    def pool_of(target: TLSServer) -> urllib3.HTTPConnectionPool:
        if by == "connection_from_url":
            return manager.connection_from_url(target.url())
        if by == "connection_from_host":
            return manager.connection_from_host("localhost", target.port, scheme="https")
        context = {**manager.connection_pool_kw, "scheme": "https", "host": "localhost", "port": target.port}
        return manager.connection_from_context(context)

    with pytest.raises(PinMismatchError):
        pool_of(mitm).request("GET", "/", retries=Retry(3))
    with pytest.raises(PinMismatchError):
        pool_of(mitm).urlopen("GET", "/", preload_content=False)
    assert_nothing_leaked(mitm, 2)
    pool = pool_of(server)
    assert isinstance(pool, urllib3.HTTPSConnectionPool)
    assert [pool.request("GET", "/").data for _ in range(2)] == [b"ok", b"ok"]
    assert server.handshakes == 1


@pytest.mark.parametrize("retries", [None, False, 5, Retry(5, backoff_factor=0), Retry(connect=5, other=5)])
def test_a_refusal_is_not_retried(
    lab: Lab, managers: Callable[..., PinnedPoolManager], retries: Retry | Literal[False] | int | None
) -> None:
    """One handshake, one error; for a request as for the whole manager."""
    mitm = lab.serve(lab.attacker)
    with pytest.raises(PinMismatchError):
        managers().request("GET", mitm.url(), retries=retries)
    with pytest.raises(PinMismatchError):
        managers(retries=retries).request("GET", mitm.url())
    assert_nothing_leaked(mitm, 2)


def test_other_failures_are_retried(lab: Lab, managers: Callable[..., PinnedPoolManager]) -> None:
    """As urllib3 does, and its errors are its own."""
    server = lab.serve(lab.honest, handler=lambda _: Response(503))
    with pytest.raises(urllib3.exceptions.MaxRetryError):
        managers().request("GET", server.url(), retries=Retry(2, status_forcelist=[503], backoff_factor=0))
    assert len(server.requests) == 3
    stranger = lab.serve(Credential.self_signed("localhost"))
    with pytest.raises(urllib3.exceptions.MaxRetryError) as caught:
        managers().request("GET", stranger.url(), retries=1)
    assert isinstance(caught.value.reason, urllib3.exceptions.SSLError)
    stranger.settle()
    assert (stranger.connections, stranger.application_bytes) == (2, 0)


def test_refused_without_a_connection(lab: Lab, managers: Callable[..., PinnedPoolManager]) -> None:
    """`http://` to a pinned host, and any host that is not pinned; from the manager and from its pools."""
    plain, server = lab.serve(None), lab.serve(lab.honest)
    manager = managers()
    with pytest.raises(InsecureURLError):
        manager.request("GET", plain.url())
    with pytest.raises(InsecureURLError):
        manager.connection_from_url(plain.url()).request("GET", "/")
    with pytest.raises(UnpinnedHostError):
        manager.request("GET", server.url(host="127.0.0.1"))
    with pytest.raises(UnpinnedHostError):
        manager.connection_from_url(server.url(host="127.0.0.1")).request("GET", "/")
    assert (plain.connections, server.connections) == (0, 0)
    allowing = managers(PinPolicy(lab.pins, unpinned_hosts="allow"))
    assert allowing.request("GET", plain.url(host="127.0.0.1")).data == b"ok"
    assert allowing.request("GET", server.url(host="127.0.0.1")).data == b"ok"
    with pytest.raises(InsecureURLError):
        allowing.request("GET", plain.url())
    assert plain.connections == 1


def test_redirects(lab: Lab, managers: Callable[..., PinnedPoolManager]) -> None:
    """Each step is looked at: to another server, to `http://`, to a host that is not pinned."""
    mitm, plain = lab.serve(lab.attacker), lab.serve(None)
    to = {
        "/here": "/",
        "/mitm": mitm.url("/x"),
        "/plain": plain.url(),
        "/unpinned": "https://unpinned.example.com/",
    }
    pages: dict[str, Response | bytes] = {path: Response(302, (("Location", target),)) for path, target in to.items()}
    server = lab.serve(lab.honest, handler={**pages, "/": b"arrived"})
    manager = managers()
    assert manager.request("GET", server.url("/here")).data == b"arrived"
    for path, error in (("/mitm", PinMismatchError), ("/plain", InsecureURLError), ("/unpinned", UnpinnedHostError)):
        with pytest.raises(error):
            manager.request("GET", server.url(path), headers={"Authorization": "Basic secret"})
        assert manager.request("GET", server.url(path), redirect=False).status == 302
    assert_nothing_leaked(mitm)
    assert plain.connections == 0


def test_a_changed_policy(lab: Lab, managers: Callable[..., PinnedPoolManager]) -> None:
    """It holds for connections that are open, and the old one holds again when it is back."""
    server = lab.serve(lab.honest)
    store = PolicyStore(lab.pins)
    manager = managers(store)
    assert manager.policy is store.current
    assert manager.request("GET", server.url()).data == b"ok"
    server.settle()
    before = server.application_bytes
    store.set(
        {"localhost": {"pins": lab.pins["localhost"], "blocked_pins": [Pin.from_certificate(lab.honest.chain[1])]}}
    )
    with pytest.raises(BlockedKeyError):
        manager.request("GET", server.url())
    server.settle()
    assert (server.handshakes, server.application_bytes, server.open_connections) == (2, before, 0)
    store.set(lab.pins)
    assert manager.request("GET", server.url()).data == b"ok"


def test_a_callback(lab: Lab, managers: Callable[..., PinnedPoolManager]) -> None:
    """It is told of each violation, and its failure changes nothing."""
    reports: list[ViolationReport] = []

    def tell(report: ViolationReport) -> None:
        reports.append(report)
        raise RuntimeError("of the callback")

    mitm = lab.serve(lab.attacker)
    with pytest.raises(PinMismatchError):
        managers(on_violation=tell).request("GET", mitm.url())
    assert [(each.host, each.port) for each in reports] == [("localhost", mitm.port)]


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_unverified(lab: Lab, managers: Callable[..., PinnedPoolManager]) -> None:
    """With `cert_reqs`, `assert_hostname=False` or `assert_fingerprint` the leaf alone counts."""
    server = lab.serve(lab.honest)
    leaf, intermediate = (Pin.from_certificate(each) for each in lab.honest.chain[:2])
    algorithm = lab.honest.certificate.signature_hash_algorithm
    assert algorithm is not None
    fingerprint = lab.honest.certificate.fingerprint(algorithm).hex()
    for options in (
        {"cert_reqs": "CERT_NONE"},
        {"assert_hostname": False},
        {"assert_fingerprint": fingerprint},
        {"cert_reqs": "CERT_NONE", "assert_fingerprint": fingerprint},
    ):
        assert managers({"localhost": [leaf, lab.backup]}, **options).request("GET", server.url()).data == b"ok"
        with pytest.raises(PinMismatchError):
            managers({"localhost": [intermediate, lab.backup]}, **options).request("GET", server.url())


@pytest.mark.parametrize("assert_hostname", [None, "localhost"])
def test_another_name_in_the_certificate(
    lab: Lab, managers: Callable[..., PinnedPoolManager], assert_hostname: str | None
) -> None:
    """`server_hostname` is looked up as well where it is pinned; the URL's host decides."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    pins = {"127.0.0.1": lab.pins["localhost"]}
    options = {"server_hostname": "localhost", "assert_hostname": assert_hostname}
    assert managers(pins, **options).request("GET", server.url(host="127.0.0.1")).data == b"ok"
    with pytest.raises(PinMismatchError):
        managers(pins, **options).request("GET", mitm.url(host="127.0.0.1"))
    wrong = {**pins, "localhost": [Pin.from_certificate(lab.attacker.certificate), lab.backup]}
    with pytest.raises(PinMismatchError):
        managers(wrong, **options).request("GET", server.url(host="127.0.0.1"))
    assert_nothing_leaked(mitm)


def test_a_context_of_the_callers(lab: Lab, managers: Callable[..., PinnedPoolManager]) -> None:
    """It is used, and is the same afterwards."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    context = lab.root.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    before = (context.verify_mode, context.check_hostname, context.options, context.verify_flags)
    stores = context.cert_store_stats()
    manager = managers(ssl_context=context)
    assert manager.request("GET", server.url()).data == b"ok"
    with pytest.raises(PinMismatchError):
        manager.request("GET", mitm.url())
    assert (context.verify_mode, context.check_hostname, context.options, context.verify_flags) == before
    assert context.cert_store_stats() == stores
    stranger = managers(ssl_context=Authority.create().client_context())
    with pytest.raises(urllib3.exceptions.MaxRetryError):
        stranger.request("GET", server.url(), retries=0)
    assert_nothing_leaked(mitm)


def test_options_of_urllib3(lab: Lab, managers: Callable[..., PinnedPoolManager], tmp_path: Path) -> None:
    """They come to where they belong."""
    clients = Authority.create("Our Clients")
    client = clients.issue("client.example.com")
    (tmp_path / "client.pem").write_bytes(client.key_pem + client.served_pem)
    context = lab.honest.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients.certificate_der)
    server = lab.serve(None, context=context)
    manager = managers(
        num_pools=1,
        headers={"X-Mine": "kept"},
        cert_file=str(tmp_path / "client.pem"),
        maxsize=2,
        block=True,
        timeout=Timeout(WAIT),
        ssl_minimum_version=ssl.TLSVersion.TLSv1_3,
    )
    assert manager.request("GET", server.url()).data == b"ok"
    assert server.requests[0].header("X-Mine") == "kept"
    assert manager.connection_from_url(server.url()).pool.maxsize == 2
    with pytest.raises(PolicyError):
        PinnedPoolManager(None)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(PolicyError):
        PinnedProxyManager({"localhost": "nonsense"}, "http://127.0.0.1:1")


@pytest.fixture(scope="module")
def proxy_credential(certificates: Certificates) -> Credential:
    """The certificate of the HTTPS proxy."""
    credential: Credential = certificates.root.issue("127.0.0.1")
    return credential


@pytest.fixture(scope="module", params=["http", "https"])
def proxy(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    start_proxy: Callable[..., int],
    proxy_credential: Credential,
) -> str:
    """A real proxy that is spoken to in the clear, and one that is spoken TLS to; its URL."""
    options: list[str] = []
    if request.param == "https":
        folder = tmp_path_factory.mktemp("certificate")
        (folder / "chain.pem").write_bytes(proxy_credential.served_pem)
        (folder / "key.pem").write_bytes(proxy_credential.key_pem)
        options = ["--cert-file", str(folder / "chain.pem"), "--key-file", str(folder / "key.pem")]
    return f"{request.param}://127.0.0.1:{start_proxy(*options)}"


def test_through_a_proxy(lab: Lab, proxy: str) -> None:
    """The server's own chain is looked at, from the manager and from its pools, with retries and without."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    manager = PinnedProxyManager(lab.pins, proxy, ca_certs=lab.bundle)
    assert isinstance(manager, urllib3.ProxyManager)
    assert [manager.request("GET", server.url()).data for _ in range(2)] == [b"ok", b"ok"]
    with pytest.raises(PinMismatchError):
        manager.request("GET", mitm.url(), retries=3)
    with pytest.raises(PinMismatchError):
        manager.connection_from_url(mitm.url()).request("GET", "/")
    manager.clear()
    assert_nothing_leaked(mitm, 2)
    assert server.handshakes == 1


def test_plain_http_through_a_proxy(lab: Lab, proxy: str) -> None:
    """Refused for a pinned host, before the proxy hears of it; forwarded for others."""
    plain = lab.serve(None)
    manager = PinnedProxyManager(PinPolicy(lab.pins, unpinned_hosts="allow"), proxy, ca_certs=lab.bundle)
    with pytest.raises(InsecureURLError):
        manager.request("GET", plain.url())
    with pytest.raises(InsecureURLError):
        manager.connection_from_url(plain.url()).urlopen("GET", plain.url())
    assert plain.connections == 0
    assert manager.request("GET", plain.url(host="127.0.0.1")).data == b"ok"
    manager.clear()


def test_pins_of_the_proxy(lab: Lab, proxy: str, proxy_credential: Credential) -> None:
    """They are matched with its own chain alone; a proxy that is named and spoken to without TLS is refused."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    its_own = [Pin.from_certificate(proxy_credential.certificate), lab.backup]
    manager = PinnedProxyManager({**lab.pins, "127.0.0.1": its_own}, proxy, ca_certs=lab.bundle)
    if proxy.startswith("http:"):
        with pytest.raises(InsecureURLError) as caught:
            manager.request("GET", server.url())
        assert caught.value.host == "127.0.0.1"
        assert server.connections == 0
        return
    assert manager.request("GET", server.url()).data == b"ok"
    manager.clear()
    swapped = PinnedProxyManager({"localhost": its_own, "127.0.0.1": its_own}, proxy, ca_certs=lab.bundle)
    with pytest.raises(PinMismatchError):
        swapped.request("GET", mitm.url())
    swapped.clear()
    wrong = PinnedProxyManager({**lab.pins, "127.0.0.1": lab.pins["localhost"]}, proxy, ca_certs=lab.bundle)
    with pytest.raises(PinMismatchError) as mismatch:
        wrong.request("GET", server.url())
    assert mismatch.value.host == "127.0.0.1"
    wrong.clear()
    assert_nothing_leaked(mitm)
    assert server.handshakes == 1


def test_a_forwarding_proxy(lab: Lab, proxy: str) -> None:
    """It speaks TLS with the server itself: there is no chain to look at, and nothing is sent."""
    server = lab.serve(lab.honest)
    manager = PinnedProxyManager(lab.pins, proxy, ca_certs=lab.bundle, use_forwarding_for_https=True)
    if proxy.startswith("https"):
        with pytest.raises(ChainUnavailableError):
            manager.request("GET", server.url())
        assert server.connections == 0
    else:  # urllib3 makes a tunnel all the same
        assert manager.request("GET", server.url()).data == b"ok"
    manager.clear()


def test_a_port_as_text(lab: Lab) -> None:
    """urllib3 takes it; the pins of that port hold."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    for each in (server, mitm):
        manager = PinnedPoolManager({f"localhost:{each.port}": lab.pins["localhost"]}, ca_certs=lab.bundle)
        pool = manager.connection_from_host("localhost", str(each.port), "https")  # type: ignore[arg-type]  # what the test is about
        if each is server:
            assert pool.urlopen("GET", "/").data == b"ok"
        else:
            with pytest.raises(PinMismatchError):
                pool.urlopen("GET", "/")
        manager.clear()
    assert_nothing_leaked(mitm)


def test_a_proxy_that_is_the_attacker(lab: Lab) -> None:
    """An HTTPS proxy whose host is pinned, with another key: it is not even asked for a tunnel."""
    mitm = lab.serve(lab.attacker)
    manager = PinnedProxyManager(lab.pins, mitm.url(), ca_certs=lab.bundle)
    with pytest.raises(PinningError):
        manager.request("GET", "https://localhost:1/")
    assert_nothing_leaked(mitm)

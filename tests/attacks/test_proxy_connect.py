"""Tunnels through an HTTP proxy: what counts is the server at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from pinned_requests import (
    ChainUnavailableError,
    InsecureURLError,
    Pin,
    PinMismatchError,
    PinnedAdapter,
    PinnedSession,
    PinPolicy,
    PolicyStore,
)

if TYPE_CHECKING:
    from pinned_requests.testing import Credential
    from support.proxy import Proxy
    from support.scene import Scene

SECRET = "the-secret-of-the-request"  # noqa: S105  what the attacker is after


def pins_of(scene: Scene, credential: Credential) -> dict[str, list[Pin]]:
    """Pin a credential's key for localhost."""
    return {"localhost": [Pin.from_certificate(credential.certificate), scene.backup]}


@pytest.fixture(params=["session", "adapter"])
def store_and_session(
    request: pytest.FixtureRequest, scene: Scene, proxy: Proxy
) -> tuple[PolicyStore, requests.Session]:
    """A session that goes through the proxy, and the store of its policy, which pins the honest server's key."""
    store = PolicyStore(pins_of(scene, scene.honest))
    session = PinnedSession(store) if request.param == "session" else requests.Session()
    if request.param == "adapter":
        session.mount("https://", PinnedAdapter(store))
        session.mount("http://", PinnedAdapter(store))
    session.proxies = {"https": proxy.url, "http": proxy.url}
    return store, scene.trusting(session)


def test_man_in_the_middle_behind_the_proxy(
    scene: Scene, proxy: Proxy, store_and_session: tuple[PolicyStore, requests.Session]
) -> None:
    """The proxy, or somebody behind it, leads the tunnel to an attacker whom the client's trust store accepts."""
    _, session = store_and_session
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError) as caught:
        session.post(mitm.url(), data=SECRET)
    assert (caught.value.host, caught.value.port) == ("localhost", mitm.port)
    assert scene.toll(mitm) == (1, 1, 0)
    assert mitm.open_connections == 0

    for _ in range(2):
        assert session.post(server.url(), data=SECRET).text == "ok"
    assert scene.toll(server)[:2] == (1, 1)
    assert SECRET.encode() in server.received
    assert [secret for secret in proxy.secrets if secret.lower() in server.received.lower()] == []


def test_retries_through_the_proxy(scene: Scene, proxy: Proxy) -> None:
    """A refusal in a tunnel is not retried either."""
    session = scene.pinned(Pin.from_certificate(scene.honest.certificate), options={"max_retries": 5})
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    proxies = {"https": proxy.url}
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), proxies=proxies)
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url(), proxies=proxies).text == "ok"


def test_proxy_of_the_environment(scene: Scene, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who controls the environment chooses the proxy, and gets no further by that."""
    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).text == "ok"
    assert session.get_adapter(server.url()).proxy_manager  # type: ignore[attr-defined]  # it went through the proxy


def test_the_proxy_itself_is_the_man_in_the_middle(scene: Scene) -> None:
    """A proxy that breaks up TLS: it answers CONNECT and then presents a certificate of its own."""
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    with pytest.raises(requests.exceptions.RequestException):
        # A server that speaks TLS at once is no HTTP proxy: nothing is said to it but the CONNECT, in the clear.
        session.get(server.url(), proxies={"https": f"http://localhost:{mitm.port}"}, auth=("user", SECRET))
    assert scene.toll(mitm).application_bytes == 0
    assert session.get(server.url()).text == "ok"


def test_a_pooled_tunnel_after_a_change_of_policy(
    scene: Scene, store_and_session: tuple[PolicyStore, requests.Session]
) -> None:
    """A tunnel that is open is evaluated for each request: it is closed, and one fresh tunnel tried."""
    store, session = store_and_session
    server = scene.serve(scene.honest)
    assert session.get(server.url()).text == "ok"
    before = scene.toll(server)
    store.set(pins_of(scene, scene.attacker))
    with pytest.raises(PinMismatchError):
        session.get(server.url())
    after = scene.toll(server)
    assert (after.handshakes - before.handshakes, after.application_bytes - before.application_bytes) == (1, 0)

    server.credential = scene.attacker
    assert session.get(server.url()).text == "ok"  # the key that is pinned now
    assert scene.toll(server).handshakes == 3


def test_plain_http_through_the_proxy(scene: Scene) -> None:
    """A pinned host is not asked for without TLS: the proxy, which would see all of it, sees no connection."""
    stand_in, server = scene.serve(None), scene.serve(scene.honest)  # counts what comes to the proxy
    proxies = {"http": stand_in.url(host="127.0.0.1")}
    session = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    for url in ("http://localhost/", server.url().replace("https", "http"), "HTTP://LocalHost./"):
        with pytest.raises(InsecureURLError):
            session.get(url, proxies=proxies, auth=("user", SECRET))
    assert scene.toll(stand_in) == (0, 0, 0)
    assert session.get(server.url(), proxies=proxies).text == "ok"

    policy = PinPolicy(pins_of(scene, scene.honest), unpinned_hosts="allow")
    free = scene.trusting(PinnedSession(policy))
    assert free.get("http://unpinned.example.com/", proxies=proxies).text == "ok"
    assert stand_in.requests[0].path == "http://unpinned.example.com/"


class ForwardingAdapter(PinnedAdapter):
    """Lets an https proxy speak TLS with the server, and itself with the proxy alone."""

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Ask urllib3 for a proxy that forwards."""
        return super().proxy_manager_for(proxy, use_forwarding_for_https=True, **kwargs)


@pytest.mark.parametrize("report_only", [False, True], ids=["enforced", "report-only"])
def test_forwarding_proxy(scene: Scene, *, report_only: bool) -> None:
    """The proxy hides the server's TLS: its certificate has the pinned host's name and even its key, to no avail."""
    forwarding = scene.serve(scene.honest)
    pin_set = {"pins": pins_of(scene, scene.honest)["localhost"], "report_only": report_only}
    policy = PinPolicy({"api.example.com": pin_set}, unpinned_hosts="allow")
    session = scene.trusting(requests.Session())
    session.mount("https://", ForwardingAdapter(policy))
    session.proxies = {"https": forwarding.url()}
    with pytest.raises(ChainUnavailableError):
        session.get("https://api.example.com/", auth=("user", SECRET))
    assert scene.toll(forwarding) == (1, 1, 0)

    assert session.get("https://unpinned.example.com/").text == "ok"
    assert len(forwarding.requests) == 1

"""Session classes of others, with a `PinnedAdapter` and mixed with `PinnedSession`; and what no session can reach.

The tests of limits, at the end, state what the README names: there something is sent, or answered, in spite of pins.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.transport.requests import AuthorizedSession, Request
from oauthlib.oauth2 import InsecureTransportError
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from requests_oauthlib import OAuth2Session
from requests_toolbelt.sessions import BaseUrlSession

from pinned_requests import InsecureURLError, PinMismatchError, PinnedAdapter, PinnedSession
from pinned_requests.testing import Authority, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pinned_requests.core.pinset import PinsLike
    from support.lab import Lab

    Make = Callable[[type[requests.Session], dict[str, Any], Mapping[str, PinsLike]], Any]

TOKEN = {"access_token": "the-token", "token_type": "Bearer"}
# What the constructors of others are given.
OAUTH = {"token": TOKEN}
GOOGLE = {"credentials": AnonymousCredentials()}
CACHE = {"backend": "memory", "cache_name": "test"}
BASE_URL = {"base_url": "https://localhost/"}
CLASSES = [
    pytest.param(OAuth2Session, OAUTH, id="OAuth2Session"),
    pytest.param(AuthorizedSession, GOOGLE, id="AuthorizedSession"),
    pytest.param(CachedSession, CACHE, id="CachedSession"),
    pytest.param(BaseUrlSession, BASE_URL, id="BaseUrlSession"),
]


def mounted(other: Any, arguments: dict[str, Any], pins: Mapping[str, PinsLike]) -> Any:
    """Make a session of the other class, and mount a PinnedAdapter."""
    session = other(**arguments)
    session.mount("https://", PinnedAdapter(pins))
    session.mount("http://", PinnedAdapter(pins))
    return session


def pinned_first(other: Any, arguments: dict[str, Any], pins: Mapping[str, PinsLike]) -> Any:
    """Make a session of both classes, ours first, with pins as an argument."""

    class MySession(PinnedSession, other):
        pass

    return MySession(pins, **arguments)


def pinned_first_by_attribute(other: Any, arguments: dict[str, Any], pins: Mapping[str, PinsLike]) -> Any:
    """Make a session of both classes, ours first, with pins as a class attribute."""
    declared = pins

    class MySession(PinnedSession, other):
        pins = declared

    return MySession(**arguments)


def pinned_last(other: Any, arguments: dict[str, Any], pins: Mapping[str, PinsLike]) -> Any:
    """Make a session of both classes, ours last: the other's constructor need not hand on arguments."""
    declared = pins

    class MySession(other, PinnedSession):
        pins = declared

    return MySession(**arguments)


@pytest.mark.parametrize("make", [mounted, pinned_first, pinned_first_by_attribute, pinned_last])
@pytest.mark.parametrize(("other", "arguments"), CLASSES)
def test_a_session_class_of_others(lab: Lab, other: Any, arguments: dict[str, Any], make: Make) -> None:
    """The right key works, the wrong one is refused without a byte, and the class does what it is for."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    session = lab.trusting(make(other, arguments, lab.pins))
    assert isinstance(session, other)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url("/secret"))
    mitm.settle()
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (1, 1, 0)

    assert session.get(server.url("/a")).text == "ok"
    assert session.post(server.url("/b"), data={"c": "d"}).text == "ok"
    assert server.handshakes == 1
    if other is OAuth2Session:
        assert {request.header("Authorization") for request in server.requests} == {"Bearer the-token"}
    if other is CachedSession:
        assert session.get(server.url("/a")).from_cache
        assert len(server.requests) == 2
    if other is BaseUrlSession:
        session.base_url = server.url("/v1/")
        session.get("things")
        assert server.requests[-1].path == "/v1/things"
    with pytest.raises(PinMismatchError):
        session.get(mitm.url("/secret"), auth=("user", "password"))
    mitm.settle()
    assert mitm.application_bytes == 0


@pytest.mark.parametrize("make", [pinned_first, pinned_first_by_attribute, pinned_last])
@pytest.mark.parametrize(("other", "arguments"), CLASSES)
def test_a_mixed_class_keeps_its_guard(lab: Lab, other: Any, arguments: dict[str, Any], make: Make) -> None:
    """Adapters that are mounted later are pinned, and `http://` to a pinned host is refused."""
    plain, mitm = lab.serve(None), lab.serve(lab.attacker)
    session = lab.trusting(make(other, arguments, lab.pins))
    session.mount("https://", HTTPAdapter(max_retries=3))
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    with pytest.raises((InsecureURLError, InsecureTransportError)):  # oauthlib says so first
        session.get(plain.url())
    mitm.settle()
    assert (mitm.connections, mitm.application_bytes, plain.connections) == (1, 0, 0)


class Choosing(requests.Session):
    """A session of somebody else's that finds its adapters by a rule of its own."""

    def get_adapter(self, url: str) -> HTTPAdapter:
        """Give one that nobody mounted."""
        del url
        return HTTPAdapter()


@pytest.mark.parametrize("make", [pinned_first, pinned_first_by_attribute, pinned_last])
def test_a_mixed_class_that_chooses_adapters(lab: Lab, make: Make) -> None:
    """Whatever it chooses is pinned as well."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    session = lab.trusting(make(Choosing, {}, lab.pins))
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert session.get(server.url(), headers={"Connection": "close"}).text == "ok"
    mitm.settle()
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (1, 1, 0)


def test_tokens_are_fetched_over_the_session_itself(lab: Lab) -> None:
    """An OAuth2Session asks for its tokens over itself: client secrets do not go to a wrong key either."""
    token = Response(200, (("Content-Type", "application/json"),), b'{"access_token": "new", "token_type": "Bearer"}')
    server, mitm = lab.serve(lab.honest, handler={"/token": token}), lab.serve(lab.attacker)
    for make in (mounted, pinned_first):
        session = lab.trusting(make(OAuth2Session, {"client_id": "me"}, lab.pins))
        with pytest.raises(PinMismatchError):
            session.fetch_token(mitm.url("/token"), code="secret", client_secret="secret")  # noqa: S106
        mitm.settle()
        assert mitm.application_bytes == 0
        fetched = session.fetch_token(server.url("/token"), code="secret", client_secret="secret")  # noqa: S106
        assert fetched["access_token"] == "new"  # noqa: S105


def test_wrapping_a_session_into_a_cache(lab: Lab) -> None:
    """`CachedSession.wrap` takes over the adapters of a pinned session, and they are pinned by themselves."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    pinned = lab.trusting(PinnedSession(lab.pins))
    session = lab.trusting(CachedSession.wrap(pinned, backend="memory"))
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert session.get(server.url()).text == "ok"
    mitm.settle()
    assert mitm.application_bytes == 0


def test_a_cached_session_revalidates_over_pinned_connections(lab: Lab) -> None:
    """By default it passes the refusal on, also where it has a stale answer."""
    server = lab.serve(lab.honest, handler=lambda _: Response(headers=(("ETag", '"1"'),)))
    session = lab.trusting(pinned_first(CachedSession, CACHE, lab.pins))
    assert session.get(server.url()).text == "ok"
    server.credential = lab.attacker
    requests.Session.close(session)  # the connections, and not the cache
    server.settle()
    before = server.application_bytes
    with pytest.raises(PinMismatchError):
        session.get(server.url(), force_refresh=True)
    server.settle()
    assert server.application_bytes == before


class Refreshing(Credentials):
    """Credentials that ask a server for their token."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def refresh(self, request: Callable[..., Any]) -> None:
        """Ask, with a secret."""
        self.token = request(self.url, method="POST", body=b"secret").data.decode()


def test_limit_google_auth_refreshes_over_a_session_of_its_own(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong key gets the secret, unless the session is given `auth_request=Request(session=pinned)`."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    server = lab.serve(lab.honest)
    issuer = lab.serve(lab.attacker)  # of tokens; another key than the one that is pinned
    for make in (mounted, pinned_first_by_attribute, pinned_last):
        session = lab.trusting(make(AuthorizedSession, {"credentials": Refreshing(issuer.url("/token"))}, lab.pins))
        assert session.get(server.url()).text == "ok"
        assert [request.body for request in issuer.requests][-1:] == [b"secret"]  # sent to whoever was there
        session._auth_request_session.close()
    issuer.settle()
    before = issuer.application_bytes

    pinned = lab.trusting(PinnedSession(lab.pins))
    arguments = {"credentials": Refreshing(issuer.url("/token")), "auth_request": Request(session=pinned)}
    for make in (mounted, pinned_first_by_attribute, pinned_last):
        session = lab.trusting(make(AuthorizedSession, arguments, lab.pins))
        with pytest.raises(Exception, match="holds none of its pins") as caught:
            session.get(server.url())
        causes = [caught.value, caught.value.__cause__, caught.value.__context__]
        assert any(isinstance(each, PinMismatchError) for each in causes)
    issuer.settle()
    assert issuer.application_bytes == before


def test_limit_a_cache_may_answer_in_place_of_a_refusal(lab: Lab) -> None:
    """With `stale_if_error=True` requests-cache takes a mismatch for any other error; nothing is sent, though."""
    server = lab.serve(lab.honest)
    arguments = {**CACHE, "stale_if_error": True, "expire_after": 0.0001}  # seconds
    session = lab.trusting(pinned_first(CachedSession, arguments, lab.pins))
    assert session.get(server.url()).text == "ok"
    requests.Session.close(session)
    server.credential = lab.attacker
    server.settle()
    before = server.application_bytes
    answer = session.get(server.url())
    server.settle()
    assert (answer.text, answer.from_cache) == ("ok", True)
    assert server.application_bytes == before
    assert server.handshakes == 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_limit_a_client_certificate_is_sent_before_the_check(lab: Lab, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """It is a part of the handshake: a wrong key learns who the client is, and gets nothing else."""
    clients = Authority.create("Our Clients")
    client = clients.issue("client.example.com")
    path = tmp_path / "client.pem"
    path.write_bytes(client.key_pem + client.served_pem)
    seen: list[Any] = []

    class Watching(ssl.SSLObject):
        """Notes the certificate of the client."""

        def do_handshake(self) -> None:
            super().do_handshake()  # raises where it waits for the client
            seen.append(self.getpeercert())

    context = lab.attacker.server_context(minimum_version=version, maximum_version=version)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients.certificate_der)
    context.sslobject_class = Watching
    mitm = lab.serve(None, context=context)
    session = lab.trusting(PinnedSession(lab.pins))
    session.cert = str(path)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    mitm.settle()
    assert [certificate["subjectAltName"] for certificate in seen] == [(("DNS", "client.example.com"),)]
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (1, 1, 0)


def test_limit_spooled_segments_of_trino() -> None:
    """The client fetches them, and acknowledges them, over a new session of requests, whatever it was given."""
    client = pytest.importorskip("trino.client")
    pins = ["sha256/" + "A" * 43 + "=", "sha256/" + "B" * 42 + "A="]
    with PinnedSession({"trino.example.com": pins}) as session:
        request = client.TrinoRequest("trino.example.com", 443, client.ClientSession("me"), session, "https")
        assert request._http_session is session
        for_segments = request.unauthenticated()._http_session
        assert type(for_segments) is requests.Session
        assert type(for_segments.get_adapter("https://trino.example.com/")) is requests.adapters.HTTPAdapter

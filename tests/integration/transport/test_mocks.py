"""Mocking libraries go on working on a `PinnedSession`, and what goes past them to a real server stays pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
import requests_mock
import responses
import vcr
from pytest_httpserver import HTTPServer

from pinned_requests import (
    InsecureURLError,
    Pin,
    PinMismatchError,
    PinnedAdapter,
    PinnedSession,
    UnpinnedHostError,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pinned_requests.core.pinset import PinsLike
    from support.lab import Lab

PINS = {"api.example.com": ["sha256/" + "A" * 43 + "=", "sha256/" + "B" * 42 + "A="]}
URL = "https://api.example.com/things"


def adapter_session(pins: Mapping[str, PinsLike]) -> requests.Session:
    """Make a plain session with a pinned adapter."""
    session = requests.Session()
    session.mount("https://", PinnedAdapter(pins))
    return session


MAKES = pytest.mark.parametrize("make", [PinnedSession, adapter_session])


@MAKES
def test_responses(lab: Lab, make: Callable[[Mapping[str, PinsLike]], requests.Session]) -> None:
    """The answer is the mock's, for pinned hosts too; nothing is connected to. What it lets past is pinned."""
    mitm, server = lab.serve(lab.attacker), lab.serve(lab.honest)
    with make(PINS) as session, responses.RequestsMock() as mock:
        mock.get(URL, json={"mocked": True}, status=201)
        answer = session.get(URL)
        assert (answer.status_code, answer.json()) == (201, {"mocked": True})
        assert len(mock.calls) == 1
        with pytest.raises(requests.exceptions.ConnectionError):
            session.get("https://api.example.com/other")
    session = lab.trusting(make(lab.pins))
    with responses.RequestsMock() as mock:
        mock.add_passthru("https://localhost")
        assert session.get(server.url()).text == "ok"
        with pytest.raises(PinMismatchError):
            session.get(mitm.url())
    mitm.settle()
    assert (mitm.handshakes, mitm.application_bytes) == (1, 0)


@responses.activate
def test_responses_as_decorator() -> None:
    """The usual form, with a callback, a redirect and the retries of an adapter."""
    responses.get(URL, status=302, headers={"Location": "/moved"})
    responses.get("https://api.example.com/moved", body=b"here")
    responses.post(URL, body=requests.exceptions.ConnectTimeout("mocked"))
    with PinnedSession(PINS, max_retries=1) as session:
        assert session.get(URL).content == b"here"
        with pytest.raises(requests.exceptions.ConnectTimeout):
            session.post(URL)


@MAKES
def test_requests_mock(make: Callable[[Mapping[str, PinsLike]], requests.Session]) -> None:
    """As a context manager for all sessions, and for one."""
    with make(PINS) as session:
        with requests_mock.Mocker() as mock:
            mock.get(URL, text="mocked", headers={"X-From": "mock"})
            answer = session.get(URL)
            assert (answer.text, answer.headers["X-From"]) == ("mocked", "mock")
            with pytest.raises(requests_mock.exceptions.NoMockAddress):
                session.get("https://api.example.com/other")
        with requests_mock.Mocker(session=session) as mock:
            mock.get(URL, text="again")
            assert session.get(URL).text == "again"
            assert mock.call_count == 1


def test_requests_mock_as_decorator() -> None:
    """The mock is an argument of the function."""

    @requests_mock.Mocker()
    def decorated(mock: Any) -> object:
        mock.post(URL, json={"mocked": True})
        with PinnedSession(PINS) as session:
            assert session.post(URL, json={"a": 1}).json() == {"mocked": True}
        return mock.last_request.json()

    assert decorated() == {"a": 1}  # type: ignore[call-arg, unused-ignore]  # the mock is added


def test_requests_mock_as_adapter(lab: Lab) -> None:
    """Mounted on one session, for a prefix; the rest of the session is pinned."""
    server, mitm = lab.serve(lab.honest), lab.serve(lab.attacker)
    session = lab.trusting(PinnedSession({**PINS, **lab.pins}))
    adapter = requests_mock.Adapter()
    adapter.register_uri("GET", URL, text="mocked")
    adapter.register_uri("GET", "mock://example/", text="mocked as well")
    session.mount("https://api.example.com", adapter)
    session.mount("mock://", adapter)
    assert session.get(URL).text == "mocked"
    assert session.get("mock://example/").text == "mocked as well"
    assert session.get(server.url()).text == "ok"
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    mitm.settle()
    assert (mitm.handshakes, mitm.application_bytes) == (1, 0)


@pytest.mark.parametrize("scope", ["all", "session"])
def test_requests_mock_with_real_http(lab: Lab, scope: str) -> None:
    """What goes to a real server is pinned as without the mock, and afterwards everything is as before."""
    server, mitm, plain = lab.serve(lab.honest), lab.serve(lab.attacker), lab.serve(None)
    session = lab.trusting(PinnedSession({**PINS, **lab.pins}))
    options: dict[str, Any] = {"session": session} if scope == "session" else {}
    with requests_mock.Mocker(real_http=True, **options) as mock:
        mock.get(URL, text="mocked")
        assert session.get(URL).text == "mocked"
        assert session.get(server.url()).text == "ok"
        with pytest.raises(PinMismatchError):
            session.get(mitm.url())
        with pytest.raises(InsecureURLError):
            session.get(plain.url())
        with pytest.raises(UnpinnedHostError):
            session.get("https://unpinned.example.com/")
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert session.get(server.url()).text == "ok"
    assert isinstance(session.get_adapter(URL), PinnedAdapter)
    mitm.settle()
    assert (mitm.handshakes, mitm.application_bytes, plain.connections) == (2, 0, 0)
    assert server.handshakes == 1


@pytest.fixture
def https_server(lab: Lab, request: pytest.FixtureRequest) -> Iterator[HTTPServer]:
    """A pytest-httpserver with the certificate of the honest server, or of the attacker."""
    context: ssl.SSLContext = getattr(lab, request.param).server_context()
    with HTTPServer(host="localhost", port=0, ssl_context=context) as server:
        yield server
        server.clear()


@pytest.mark.parametrize("https_server", ["honest"], indirect=True)
def test_httpserver(lab: Lab, https_server: HTTPServer) -> None:
    """A real server is pinned like any other."""
    https_server.expect_request("/things").respond_with_json({"served": True})
    session = lab.trusting(PinnedSession(lab.pins))
    assert session.get(https_server.url_for("/things")).json() == {"served": True}
    https_server.check()


@pytest.mark.parametrize("https_server", ["attacker"], indirect=True)
def test_httpserver_with_another_key(lab: Lab, https_server: HTTPServer) -> None:
    """It gets no request."""
    https_server.expect_request("/things").respond_with_json({"served": True})
    session = lab.trusting(PinnedSession(lab.pins))
    with pytest.raises(PinMismatchError):
        session.get(https_server.url_for("/things"))
    assert https_server.log == []


@MAKES
def test_vcrpy(lab: Lab, tmp_path: Path, make: Callable[[Mapping[str, PinsLike]], requests.Session]) -> None:
    """It records what comes over a pinned connection, and plays it when the server is gone."""
    cassette = str(tmp_path / "cassette.yaml")
    server = lab.serve(lab.honest, handler={"/things": b"recorded"})
    session = lab.trusting(make(lab.pins))
    with vcr.use_cassette(cassette) as recording:
        assert session.get(server.url("/things")).text == "recorded"
        assert len(recording) == 1
    assert (server.handshakes, len(server.requests)) == (1, 1)
    session.close()
    server.stop()
    with vcr.use_cassette(cassette, record_mode="none") as playing:
        for each in (session, lab.trusting(make(lab.pins))):
            assert each.get(server.url("/things")).text == "recorded"
            playing.rewind()
    assert server.handshakes == 1


@MAKES
def test_vcrpy_does_not_record_an_attacker(
    lab: Lab, tmp_path: Path, make: Callable[[Mapping[str, PinsLike]], requests.Session]
) -> None:
    """He gets no byte, there is nothing to record, and with the cassette gone the session is pinned as before."""
    mitm, server = lab.serve(lab.attacker), lab.serve(lab.honest)
    session = lab.trusting(make(lab.pins))
    with vcr.use_cassette(str(tmp_path / "cassette.yaml")) as recording:
        with pytest.raises(PinMismatchError):
            session.get(mitm.url(), auth=("user", "password"))
        assert len(recording) == 0
        assert session.get(server.url()).text == "ok"
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert session.get(server.url()).text == "ok"
    mitm.settle()
    assert (mitm.connections, mitm.handshakes, mitm.application_bytes) == (2, 2, 0)


@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")  # vcrpy < 9 drops the open one
def test_vcrpy_with_a_connection_from_before(lab: Lab, tmp_path: Path) -> None:
    """A connection that was kept alive before the cassette was put in: the policy holds for the recording as well."""
    server = lab.serve(lab.honest)
    other = {"localhost": [Pin.from_certificate(lab.attacker.certificate), lab.backup]}
    session = lab.trusting(PinnedSession(lab.pins))
    assert session.get(server.url()).text == "ok"
    session._pinned_by.guard.store.set(other)
    with vcr.use_cassette(str(tmp_path / "cassette.yaml")) as recording, pytest.raises(PinMismatchError):
        session.get(server.url())
    assert len(recording) == 0
    server.settle()
    assert len(server.requests) == 1

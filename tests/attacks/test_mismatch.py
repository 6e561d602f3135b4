"""What a man in the middle gets of a request that is refused: one handshake, and not one byte of it."""

from __future__ import annotations

import pickle
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import requests
from urllib3 import Retry

from pinned_requests import InsecureURLError, Pin, PinMismatchError, PinnedSession, ViolationReport
from pinned_requests.testing import Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinned_requests.testing import TLSServer
    from support.scene import Scene

SECRET = "the-secret-of-the-request"  # noqa: S105  what the attacker is after


def session_of(scene: Scene, **options: Any) -> PinnedSession:
    """Make a session with the pin of the honest server's key."""
    return scene.pinned(Pin.from_certificate(scene.honest.certificate), options=options)


def redirect_to(server: TLSServer) -> dict[str, Response]:
    """Answer with a redirect to another server."""
    return {"/": Response(307, (("Location", server.url("/stolen")),))}


def test_plain_requests_is_fooled(scene: Scene) -> None:
    """The attacker of these tests has a certificate that the trust store accepts: requests hands over everything."""
    mitm = scene.serve(scene.attacker)
    assert requests.get(mitm.url(), auth=("user", SECRET), verify=scene.bundle, timeout=10).status_code == 200
    assert scene.toll(mitm).application_bytes > 0
    assert mitm.requests[0].header("Authorization") is not None


@pytest.mark.parametrize(
    "max_retries",
    [
        0,
        5,
        Retry(5, backoff_factor=10),
        Retry(total=None, connect=5, read=5, other=5, status=5, backoff_factor=10),
        Retry(5, allowed_methods=None, raise_on_status=False, status_forcelist=[500]),
    ],
    ids=["none", "int", "backoff", "each", "any-method"],
)
@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_retry_gives_the_attacker_another_try(scene: Scene, max_retries: int | Retry, tls: ssl.TLSVersion) -> None:
    """A retry would only tell the attacker more, and hide the refusal behind another error."""
    scene.tls = tls
    session = session_of(scene, max_retries=max_retries)
    mitm = scene.serve(scene.attacker)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    assert mitm.open_connections == 0

    server = scene.serve(scene.honest)
    assert session.get(server.url()).status_code == 200


def test_nothing_is_kept_of_a_refused_connection(scene: Scene) -> None:
    """The socket is closed, nothing is pooled, and the session reaches the honest server at that very address."""
    session = session_of(scene)
    server = scene.serve(scene.attacker)
    for attempt in (1, 2):
        with pytest.raises(PinMismatchError):
            session.get(server.url())
        assert scene.toll(server) == (attempt, attempt, 0)
        assert server.open_connections == 0
    pools: Any = session.get_adapter(server.url()).poolmanager.pools  # type: ignore[attr-defined]  # an HTTPAdapter
    for key in pools.keys():  # noqa: SIM118  it is urllib3's container, which does not iterate
        assert [kept for kept in pools[key].pool.queue if kept is not None and not kept.is_closed] == []

    server.credential = scene.honest
    assert session.get(server.url()).text == "ok"
    assert session.get(server.url()).text == "ok"
    assert scene.toll(server)[:2] == (3, 3)


def test_the_error_tells_what_was_seen_and_expected(scene: Scene) -> None:
    """Who handles SSLError or RequestException goes on handling it; who wants to know more finds it in attributes."""
    session = session_of(scene)
    mitm = scene.serve(scene.attacker)
    with pytest.raises(requests.exceptions.SSLError) as caught:
        session.post(mitm.url("/path?query"), data=SECRET)
    error = caught.value
    assert type(error) is PinMismatchError
    assert isinstance(error, requests.exceptions.RequestException)
    assert (error.host, error.port) == ("localhost", mitm.port)
    assert [seen.spki_pin for seen in error.chain] == list(map(Pin.from_certificate, scene.attacker.chain))
    assert [seen.certificate_pin for seen in error.chain] == list(map(Pin.fingerprint, scene.attacker.chain))
    assert [seen.subject for seen in error.chain] == ["CN=localhost", "CN=Careless CA", "CN=Lab Root CA"]
    assert error.expected == (Pin.from_certificate(scene.honest.certificate), scene.backup)
    assert error.response is None
    assert error.request is not None
    assert (error.request.method, error.request.body) == ("POST", SECRET)
    for text in (str(error), repr(error)):
        assert SECRET not in text
        assert "query" not in text
    assert scene.toll(mitm) == (1, 1, 0)


@pytest.mark.parametrize("picklable", [True, False])
def test_the_error_pickles(scene: Scene, *, picklable: bool) -> None:
    """It crosses to another process, without its request where that cannot."""
    mitm = scene.serve(scene.attacker)
    body = SECRET if picklable else (part.encode() for part in [SECRET])
    with pytest.raises(PinMismatchError) as caught:
        session_of(scene).post(mitm.url(), data=body)
    error = caught.value
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert (copy.host, copy.port, copy.chain, copy.expected) == (error.host, error.port, error.chain, error.expected)
    assert (copy.request is not None) is picklable
    assert scene.toll(mitm) == (1, 1, 0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_no_secret_of_a_request_arrives(scene: Scene, method: str) -> None:
    """Body, credentials, cookies and headers stay here, whatever the method."""
    session = session_of(scene)
    session.auth = ("user", SECRET)
    session.cookies.set("session", SECRET)
    session.headers["X-Token"] = SECRET
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.request(method, mitm.url(f"/{SECRET}"), data=SECRET)
    assert scene.toll(mitm) == (1, 1, 0)

    assert session.request(method, server.url(f"/{SECRET}"), data=SECRET).status_code == 200
    got = server.requests[0]
    assert (got.path, got.body, got.header("Cookie")) == (f"/{SECRET}", SECRET.encode(), f"session={SECRET}")


def test_a_generator_body_is_not_consumed(scene: Scene) -> None:
    """Nothing is read of a body that is streamed, so that it can be sent to the honest server."""
    taken: list[bytes] = []

    def body() -> Iterator[bytes]:
        for chunk in (b"one", b"two"):
            taken.append(chunk)
            yield chunk

    session = session_of(scene, max_retries=3)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    generator = body()
    with pytest.raises(PinMismatchError):
        session.post(mitm.url(), data=generator)
    assert taken == []
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.post(server.url(), data=generator).status_code == 200
    assert server.requests[0].body == b"onetwo"


def test_streaming(scene: Scene) -> None:
    """A response that is to be streamed is not even asked for."""
    session = session_of(scene)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), stream=True)
    assert scene.toll(mitm) == (1, 1, 0)
    with session.get(server.url(), stream=True) as response:
        assert b"".join(response.iter_content(1)) == b"ok"


def test_prepared_request(scene: Scene) -> None:
    """A request that was prepared by hand goes the same way."""
    session = session_of(scene)
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    for method in ("GET", "POST"):
        prepared = requests.Request(method, mitm.url(), auth=("user", SECRET)).prepare()
        with pytest.raises(PinMismatchError) as caught:
            session.send(prepared, verify=scene.bundle)
        assert caught.value.request is prepared
    assert scene.toll(mitm) == (2, 2, 0)
    prepared = requests.Request("GET", server.url()).prepare()
    assert session.send(prepared, verify=scene.bundle).status_code == 200


def test_redirect_to_the_attacker(scene: Scene) -> None:
    """The honest server sends its client to a man in the middle; the client goes, and says nothing there."""
    session = session_of(scene)
    mitm, twin = scene.serve(scene.attacker), scene.serve(scene.honest)
    server = scene.serve(scene.honest, handler=redirect_to(mitm))
    with pytest.raises(PinMismatchError) as caught:
        session.post(server.url(), data=SECRET, auth=("user", SECRET))
    assert caught.value.port == mitm.port
    assert scene.toll(mitm) == (1, 1, 0)

    server.handler = redirect_to(twin)
    assert session.post(server.url(), data=SECRET).url == twin.url("/stolen")
    assert twin.requests[0].body == SECRET.encode()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1"])
@pytest.mark.parametrize("unpinned_hosts", ["block", "allow"])
def test_redirect_to_plain_http(scene: Scene, host: str, unpinned_hosts: str) -> None:
    """A downgrade by redirect is refused before a connection is made; of unpinned hosts only where they are blocked."""
    plain = scene.serve(None)
    server = scene.serve(
        scene.honest, handler={"/": Response(302, (("Location", plain.url("/", host)),)), "/there": b"ok"}
    )
    session = session_of(scene, unpinned_hosts=unpinned_hosts)
    if unpinned_hosts == "allow" and host == "127.0.0.1":
        assert session.get(server.url()).text == "ok"
        return
    with pytest.raises(InsecureURLError):
        session.get(server.url(), auth=("user", SECRET))
    with pytest.raises(InsecureURLError):
        session.get(plain.url("/", host))
    assert plain.connections == 0
    assert session.get(server.url("/there")).text == "ok"


def test_report_only_reports_once_a_handshake(scene: Scene) -> None:
    """The requests go on; each new connection is reported once, however many requests it carries."""
    reports: list[ViolationReport] = []
    session: PinnedSession = scene.pinned(
        Pin.from_certificate(scene.honest.certificate), report_only=True, options={"on_violation": reports.append}
    )
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    for _ in range(3):
        assert session.get(mitm.url()).text == "ok"
    assert [(each.host, each.port, each.report_only) for each in reports] == [("localhost", mitm.port, True)]
    assert [seen.spki_pin for seen in reports[0].chain] == list(map(Pin.from_certificate, scene.attacker.chain))
    session.get(mitm.url(), headers={"Connection": "close"})
    assert session.get(mitm.url()).text == "ok"
    assert len(reports) == scene.toll(mitm).handshakes == 2

    assert session.get(server.url()).text == "ok"
    assert len(reports) == 2


@pytest.mark.parametrize("report_only", [False, True], ids=["enforced", "report-only"])
@pytest.mark.parametrize("answer", [True, ValueError("mine"), OSError("mine"), ssl.SSLError("mine")], ids=repr)
def test_what_the_callback_does_changes_nothing(scene: Scene, answer: object, *, report_only: bool) -> None:
    """A callback is told of a decision: what it raises or returns makes it no other one."""
    reports: list[ViolationReport] = []

    def on_violation(report: ViolationReport) -> object:
        reports.append(report)
        if isinstance(answer, Exception):
            raise answer
        return answer

    session: PinnedSession = scene.pinned(
        Pin.from_certificate(scene.honest.certificate), report_only=report_only, options={"on_violation": on_violation}
    )
    mitm = scene.serve(scene.attacker)
    if report_only:
        assert session.get(mitm.url()).text == "ok"
        assert scene.toll(mitm)[:2] == (1, 1)
    else:
        with pytest.raises(PinMismatchError):
            session.get(mitm.url())
        assert scene.toll(mitm) == (1, 1, 0)
    assert len(reports) == 1


def test_the_report_is_logged_without_the_request(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """The log has what the error has, and nothing of path, query, headers or body."""
    mitm = scene.serve(scene.attacker)
    with pytest.raises(PinMismatchError) as caught:
        session_of(scene).post(mitm.url(f"/{SECRET}?{SECRET}"), data=SECRET, auth=("user", SECRET))
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("pinned_requests")]
    assert ours == [str(caught.value)]
    assert SECRET not in ours[0]

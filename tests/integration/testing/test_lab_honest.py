"""The honest server answers as the legitimate one would, with keys that a client can pin, and can change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
import requests

from pinned_requests import PinMismatchError, PinnedSession
from pinned_requests.testing import HonestServer, MITMLab, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HOST = "api.example.com"
URL = f"https://{HOST}/things"


def pinned(server: HonestServer) -> PinnedSession:
    """A session that is pinned to an honest server's keys."""
    return PinnedSession({HOST: {"pins": server.pins, "backup_pins": server.backup_pins}})


def test_a_mapping_of_paths(mitm_lab: MITMLab) -> None:
    """Text, bytes and whole responses are answered; other paths are not found."""
    pages: dict[str, Response | bytes | str] = {
        "/text": "text",
        "/bytes": b"bytes",
        "/teapot": Response(418, (("X-Kind", "short and stout"),), b"tea"),
    }
    with mitm_lab.honest(HOST, pages):
        assert requests.get(f"https://{HOST}/text?query", timeout=5).text == "text"
        assert requests.get(f"https://{HOST}:8443/bytes", timeout=5).content == b"bytes"
        teapot = requests.get(f"https://{HOST}/teapot", timeout=5)
        assert (teapot.status_code, teapot.headers["X-Kind"], teapot.text) == (418, "short and stout", "tea")
        assert requests.get(URL, timeout=5).status_code == 404


def test_a_wsgi_application(mitm_lab: MITMLab) -> None:
    """It gets what PEP 3333 promises, and its answer is the answer."""
    seen: dict[str, Any] = {}

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.update(environ, body=environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("201 Created", [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [b"made ", b"it"]

    with mitm_lab.honest(HOST, validator(application)):
        url = f"https://{HOST}:8443/caf%C3%A9/x?a=b&c"
        response = requests.post(url, b"payload", headers={"X-Extra": "1", "Content-Type": "a/b"}, timeout=5)
    assert (response.status_code, response.content) == (201, b"made it")
    assert response.cookies.get_dict() == {"a": "1", "b": "2"}
    expected = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/caf\xc3\xa9/x",
        "QUERY_STRING": "a=b&c",
        "SERVER_NAME": HOST,
        "SERVER_PORT": "8443",
        "CONTENT_TYPE": "a/b",
        "HTTP_X_EXTRA": "1",
        "HTTP_HOST": f"{HOST}:8443",
        "wsgi.url_scheme": "https",
        "body": b"payload",
    }
    assert {name: seen[name] for name in expected} == expected


def test_a_wsgi_application_over_http(mitm_lab: MITMLab) -> None:
    """The server answers in the clear as well, and the application is told."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(f"{environ['wsgi.url_scheme']} {environ['SERVER_NAME']} {environ['SERVER_PORT']}".encode())
        return []

    with mitm_lab.honest("2001:db8::1", application):
        assert requests.get("http://[2001:db8::1]/", timeout=5).text == "http [2001:db8::1] 80"


def test_an_application_that_fails(mitm_lab: MITMLab) -> None:
    """Its exception is status 500."""

    def application(_environ: dict[str, Any], _start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise RuntimeError("broken")

    with mitm_lab.honest(HOST, application):
        response = requests.get(URL, timeout=5)
    assert (response.status_code, "broken" in response.text) == (500, True)


def test_what_is_no_application(mitm_lab: MITMLab) -> None:
    """It is refused at once."""
    with pytest.raises(TypeError, match="WSGI"):
        mitm_lab.honest(HOST, "hello")  # type: ignore[arg-type]  # what is tested


def test_the_default_answer(mitm_lab: MITMLab) -> None:
    """Without a handler it is an empty JSON object, from the honest server and from an attacker."""
    for site in (mitm_lab.honest(HOST), mitm_lab.impersonate(HOST)):
        with site:
            assert requests.get(URL, timeout=5).json() == {}
        assert [request.path for request in site.requests] == ["/things"]


def test_pins_stay(mitm_lab: MITMLab) -> None:
    """A host has the same keys in every block of one lab, and other hosts have others."""
    first, second, other = mitm_lab.honest(HOST), mitm_lab.honest(f"{HOST}."), mitm_lab.honest("other.example")
    assert (first.pins, first.backup_pins) == (second.pins, second.backup_pins)
    assert (first.fingerprints, first.ca_pins) == (second.fingerprints, second.ca_pins)
    pins = [*first.pins, *first.backup_pins, *other.pins, *other.backup_pins, *mitm_lab.blocked_pins, *first.ca_pins]
    assert len(set(pins)) == 12


def test_rotation_to_the_backup_key(mitm_lab: MITMLab) -> None:
    """A pinned client goes on, over a new connection."""
    with mitm_lab.honest(HOST) as server, pinned(server) as session:
        pins = server.pins
        assert session.check(URL).pin == pins[0]
        assert session.get(URL, timeout=5).ok
        server.rotate()
        assert session.get(URL, timeout=5).ok
        assert session.check(URL).pin == server.backup_pins[0]
        assert server.pins == pins


def test_rotation_to_an_unknown_key(mitm_lab: MITMLab) -> None:
    """A pinned client refuses, though the certificate is from the same CA."""
    with mitm_lab.honest(HOST) as server, pinned(server) as session:
        assert session.get(URL, timeout=5).ok
        server.rotate("unknown")
        with pytest.raises(PinMismatchError):
            session.get(URL, timeout=5)
        assert requests.get(URL, timeout=5).ok


def test_rotation_to_something_else(mitm_lab: MITMLab) -> None:
    """There are two kinds of keys to rotate to."""
    with mitm_lab.honest(HOST) as server, pytest.raises(ValueError, match="'backup' or 'unknown'"):
        server.rotate("other")  # type: ignore[arg-type]  # what is tested

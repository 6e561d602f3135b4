"""A refused redirect says which host sent it, and nothing of the path or the query."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
import requests

from pinned_requests import InsecureURLError, PinMismatchError, PinnedSession, UnpinnedHostError
from pinned_requests.testing import Response

if TYPE_CHECKING:
    from support.lab import Lab


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("http://127.0.0.1:{port}/", InsecureURLError),
        ("https://other.example.com/", UnpinnedHostError),
        ("https://127.0.0.1:{port}/", PinMismatchError),
    ],
)
def test_a_refused_redirect(target: str, error: type[Exception], lab: Lab) -> None:
    """Whatever refuses it; the error still pickles, and the session is still usable."""
    attacker = lab.serve(lab.attacker)
    location = target.format(port=attacker.port)
    server = lab.serve(lab.honest, handler=lambda _: Response(302, headers=(("Location", location),)))
    session = lab.trusting(PinnedSession({**lab.pins, "127.0.0.1": lab.pins["localhost"]}))
    with pytest.raises(error) as refused:
        session.get(server.url("/secret?token=s3cret"))
    said = str(refused.value)
    assert said.splitlines()[-1] == f"  Redirected from https://localhost:{server.port}."
    assert "s3cret" not in said
    assert str(pickle.loads(pickle.dumps(refused.value))) == said  # noqa: S301  our own
    assert attacker.application_bytes == 0
    assert session.get(server.url(), allow_redirects=False).status_code == 302


def test_a_redirect_that_is_followed(lab: Lab) -> None:
    """It is as in requests, also step by step."""
    last = lab.serve(lab.honest)
    server = lab.serve(lab.honest, handler=lambda _: Response(302, headers=(("Location", last.url()),)))
    session = lab.trusting(PinnedSession(lab.pins))
    answer = session.get(server.url())
    assert (answer.status_code, [each.status_code for each in answer.history]) == (200, [302])
    first = session.get(server.url(), allow_redirects=False)
    assert first.next is not None
    assert first.next.url == last.url()
    assert [each.url for each in session.resolve_redirects(first, first.request, verify=lab.bundle)] == [last.url()]


@pytest.mark.parametrize("way", ["class", "object", "requests"])
def test_what_is_a_redirect_can_be_said_by_others(way: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their method is called as often as requests calls it, and what it finds is followed."""
    asked: list[int] = []
    last = lab.serve(lab.honest)
    server = lab.serve(lab.honest, handler=lambda _: Response(200, headers=(("X-Go-To", last.url()),)))

    def find(response: requests.Response) -> str | None:
        asked.append(response.status_code)
        where: str | None = response.headers.get("X-Go-To")
        return where

    def follow(session: requests.Session) -> None:
        if way == "class":
            overriding = type("Overriding", (type(session),), {"get_redirect_target": staticmethod(find)})
            session.__class__ = overriding
        elif way == "object":
            monkeypatch.setattr(session, "get_redirect_target", find)
        answer = session.get(server.url())
        assert (answer.url, len(answer.history)) == (last.url(), 1)

    if way == "requests":
        monkeypatch.setattr("requests.Session.get_redirect_target", staticmethod(find))
    follow(lab.trusting(PinnedSession(lab.pins)))
    pinned, asked[:] = asked[:], []
    follow(lab.trusting(requests.Session()))
    assert pinned == asked

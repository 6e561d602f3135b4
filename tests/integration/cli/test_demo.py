"""The demonstration says how it went by its exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest
import requests

from pinned_requests import PinnedSession
from pinned_requests.cli import demo as demo_module
from pinned_requests.cli import main


def test_demo_as_a_command() -> None:
    """It shows the fooled client, the refusal and the count of bytes, and ends with 0."""
    run = subprocess.run(
        [sys.executable, "-m", "pinned_requests", "demo"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "requests.Session → attacker: answered" in run.stdout
    assert "the token among them" in run.stdout
    assert "PinnedSession → attacker: refused" in run.stdout
    assert "The attacker got 0 bytes" in run.stdout
    assert "holds none of its pins" in run.stdout
    assert "(backup)" in run.stdout


class Unpinned(requests.Session):
    """What a `PinnedSession` would be without the check."""

    def __init__(self, _pins: object) -> None:
        super().__init__()


class Refusing(PinnedSession):
    """One that refuses the honest server too."""

    def get(self, *_args: object, **_kwargs: object) -> requests.Response:
        """Answer as a server that is not well."""
        response = requests.Response()
        response.status_code = 500
        return response


@pytest.mark.parametrize("session", [Unpinned, Refusing])
def test_demo_fails_where_pinning_does(session: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exit code of 0 is not given for free."""
    monkeypatch.setattr(demo_module, "PinnedSession", session)
    assert main(["demo"]) == 1


def test_demo_fails_where_requests_is_not_fooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where the attack it shows did not take place."""
    monkeypatch.setattr(requests.Session, "get", lambda *_args, **_kwargs: Refusing.get(None))  # type: ignore[arg-type]  # it does not read it
    assert main(["demo"]) == 1

"""The lab of the integration tests: certificates, a CA bundle and servers that end with the test."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pinned_requests import Pin
from pinned_requests.testing import Authority, Credential, TLSServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Certificates(NamedTuple):
    """Made once for all tests."""

    root: Authority  # the one root that the client trusts
    honest: Credential
    attacker: Credential  # for the same names, from the same root
    backup: Pin  # of a key that nobody presents
    bundle: str  # path


class Lab:
    """The certificates, and what is open during one test."""

    def __init__(self, certificates: Certificates, opened: contextlib.ExitStack) -> None:
        self.root, self.honest, self.attacker, self.backup, self.bundle = certificates
        self._opened = opened

    @property
    def pins(self) -> dict[str, list[Pin]]:
        """What pins the honest server's key."""
        return {"localhost": [Pin.from_certificate(self.honest.certificate), self.backup]}

    def serve(self, credential: Credential | None, **options: Any) -> TLSServer:
        """Start a server; None for plain HTTP."""
        return self._opened.enter_context(TLSServer(credential, **options))

    def trusting(self, session: Any) -> Any:
        """Let a session of any kind trust the root, and close it after the test."""
        session.verify = self.bundle
        return self._opened.enter_context(session)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make the certificates."""
    root = Authority.create()
    bundle = tmp_path_factory.mktemp("bundle") / "ca.pem"
    bundle.write_bytes(root.certificate_pem)
    return Certificates(
        root,
        root.intermediate().issue("localhost", "127.0.0.1"),
        root.intermediate("Careless CA").issue("localhost", "127.0.0.1"),
        Pin.from_certificate(root.issue("backup.example.com").certificate),
        str(bundle),
    )


@pytest.fixture
def lab(certificates: Certificates) -> Iterator[Lab]:
    """Open the lab for one test; all that is open is closed afterwards, the sessions first."""
    with contextlib.ExitStack() as opened:
        yield Lab(certificates, opened)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium (`tests/support/chromium.py`); without one the test is skipped.

    Continuous integration installs it for its default Python alone, where its absence is a failure.
    """
    path = Path(__file__).parents[1] / "support" / "chromium.py"
    spec = importlib.util.spec_from_file_location("chromium", path)
    assert spec is not None
    assert spec.loader is not None
    chromium = sys.modules["chromium"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chromium)
    if chromium.CHROMIUM is None:
        reason = "Chromium is not installed (Debian: apt-get install chromium)"
        (pytest.fail if "CI" in os.environ and sys.version_info < (3, 14) else pytest.skip)(reason)
    with chromium.Chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened

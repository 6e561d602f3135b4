"""The lab of the integration tests: certificates, a CA bundle and servers that end with the test."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import pytest

from support.chromium import CHROMIUM, Chromium
from support.lab import Certificates, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make the certificates."""
    return Certificates.create(tmp_path_factory.mktemp("bundles"), "localhost", "127.0.0.1")


@pytest.fixture
def lab(certificates: Certificates) -> Iterator[Lab]:
    """Open the lab for one test; all that is open is closed afterwards, the sessions first."""
    with contextlib.ExitStack() as opened:
        yield Lab(certificates, opened)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A headless Chromium; without one the test is skipped.

    Continuous integration installs it for its default Python alone, where its absence is a failure.
    """
    if CHROMIUM is None:
        reason = "Chromium is not installed (Debian: apt-get install chromium)"
        (pytest.fail if "CI" in os.environ and sys.version_info < (3, 14) else pytest.skip)(reason)
    with Chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened

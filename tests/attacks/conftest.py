"""The scene of the attacks, and a proxy."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from support.lab import Certificates
from support.proxy import Proxy
from support.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = ("localhost", "127.0.0.1", "::1", "api.example.com", "xn--bcher-kva.example", "other.example.com")


@pytest.fixture(scope="session")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make the certificates."""
    return Certificates.create(tmp_path_factory.mktemp("bundles"), *NAMES)


@pytest.fixture
def scene(cast: Certificates) -> Iterator[Scene]:
    """Set the scene for one test; all that it opens is closed afterwards, the sessions first."""
    with contextlib.ExitStack() as opened:
        yield Scene(cast, opened)


@pytest.fixture(scope="session")
def proxy(start_proxy: Callable[..., int]) -> Proxy:
    """proxy.py with basic authentication."""
    proxy = Proxy(0)
    return proxy._replace(port=start_proxy("--basic-auth", f"{proxy.user}:{proxy.password}"))

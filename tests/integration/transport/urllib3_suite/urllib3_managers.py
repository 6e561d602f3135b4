"""A pytest plugin for urllib3's own test-suite, which pins the managers that its tests use.

With the variable `PINNED_MANAGERS` set, `PoolManager` and `ProxyManager` are pinned ones; the policy pins none of the
hosts in the tests. Without it they are urllib3's, for comparison.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import dummyserver.asgi_proxy
import dummyserver.hypercornserver
import pytest
import urllib3
import urllib3.poolmanager

from pinned_requests import PinnedPoolManager, PinnedProxyManager, PinPolicy, PinSet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

POLICY = PinPolicy({"unrelated.test": PinSet.exempt()}, unpinned_hosts="allow")
made: list[str] = []


class PoolManager(PinnedPoolManager):
    """A pinned manager with the arguments of urllib3's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        made.append(type(self).__name__)
        super().__init__(POLICY, *args, **kwargs)


class ProxyManager(PinnedProxyManager):
    """A pinned manager with the arguments of urllib3's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        made.append(type(self).__name__)
        super().__init__(POLICY, *args, **kwargs)


@pytest.fixture(scope="session", autouse=True)
def _count(record_testsuite_property: Callable[[str, object], None]) -> Iterator[None]:
    """Record how many pinned managers the tests made."""
    yield
    record_testsuite_property("pinned_managers", len(made))


def _with_stream(connect: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Provide the stream of a connection to the proxy in urllib3's tests.

    The proxy expects it in an extension that only urllib3's own fork of hypercorn has, which is not on PyPI.
    """

    async def connect_with_stream(self: object, scope: dict[str, Any], send: Any) -> None:
        protocol = send.__self__.send.__self__
        scope["extensions"]["_transport"] = protocol.send.__self__.stream
        await connect(self, scope, send)

    return connect_with_stream


dummyserver.asgi_proxy.ProxyApp.connect = _with_stream(dummyserver.asgi_proxy.ProxyApp.connect)
dummyserver.hypercornserver.Config.graceful_timeout = 0.1  # seconds; by default each server takes 3 to end
if "PINNED_MANAGERS" in os.environ:
    # Before the tests are imported, so that all names of theirs are these.
    for module in (urllib3, urllib3.poolmanager):
        setattr(module, "PoolManager", PoolManager)  # noqa: B010  urllib3 has it, its stub alone
        setattr(module, "ProxyManager", ProxyManager)  # noqa: B010  as above

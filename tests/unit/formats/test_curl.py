"""The argument of `--pinnedpubkey` of curl and wget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats import read, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinned_requests.core.pinset import PinsLike

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.core.errors.MissingBackupPinWarning")

A, B = Pin("spki", b"a" * 32), Pin("spki", b"b" * 32)
BASE64_A, BASE64_B = (str(pin).removeprefix("sha256/") for pin in (A, B))


def allowing(hosts: Mapping[str, PinsLike]) -> PinPolicy:
    """The policy of these hosts that leaves all others alone."""
    return PinPolicy(hosts, unpinned_hosts="allow")


def test_curl() -> None:
    """The pins of a host, as --pinnedpubkey takes them."""
    text, losses = write("curl", allowing({"api.example.com": [A, B]}))
    assert text == f"sha256//{BASE64_A};sha256//{BASE64_B}\n"
    assert [loss.field for loss in losses] == ["depth"]
    assert read("curl", text, host="api.example.com:8443").policy == allowing({"api.example.com:8443": [A, B]})


@pytest.mark.parametrize(
    "text",
    [
        "/etc/ssl/key.pem",
        f"sha256/{BASE64_A}",
        f"sha256//{BASE64_A};",
        f"sha256//{BASE64_A}; sha256//{BASE64_B}",
        f"sha256//{BASE64_A}\nsha256//{BASE64_B}",
        f"sha256//{BASE64_A[:-1]}",
    ],
)
def test_curl_takes_nothing_else(text: str) -> None:
    """Another spelling, a path or white space is refused."""
    with pytest.raises(PolicyError):
        read("curl", text, host="api.example.com")

"""Servers, as people name them."""

from __future__ import annotations

import pytest

from pinned_requests import PolicyError
from pinned_requests.monitoring.target import Target, read_target


@pytest.mark.parametrize(
    ("text", "target", "pattern", "url"),
    [
        ("API.Example.COM.", Target("api.example.com", 443), "api.example.com", "https://api.example.com:443/"),
        ("example.com:443", Target("example.com", 443), "example.com", "https://example.com:443/"),
        ("example.com:8443", Target("example.com", 8443), "example.com:8443", "https://example.com:8443/"),
        ("127.1", Target("127.0.0.1", 443), "127.0.0.1", "https://127.0.0.1:443/"),
        ("[2001:DB8::1]:8443", Target("2001:db8::1", 8443), "[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ("2001:db8::1", Target("2001:db8::1", 443), "[2001:db8::1]", "https://[2001:db8::1]:443/"),
        ("bücher.example", Target("xn--bcher-kva.example", 443), "xn--bcher-kva.example", None),
    ],
)
def test_targets(text: str, target: Target, pattern: str, url: str | None) -> None:
    """A server is named as its host is compared, with its port."""
    assert read_target(text) == target
    assert target.pattern == pattern
    assert url is None or target.url == url


@pytest.mark.parametrize("text", ["", "a b", "https://example.com", "example.com:0", "example.com:https", "a..b"])
def test_an_invalid_target(text: str) -> None:
    """Text that names no server is an error."""
    with pytest.raises(PolicyError):
        read_target(text)


@pytest.mark.parametrize("text", ["*.example.com", "**.example.com:8443"])
def test_a_pattern_is_not_a_target(text: str) -> None:
    """A pattern names no server."""
    with pytest.raises(PolicyError):
        read_target(text)

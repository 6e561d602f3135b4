"""`origins_of()`: the host of a URL, as each parser reads it that may connect."""

from __future__ import annotations

import pytest

from pinned_requests.transport.origin import origins_of

NOWHERE = ("", "", None)


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("https://api.example.com/x?y#z", [("https", "api.example.com", 443)]),
        ("HTTPS://User@API.example.com:8443/", [("https", "api.example.com", 8443)]),
        ("http://[2001:db8::1]/", [("http", "2001:db8::1", 80)]),
        ("https://pinned.test\\@free.test/", [("https", "free.test", 443), ("https", "pinned.test", 443)]),
        ("http://x[@pinned.test/", [NOWHERE, ("http", "pinned.test", 80)]),
        ("api.example.com/secret", [("http", "", 80), ("http", "api.example.com", 80)]),
        ("https://localhost:99999/", [NOWHERE]),
        (None, [("http", "", 80)]),
        (b"https://api.example.com/", [("http", "", 80)]),
    ],
)
def test_origins(url: object, origins: list[object]) -> None:
    """One origin if both parsers agree; one that no policy admits for a URL that cannot be read."""
    assert list(origins_of(url)) == origins

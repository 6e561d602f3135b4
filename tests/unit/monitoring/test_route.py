"""Routes: addresses that are given for servers."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from pinned_requests import PolicyError
from pinned_requests.monitoring.route import Route, read_connect_to
from pinned_requests.monitoring.target import RouteError, Target
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from pathlib import Path


def test_addresses_for_servers() -> None:
    """`HOST:PORT:ADDRESS`, of both families, as curl's `--connect-to`."""
    assert read_connect_to(
        ["API.example.com:443:192.0.2.1", "api.example.com:8443:[2001:DB8::1]", "[2001:db8::2]:443:192.0.2.3"]
    ) == {
        Target("api.example.com", 443): ("192.0.2.1",),
        Target("api.example.com", 8443): ("2001:db8::1",),
        Target("2001:db8::2", 443): ("192.0.2.3",),
    }


def test_several_addresses_for_a_server() -> None:
    """Each counts once, in the order given."""
    given = ["a.example.com:443:192.0.2.2", "a.example.com:443:192.0.2.1", "A.example.com:443:192.0.2.2"]
    assert read_connect_to(given) == {Target("a.example.com", 443): ("192.0.2.2", "192.0.2.1")}


@pytest.mark.parametrize(
    "text",
    [
        *("", "api.example.com", "api.example.com:443", "api.example.com:443:", "api.example.com:192.0.2.1"),
        *("api.example.com:443:other.example.com", "*.example.com:443:192.0.2.1", "a:b:443:192.0.2.1"),
        ":443:192.0.2.1",
    ],
)
def test_an_invalid_address_for_a_server(text: str) -> None:
    """Another form is an error: a misspelt address must not send the check to the usual server."""
    with pytest.raises(PolicyError):
        read_connect_to([text])


@pytest.mark.parametrize(
    "proxy", ["ftp://user:s3cret@proxy", "http://s3cret@", "http://s3cret@proxy:0", "http://s3cret@[::1"]
)
def test_an_invalid_proxy(proxy: str) -> None:
    """The error does not show it: it may hold a password."""
    with pytest.raises(RouteError) as raised:
        Route(proxy=proxy).proxies(Target("api.example.com"))
    assert "proxy.example.com:3128" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_the_authorities_are_read_once(tmp_path: Path) -> None:
    """All handshakes of a route have one context, also when the bundle changes meanwhile; another route reads it."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Authority.create("One").certificate_pem)
    route = Route(ca_bundle=str(bundle)).check()
    before = route.loan.context
    bundle.write_bytes(Authority.create("Another, with a longer name").certificate_pem)
    assert route.loan.context is before
    assert Route(ca_bundle=str(bundle)).check().loan.context is not before


def test_without_verification(tmp_path: Path) -> None:
    """It has a context of its own, and vouches for no chain; the route that it was made of still verifies."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Authority.create("One").certificate_pem)
    route = Route(ca_bundle=str(bundle)).check()
    assert (route.loan.context.verify_mode, route.loan.vouches()) == (ssl.CERT_REQUIRED, True)
    lax = route.without_verification()
    assert (lax.loan.context.verify_mode, lax.loan.vouches()) == (ssl.CERT_NONE, False)
    assert route.loan.vouches()


@pytest.mark.parametrize("content", [None, "no certificates"])
def test_an_invalid_bundle(tmp_path: Path, content: str | None) -> None:
    """A bundle that is not there, or without certificates, is an error before any host is asked."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(RouteError, match=r"ca\.pem"):
        Route(ca_bundle=str(bundle)).check()

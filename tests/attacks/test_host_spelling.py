"""One host, many spellings: with `unpinned_hosts="allow"` none of them leads to a pinned host past its pins.

Rules for the next maintainer:

- The attacker has a certificate that the client accepts, or nothing is verified: only the pins stand in the way.
- Each spelling is first shown to lead to the attacker, by a session without pins; or it is one that never gets there.
- The name lookup is the only thing that is put in place of the real one, so that names and port 443 lead to loopback.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3

from pinned_requests import Pin, PinMismatchError, PinnedAdapter, PinnedPoolManager, PinnedSession, PinPolicy
from pinned_requests.testing import Response, TLSServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scene import Scene

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

SECRET = {"Authorization": "Bearer the-secret-of-the-request"}
LOOPBACK6 = socket.has_ipv6 and Path("/proc/net/if_inet6").is_file()
needs_ipv6 = pytest.mark.skipif(not LOOPBACK6, reason="this machine has no IPv6")

# Pattern in the policy, the plain spelling, and another one. None has a port: it is 443, which leads to the attacker.
NAMES = [
    ("api.example.com", "API.EXAMPLE.COM"),
    ("api.example.com", "Api.Example.Com"),
    ("api.example.com", "api.example.com."),
    ("api.example.com", "API.example.COM."),
    ("api.example.com", "api.example.com.."),
    ("api.example.com", "api.example.com..."),
    ("api.example.com", "user@api.example.com"),
    ("api.example.com", "user:password@api.example.com"),
    ("api.example.com", "other.example.com@api.example.com"),
    ("api.example.com", "other.example.com%40@api.example.com"),
    ("api.example.com", "other.example.com:443@api.example.com"),
    ("api.example.com", "%61pi.example.com"),
    ("api.example.com", "api%2eexample%2ecom"),
    ("api.example.com", "api%2Eexample.com%2e"),
    ("api.example.com", "%41PI.example.com"),
    ("api.example.com", "api。example。com"),  # the ideographic full stop
    ("api.example.com", "api．example｡com"),  # noqa: RUF001  the full-width and the half-width ideographic one
    ("api.example.com", "ａｐｉ.example.com"),  # noqa: RUF001  full-width letters
    ("api.example.com", "\u24d0pi.example.com"),  # a letter in a circle
    ("api.example.com", "ap\u00adi.example.com"),  # a soft hyphen, which is mapped to nothing
    ("api.example.com", "api.example.com:443"),
    ("api.example.com", "api.example.com:0443"),
    ("api.example.com", "api.example.com:"),
    ("API.Example.COM", "api.example.com"),
    ("api.example.com:443", "api.example.com"),
    ("api.example.com:443", "API.example.com.:443"),
    ("*.example.com", "API.Example.com."),
    ("**.example.com", "other.API.Example.com.."),
    ("**.example.com", "EXAMPLE.com."),
    ("bücher.example", "xn--bcher-kva.example"),
    ("bücher.example", "XN--BCHER-KVA.example."),
    ("bücher.example", "BÜCHER.example"),
    ("bücher.example", "bu\u0308cher.example"),  # decomposed
    ("xn--bcher-kva.example", "bücher.example"),
    ("xn--bcher-kva.example", "b%C3%BCcher.example"),
    ("127.0.0.1", "127.1"),
    ("127.0.0.1", "127.0.1"),
    ("127.0.0.1", "0x7f.1"),
    ("127.0.0.1", "0X7F.0x1"),
    ("127.0.0.1", "0x7f000001"),
    ("127.0.0.1", "2130706433"),
    ("127.0.0.1", "0177.0.0.1"),
    ("127.0.0.1", "017700000001"),
    ("127.0.0.1", "127.0.0.01"),
    ("127.0.0.1", "127.0.0.1."),
    ("127.0.0.1", "127%2e0.0.1"),
    ("127.0.0.1", "１２７.0.0.1"),  # noqa: RUF001  full-width digits
    pytest.param("127.0.0.1", "[::ffff:127.0.0.1]", marks=needs_ipv6),
    pytest.param("127.0.0.1", "[::ffff:7f00:1]", marks=needs_ipv6),
    pytest.param("127.0.0.1", "[0:0:0:0:0:FFFF:7F00:0001]", marks=needs_ipv6),
    pytest.param("[::1]", "[0:0:0:0:0:0:0:1]", marks=needs_ipv6),
    pytest.param("[::1]", "[0000::0001]", marks=needs_ipv6),
    pytest.param("[::1]", "[::0.0.0.1]", marks=needs_ipv6),
    pytest.param("[::1]", "[::1%25lo]", marks=needs_ipv6),
    pytest.param("[::1]", "[::1%lo]", marks=needs_ipv6),
    pytest.param("::1", "[::1]:443", marks=needs_ipv6),
]

# Refused by urllib3, idna or the resolver, in these versions or in others: they may come to lead there.
NOT_REACHED = {
    *("api.example.com..", "api.example.com...", "other.API.Example.com.."),  # empty labels
    *("api。example。com", "api．example｡com", "ａｐｉ.example.com", "\u24d0pi.example.com"),  # noqa: RUF001  as above
    *("ap\u00adi.example.com", "bu\u0308cher.example", "１２７.0.0.1"),  # noqa: RUF001  as above
    *("127.0.0.1.", "[::1%25lo]", "[::1%lo]"),
}

# URLs that are put into a prepared request by hand, where nothing has tidied them. These lead to the attacker, who sits
# where api.example.com leads.
HAND_MADE = [
    "HTTPS://api.example.com/",
    "hTTpS://API.example.com/",
    "https://API.EXAMPLE.COM./",
    "https://user:password@api.example.com/",
    "https://other.example.org@api.example.com/",
    "https://other.example.org\\@api.example.com/",
    "https://api.example.com:443@api.example.com/",
    "https://api%2eexample.com/",
    "https://api.example.com#@other.example.org/",
    "https://api.example.com?@other.example.org/",
    "https://api.exa\tmple.com/",
    "https://api.example.com\n/",
    "https://api.example.com:00443/",
]
# These lead to another host, which does not exist, or nowhere.
HAND_MADE_ASTRAY = [
    "https://api.example.com\\@other.example.org/",
    "https:\\\\api.example.com/",
    "https:/\\api.example.com/",
    "https:///api.example.com/",
    " https://api.example.com/",
    "https://ａpi.example.com/",  # noqa: RUF001  a full-width letter
]


@pytest.fixture
def led_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[TLSServer], None]:
    """A function that leads the names of these tests, and port 443 of loopback, to a server."""
    genuine = socket.getaddrinfo

    def lead(server: TLSServer) -> None:
        def getaddrinfo(host: str | bytes, port: int | None, *args: Any, **kwargs: Any) -> object:
            name = (host.decode() if isinstance(host, bytes) else host).lower().rstrip(".")
            if name.endswith((".example", "example.com")):
                host = server.host
            return genuine(host, server.port if port == 443 else port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return lead


def host_of(pattern: str) -> str:
    """Return where a server for the pattern listens."""
    return "::1" if pattern in ("::1", "[::1]") else "127.0.0.1"


def plain_spelling(pattern: str) -> str:
    """Return a URL of a host that the pattern matches, as people write it."""
    host = pattern.replace("**", "api").replace("*", "api").removesuffix(":443")
    return f"https://{'[::1]' if host == '::1' else host}/"


def policy_of(scene: Scene, pattern: str) -> PinPolicy:
    """Pin the honest server's key for a pattern, and allow all other hosts."""
    pins = [Pin.from_certificate(scene.honest.certificate), scene.backup]
    return PinPolicy({pattern: pins}, unpinned_hosts="allow")


def get_by_session(scene: Scene, policy: PinPolicy, url: str, *, verify: bool) -> int:
    """Send a GET request on a `PinnedSession`."""
    session = scene.trusting(PinnedSession(policy))
    return int(session.get(url, headers=SECRET, verify=verify and None).status_code)


def get_by_adapter(scene: Scene, policy: PinPolicy, url: str, *, verify: bool) -> int:
    """Send a GET request on a plain session with a `PinnedAdapter`."""
    session = scene.trusting(requests.Session())
    session.mount("https://", PinnedAdapter(policy))
    session.mount("http://", PinnedAdapter(policy))
    return int(session.get(url, headers=SECRET, verify=verify and None).status_code)


def get_by_pool_manager(scene: Scene, policy: PinPolicy, url: str, *, verify: bool) -> int:
    """Send a GET request on a `PinnedPoolManager`."""
    settings: dict[str, Any] = {"ca_certs": scene.bundle} if verify else {"cert_reqs": "CERT_NONE"}
    with PinnedPoolManager(policy, retries=False, **settings) as manager:
        return manager.request("GET", url, headers=SECRET).status


WAYS = pytest.mark.parametrize("get", [get_by_session, get_by_adapter, get_by_pool_manager])
ERRORS = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, UnicodeError, ValueError)


@WAYS
@pytest.mark.parametrize(("pattern", "spelling"), NAMES)
def test_another_spelling_of_a_pinned_host(
    scene: Scene, led_to: Callable[[TLSServer], None], pattern: str, spelling: str, get: Callable[..., int]
) -> None:
    """The attacker sits where the name leads, and the client, or a redirect, spells that name otherwise."""
    mitm = scene.serve(scene.attacker, host=host_of(pattern))
    led_to(mitm)
    for verify in (False, True):
        with pytest.raises(ERRORS):
            get(scene, policy_of(scene, pattern), f"https://{spelling}/", verify=verify)
        assert scene.toll(mitm).application_bytes == 0

    server = scene.serve(scene.honest, host=host_of(pattern))
    led_to(server)
    assert get(scene, policy_of(scene, pattern), plain_spelling(pattern), verify=False) == 200
    assert len(server.requests) == 1


def test_these_spellings_lead_to_the_attacker(scene: Scene, led_to: Callable[[TLSServer], None]) -> None:
    """The test above is not empty: without a pin nearly all these spellings bring the request to the attacker."""
    astray: list[str] = []
    names: list[Any] = [getattr(entry, "values", entry) for entry in NAMES]
    for pattern, spelling in names:
        if host_of(pattern) == "::1" and not LOOPBACK6:
            continue
        with TLSServer(scene.attacker, host=host_of(pattern)) as mitm:
            led_to(mitm)
            try:
                requests.get(f"https://{spelling}/", verify=False, timeout=10)
            except ERRORS:
                astray.append(spelling)
            assert (scene.toll(mitm).application_bytes > 0) is (spelling not in astray)
    assert set(astray) <= NOT_REACHED


@pytest.mark.parametrize("url", [*HAND_MADE, *HAND_MADE_ASTRAY])
@pytest.mark.parametrize("kind", ["session", "adapter"])
def test_prepared_request_with_a_url_of_another_spelling(
    scene: Scene, led_to: Callable[[TLSServer], None], url: str, kind: str
) -> None:
    """A prepared request carries a URL that two parsers may read differently; the connection decides."""
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    policy = policy_of(scene, "api.example.com")
    session = scene.trusting(PinnedSession(policy) if kind == "session" else requests.Session())
    if kind == "adapter":
        session.mount("https://", PinnedAdapter(policy))
        session.mount("http://", PinnedAdapter(policy))
    prepared = requests.Request("GET", "https://api.example.com/", headers=SECRET).prepare()

    prepared.url = url
    led_to(mitm)
    if url in HAND_MADE:
        with pytest.raises(PinMismatchError):
            session.send(prepared, verify=False)
        assert scene.toll(mitm) == (1, 1, 0)
    else:
        with pytest.raises(requests.exceptions.RequestException):
            session.send(prepared, verify=False)
        assert scene.toll(mitm) == (0, 0, 0)

    prepared.url = "https://api.example.com/"
    led_to(server)
    assert session.send(prepared, verify=False).status_code == 200


@pytest.mark.parametrize(
    "spelling", ["API.example.com", "api.example.com.", "user@api.example.com", "api%2eexample.com"]
)
def test_redirect_to_another_spelling(scene: Scene, led_to: Callable[[TLSServer], None], spelling: str) -> None:
    """An unpinned server redirects to the pinned host, in a spelling of its choice."""
    mitm = scene.serve(scene.attacker)
    led_to(mitm)
    redirecting = scene.serve(scene.attacker, handler={"/": Response(302, (("Location", f"https://{spelling}/"),))})
    session = scene.trusting(PinnedSession(policy_of(scene, "api.example.com")))
    with pytest.raises(PinMismatchError):
        session.get(redirecting.url(), headers=SECRET)
    assert scene.toll(mitm) == (1, 1, 0)

    server = scene.serve(scene.honest)
    led_to(server)
    assert session.get("https://api.example.com/").status_code == 200


@WAYS
def test_a_long_prefix_or_another_port_is_no_way_around(
    scene: Scene, led_to: Callable[[TLSServer], None], get: Callable[..., int]
) -> None:
    """The host alone decides: a pinned host is pinned on any port and path."""
    mitm = scene.serve(scene.attacker)
    led_to(mitm)
    policy = policy_of(scene, "api.example.com")
    for url in (mitm.url("/", "api.example.com"), "https://api.example.com/a/b/../c?https://other.example.com"):
        with pytest.raises(PinMismatchError):
            get(scene, policy, url, verify=True)
    assert scene.toll(mitm) == (2, 2, 0)
    server = scene.serve(scene.honest)
    led_to(server)
    assert get(scene, policy, "https://api.example.com/", verify=True) == 200

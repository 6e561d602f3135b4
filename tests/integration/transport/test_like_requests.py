"""With no pins, and unpinned hosts allowed, a `PinnedSession` cannot be told from a `requests.Session`.

Each test makes the same probe of both, and compares what came of it. Objects are compared by their classes and values.
"""

from __future__ import annotations

import datetime as dt
import inspect
import pickle
import socket
import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import LocationParseError

from pinned_requests import PinnedSession, PinSet, UnpinnedHostError
from pinned_requests.testing import Credential, Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinned_requests.testing import TLSServer
    from support.lab import Lab

PROXIES = {"https": "http://127.0.0.1:1"}


ResultT = TypeVar("ResultT")


def both() -> tuple[requests.Session, PinnedSession]:
    """Make one session of each kind."""
    return requests.Session(), PinnedSession({"unrelated.test": PinSet.exempt()}, unpinned_hosts="allow")


def probed(lab: Lab, probe: Callable[[Any], ResultT], *, trusts: bool = True) -> tuple[ResultT, ResultT]:
    """Return what the probe makes of a session of requests, and of ours."""
    results = []
    for session in both():
        if trusts:
            session.verify = lab.bundle
        with session:
            results.append(probe(session))
    return results[0], results[1]


def outcome(action: Callable[[], object]) -> list[Any]:
    """Return what an action gives, or the class and the causes of what it raises; and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = action()
            result = [answer.status_code, answer.text] if isinstance(answer, requests.Response) else [answer]
        except Exception as e:  # noqa: BLE001  whatever it is: the other one must raise the same
            result = []
            error: Any = e
            while isinstance(error, BaseException):
                result.append(type(error))
                reason = error.args[0] if error.args else None
                error = getattr(reason, "reason", reason)
    return [result, [(each.category, str(each.message)) for each in caught]]


def value_of(value: Any) -> Any:
    """Return a value, or its class and attributes, for comparison."""
    if isinstance(value, (HTTPAdapter, Retry)):
        return [isinstance(value, HTTPAdapter), {name: value_of(each) for name, each in vars(value).items()}]
    if isinstance(value, dict):
        return {name: value_of(each) for name, each in value.items()}
    if type(value).__module__.split(".")[0] in ("urllib3", "requests") or callable(value):
        return type(value).__name__.replace("Pinned", "")
    return value


def test_public_attributes(lab: Lab) -> None:
    """The same names, with the same values, besides `policy` and `check`; and the methods take the same arguments."""

    def names(session: requests.Session) -> set[str]:
        return {name for name in dir(session) if not name.startswith("_")} - {"policy", "check"}

    def values(session: requests.Session) -> dict[str, Any]:
        return {name: value_of(value) for name, value in vars(session).items() if name in names(session)}

    def attributes(session: requests.Session) -> dict[str, bool]:
        return {name: callable(getattr(session, name)) for name in names(session)}

    probes: list[Callable[[requests.Session], object]] = [names, attributes]
    for probe in probes:
        same, ours_too = probed(lab, probe)
        assert ours_too == same
    plain, pinned = probed(lab, values)
    adapters = [each.pop("adapters") for each in (plain, pinned)]
    assert pinned == plain
    assert list(adapters[0]) == list(adapters[1]) == ["https://", "http://"]
    for prefix in adapters[0]:
        plain_adapter, pinned_adapter = (each[prefix][1] for each in adapters)
        ours = {"pinned_by", "pinned_for_session"}
        assert {name: value for name, value in pinned_adapter.items() if name not in ours} == plain_adapter


def test_signatures() -> None:
    """Of what is public in a session and its adapters; all of it is bound methods, which other libraries look for."""
    plain, pinned = both()
    for name in ("mount", "send", "request", "get", "post", "merge_environment_settings", "close", "rebuild_auth"):
        names = [list(inspect.signature(getattr(each, name)).parameters) for each in (plain, pinned)]
        assert names[0] == names[1]
        assert inspect.ismethod(getattr(pinned, name))
    assert inspect.ismethod(pinned.get_adapter) == inspect.ismethod(plain.get_adapter)
    adapters = [each.get_adapter("https://localhost/") for each in (plain, pinned)]
    names = [list(inspect.signature(each.send).parameters) for each in adapters]
    assert [*names[0], "others"] == names[1]  # of subclasses


def test_truth_and_mounting(lab: Lab) -> None:
    """Adapters are sorted as those of requests are, keep their identity, and are found by the same rule."""

    def probe(session: requests.Session) -> Any:
        adapters = {prefix: HTTPAdapter(max_retries=2) for prefix in ("https://a", "https://abc", "HTTPS://ab", "x://")}
        for prefix, adapter in adapters.items():
            session.mount(prefix, adapter)
        found = [
            next((p for p, a in session.adapters.items() if a is session.get_adapter(url)), None)
            for url in ("https://abcd/", "https://ab/", "http://a/", "HTTPS://A/", "x://y")
        ]
        same = [session.adapters[prefix] is adapter for prefix, adapter in adapters.items()]
        return bool(session), list(session.adapters), found, same, outcome(lambda: session.get_adapter("nonsense"))

    plain, pinned = probed(lab, probe)
    assert plain == pinned


def test_what_is_sent_and_received(lab: Lab) -> None:
    """Headers in their order and case, bodies, cookies, hooks, auth, redirects, history; over as many connections."""
    pages = {
        "/": Response(headers=(("Set-Cookie", "crumb=1"), ("X-A", "b")), body=b"root"),
        "/moved": Response(302, (("Location", "/other"),)),
        "/other": Response(308, (("Location", "/"),)),
        "/loop": Response(301, (("Location", "/loop"),)),
        "/away": Response(302, (("Location", "https://127.0.0.1:1/"),)),
        "/json": Response(headers=(("Content-Type", "application/json"),), body=b'{"a": [1]}'),
        "/missing": Response(404, body=b"gone"),
    }
    servers = []

    def probe(session: requests.Session) -> Any:
        server = lab.serve(lab.honest, handler=pages)
        servers.append(server)
        called: list[str] = []
        session.hooks["response"].append(lambda r, **_: called.append(r.url.replace(str(server.port), "")))
        session.headers["X-Mine"] = "kept"
        session.params = {"p": "1"}
        session.max_redirects = 3
        results = [
            outcome(partial(session.request, method, server.url(path), **options))
            for method, path, options in (
                ("GET", "/", {}),
                ("GET", "/moved", {}),
                ("POST", "/moved", {"data": {"a": "b"}}),
                ("PUT", "/other", {"data": b"bytes"}),
                ("GET", "/moved", {"allow_redirects": False}),
                ("GET", "/loop", {}),
                ("GET", "/away", {}),
                ("GET", "/json", {"auth": ("user", "password"), "headers": {"X-Mine": None}}),
                ("HEAD", "/missing", {}),
                ("DELETE", "/missing", {"json": {"a": 1}}),
                ("POST", "/", {"data": iter([b"a", b"b"])}),
                ("POST", "/", {"files": None, "data": "é"}),
                ("GET", "/?q=a%20b#fragment", {"params": {"q": "c"}}),
                ("BREW", "/", {"cookies": {"extra": "2"}, "stream": True, "timeout": (5, 5)}),
                ("GET", "/json", {"hooks": {"response": lambda r, **_: called.append(str(r.json()))}}),
            )
        ]
        seen = [
            (r.method, r.path, [(k, v.replace(str(server.port), "")) for k, v in r.headers], r.body)
            for r in server.requests
        ]
        history = [each.status_code for each in session.get(server.url("/moved")).history]
        return results, called, session.cookies.get_dict(), history, seen, server.handshakes

    plain, pinned = probed(lab, probe)
    for expected, actual in zip(plain, pinned, strict=True):
        assert actual == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///path",
        "http://",
        "https:",
        "https",
        "",
        "//localhost/",
        "localhost",
        "localhost:443/x",
        "https://[::1",
        "https://::1]/",
        "https://[zz]/",
        "https://[::1%25lo]:1/",
        "https://exa mple/",
        "https://.example.com",
        "https://*.example.com/",
        "https://*/",
        "https://localhost:99999/",
        "https://localhost:-1/",
        "https://localhost:nan/",
        "https://localhost:0x1/",
        "https://user:pass word@localhost:1/",
        "https://@localhost:1/",
        "https://localhost:1@/",
        "https://\x00localhost/",
        "https://local\thost:1/",
        "https://local\nhost:1/",
        " https://localhost:1/ ",
        "https://localhost\\@example.com:1/",
        "https://b\u00fccher\u2024example:1/",
        "https://\ud800/",
        "https://xn--/",
        "https://xn--a/",
        "https://%6cocalhost:1/",
        "https://%/",
        "https://0x7f.1:1/",
        "https://256.256.256.256:1/",
        "https://1:1/",
        "https://localhost.:1/",
        "https://localhost..:1/",
        "HTTPS://LOCALHOST:1/",
        "hTTp://localhost:1/",
        "foo://bar",
        "ftp://localhost/",
        "file:///etc/hosts",
        "mailto:a@b",
        "javascript:alert(1)",
        "https+unix://%2Ftmp/",
        b"https://localhost:1/",
        b"https://\xff/",
        None,
        42,
        ["https://localhost:1/"],
    ],
)
def test_odd_urls(lab: Lab, url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each raises what it raises there; names are not looked up outside of this machine."""
    real = socket.getaddrinfo

    def local_only(host: str | bytes | None, *args: Any, **kwargs: Any) -> object:
        if str(host).strip(".").lower() in ("localhost", "127.0.0.1", "0x7f.1", "::1", "::1%lo"):
            return real(host, *args, **kwargs)
        if host in (None, ""):
            return real(host, *args, **kwargs)
        str(host).encode("idna")  # as the real one, which refuses what this refuses
        raise socket.gaierror(socket.EAI_NONAME, "unknown here")

    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    plain, pinned = probed(lab, lambda session: outcome(lambda: session.get(url, timeout=5)))
    assert pinned == plain


@pytest.mark.parametrize("name", ["a..b", "a" * 64 + ".example.com", "a." * 127 + "example.com"])
def test_names_without_a_canonical_form(lab: Lab, name: str) -> None:
    """The one difference: they are in no DNS and fail there as well; here they are refused, since no pin names them."""
    plain, pinned = probed(lab, lambda session: outcome(lambda: session.get(f"https://{name}/", timeout=5)))
    assert pinned == [[UnpinnedHostError], []]
    assert plain[0][0] in (LocationParseError, requests.exceptions.ConnectionError)


def test_prepared_requests_with_odd_urls(lab: Lab) -> None:
    """A URL that was written into a prepared request, past all checks of requests."""
    for url in ("https:///path", "https://[::1", "", None, "https://localhost:99999/", "nonsense"):

        def probe(session: requests.Session, url: str | None = url) -> Any:
            prepared = session.prepare_request(requests.Request("GET", "https://localhost/"))
            prepared.url = url
            return outcome(lambda: session.send(prepared, timeout=5))

        plain, pinned = probed(lab, probe)
        assert pinned == plain, url


def test_invalid_certificates(lab: Lab) -> None:
    """Expired, of another name, of an unknown CA, self-signed: the same errors; unverified, the same warnings."""
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    credentials = [
        lab.honest,
        lab.root.issue("localhost", not_before=now - 3 * day, not_after=now - day),
        lab.root.issue("localhost", not_before=now + day, not_after=now + 2 * day),
        lab.root.issue("other.example.com"),
        lab.root.issue(),
        Credential.self_signed("localhost"),
    ]
    for credential in credentials:
        server = lab.serve(credential)
        for options in ({}, {"verify": False}, {"verify": ""}, {"verify": 0}, {"verify": True}):

            def probe(session: requests.Session, server: TLSServer = server, options: dict[str, Any] = options) -> Any:
                return outcome(lambda: session.get(server.url(), **options))

            plain, pinned = probed(lab, probe)
            assert pinned == plain, (credential.certificate, options)


def test_wrong_files(lab: Lab, tmp_path: Path) -> None:
    """CA bundles and client certificates that are missing, empty, wrong, encrypted or do not belong together."""
    client = lab.root.issue("client.example.com")
    other = lab.root.issue("other.example.com")
    encryption = serialization.BestAvailableEncryption(b"password")
    files = {
        "certificate": client.certificate_pem,
        "key": client.key_pem,
        "other": other.key_pem,
        "both": client.key_pem + client.certificate_pem,
        "encrypted": client.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ),
        "empty": b"",
        "nonsense": b"nonsense",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    path = {name: str(tmp_path / name) for name in (*files, "missing")}
    (tmp_path / "folder").mkdir()
    server = lab.serve(lab.honest)
    settings: list[dict[str, Any]] = [
        *({"verify": path[name]} for name in ("missing", "empty", "nonsense", "key", "certificate")),
        {"verify": str(tmp_path / "folder")},
        {"verify": str(tmp_path / "nowhere" / "at-all.pem")},
        *({"cert": path[name]} for name in ("missing", "empty", "nonsense", "key", "certificate", "both")),
        *({"cert": (path["certificate"], path[name])} for name in ("missing", "empty", "other", "encrypted", "key")),
        {"cert": (path["missing"], path["key"])},
        {"cert": (path["certificate"], None)},
        {"cert": ()},
        {"cert": ""},
        {"cert": (path["certificate"],)},
    ]
    for options in settings:
        plain, pinned = probed(
            lab,
            lambda session: outcome(lambda: session.get(server.url(), **options)),  # noqa: B023  called at once
        )
        assert pinned == plain, options


def test_no_server(lab: Lab) -> None:
    """Nobody listens, there is no such host, no such proxy, it hangs, it hangs up, it is no TLS server."""
    plain_server = lab.serve(None)
    stop = threading.Event()
    silent = lab.serve(lab.honest, handler=lambda _: (stop.wait(5), Response())[1])
    port = 1  # nobody listens there
    actions: list[Callable[[Any], object]] = [
        lambda s: s.get(f"https://localhost:{port}/"),
        lambda s: s.get(f"http://localhost:{port}/"),
        lambda s: s.get("https://nowhere.invalid/"),
        lambda s: s.get(f"https://localhost:{port}/", proxies=PROXIES),
        lambda s: s.get(f"https://localhost:{port}/", proxies={"https": "nonsense://localhost:1"}),
        lambda s: s.get(f"https://localhost:{port}/", proxies={"https": "http://"}),
        lambda s: s.get(f"https://localhost:{plain_server.port}/"),
        lambda s: s.get(f"http://localhost:{silent.port}/", timeout=5),
        lambda s: s.get(silent.url(), timeout=0.05),
        lambda s: s.get(silent.url(), timeout=(5, 0.05)),
        lambda s: s.get(silent.url(), timeout=(1, 2, 3)),
        lambda s: s.get(silent.url(), timeout="soon"),
        lambda s: s.get(silent.url(), timeout=-1),
        lambda s: s.get(plain_server.url()),
        lambda s: s.get(plain_server.url(), data=42),
        lambda s: s.get(plain_server.url(), headers={"X-A": "a\nb"}),
        lambda s: s.get(plain_server.url(), headers={"X-A": 1}),
        lambda s: s.request("", plain_server.url()),
        lambda s: s.send(requests.Request("GET", plain_server.url())),
    ]
    try:
        for number, action in enumerate(actions):
            plain, pinned = probed(lab, lambda session: outcome(lambda: action(session)))  # noqa: B023  called at once
            assert pinned == plain, number
    finally:
        stop.set()


def test_retries_are_made(lab: Lab) -> None:
    """As often as the adapter is told to, for what is no refusal."""

    def probe(session: requests.Session) -> Any:
        server = lab.serve(lab.honest, handler=lambda _: Response(503))
        retry = Retry(2, status_forcelist=[503], backoff_factor=0)
        session.mount("https://", HTTPAdapter(max_retries=retry))
        result = outcome(lambda: session.get(server.url()))
        hopeless = lab.serve(Credential.self_signed("localhost"))
        refused = outcome(lambda: session.get(hopeless.url()))
        hopeless.settle()
        return result, len(server.requests), server.handshakes, refused, hopeless.connections

    plain, pinned = probed(lab, probe)
    assert pinned == plain
    assert pinned[1] == 3


def test_pickled_state(lab: Lab) -> None:
    """Besides our own keys the same, of sessions and adapters; also in the copy that is made of it."""

    def probe(session: requests.Session) -> Any:
        session.headers["X-Mine"] = "kept"
        copied = pickle.loads(pickle.dumps(session))  # noqa: S301  our own bytes
        adapters = [each.adapters["https://"] for each in (session, copied)]
        states = [set(each.__getstate__()) for each in (session, copied, *adapters)]
        return states, copied.headers, list(copied.adapters), [sorted(vars(each)) for each in (session, copied)]

    (plain_states, *plain), (pinned_states, *pinned) = probed(lab, probe)
    ours = [{"_pinned_by"}, {"_pinned_by"}, set(), set()]
    assert pinned_states == [state | mine for state, mine in zip(plain_states, ours, strict=True)]
    assert pinned[:2] == plain[:2]
    assert pinned[2] == [sorted([*names, "_pinned_by"]) for names in plain[2]]


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_pools(lab: Lab, tmp_path: Path) -> None:
    """The same pools under the same keys, with as many connections, of verified, unverified and other requests."""
    client = lab.root.issue("client.example.com")
    (tmp_path / "client.pem").write_bytes(client.key_pem + client.certificate_pem)
    server, plain_server = lab.serve(lab.honest), lab.serve(None)

    def probe(session: requests.Session) -> Any:
        for _ in range(2):
            session.get(server.url())
            session.get(server.url(), verify=False)
            session.get(server.url(host="127.0.0.1"))
            session.get(server.url(), cert=str(tmp_path / "client.pem"))
            session.get(plain_server.url())
        pools = {prefix: adapter.poolmanager.pools for prefix, adapter in session.adapters.items()}  # type: ignore[attr-defined]  # HTTPAdapters
        keys = {prefix: list(each.keys()) for prefix, each in pools.items()}
        counts = {
            prefix: [(each[key].num_connections, each[key].num_requests, each[key].pool.qsize()) for key in each.keys()]  # noqa: SIM118  it has no iterator
            for prefix, each in pools.items()
        }
        return keys, counts

    plain, pinned = probed(lab, probe)
    assert pinned == plain


def test_settings_of_the_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bundles, proxies and netrc are found where requests finds them, and `trust_env` turns them off."""
    server = lab.serve(lab.honest)
    (tmp_path / "netrc").write_text("machine localhost login me password secret\n")
    environments: list[dict[str, str]] = [
        {},
        {"REQUESTS_CA_BUNDLE": lab.bundle},
        {"CURL_CA_BUNDLE": lab.bundle},
        {"REQUESTS_CA_BUNDLE": str(tmp_path / "missing.pem")},
        {"HTTPS_PROXY": "http://127.0.0.1:1"},
        {"ALL_PROXY": "http://127.0.0.1:1", "NO_PROXY": "localhost", "REQUESTS_CA_BUNDLE": lab.bundle},
        {"NETRC": str(tmp_path / "netrc"), "REQUESTS_CA_BUNDLE": lab.bundle},
    ]
    for environment in environments:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            for trust_env in (True, False):
                for verify in (True, lab.bundle):

                    def probe(
                        session: requests.Session, *, trust_env: bool = trust_env, verify: bool | str = verify
                    ) -> Any:
                        session.trust_env, session.verify = trust_env, verify
                        count = len(server.requests)
                        result = outcome(lambda: session.get(server.url()))
                        return result, [each.header("Authorization") for each in server.requests[count:]]

                    plain, pinned = probed(lab, probe, trusts=False)
                    assert pinned == plain, (environment, trust_env, verify)

"""`report_uri`: what is one, and where it must not point."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import InsecureURLError, PinnedSession, PinPolicy, PinSet, PolicyError, PolicyStore
from pinned_requests.core.report_uri import MAX_URI, ReportURI
from pinned_requests.reporting import HTTPReporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.core.pinset import PinsLike

PINS = [f"sha256/{c * 42}A=" for c in "AB"]
URI = "https://reports.example.net/pins?token=secret"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (URI, "reports.example.net", 443),
        ("HTTPS://Reports.Example.NET.", "reports.example.net", 443),
        ("http://127.1/", "127.0.0.1", 80),
        ("http://[::1]:8080", "::1", 8080),
        ("https://a/b@c", "a", 443),
        ("https://" + "a" * 63 + "/" + "b" * (MAX_URI - 72), "a" * 63, 443),
    ],
)
def test_what_is_a_report_uri(text: str, host: str, port: int) -> None:
    """The text stays as it is; host and port are those of the connection."""
    assert ReportURI.parse(text) == (text, host, port)


WRONG: list[Any] = [
    *(
        "",
        "reports.example.net",
        "/reports",
        "//a/b",
        "ftp://a/",
        "file:///etc/passwd",
        "mailto:a@b",
        "https://",
        "https:///a",
    ),
    *(
        "https://a:0/",
        "https://a:65536/",
        "https://a:b/",
        "https://[::1/",
        "https://[v1.a]/",
        "https://a..b/",
        "https://:443/",
    ),
    *("https://:443/", "https://user@a/", "https://user:password@a/", "https://@a/", "https://b\\@a/", "https://a/#b"),
    *(
        "https://a%2eb/",
        "https://a /",
        " https://a/",
        "https://a/\n",
        "https://a/\x00",
        "https://bücher.example/",
        "https://a/ü",
        "\ud800",
    ),
    *("https://a/" + "b" * MAX_URI, None, 1, b"https://a/", [], {}, True),
]


@pytest.mark.parametrize("value", WRONG, ids=ascii)
def test_what_is_none(value: Any) -> None:
    """Anything else is a `PolicyError`, wherever it is given, and no password stands in it."""
    makers: list[Callable[[Any], object]] = [HTTPReporter, ReportURI.parse]
    if value is not None:
        makers.append(lambda uri: PinPolicy({"a.example": PINS}, report_uri=uri))
    for make in makers:
        with pytest.raises(PolicyError) as caught:
            make(value)
        assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "uri", "is_refused"),
    [
        ("api.example.com", "https://api.example.com/", True),
        ("api.example.com", "http://API.example.com.:81/", True),
        ("api.example.com:443", "https://api.example.com/", True),
        ("api.example.com:443", "https://api.example.com:444/", False),
        ("**.example.com", "https://reports.example.com/", True),
        ("*.example.com", "https://a.reports.example.com/", False),
        ("127.0.0.1", "http://0x7f.1/", True),
        ("api.example.com", URI, False),
    ],
)
def test_on_a_host_that_the_policy_pins(pattern: str, uri: str, is_refused: bool) -> None:  # noqa: FBT001 - pytest's way
    """A wrong pin could not be reported, or only over an unchecked connection; an exempt host is accepted."""
    plain = PinPolicy({pattern: PINS})
    makers: list[Callable[[], object]] = [
        lambda: PinPolicy({pattern: PINS}, report_uri=uri),
        lambda: PinPolicy({pattern: {"pins": PINS, "report_only": True}}, report_uri=uri),
        lambda: PinnedSession(plain, on_violation=HTTPReporter(uri)),
    ]
    for make in makers:
        if is_refused:
            with pytest.raises(PolicyError):
                make()
        else:
            make()


def test_on_an_exempt_host() -> None:
    """Taken out of the pattern, a host of the same domain will do."""
    hosts: dict[str, PinsLike] = {"**.example.com": PINS, "reports.example.com": PinSet.exempt()}
    uri = "https://reports.example.com/"
    assert PinPolicy(hosts, report_uri=uri).report_uri == uri
    PinnedSession(PinPolicy(hosts), on_violation=HTTPReporter(uri))


def test_it_is_a_part_of_the_policy() -> None:
    """Of equality, of every document and of what is pickled; its path is not shown."""
    plain, reporting = PinPolicy({"a.example": PINS}), PinPolicy.from_mapping({"a.example": PINS}, report_uri=URI)
    assert (plain.report_uri, reporting.report_uri) == (None, URI)
    assert plain != reporting
    assert len({plain, reporting, PinPolicy({"a.example": PINS}, report_uri=URI + "1")}) == 3
    for again in (
        PinPolicy.from_json(reporting.to_json()),
        PinPolicy.from_text(reporting.to_toml()),
        pickle.loads(pickle.dumps(reporting)),  # noqa: S301 - our own
        copy.deepcopy(reporting),
    ):
        assert again == reporting
        assert again.report_uri == URI
    assert "report_uri" not in plain.to_json()
    assert "secret" not in repr(reporting)
    assert "reports.example.net:443" in repr(reporting)
    with pytest.raises(PolicyError):
        PinPolicy.from_toml('report_url = "https://a.example/"\n[hosts]\n')


@pytest.mark.parametrize(
    "wrong", [URI + "#x", URI + " ", "ftp://a/?token=secret", "https://u:secret@a/", f"http://a:0/{URI}"]
)
def test_what_it_holds_is_not_shown(wrong: str) -> None:
    """An error ends in a log."""
    with pytest.raises(PolicyError) as caught:
        PinPolicy({"api.example.com": PINS}, report_uri=wrong)
    assert "secret" not in str(caught.value)


def test_a_host_that_a_later_policy_pins_is_not_reported_to(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The session was made under another policy; the violation is still refused and logged."""
    called = []
    monkeypatch.setattr(HTTPReporter, "__call__", lambda _self, report: called.append(report.host))
    store = PolicyStore({"api.example.com": PINS})
    session = PinnedSession(store, on_violation=HTTPReporter(URI))
    for expected in (1, 1):
        with pytest.raises(InsecureURLError):
            session.get("http://api.example.com/")
        assert len(called) == expected
        store.set({"api.example.com": PINS, "reports.example.net": PINS})
    assert "'report_uri' is on reports.example.net" in caplog.text

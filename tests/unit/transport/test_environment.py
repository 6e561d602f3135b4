"""The settings of a pinned session are those that `requests` computes, in every environment."""

from __future__ import annotations

import copy
import importlib.util
import os
import sys
from types import MethodType
from typing import Any
from unittest import mock

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from pinned_requests import PinnedSession, PinSet
from pinned_requests.transport import environment

URLS = (
    "https://api.example.com/",
    "http://api.example.com:8080/a?b=c",
    "https://API.Example.COM./",
    "https://10.1.2.3/",
    "https://[2001:db8::1]:8443/",
    "https://localhost/",
    "file:///etc/hosts",
    "no-scheme",
    "",
)
PROXY = "http://proxy.example.com:3128"

proxy_variables = st.sampled_from(
    [
        *("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "Https_Proxy", "all_proxy", "ALL_PROXY"),
        *("ftp_proxy", "X_Proxy", "_PROXY", "proxy", "http_proxy_", "MY_PROXY_URL"),
    ]
)
bypass_variables = st.sampled_from(["no_proxy", "NO_PROXY", "No_Proxy"])
bypasses = st.sampled_from(["", "*", "example.com", ".example.com, localhost", "10.0.0.0/8", "api.example.com:8080"])
bundles = st.sampled_from(["", "/bundle.pem", "relative.pem"])
environments = st.builds(
    lambda *parts: {name: value for part in parts for name, value in part.items()},
    st.dictionaries(proxy_variables, st.sampled_from([PROXY, "", "proxy.example.com"]), max_size=2),
    st.dictionaries(bypass_variables, bypasses, max_size=2),
    st.dictionaries(st.sampled_from(["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "requests_ca_bundle"]), bundles),
    st.dictionaries(st.sampled_from(["REQUEST_METHOD", "PATH"]), st.just("GET"), max_size=2),  # CGI's, see urllib
)
proxies = st.none() | st.dictionaries(
    st.sampled_from(["http", "https", "all", "https://api.example.com", "no_proxy"]),
    st.none() | st.just(PROXY) | bypasses,
    max_size=2,
)
verifies = st.sampled_from([None, True, False, "", 0, "/own.pem"])
certs = st.sampled_from([None, "/client.pem", ("/client.pem", "/client.key")])
requested = st.tuples(proxies, st.sampled_from([None, True, False]), verifies, certs)


def settings_of(
    session: requests.Session, own: tuple[bool, tuple[Any, ...]], url: str, asked: tuple[Any, ...]
) -> object:
    """Return what a session makes of its settings and a request's: result or error, and the caller's mapping."""
    session.trust_env, (session.proxies, session.stream, session.verify, session.cert) = copy.deepcopy(own)
    arguments = copy.deepcopy(asked)
    try:
        result: object = session.merge_environment_settings(url, *arguments)
    except (ValueError, AttributeError) as e:  # the second from requests 2.32, for proxies=None
        result = type(e)
    return result, arguments[0]


@given(environments, st.tuples(st.booleans(), requested), st.sampled_from(URLS), requested)
@example({}, (True, ({}, False, True, None)), URLS[0], (None, None, None, None))
@example({"CURL_CA_BUNDLE": "/bundle.pem"}, (True, ({}, False, True, None)), URLS[0], ({}, None, None, None))
@example({"hTTps_pROxy": PROXY}, (True, ({}, False, True, None)), URLS[0], ({}, None, None, None))
def test_the_settings_are_those_of_requests(
    variables: dict[str, str], own: tuple[bool, tuple[Any, ...]], url: str, asked: tuple[Any, ...]
) -> None:
    """So is the mapping of proxies that the caller passed, afterwards."""
    with mock.patch.dict(os.environ, variables, clear=True):
        expected = settings_of(requests.Session(), own, url, asked)
        assert settings_of(PinnedSession({"api.example.com": PinSet.exempt()}), own, url, asked) == expected


@pytest.mark.parametrize(("platform", "calls"), [("darwin", 1), ("win32", 1), ("linux", 0)])
def test_requests_asks_the_system_where_that_has_proxies(
    platform: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS and Windows, a proxy may be set without a variable: requests' own way is used."""
    monkeypatch.setattr(sys, "platform", platform)
    spec = importlib.util.find_spec(environment.__name__)
    assert spec is not None
    assert spec.loader is not None
    fresh: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    called = []

    def inherited(_session: object, *arguments: object) -> None:
        called.append(arguments)

    fresh._OF_REQUESTS = inherited, requests.sessions.get_environ_proxies  # type: ignore[attr-defined]  # imported there
    session = requests.Session()
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    fresh.merge_environment_settings(session, MethodType(inherited, session), URLS[0], {}, None, None, None)

    assert called == [(URLS[0], {}, None, None, None)] * calls


def test_a_patched_look_up_of_proxies_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program or a test puts in its place gives the proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(requests.sessions, "get_environ_proxies", lambda *_, **__: {"https": PROXY})
    session = requests.Session()
    inherited: Any = session.merge_environment_settings
    settings = environment.merge_environment_settings(session, inherited, URLS[0], {}, None, None, None)
    assert settings["proxies"] == {"https": PROXY}

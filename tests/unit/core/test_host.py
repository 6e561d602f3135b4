"""Host names and patterns: every spelling of a host becomes one, and what has none is refused."""

from __future__ import annotations

import itertools
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.models import PreparedRequest

from pinned_requests.core import host as host_module
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import MAX_TEXT, HostError, HostPattern, is_address, normalize_host

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])  # 253 characters


class _Liar(str):
    """A string that claims to be another one."""

    __slots__ = ()

    def lower(self) -> str:
        return "evil.example"

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("evil.example")


@pytest.mark.parametrize(
    ("spelling", "host"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com..", "api.example.com"),
        ("localhost", "localhost"),
        ("a_b.example", "a_b.example"),
        ("-.example", "-.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("\uff41\uff50\uff49\uff0eexample\u3002com", "api.example.com"),
        ("api.example.com\u3002", "api.example.com"),
        ("\uff11\uff12\uff17.1", "127.0.0.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1.", "192.0.2.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),  # noqa: S104 - nothing is bound
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:0db8::0001]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]", "fe80::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
        ("::127.0.0.1", "::7f00:1"),
        # Looks like an address and is none: the resolver looks these up as names.
        ("08.1", "08.1"),
        ("256.1.1.1", "256.1.1.1"),
        ("1.2.3.4.5", "1.2.3.4.5"),
        ("1.2.3.256", "1.2.3.256"),
        ("1.16777216", "1.16777216"),
        ("0x", "0x"),
        (LONG, LONG),
        (LONG + ".", LONG),
        (_Liar("truth.example"), "truth.example"),
    ],
)
def test_spellings(spelling: str, host: str) -> None:
    """A host has one form, however it is written."""
    assert host == normalize_host(spelling)
    assert type(normalize_host(spelling)) is str


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "..",
        ".example.com",
        "a..example.com",
        "a" * 64,
        "a" * 64 + ".example.com",
        LONG + "e",
        "ü" * 64,
        "ü..example",
        "a b.example",
        " a.example",
        "a.example\n",
        "a.example\0",
        "api%2eexample.com",
        "user@a.example",
        "a.example/path",
        "*.example.com",
        "a:b",
        "a.example:443",
        "[a.example]",
        "[127.0.0.1]",
        "[::1",
        "::1]",
        "1:2:3:4:5:6:7:8:9",
        "::ffff:127.0.0.01",
        "[]",
        "9" * 5000,
        "\ud800.example",
        "\u2603\ufe0f.example/",
        "a.example" + "." * MAX_TEXT,
        "fe80::1%" + "z" * MAX_TEXT,
        "é" * 100_000,
        b"a.example",
        None,
        1,
        [],
        ("a",),
    ],
)
def test_what_has_no_form_is_refused(host: Any) -> None:
    """Empty and over-long labels and names, other characters, other types: our own error."""
    with pytest.raises(HostError):
        normalize_host(host)


def test_the_error_names_the_host_escaped() -> None:
    """The host is the attacker's choice where a redirect gave it."""
    with pytest.raises(HostError) as refusal:
        normalize_host("a\u202e\n.example")
    assert r"'a\u202e\n.example'" in str(refusal.value)


def test_no_host_in_the_cache_is_longer_than_the_limit() -> None:
    """The cache is bounded in entries; without a bound on each, redirects would fill the memory."""
    before = host_module._normalize.cache_info().currsize
    with pytest.raises(HostError):
        normalize_host("cache.example" + "." * MAX_TEXT)
    assert before == host_module._normalize.cache_info().currsize
    assert host_module._normalize.cache_info().maxsize


NUMBERS = [
    "0",
    "1",
    "00",
    "010",
    "08",
    "0x",
    "0x0",
    "0xFf",
    "0x100",
    "255",
    "256",
    "65535",
    "65536",
    "16777216",
    "4294967296",
    "",
]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ipv4_is_read_as_the_resolver_reads_it(count: int) -> None:
    """Of every combination of odd numbers, `inet_aton` reads what we read, and to the same address."""
    for numbers in itertools.product(NUMBERS, repeat=count):
        _same_as_inet_aton(".".join(numbers))


@given(st.lists(st.integers(0, 300) | st.integers(0, 2**33), min_size=1, max_size=5), st.data())
def test_ipv4_of_any_length_is_read_as_the_resolver_reads_it(values: list[int], data: st.DataObject) -> None:
    """The same for one to five numbers in any base."""
    spell = st.sampled_from(["{:d}", "{:#x}", "0{:o}", "0{:d}", "0X{:X}", "00{:o}"])
    _same_as_inet_aton(".".join(data.draw(spell).format(value) for value in values))


def _same_as_inet_aton(text: str) -> None:
    name = text.rstrip(".")  # with a dot behind it the resolver takes an address for a name; here it stays the address
    try:
        expected = socket.inet_ntoa(socket.inet_aton(name))
    except OSError:
        expected = None
    try:
        ours = normalize_host(text)
    except HostError:
        assert expected is None
    else:
        assert (expected or name.lower()) == ours
        assert is_address(ours) is (expected is not None)


@given(st.text(st.characters(codec="utf-8", min_codepoint=0x80, max_codepoint=0x2FFF), min_size=1, max_size=12))
@example("bücher")
@example("faß")
def test_idna_is_that_of_requests(label: str) -> None:
    """A non-ASCII host is what requests makes of it, or neither takes it."""
    host = f"{label}.example"
    try:
        expected = PreparedRequest._get_idna_encoded_host(host)
    except UnicodeError:
        with pytest.raises(HostError):
            normalize_host(host)
        return
    try:
        assert expected.rstrip(".") == normalize_host(host)
    except HostError:
        assert not re.fullmatch(host_module._NAME, expected, re.ASCII)


HOSTISH = st.text(st.sampled_from("aZ0127x.:[]%-_*@/ \tüß\u3002\uff11\u202e\ud800"), max_size=20) | st.text(
    st.characters(codec=None)
)


@given(HOSTISH)
def test_any_text_is_normalized_once_or_refused(text: str) -> None:
    """A form that is its own form, or our error; nothing else."""
    try:
        host = normalize_host(text)
    except HostError:
        return
    assert host == normalize_host(host)
    assert host.isascii()
    assert HostPattern("exact", host) == HostPattern.parse(str(HostPattern("exact", host)))


@given(
    HOSTISH, st.sampled_from(["", "*.", "**."]), st.sampled_from(["", ":1", ":8443", ":65535", ":65536", ":0", ":x"])
)
def test_any_text_is_a_pattern_or_refused(text: str, prefix: str, port: str) -> None:
    """A pattern whose canonical spelling gives it back, or our error; nothing else."""
    try:
        pattern = HostPattern.parse(prefix + text + port)
    except PolicyError:
        return
    assert pattern == HostPattern.parse(str(pattern))


@given(st.sampled_from(["", "*.", "**."]), HOSTISH | st.text(st.sampled_from("aZ07x._-"), max_size=70))
def test_the_quick_answer_is_that_of_the_rules(prefix: str, text: str) -> None:
    """A name that needs no rule has the form that the rules give it, with and without a wildcard."""

    def answers() -> list[object]:
        host_module._normalize.cache_clear()
        return [_form(normalize_host, text), _form(HostPattern.parse, prefix + text)]

    quick = answers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_module, "_is_plain", lambda _: False)
        assert quick == answers()


def _form(read: Callable[[str], object], text: str) -> object:
    try:
        return read(text)
    except PolicyError as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("example.com", HostPattern("exact", "example.com")),
        ("EXAMPLE.com.", HostPattern("exact", "example.com")),
        ("*.example.com", HostPattern("one-label", "example.com")),
        ("**.example.com", HostPattern("subtree", "example.com")),
        ("example.com:8443", HostPattern("exact", "example.com", 8443)),
        ("**.bücher.example:65535", HostPattern("subtree", "xn--bcher-kva.example", 65535)),
        ("*.com", HostPattern("one-label", "com")),
        ("0x7f.1:1", HostPattern("exact", "127.0.0.1", 1)),
        ("2001:db8::1", HostPattern("exact", "2001:db8::1")),
        ("[2001:DB8::1]", HostPattern("exact", "2001:db8::1")),
        ("[2001:db8::1]:8443", HostPattern("exact", "2001:db8::1", 8443)),
        ("[::ffff:192.0.2.1]:8443", HostPattern("exact", "192.0.2.1", 8443)),
        ("fe80::1%eth0", HostPattern("exact", "fe80::1")),
        (_Liar("truth.example"), HostPattern("exact", "truth.example")),
    ],
)
def test_patterns(text: str, pattern: HostPattern) -> None:
    """A pattern is a kind, a host in its canonical form, and a port."""
    assert pattern == HostPattern.parse(text)
    assert pattern == HostPattern.parse(str(pattern))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (HostPattern("exact", "2001:db8::1"), "[2001:db8::1]"),
        (HostPattern("exact", "2001:db8::1", 8443), "[2001:db8::1]:8443"),
        (HostPattern("one-label", "example.com"), "*.example.com"),
        (HostPattern("subtree", "example.com", 1), "**.example.com:1"),
    ],
)
def test_the_canonical_spelling(pattern: HostPattern, text: str) -> None:
    """IPv6 addresses stand in brackets."""
    assert text == str(pattern)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "**",
        "*.",
        "**.",
        LONG + "e",
        "*." + LONG + "e",
        "*.*.example.com",
        "**.*.example.com",
        "***.example.com",
        "api.*.com",
        "a*.example.com",
        "*example.com",
        "example.*",
        "*.192.0.2.1",
        "**.1",
        "*.2.3.4",
        "*.[::1]",
        "**.::1",
        "https://example.com",
        "example.com/path",
        "user@example.com",
        " example.com",
        "example.com ",
        "exa mple.com",
        "example.com\n",
        "example.com:",
        "example.com:0",
        "example.com:0443",
        "example.com:65536",
        "example.com:99999",
        "example.com:-1",
        "example.com:https",
        "example.com:\u0664\u0664\u0663",
        "[::1]:x",
        "[::1]x",
        "::1:",
        "a..b",
        ".example.com",
        "?",
        None,
        b"example.com",
        1,
        (),
        [],
    ],
)
def test_wrong_patterns(text: Any) -> None:
    """Wildcards elsewhere than as the first label, before addresses, alone; schemes, paths, white space, odd ports."""
    with pytest.raises(PolicyError):
        HostPattern.parse(text)


@pytest.mark.parametrize("text", ["a\u202eb.example", "*.\u202e", "a.example:\u202e", "\u202e/", "a*\u202e"])
def test_the_error_names_the_pattern_escaped(text: str) -> None:
    """The whole pattern stands in the text, on one line that prints."""
    with pytest.raises(PolicyError) as refusal:
        HostPattern.parse(text)
    assert text.replace("\u202e", "\\u202e") in str(refusal.value)
    assert str(refusal.value).isprintable()

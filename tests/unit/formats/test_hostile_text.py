"""For any text, a reader returns a value or raises a `PolicyError`, in bounded time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinned_requests.core.errors import PolicyError
from pinned_requests.formats import FORMATS, read
from pinned_requests.formats.parsing import MAX_LINE, MAX_MARKS, MAX_TEXT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pinned_requests.core.errors.MissingBackupPinWarning"),
]

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PIN = "A" * 43 + "="
HEX = "00" * 32
READ = [name for name, each in FORMATS.items() if each.reader and name not in ("toml", "json")]
XML = ["android", "apple", "trustkit"]

# Seconds of processor. Each of these texts takes some tenths of one; a quadratic or exponential reader takes minutes.
PATIENCE = 20.0
MANY = 500_000 if sys.gettrace() is None else 50_000  # coverage makes dnspython's loops 15 times slower

PLIST = '<?xml version="1.0"?><plist version="1.0">{}</plist>'
VALID = {
    "curl": f"sha256//{PIN};sha256//{PIN}",
    "rfc7469": f'Public-Key-Pins: pin-sha256="{PIN}"; max-age=5; includeSubDomains; report-uri="https://x.example/a"',
    "android": (
        '<network-security-config><base-config cleartextTrafficPermitted="false"/><domain-config>'
        '<domain includeSubdomains="true">example.com</domain>'
        f'<pin-set expiration="2027-03-01"><pin digest="SHA-256">{PIN}</pin></pin-set>'
        "<domain-config><domain>a.example.com</domain></domain-config></domain-config>"
        "</network-security-config>"
    ),
    "apple": PLIST.format(
        "<dict><key>NSAppTransportSecurity</key><dict><key>NSPinnedDomains</key><dict><key>example.com</key><dict>"
        "<key>NSIncludesSubdomains</key><true/><key>NSPinnedCAIdentities</key><array><dict>"
        f"<key>SPKI-SHA256-BASE64</key><string>{PIN}</string></dict></array></dict></dict></dict></dict>"
    ),
    "trustkit": PLIST.format(
        "<dict><key>TSKConfiguration</key><dict><key>TSKPinnedDomains</key><dict><key>example.com</key><dict>"
        "<key>TSKIncludeSubdomains</key><true/><key>TSKExpirationDate</key><string>2027-03-01</string>"
        f"<key>TSKPublicKeyHashes</key><array><string>{PIN}</string></array></dict></dict></dict></dict>"
    ),
    "tlsa": (
        f"$TTL 3600\n_443._tcp.example.com. 3600 IN TLSA 3 1 1 ( {HEX[:10]}\n {HEX[10:]} ) ; a comment\n"
        f" IN TLSA 2 0 1 {HEX}"
    ),
}


def outcome(name: str, text: str | bytes) -> str:
    """Read `text` and return "read", or the message of the `PolicyError`. Nothing else may come out."""
    host = "example.com" if FORMATS[name].is_hostless else None
    started = time.process_time()
    try:
        losses = read(name, text, host=host, now=NOW).losses
    except PolicyError as e:
        message = str(e)
    else:
        message = "read"
        assert all(str(loss).isprintable() for loss in losses)
    assert time.process_time() - started < PATIENCE
    assert message.isprintable()
    return message


@pytest.mark.parametrize("name", READ)
def test_the_valid_text_is_read(name: str) -> None:
    """What the tests below break is whole to begin with."""
    assert outcome(name, VALID[name]) == "read"
    assert outcome(name, VALID[name].encode()) == "read"
    assert outcome(name, b"\xef\xbb\xbf" + VALID[name].encode()) == "read"


@pytest.mark.parametrize("name", READ)
@given(text=st.one_of(st.text(), st.binary()))
def test_any_text(name: str, text: str | bytes) -> None:
    """Any text or bytes give a value or a PolicyError."""
    outcome(name, text)


@pytest.mark.parametrize("name", READ)
@given(data=st.data())
def test_any_text_that_was_valid(name: str, data: st.DataObject) -> None:
    """A valid text with a piece cut out, doubled or replaced gives a value or a PolicyError."""
    valid = VALID[name]
    start = data.draw(st.integers(0, len(valid)))
    end = data.draw(st.integers(start, min(len(valid), start + 60)))
    pieces = st.one_of(
        st.text(max_size=10),
        st.sampled_from(
            ["<", ">", "/", '"', ";", "=", "<dict>", "</dict>", "<key>", "<array/>", "<integer>", "(", "\n", " "]
        ),
        st.just(valid[start:end] * 2),
    )
    outcome(name, valid[:start] + data.draw(pieces) + valid[end:])


@pytest.mark.parametrize("name", READ)
@given(data=st.data())
def test_elements_in_any_order(name: str, data: st.DataObject) -> None:
    """Words of the format in any order give a value or a PolicyError."""
    words = VALID[name].replace("<", "\0<").replace(">", ">\0").replace(";", "\0;\0").split("\0")
    chosen = data.draw(st.lists(st.sampled_from([word for word in words if word]), max_size=30))
    wrapped = PLIST.format("".join(chosen)) if name in ("apple", "trustkit") else "".join(chosen)
    outcome(name, wrapped)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "\ud800",
        b"\xff\xfe",
        b"bplist00\xd1\x01\x02",
        "\x1b[2J\x1b]0;owned\x07",
        "a" * (MAX_TEXT + 1),
        b"a" * (MAX_TEXT + 1),
        "\n" * (MAX_MARKS + 1),
        "<" * (MAX_MARKS + 1),
    ],
    ids=["empty", "NUL", "surrogate", "UTF-16", "binary plist", "terminal", "long", "long bytes", "lines", "tags"],
)
def test_no_configuration_at_all(name: str, text: str | bytes) -> None:
    """Text that is empty, binary or too long is refused."""
    assert outcome(name, text) != "read"


def padded(name: str, filler: str, size: int) -> str:
    """A valid text with `size` characters of `filler` where they mean nothing."""
    valid = VALID[name]
    if name == "rfc7469":
        return f'{valid}; x="{filler * size}"'
    if name == "tlsa":
        return valid + filler * size
    end = valid.rindex("</")
    return valid[:end] + filler * size + valid[end:]


@pytest.mark.parametrize(
    ("name", "filler", "most"),
    [
        *((name, " ", MAX_TEXT - len(VALID[name])) for name in (*XML, "tlsa")),
        *((name, "<!---->", MAX_MARKS - VALID[name].count("<")) for name in XML),
        *((name, "=", MAX_MARKS - VALID[name].count("=")) for name in ("apple", "trustkit")),
        ("tlsa", "\n", MAX_MARKS - VALID["tlsa"].count("\n")),
        ("rfc7469", "y", MAX_LINE - len(VALID["rfc7469"]) - len('; x=""')),
    ],
)
def test_the_limits(name: str, filler: str, most: int) -> None:
    """A valid text is read up to the limit, and refused beyond it for its size."""
    assert outcome(name, padded(name, filler, most)) == "read"
    assert "are read" in outcome(name, padded(name, filler, most + 1))


@pytest.mark.parametrize("name", READ)
def test_a_value_that_is_no_text(name: str) -> None:
    """A value of another type is refused as the wrong text is."""
    assert outcome(name, 3) != "read"  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize("name", XML)
@pytest.mark.parametrize("kind", ["harmless", "bomb", "file", "parameter", "network"])
def test_entities(name: str, kind: str) -> None:
    """A document with entities of its own, nested or from elsewhere, is refused before any is looked at."""
    declarations = {
        "harmless": '<!ENTITY j "example.com">',
        "bomb": '<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY {y} "{f"&{x};" * 10}">' for x, y in zip("abcdefghi", "bcdefghij", strict=True)),
        "file": '<!ENTITY j SYSTEM "file:///etc/passwd">',
        "parameter": '<!ENTITY % p SYSTEM "file:///etc/passwd"> %p; <!ENTITY j "x">',
        "network": '<!ENTITY j SYSTEM "http://127.0.0.1:9/">',
    }
    root = "network-security-config" if name == "android" else "plist"
    body = VALID[name].partition("?>")[2] or VALID[name]
    text = f'<?xml version="1.0"?><!DOCTYPE {root} [{declarations[kind]}]>{body.replace("example.com", "&j;", 1)}'
    assert "root:" not in outcome(name, text)
    assert outcome(name, text) != "read"


def test_a_document_type() -> None:
    """Android's documents have no type; a property list has Apple's, which is not fetched."""
    kind = '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://127.0.0.1:9/PropertyList-1.0.dtd">'
    assert outcome("android", kind.replace("plist", "network-security-config") + VALID["android"]) != "read"
    assert outcome("apple", VALID["apple"].replace("?>", f"?>{kind}")) == "read"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("android", "<network-security-config>" + "<domain-config>" * 40_000),
        (
            "android",
            "<network-security-config>"
            + "".join(f"<domain-config><domain>h{n}.example</domain>" for n in range(20_000))
            + "</domain-config>" * 20_000
            + "</network-security-config>",
        ),
        ("apple", PLIST.format("<array>" * 45_000 + "</array>" * 45_000)),
        ("apple", PLIST.format("<dict><key>a</key>" * 20_000)),
        (
            "apple",
            PLIST.format(f"<dict><key>NSPinnedDomains</key>{'<dict><key>a</key>' * 18_000}<true/>{'</dict>' * 18_001}"),
        ),
        ("trustkit", PLIST.format("<array>" * 45_000 + "</array>" * 45_000)),
        ("tlsa", "( " * 500_000),
        ("tlsa", "a IN TLSA ( " * 50_000),
        ("tlsa", "_443._tcp.a. " + "1" * 1_000_000 + "!"),
        ("tlsa", "_443._tcp.a. " + "1s" * MANY + "!"),
        ("tlsa", "_443._tcp." + "a." * MANY + " TLSA 3 1 1 " + HEX),
        ("tlsa", "_443._tcp.a. TLSA 3 1 1 " + "0" * 1_000_001),
        ("tlsa", '"' * 1_000_001),
        ("tlsa", "$TTL " + "1" * 1_000_000),
        ("tlsa", "$GENERATE 1-1000000000 _443._tcp.a$. TLSA 3 1 1 " + HEX),
        ("tlsa", "$INCLUDE /dev/zero\n"),
        ("tlsa", "\n".join(f"_443._tcp.a. TLSA 3 1 1 {n:064x}" for n in range(MANY // 25)) + "!"),
        ("rfc7469", "Public-Key-Pins: " + "a;" * 30_000 + "!"),
        ("rfc7469", 'Public-Key-Pins: a="' + "\\a" * 30_000),
        ("rfc7469", "Public-Key-Pins:" + " " * 60_000 + "!"),
        ("rfc7469", f'Public-Key-Pins: pin-sha256="{PIN}"; max-age={"9" * 60_000}!'),
        ("rfc7469", "Public-Key-Pins: " + "a" * MAX_LINE),
        ("curl", f"sha256//{PIN};" * 1_200),
        ("curl", ";" * 60_000),
    ],
    ids=range(24),
)
def test_deep_long_and_tangled(name: str, text: str) -> None:
    """Nesting, backtracking and endless lines end soon, in a PolicyError."""
    assert outcome(name, text) != "read" or name == "android"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<true/>",
        "<string>a</string>",
        "<array/>",
        "<key>a</key>",
        "<dict><key>a</key></dict>",
        "<dict><true/></dict>",
        "<dict><key>a</key><true/><key>a</key><true/></dict>",
        "<dict><key>a</key><integer>x</integer></dict>",
        f"<dict><key>a</key><integer>{'9' * 100_000}</integer></dict>",
        "<dict><key>a</key><real>x</real></dict>",
        "<dict><key>a</key><date>x</date></dict>",
        "<dict><key>a</key><date>9999999-01-01T00:00:00Z</date></dict>",
        "<dict><key>a</key><data>!</data></dict>",
        "</dict>",
        "<unknown/>",
    ],
)
@pytest.mark.parametrize("name", ["apple", "trustkit"])
def test_property_lists_that_make_the_library_stumble(name: str, body: str) -> None:
    """What plistlib answers with an error of another kind comes out as a PolicyError."""
    assert outcome(name, PLIST.format(body)) != "read"


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("evil", ["\x1b[31m", "\u202e", "\x07", "%0d%0a"])
def test_errors_and_losses_print_on_one_line(name: str, evil: str) -> None:
    """What a text says is escaped where it is shown (`outcome()` asserts it)."""
    for old in (
        "example.com",
        "example",
        "sha256",
        "SHA256",
        "443",
        "report-uri",
        "base-config",
        "TSKIncludeSubdomains",
    ):
        outcome(name, VALID[name].replace(old, old[:2] + evil + old[2:]))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("android", "<domain-config>", '<domain-config cleartextTrafficPermitted="\u202e">'),
        ("apple", "<key>NSInclude", "<key>\u202e</key><true/><key>NSInclude"),
        ("trustkit", "<key>TSKInclud", "<key>\u202e</key><true/><key>TSKInclud"),
        ("rfc7469", "https:", "\x85"),
        ("apple", "<key>NSIncludesSubdomains</key><true/>", "<key>\x85</key><true/>"),
    ],
)
def test_losses_are_escaped(name: str, old: str, new: str) -> None:
    """What a text holds beside the pins is named in losses, on one printable line each (`outcome()` asserts it)."""
    text = VALID[name].replace(old, new)
    assert text != VALID[name]
    assert outcome(name, text) == "read"


NSC = "'<network-security-config>' + {} + '</network-security-config>'"
WORST = {
    "attributes": ("android", "'<a ' + ' '.join(f'a{n}=\"\"' for n in range(95_000)) + '/>'"),
    "elements": ("android", NSC.format("''.join(f'<a{n} b=\"c\"/>' for n in range(95_000))")),
    "domains": (
        "android",
        NSC.format(
            "'<domain-config>' + ''.join(f'<domain>h{n}.example</domain>' for n in range(45_000))"
            " + '<pin-set><pin digest=\"SHA-256\">' + 'A' * 43 + '=</pin></pin-set></domain-config>'"
        ),
    ),
    "domains with as many pins": (
        "android",
        NSC.format(
            "'<domain-config>' + ''.join(f'<domain>h{n}.example</domain>' for n in range(15_000)) + '<pin-set>'"
            " + ''.join(f'<pin digest=\"SHA-256\">{n:A>43}=</pin>' for n in range(10_000, 25_000))"
            " + '</pin-set></domain-config>'"
        ),
    ),
    "keys": (
        "apple",
        "'<plist><dict>' + ''.join(f'<key>a{n}</key><true/>' for n in range(33_000)) + '</dict></plist>'",
    ),
    "character data": ("trustkit", "'<plist>' + '\\n' * 2_000_000 + '</plist>'"),
    "records": ("tlsa", "'\\n'.join(f'_443._tcp.h{n}. TLSA 3 1 1 ' + '0' * 64 for n in range(21_000))"),
    "types": ("tlsa", "'\\n'.join(f'a A{n}' for n in range(99_000))"),
    "words": ("tlsa", "'a ' * 1_000_000"),
    "wide characters": ("tlsa", "'\\U0001f600' * (2 << 20)"),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
@pytest.mark.parametrize("worst", WORST)
def test_memory(worst: str) -> None:
    """The texts that make most of what they are allowed stay below 200 MB, with Python and all imports."""
    name, expression = WORST[worst]
    program = f"""
import re, warnings
from pinned_requests.core.errors import PolicyError
from pinned_requests.formats import read
warnings.simplefilter("ignore")
text = {expression}
try:
    read({name!r}, text)
except PolicyError:
    pass
print(re.search(r"VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read())[1])
"""
    variables = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 200_000  # kB

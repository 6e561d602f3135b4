"""The facade of `formats`: which there are, what is asked of the caller, and what is left out before writing."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats import FORMATS, Loss, read, write

if TYPE_CHECKING:
    from pinned_requests.core.pinset import PinsLike

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A, B, C = (Pin("spki", letter * 32) for letter in (b"a", b"b", b"c"))
POLICY = PinPolicy({"api.example.com": [A, B], "**.example.org": [B, C]}, unpinned_hosts="allow")


def test_the_names() -> None:
    """The formats are those that the documentation names, and the two of OkHttp are written only."""
    assert list(FORMATS) == [
        *("toml", "json", "curl", "rfc7469", "okhttp-kotlin", "okhttp-java"),
        *("android", "apple", "trustkit", "tlsa"),
    ]
    assert [name for name, each in FORMATS.items() if not each.reader] == ["okhttp-kotlin", "okhttp-java"]


def test_no_library_is_imported_before_it_is_used() -> None:
    """Importing the formats imports no parser."""
    program = (
        "import sys; import pinned_requests.core.policy; before = set(sys.modules);"
        "import pinned_requests.formats;"
        "print({name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'pinned_requests'}"


@pytest.mark.parametrize("name", ["toml", "json"])
def test_policy_files_lose_nothing(name: str) -> None:
    """The formats of this package are read and written by it, whole."""
    policy = PinPolicy({"api.example.com": PinSet([A], [B], [C], expires=NOW, on_expiry="block")})
    text, losses = write(name, policy)
    assert (policy, ()) == read(name, text)
    assert losses == ()


@pytest.mark.parametrize("name", ["yaml", "", "TOML"])
def test_an_unknown_format_is_refused(name: str) -> None:
    """A name that is none raises, for reading and for writing."""
    with pytest.raises(PolicyError, match="toml, json, curl"):
        read(name, "")
    with pytest.raises(PolicyError, match="toml, json, curl"):
        write(name, POLICY)


def test_programs_are_not_read() -> None:
    """OkHttp's source code is written only."""
    with pytest.raises(PolicyError, match="not read"):
        read("okhttp-java", "")


@pytest.mark.parametrize("name", ["curl", "rfc7469"])
def test_a_text_without_a_host_needs_one(name: str) -> None:
    """Reading wants `host=`; writing wants it where the policy has several."""
    with pytest.raises(PolicyError, match="host="):
        read(name, "", now=NOW)
    with pytest.raises(PolicyError, match="host="):
        write(name, POLICY, now=NOW)
    with pytest.raises(PolicyError, match="host="):
        write(name, PinPolicy(blocked_pins=A), now=NOW)


def test_a_text_with_hosts_takes_no_other() -> None:
    """`host=` is refused where the text names its hosts."""
    with pytest.raises(PolicyError, match="leave host='x' out"):
        read("android", "", host="x")


@pytest.mark.parametrize("now", [None, datetime(2026, 1, 2)])  # noqa: DTZ001  the point
def test_relative_times_need_to_know_now(now: datetime | None) -> None:
    """A header with a max-age is neither read nor written without an aware time."""
    with pytest.raises(PolicyError, match="now="):
        read("rfc7469", "", host="api.example.com", now=now)
    with pytest.raises(PolicyError, match="now="):
        write("rfc7469", POLICY, host="api.example.com", now=now)


@pytest.mark.parametrize(
    ("host", "pins"),
    [
        ("api.example.com", [A, B]),
        ("API.Example.com.", [A, B]),
        ("x.y.example.org", [B, C]),
        ("example.org:8443", [B, C]),
        ("**.example.org", [B, C]),
    ],
)
def test_one_host_is_written(host: str, pins: list[Pin]) -> None:
    """`host=` is a pattern of the policy, or a host that one matches."""
    text, _ = write("curl", POLICY, host=host)
    assert text == ";".join(str(pin).replace("/", "//", 1) for pin in pins) + "\n"


@pytest.mark.parametrize("host", ["example.com", "*.example.org", "**.example.com", "a/b"])
def test_a_host_that_is_not_in_the_policy_is_refused(host: str) -> None:
    """`host=` names what the policy pins."""
    with pytest.raises(PolicyError):
        write("curl", POLICY, host=host)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("toml", "json", "curl")])
def test_an_address_alone_and_nothing_at_all(name: str) -> None:
    """Where nothing of a policy can be said, that is an error and no empty text."""
    with pytest.raises(PolicyError, match=r"nothing of this policy|host="):
        write(name, PinPolicy(blocked_pins=A), now=NOW)
    with pytest.raises(PolicyError, match="nothing of this policy"):
        write(name, PinPolicy({"**.example.com": [Pin("cert", b"1" * 32), Pin("cert", b"2" * 32)]}), now=NOW)


def test_losses_name_what_is_left_out() -> None:
    """One of each loss, for a system that can say little."""
    certificate = Pin("cert", b"d" * 32)
    policy = PinPolicy(
        {
            "api.example.com": PinSet([A.with_note("x"), C, certificate], [B], [C], expires=NOW, on_expiry="block"),
            "**.example.com": [A, B],
            "*.example.org": [A, B],
            "a.example.com:8443": [A, B],
            "b.example.com": PinSet.exempt(),
            "c.example.com": PinSet([A, B], report_only=True),
            "d.example.com": [certificate, Pin("cert", b"e" * 32)],
        },
        blocked_pins=Pin("spki", b"f" * 32),
        report_uri="https://reports.example.net",
    )
    _, losses = write("okhttp-java", policy)
    assert [(loss.host, loss.field) for loss in losses] == [
        (None, "report_uri"),
        (None, "unpinned_hosts"),
        (None, "blocked_pins"),
        ("api.example.com", "pins"),
        ("api.example.com", "pins"),
        ("api.example.com", "backup_pins"),
        ("api.example.com", "blocked_pins"),
        ("api.example.com", "on_expiry"),
        ("api.example.com", "note"),
        ("api.example.com", "expires"),
        ("a.example.com:8443", "host"),
        ("b.example.com", "host"),
        ("c.example.com", "host"),
        ("d.example.com", "host"),
        ("**.example.com", "host"),
    ]
    assert "would pin b.example.com, which the policy exempts" in losses[-1].text


def test_an_entry_that_is_left_out_names_what_holds_there_instead() -> None:
    """The pins of a wider pattern, where it stays."""
    hosts: dict[str, PinsLike] = {
        "**.example.com": [A, B],
        "a.example.com:8443": [B, C],
        "b.example.com": [Pin("cert", b"d" * 32), Pin("cert", b"e" * 32)],
    }
    _, losses = write("okhttp-java", PinPolicy(hosts, unpinned_hosts="allow"))
    left_out = {loss.host: loss.text for loss in losses if loss.field == "host"}
    assert list(left_out) == ["a.example.com:8443", "b.example.com"]
    assert all("the pins of **.example.com hold there instead" in text for text in left_out.values())


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("toml", "json")])
def test_what_the_whole_policy_blocks_is_never_written(name: str) -> None:
    """Not as an accepted pin, and both are named: the pin that is left out, and the block."""
    hosts = {"api.example.com": [A, B, C.with_note("2026 leaf")]}
    policy = PinPolicy(hosts, blocked_pins=[C, Pin("spki", b"d" * 32)], unpinned_hosts="allow")
    text, losses = write(name, policy, now=NOW)
    assert text == write(name, PinPolicy({"api.example.com": [A, B]}), now=NOW).text
    named = [(loss.host, loss.field) for loss in losses]
    for each in ((None, "blocked_pins"), ("api.example.com", "pins"), ("api.example.com", "note")):
        assert each in named
    with pytest.raises(PolicyError, match="nothing of this policy"):
        write(name, PinPolicy({"api.example.com": [A, B]}, blocked_pins=[A, B]), now=NOW)


def test_one_host_of_a_policy_file() -> None:
    """Every option of the policy stays, in a policy file; others name `report_uri` as left out."""
    hosts = {"api.example.com": [A.with_note("x"), B], "b.example.com": [A, B]}
    policy = PinPolicy(hosts, blocked_pins=C.with_note("y"), report_uri="https://reports.example.net")
    for name in ("toml", "json"):
        assert write(name, policy).losses == ()
        text, losses = write(name, policy, host="api.example.com")
        assert losses == ()
        again = read(name, text).policy
        assert again == PinPolicy({"api.example.com": [A, B]}, blocked_pins=C, report_uri=policy.report_uri)
        assert (again.hosts["api.example.com"].pins[0].note, again.blocked_pins[0].note) == ("x", "y")

    for host in (None, "api.example.com"):
        assert (None, "report_uri") in {(loss.host, loss.field) for loss in write("android", policy, host=host).losses}


def test_a_pattern_keeps_the_entries_within_it() -> None:
    """`host=` of a pattern writes the exempt host and the other pins within it, so that both still hold."""
    hosts: dict[str, PinsLike] = {
        "**.example.com": [A, B],
        "a.example.com": PinSet.exempt(),
        "b.example.com": [B, C],
        "*.c.example.com:8443": [A, C],
        "example.org": [A, C],
    }
    policy = PinPolicy(hosts, unpinned_hosts="allow")
    text, losses = write("json", policy, host="**.example.com")
    assert losses == ()
    assert read("json", text).policy == PinPolicy(
        {name: pins for name, pins in hosts.items() if name != "example.org"}, unpinned_hosts="allow"
    )
    text, losses = write("android", policy, host="**.example.com")
    assert read("android", text).policy.hosts == {
        "**.example.com": PinSet([A, B]),
        "a.example.com": PinSet.exempt(),
        "b.example.com": PinSet([B, C]),
    }
    assert [(loss.host, loss.field) for loss in losses] == [("*.c.example.com:8443", "host")]


@pytest.mark.parametrize("name", ["curl", "rfc7469"])
def test_a_pattern_around_an_exempt_host_is_not_written_where_it_would_pin_that_host(name: str) -> None:
    """A text that cannot exempt a host is refused, with its name; without that host it is written."""
    policy = PinPolicy({"**.example.com": [A, B], "a.example.com": PinSet.exempt()})
    with pytest.raises(PolicyError, match=r"would pin a\.example\.com"):
        write(name, policy, host="**.example.com", now=NOW)
    assert write(name, policy, host="b.example.com", now=NOW).text


def test_a_record_stands_for_no_report_only_entry() -> None:
    """DNS has records for a port: those of the plain host would enforce what is only reported on that port."""
    hosts: dict[str, PinsLike] = {
        "a.example": [A, B],
        "a.example:443": PinSet([A, B], report_only=True),
        "b.example": [A, C],
    }
    text, losses = write("tlsa", PinPolicy(hosts))
    assert ".a.example." not in text
    assert {(loss.host, loss.field) for loss in losses} >= {("a.example", "host"), ("a.example:443", "host")}


def test_hosts_that_share_many_pins_are_refused() -> None:
    """A text does not become a policy, and then another text, that is a thousand times as long."""
    domains = "".join(f"<domain>h{n}.example</domain>" for n in range(400))
    pins = "".join(f'<pin digest="SHA-256">{n:A>42}A=</pin>' for n in range(1000, 1250))
    text = "<network-security-config><domain-config>{}<pin-set>{}</pin-set></domain-config></network-security-config>"
    assert len(read("android", text.format(domains, pins)).policy.hosts) == 400
    with pytest.raises(PolicyError, match="100250 pins together"):
        read("android", text.format(f"{domains}<domain>another.example</domain>", pins))


def test_many_hosts_below_a_pattern_with_many_pins_are_written_soon() -> None:
    """Comparing the pins of each host with those of a wider pattern does not take quadratic time."""
    many = [Pin("spki", n.to_bytes(32, "big")) for n in range(20_000)]
    policy = PinPolicy({"**.example.com": many, **{f"h{n}.example.com": [A, B] for n in range(20_000)}})
    started = time.process_time()
    losses = write("okhttp-java", policy).losses
    assert len([loss for loss in losses if loss.field == "pins"]) == 20_000
    assert time.process_time() - started < 20  # seconds of processor: it takes two, and a square takes thirty


def test_a_loss_is_a_sentence() -> None:
    """It begins with what it is about."""
    assert str(Loss("a.example", "host", "is left out")) == "a.example is left out"
    assert str(Loss("a.example", "expires", "is left out")) == "a.example: expires is left out"
    assert str(Loss(None, "expires", "is left out")) == "expires is left out"

"""What is written and read again is what it was, apart from the losses that were named."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats import FORMATS, read, write
from pinned_requests.formats.export import select

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.formats import Loss

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pinned_requests.core.errors.MissingBackupPinWarning"),
]

# Each of these runs for several formats.
few = settings(max_examples=60)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
FOREIGN = [name for name in FORMATS if name not in ("toml", "json")]
READ = [name for name in FOREIGN if FORMATS[name].reader]
FIELDS = ("backup_pins", "blocked_pins", "expires", "on_expiry", "report_only")

SOME, OTHER, THIRD = (Pin("spki", digit * 32) for digit in (b"1", b"2", b"3"))

names = st.sampled_from(["example.com", "api.example.com", "a.b.example.com", "example.org", "xn--bcher-kva.example"])
ports = st.sampled_from(["", "", "", ":443", ":8443"])
patterns = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(["", "", "*.", "**."]), names, ports),
    st.builds("{}{}".format, st.sampled_from(["192.0.2.1", "[2001:db8::1]", "localhost"]), ports),
)
spki_pins = st.integers(0, 4).map(lambda n: Pin("spki", bytes([n]) * 32))
cert_pins = st.integers(0, 1).map(lambda n: Pin("cert", bytes([n]) * 32))
pins = st.lists(st.one_of(spki_pins, spki_pins, spki_pins, cert_pins), min_size=1, max_size=4)
few_pins = st.one_of(st.just([]), st.lists(st.one_of(spki_pins, cert_pins), max_size=2))
dates = st.one_of(
    st.none(),
    st.integers(1, 4000).map(lambda days: datetime(2026, 1, 2, tzinfo=UTC) + timedelta(days)),
    st.datetimes(datetime(2026, 1, 3), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001  Hypothesis wants these bounds naive
)
pin_sets = st.one_of(
    st.builds(
        PinSet,
        pins,
        few_pins,
        few_pins,
        expires=dates,
        on_expiry=st.sampled_from(["unpin", "unpin", "block"]),
        report_only=st.sampled_from([False, False, True]),
    ),
    # What most systems can say.
    st.builds(PinSet, st.lists(spki_pins, min_size=2, max_size=4, unique=True)),
    st.just(PinSet.exempt()),
)
policies = st.builds(
    PinPolicy,
    st.dictionaries(patterns, pin_sets, min_size=1, max_size=5),
    unpinned_hosts=st.sampled_from(["block", "allow", "allow"]),
)
# Patterns within patterns, which overlap in every policy.
nested_policies = st.builds(
    PinPolicy,
    st.dictionaries(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["", "*.", "**."]),
            st.sampled_from(["example.com", "api.example.com"]),
            st.sampled_from(["", "", ":8443"]),
        ),
        st.sampled_from(
            [PinSet([SOME, OTHER]), PinSet([SOME, THIRD]), PinSet([OTHER, THIRD], report_only=True), PinSet.exempt()]
        ),
        min_size=2,
        max_size=5,
    ),
    unpinned_hosts=st.just("allow"),
)
single_host_policies = st.builds(
    lambda name, pins: PinPolicy({name: pins}, unpinned_hosts="allow"),
    st.builds("{}{}".format, st.sampled_from(["", "**."]), names),
    pin_sets,
)


class Trip(NamedTuple):
    """What was written, and read again."""

    text: str
    policy: PinPolicy
    losses: tuple[Loss, ...]


def there_and_back(name: str, policy: PinPolicy, host: str | None = None) -> Trip | None:
    """Write `policy`, or what it says about `host`, and read it again, if that format can express any of it."""
    if host is None and FORMATS[name].is_hostless:
        host = next(iter(policy.hosts))
    try:
        text, losses = write(name, policy, host=host, now=NOW)
    except PolicyError:
        return None
    if host is not None and name == "rfc7469":
        host = host.removeprefix("**.")
    return Trip(text, read(name, text, host=host if FORMATS[name].is_hostless else None, now=NOW).policy, losses)


def unnamed(before: PinPolicy, after: PinPolicy, losses: tuple[Loss, ...]) -> Iterator[tuple[str | None, str]]:
    """Yield host and field of all that differs and that no loss names."""
    named = {(loss.host, loss.field) for loss in losses}
    if before.unpinned_hosts != after.unpinned_hosts and (None, "unpinned_hosts") not in named:
        yield None, "unpinned_hosts"
    moved = {HostPattern.parse(host).host for host, field in named if host is not None and field == "host"}
    for host in after.hosts.keys() - before.hosts.keys():
        if HostPattern.parse(host).host not in moved:
            yield host, "new"
    for host, old in before.hosts.items():
        new = after.hosts.get(host)
        if new is None or new.is_exempt != old.is_exempt:
            differing = ["host"]
        elif old.is_exempt:
            differing = [] if old == new else ["host"]
        else:
            differing = [field for field in FIELDS if normal(old, field) != normal(new, field)]
            if old.accepted != new.accepted:
                differing.append("pins")
        yield from ((host, field) for field in differing if (host, field) not in named)


def normal(pins: PinSet, field: str) -> object:
    """The value of a field; of pins, in no order."""
    value = getattr(pins, field)
    return frozenset(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", READ)
@few
@given(policy=st.one_of(policies, single_host_policies))
def test_all_that_differs_is_named(name: str, policy: PinPolicy) -> None:
    """A policy that was written and read again differs from the original in nothing that no loss names."""
    if FORMATS[name].is_hostless:
        host = next(iter(policy.hosts))
        policy = PinPolicy({host: policy.hosts[host]}, unpinned_hosts=policy.unpinned_hosts)
    if trip := there_and_back(name, policy):
        assert list(unnamed(policy, trip.policy, trip.losses)) == []


@pytest.mark.parametrize("name", READ)
@few
@given(policy=st.one_of(policies, nested_policies), data=st.data())
def test_all_that_differs_in_a_part_is_named(name: str, policy: PinPolicy, data: st.DataObject) -> None:
    """The same for `host=`: the narrower entries within a pattern are kept, or a loss names them."""
    host = data.draw(st.sampled_from(list(policy.hosts)), "host=")
    if trip := there_and_back(name, policy, host):
        assert list(unnamed(select(policy, host), trip.policy, trip.losses)) == []


@pytest.mark.parametrize("name", ["android", "rfc7469", "trustkit"])
@few
@given(policy=single_host_policies)
def test_without_losses_it_is_equal(name: str, policy: PinPolicy) -> None:
    """A policy that was written without any loss is read back equal."""
    trip = there_and_back(name, policy)
    if trip and not trip.losses:
        assert trip.policy == policy


@pytest.mark.parametrize("name", ["android", "rfc7469", "trustkit"])
def test_some_policies_lose_nothing(name: str) -> None:
    """The test above has something to compare."""
    day = None if name == "android" else NOW.replace(year=2027, hour=0, minute=0, second=0, microsecond=0)
    pins = PinSet([SOME, OTHER], expires=day)
    policy = PinPolicy({"**.example.com": pins}, unpinned_hosts="allow")
    trip = there_and_back(name, policy)
    assert trip is not None
    assert trip[1:] == (policy, ())


@pytest.mark.parametrize("name", READ)
@few
@given(policy=st.one_of(policies, single_host_policies))
def test_what_was_read_is_written_as_it_was(name: str, policy: PinPolicy) -> None:
    """The second text is the first, and says of no host that something got lost, but where losses are of the format."""
    if FORMATS[name].is_hostless:
        host = next(iter(policy.hosts))
        policy = PinPolicy({host: policy.hosts[host]})
    if first := there_and_back(name, policy):
        second = there_and_back(name, first.policy)
        assert second is not None
        assert second.text == first.text
        assert [loss for loss in second.losses if loss.host is not None] == []


def strictness(pins: PinSet | None) -> int:
    """What a mismatch leads to: 0 nothing, 1 a report, 2 a refusal."""
    return 0 if pins is None or pins.is_exempt else 1 if pins.report_only else 2


def in_the_text(name: str, text: str, pattern: str) -> PinPolicy:
    """The policy that a system follows that is given `text`; of a hostless one for the hosts that `pattern` matches."""
    if name.startswith("okhttp"):
        added = {host: pins.split(", ") for host, pins in re.findall(r'\.add\("([^"]+)", (.+)\)', text)}
        hosts = {f"[{host}]" if ":" in host else host: [pin.strip('"') for pin in pins] for host, pins in added.items()}
        return PinPolicy(hosts, unpinned_hosts="allow")
    host = (pattern if name == "curl" else pattern.removeprefix("**.")) if FORMATS[name].is_hostless else None
    return read(name, text, host=host, now=NOW).policy


HOSTS = ["example.com", "x.example.com", "x.y.example.com", "api.example.com", "x.api.example.com", "b.example.com"]
HOSTS += ("a.b.example.com", "x.a.b.example.com", "example.org", "x.example.org", "localhost", "192.0.2.1", "[::1]")


@pytest.mark.parametrize("name", FOREIGN)
@settings(max_examples=100)
@given(policy=st.one_of(policies, nested_policies), data=st.data())
def test_a_text_pins_no_host_that_the_policy_does_not_pin(name: str, policy: PinPolicy, data: st.DataObject) -> None:
    """Nor does it enforce pins that the policy only reports, whether the whole policy is written or a part of it."""
    chosen = st.sampled_from(list(policy.hosts))
    host = data.draw(chosen if FORMATS[name].is_hostless else st.one_of(st.none(), chosen), "host=")
    try:
        text, _ = write(name, policy, host=host, now=NOW)
    except PolicyError:
        return
    written = in_the_text(name, text, host or "")
    for each in HOSTS:
        for port in (443, 8443, 9443):
            assert strictness(written.lookup(each, port)) <= strictness(policy.lookup(each, port)), (each, port)


@pytest.mark.parametrize("name", FOREIGN)
def test_some_text_is_written_around_an_exempt_host(name: str) -> None:
    """The test above has something to compare: what can be said is said."""
    hosts: dict[str, PinsLike] = {
        "**.example.com": [SOME, OTHER],
        "api.example.com": PinSet.exempt(),
        "example.org": [SOME, OTHER],
    }
    text, _ = write(name, PinPolicy(hosts), host="example.org" if FORMATS[name].is_hostless else None, now=NOW)
    written = in_the_text(name, text, "example.org")
    assert [strictness(written.lookup(host, 443)) for host in ("api.example.com", "example.org")] == [0, 2]


@settings(max_examples=200)
@given(policy=st.one_of(policies, nested_policies), data=st.data())
def test_a_part_of_a_policy_says_the_same_about_its_hosts(policy: PinPolicy, data: st.DataObject) -> None:
    """Selecting a pattern changes nothing for the hosts that it matches, and says nothing about others."""
    host = data.draw(st.one_of(st.sampled_from(list(policy.hosts)), st.sampled_from(HOSTS)), "host=")
    try:
        selected = select(policy, host)
    except PolicyError:
        return
    alone = PinPolicy({host: [SOME, OTHER]})
    for each in HOSTS:
        for port in (443, 8443, 9443):
            matched = alone.lookup(each, port) is not None
            assert selected.lookup(each, port) == (policy.lookup(each, port) if matched else None), (each, port)


@pytest.mark.parametrize("name", FOREIGN)
@few
@given(policy=policies)
def test_a_blocked_pin_is_never_written(name: str, policy: PinPolicy) -> None:
    """A pin that is blocked and pinned at once does not become an accepted one."""
    host, old = next(iter(policy.hosts.items()))
    policy = PinPolicy({host: old})
    try:
        text, _ = write(name, policy, now=NOW)
    except PolicyError:
        return
    for pin in old.blocked:
        if pin.kind == "spki":
            assert str(pin).removeprefix("sha256/") not in text
            assert f"1 1 {pin.digest.hex()}" not in text


@given(policy=policies)
def test_canonical_patterns_and_pins_need_no_escaping(policy: PinPolicy) -> None:
    """Neither quotes nor backslashes, dollars, brackets, ampersands, spaces or controls stand in what is written."""
    for host, old in policy.hosts.items():
        assert re.fullmatch(r"[a-z0-9._*:\[\]-]+", host)
        assert all(re.fullmatch(r"[A-Za-z0-9+/=-]+", str(pin)) for pin in old.accepted)


@pytest.mark.parametrize("name", FOREIGN)
@few
@given(policy=policies)
def test_losses_are_sentences_on_one_line(name: str, policy: PinPolicy) -> None:
    """Each loss prints as one printable line that begins with what it is about."""
    host = next(iter(policy.hosts)) if FORMATS[name].is_hostless else None
    try:
        _, losses = write(name, policy, host=host, now=NOW)
    except PolicyError:
        return
    for loss in losses:
        assert str(loss).isprintable()
        assert str(loss).startswith(loss.host or loss.field)

"""`PinPolicy`: what it takes, which pattern wins, and what it says about mistakes."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError
from pinned_requests.core import pinset as pinset_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UTC = dt.UTC
A, B, C, D = (Pin("spki", bytes([number]) * 32) for number in range(4))
BASE64 = str(A).removeprefix("sha256/")
PAIR = PinSet([A, B])


@pytest.fixture(autouse=True)
def _nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins like a process: nothing has been warned of."""
    monkeypatch.setattr(pinset_module, "_warned", set())


def _named(name: str) -> Pin:
    return Pin("spki", name.encode().ljust(32)[:32])


def _policy(*patterns: str) -> PinPolicy:
    """A policy in which the first pin of each pattern tells which it is."""
    return PinPolicy({pattern: [_named(pattern), A] for pattern in patterns})


@pytest.mark.parametrize(
    ("patterns", "host", "port", "wins"),
    [
        (["example.com"], "example.com", None, "example.com"),
        (["example.com"], "EXAMPLE.com..", 443, "example.com"),
        (["example.com"], "api.example.com", None, None),
        (["*.example.com"], "api.example.com", None, "*.example.com"),
        (["*.example.com"], "example.com", None, None),
        (["*.example.com"], "a.b.example.com", None, None),
        (["*.example.com"], "badexample.com", None, None),
        (["**.example.com"], "example.com", None, "**.example.com"),
        (["**.example.com"], "api.example.com", None, "**.example.com"),
        (["**.example.com"], "a.b.c.example.com", None, "**.example.com"),
        (["**.example.com"], "badexample.com", None, None),
        (["**.example.com"], "example.com.evil", None, None),
        # An exact host before all; `*.` before `**.` with the same fixed part
        (["**.example.com", "*.example.com", "api.example.com"], "api.example.com", None, "api.example.com"),
        (["**.example.com", "*.example.com"], "api.example.com", None, "*.example.com"),
        (["**.example.com", "*.example.com"], "a.b.example.com", None, "**.example.com"),
        (["**.example.com", "*.example.com"], "example.com", None, "**.example.com"),
        (["**.example.com", "example.com"], "example.com", None, "example.com"),
        # The longest fixed part, of any kind
        (["**.com", "**.example.com"], "api.example.com", None, "**.example.com"),
        (["*.example.com", "**.api.example.com"], "api.example.com", None, "**.api.example.com"),
        (["**.example.com", "*.api.example.com"], "a.api.example.com", None, "*.api.example.com"),
        (["**.example.com", "*.api.example.com"], "api.example.com", None, "**.example.com"),
        # Ports: only after host and kind
        (["example.com:8443"], "example.com", 8443, "example.com:8443"),
        (["example.com:8443"], "example.com", 443, None),
        (["example.com:8443"], "example.com", None, None),
        (["example.com", "example.com:8443"], "example.com", 8443, "example.com:8443"),
        (["example.com", "example.com:8443"], "example.com", 443, "example.com"),
        (["example.com", "**.example.com:8443"], "example.com", 8443, "example.com"),
        (["*.example.com", "**.example.com:8443"], "a.example.com", 8443, "*.example.com"),
        (["*.example.com:1", "**.example.com"], "a.example.com", 8443, "**.example.com"),
        (["**.com:8443", "**.example.com"], "a.example.com", 8443, "**.example.com"),
        # Addresses
        (["127.0.0.1"], "0x7f.1", None, "127.0.0.1"),
        (["0x7f.1"], "[::ffff:127.0.0.1]", None, "0x7f.1"),
        (["[2001:db8::1]:8443"], "2001:DB8:0::1", 8443, "[2001:db8::1]:8443"),
        (["fe80::1%eth0"], "[fe80::1%25lo]", None, "fe80::1%eth0"),
        (["**.example"], "192.0.2.1", None, None),
        # One label
        (["*.localhost", "**.localhost"], "localhost", None, "**.localhost"),
        (["**.localhost"], "x", None, None),
    ],
)
def test_the_most_specific_pattern_wins_alone(
    patterns: list[str], host: str, port: int | None, wins: str | None
) -> None:
    """In whichever order they stand; pins of several patterns are never united."""
    for order in (patterns, patterns[::-1]):
        pins = _policy(*order).lookup(host, port)
        assert (wins and (_named(wins), A)) == (pins and pins.pins)


def test_a_lookup_takes_steps_by_labels_not_by_patterns() -> None:
    """A few dictionary look-ups a label, however many patterns there are."""

    class Counting(dict[object, object]):
        count = 0

        def get(self, *args: Any) -> object:
            Counting.count += 1
            return super().get(*args)

        def __contains__(self, key: object) -> bool:
            Counting.count += 1
            return super().__contains__(key)

        def __iter__(self) -> Iterator[object]:
            raise AssertionError

    pairs = {f"*.h{number}.example.com": PAIR for number in range(2000)}
    for policy, count in ((PinPolicy(pairs), 7), (PinPolicy({**pairs, "a.example:8443": PAIR}), 8)):
        Counting.count = 0
        object.__setattr__(policy, "_hosts", Counting(policy._hosts))
        object.__setattr__(policy, "_bases", Counting.fromkeys(policy._bases))
        assert None is policy.lookup("a.b.c.d.example.com", 8443)
        assert Counting.count == count


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("example.com", "EXAMPLE.com."),
        ("*.example.com", "*.Example.com"),
        ("127.0.0.1:8443", "0x7f.1:8443"),
        ("[2001:db8::1]", "2001:DB8:0::1"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_one_host_in_two_spellings_is_refused(first: str, second: str) -> None:
    """The error names both."""
    with pytest.raises(PolicyError) as refusal:
        PinPolicy({first: PAIR, second: PAIR})
    assert repr(first) in str(refusal.value)
    assert repr(second) in str(refusal.value)


@pytest.mark.parametrize(
    "hosts",
    [
        {},
        None,
        "example.com",
        [("example.com", [A, B])],
        PAIR,
        1,
        {"": PAIR},
        {1: PAIR},
        {None: PAIR},
        {b"a.example": PAIR},
    ],
)
def test_wrong_policies(hosts: Any) -> None:
    """Not a mapping, keys that are not patterns, or neither a host nor a blocked key."""
    with pytest.raises(PolicyError):
        PinPolicy(hosts)
    with pytest.raises(PolicyError):
        PinPolicy.from_mapping(hosts)


@pytest.mark.parametrize("value", [None, "", "ALLOW", True, 0, [], b"allow"])
def test_wrong_unpinned_hosts(value: Any) -> None:
    """There are two values."""
    with pytest.raises(PolicyError):
        PinPolicy({"a.example": PAIR}, unpinned_hosts=value)


@pytest.mark.parametrize(
    ("host", "port"), [("a..b", None), (None, None), ("example.com", "443"), ("example.com", True)]
)
def test_wrong_lookups(host: Any, port: Any) -> None:
    """A host that cannot be looked up is refused, not unpinned."""
    with pytest.raises(PolicyError):
        _policy("example.com:443").lookup(host, port)


@pytest.mark.parametrize(
    ("patterns", "host", "ports"),
    [
        (["a.example"], "a.example", (None,)),
        (["a.example"], "b.example", (None,)),
        (["a.example:8443"], "a.example", (8443,)),
        (["a.example:8443"], "A.Example.", (8443,)),
        (["a.example:8443"], "b.example", (None,)),
        (["a.example:8443", "a.example:444"], "a.example", (444, 8443)),
        (["a.example", "a.example:8443"], "a.example", (8443, None)),
        (["*.example:8443"], "a.example", (8443,)),
        (["*.example:8443"], "a.b.example", (None,)),
        (["**.example:8443", "**.example"], "a.b.example", (8443, None)),
        (["a.example", "**.example:8443"], "a.example", (None,)),  # the exact host wins on that port as well
        (["[::1]:8443", "192.0.2.1:444"], "[0::1]", (8443,)),
        (["[2001:db8::8443]", "a.example:8443"], "2001:db8::8443", (None,)),
        (["a.example:8443"], "not a host", (None,)),
    ],
)
def test_the_ports_of_a_host(patterns: list[str], host: str, ports: tuple[int | None, ...]) -> None:
    """Those to look it up by where the port is not known: each entry of the host is found by one of them."""
    assert _policy(*patterns).ports_of(host) == ports


def test_a_policy_is_a_value() -> None:
    """Equal by content, hashable, without setters; pickle and copy give an equal one."""
    policy = PinPolicy({"API.example.com": PAIR, "*.example.com": PinSet.exempt()}, unpinned_hosts="allow")
    assert {"api.example.com": PAIR, "*.example.com": PinSet.exempt()} == dict(policy.hosts)
    assert policy.unpinned_hosts == "allow"
    for again in (pickle.loads(pickle.dumps(policy)), copy.copy(policy), copy.deepcopy(policy)):  # noqa: S301 - our own
        assert {policy} == {policy, again}
        assert again.lookup("api.example.com") == PAIR
    assert policy != PinPolicy(policy.hosts)
    assert policy != PinPolicy({"api.example.com": PAIR}, unpinned_hosts="allow")
    assert policy != dict(policy.hosts)
    assert repr(policy) == "<PinPolicy of 2 host patterns, unpinned_hosts='allow'>"
    with pytest.raises(AttributeError):
        policy.unpinned_hosts = "block"  # type: ignore[misc]  # that is what is tested
    with pytest.raises(TypeError):
        policy.hosts["evil.example"] = PAIR  # type: ignore[index]  # that is what is tested


def test_blocked_pins_of_a_whole_policy() -> None:
    """One pin or several, in any spelling; part of the value, and of its look-up set; pickle keeps them."""
    policy = PinPolicy({"a.example": PAIR}, blocked_pins=[C, str(D), C])
    assert (policy.blocked_pins, policy.blocked) == ((C, D), frozenset((C, D)))
    same = PinPolicy.from_mapping({"a.example": PAIR}, blocked_pins=(D, C))
    assert len({policy, same, pickle.loads(pickle.dumps(policy)), copy.copy(policy)}) == 1  # noqa: S301 - our own
    assert pickle.loads(pickle.dumps(policy)).blocked_pins == (C, D)  # noqa: S301 - our own
    for other in (PinPolicy({"a.example": PAIR}), PinPolicy({"a.example": PAIR}, blocked_pins=C)):
        assert policy != other
    assert repr(policy) == "<PinPolicy of 1 host patterns, unpinned_hosts='block', 2 blocked pins>"


def test_blocked_pins_alone_make_a_policy() -> None:
    """With no host named, it refuses these keys wherever they are seen."""
    policy = PinPolicy(blocked_pins=str(A), unpinned_hosts="allow")
    assert (policy.blocked, dict(policy.hosts)) == (frozenset((A,)), {})
    assert policy.lookup("example.com") is None


@pytest.mark.parametrize("value", [None, 1, True, b"x", {"a": A}, "sha1/AAAA", [A, None], [[A]]])
def test_wrong_blocked_pins(value: Any) -> None:
    """The error names the field."""
    with pytest.raises(PolicyError, match=r"^'blocked_pins'"):
        PinPolicy({"a.example": PAIR}, blocked_pins=value)


def test_blocking_unpinned_hosts() -> None:
    """Only that changes, and an outdated policy stays outdated; one that blocks already is returned unchanged."""
    hosts = {"a.example": PAIR}
    allows, blocks = PinPolicy(hosts, unpinned_hosts="allow", blocked_pins=C), PinPolicy(hosts, blocked_pins=C)
    assert blocks.blocking_unpinned() is blocks
    assert allows.blocking_unpinned() == blocks
    assert allows.unpinned_hosts == "allow"
    assert allows.as_outdated("too old").blocking_unpinned() == blocks.as_outdated("too old")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([BASE64, str(B), "block"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*pinset_module._FIELDS, "*.example.com", "a.example:1"]) | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")
@pytest.mark.parametrize("make", [PinSet.of, PinPolicy, lambda value: PinPolicy({"a.example": value})])
@given(value=JSON)
def test_any_value_is_a_policy_or_refused(make: Callable[[object], object], value: object) -> None:
    """A value, or our error, on one line that prints; nothing else."""
    try:
        made: object = make(value)
    except PolicyError as error:
        made = str(error)
    assert isinstance(made, (PinSet, PinPolicy)) or (isinstance(made, str) and made.isprintable())

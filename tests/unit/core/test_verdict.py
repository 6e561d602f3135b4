"""`evaluate()`: the decision, over everything it depends on."""

from __future__ import annotations

import copy
import datetime as dt
import itertools
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.core.chain import Chain, SeenCertificate
from pinned_requests.core.verdict import Outcome, Verdict, admit, evaluate, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pinned_requests.core.pinset import OnExpiry
    from pinned_requests.core.policy import UnpinnedHosts

HOST = "api.example.com"
NOW = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def key(number: int) -> Pin:
    """The pin of the key of the certificate at depth `number`; from 10 on, of no certificate."""
    return Pin("spki", bytes([number]) * 32)


def certificate_pin(number: int) -> Pin:
    """The pin of the whole certificate at depth `number`."""
    return Pin("cert", bytes([number]) * 32)


def seen(number: int) -> SeenCertificate:
    """The certificate at depth `number`."""
    pins = frozenset((key(number), certificate_pin(number)))
    return SeenCertificate(f"CN={number}", key(number), certificate_pin(number), pins, number == 2, bytes([number]))


VERIFIED = Chain((seen(0), seen(1), seen(2)), is_verified=True)
UNVERIFIED = Chain(VERIFIED.certificates, is_verified=False)
MISSING = Chain.missing("the proxy hides it")
BOTH = [VERIFIED, UNVERIFIED]


def decide(pins: PinSet, chain: Chain, now: dt.datetime = NOW) -> Verdict:
    """Evaluate a policy that has these pins for the host alone."""
    return evaluate(PinPolicy({HOST: pins}), "API.example.com.", chain, now, port=443)


def verdict(outcome: Outcome, allowed: bool, pins: PinSet, chain: Chain, found: Iterable[Any] = ()) -> Verdict:  # noqa: FBT001 - a record
    """The verdict on that host."""
    return Verdict(outcome, allowed, HOST, 443, HOST, pins, chain, *found)


@pytest.mark.parametrize("kind", [key, certificate_pin])
@pytest.mark.parametrize("where", ["pins", "backup_pins"])
@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("chain", BOTH, ids=["verified", "unverified"])
def test_a_match_counts_at_any_depth_of_a_verified_chain(
    chain: Chain,
    depth: int,
    report_only: bool,  # noqa: FBT001 - pytest's way
    where: str,
    kind: Callable[[int], Pin],
) -> None:
    """Of an unverified chain only the leaf counts, in whichever list and of whichever kind the pin is."""
    sets: dict[str, Any] = {"pins": [key(10), key(11)], "backup_pins": [key(12)], "report_only": report_only}
    pins = PinSet(**{**sets, where: [key(13), kind(depth)]})
    if chain.is_verified or depth == 0:
        expected = verdict(Outcome.MATCH, True, pins, chain, (kind(depth), depth))  # noqa: FBT003 - a record
    else:
        expected = verdict(Outcome.MISMATCH, report_only, pins, chain)
    assert expected == decide(pins, chain)


@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("chain", BOTH, ids=["verified", "unverified"])
def test_no_match(chain: Chain, report_only: bool) -> None:  # noqa: FBT001 - pytest's way
    """A mismatch is refused, or only reported where the set says so."""
    pins = PinSet([key(10), key(11)], blocked_pins=key(12), report_only=report_only)
    assert verdict(Outcome.MISMATCH, report_only, pins, chain) == decide(pins, chain)
    assert decide(pins, chain).is_violation


def test_the_first_match_from_the_leaf_is_named_and_a_key_before_a_certificate() -> None:
    """Depth and pin are those nearest to the leaf."""
    pins = PinSet([key(2), certificate_pin(1), key(1)])
    found = decide(pins, VERIFIED)
    assert (key(1), 1) == (found.pin, found.depth)


@pytest.mark.parametrize(
    "pins",
    [
        PinSet([key(0), key(1)]),
        PinSet([key(0), key(1)], report_only=True),
        PinSet([key(0), key(1)], expires=NOW),
        PinSet.exempt(),
        None,
    ],
    ids=["pinned", "report-only", "expired", "exempt", "unpinned"],
)
@pytest.mark.parametrize("kind", [key, certificate_pin])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("chain", BOTH, ids=["verified", "unverified"])
def test_a_key_that_the_policy_blocks_is_refused_for_every_host(
    chain: Chain, depth: int, kind: Callable[[int], Pin], pins: PinSet | None
) -> None:
    """With any pin set of the host, at any depth, verified or not; a missing chain is also refused."""
    hosts = {HOST: pins} if pins else {}
    policy = PinPolicy(hosts, unpinned_hosts="allow", blocked_pins=[key(12), kind(depth)])
    found = evaluate(policy, HOST, chain, NOW, port=443)
    assert (found.outcome, found.is_allowed, found.pin, found.depth) == (
        *(Outcome.BLOCKED_KEY, False),
        *(kind(depth), depth),
    )
    missing = evaluate(policy, HOST, MISSING, NOW)
    assert (missing.outcome, missing.is_allowed) == (Outcome.CHAIN_UNAVAILABLE, False)
    elsewhere = PinPolicy(hosts, unpinned_hosts="allow", blocked_pins=[key(12)])
    assert evaluate(elsewhere, HOST, chain, NOW).outcome is not Outcome.BLOCKED_KEY


def test_a_blocked_key_has_no_say_without_tls() -> None:
    """A plain connection to an exempt or unpinned host shows no key."""
    policy = PinPolicy({HOST: PinSet.exempt()}, unpinned_hosts="allow", blocked_pins=[key(0)])
    for host in (HOST, "other.example.com"):
        assert admit(policy, "http", host, 80, NOW).is_allowed


def test_a_name_that_is_not_the_origin() -> None:
    """A proxy and an SNI name are subject to pins only if the policy names them; a blocked key refuses them too."""
    policy = PinPolicy({HOST: PinSet([key(0), key(1)])}, blocked_pins=[key(2)])
    free = admit(policy, "https", "proxy.example.net", 8080, NOW, only_if_named=True)
    assert (free.outcome, free.is_allowed) == (Outcome.UNPINNED, True)
    assert settle(policy, free, VERIFIED, NOW).outcome is Outcome.BLOCKED_KEY
    named = admit(policy, "http", HOST, 8080, NOW, only_if_named=True)
    assert (named.outcome, named.is_allowed) == (Outcome.INSECURE_URL, False)
    odd = admit(policy, "https", "a..b", 8080, NOW, only_if_named=True)
    assert (odd.outcome, odd.is_allowed) == (Outcome.UNPINNED_HOST, False)


@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("kind", [key, certificate_pin])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("chain", BOTH, ids=["verified", "unverified"])
def test_a_blocked_key_is_refused_whatever_else(
    chain: Chain,
    depth: int,
    kind: Callable[[int], Pin],
    report_only: bool,  # noqa: FBT001 - pytest's way
    expired: bool,  # noqa: FBT001 - pytest's way
) -> None:
    """Even if the chain matches, the set is report-only, its pins have expired, or the chain is not verified."""
    pins = PinSet(
        [key(0), key(1), key(2)],
        blocked_pins=[key(12), kind(depth)],
        report_only=report_only,
        expires=NOW if expired else None,
    )
    expected = verdict(Outcome.BLOCKED_KEY, False, pins, chain, (kind(depth), depth))  # noqa: FBT003 - a record
    assert expected == decide(pins, chain)


CASES = [*itertools.product(["unpin", "block"], [-SECOND, 0 * SECOND, SECOND], [False, True], [0, 10], BOTH)]


@pytest.mark.parametrize(("on_expiry", "late", "report_only", "number", "chain"), CASES)
def test_expiry(
    on_expiry: OnExpiry,
    late: dt.timedelta,
    report_only: bool,  # noqa: FBT001 - pytest's way
    number: int,
    chain: Chain,
) -> None:
    """From the moment on that is given. "unpin" falls back to CA validation, if there was one; "block" refuses."""
    pins = PinSet([key(number), key(11)], expires=NOW, on_expiry=on_expiry, report_only=report_only)
    result = decide(pins, chain, NOW + late)
    if late < 0 * SECOND and number == 0:
        assert verdict(Outcome.MATCH, True, pins, chain, (key(0), 0)) == result  # noqa: FBT003 - a record
    elif late < 0 * SECOND:
        assert verdict(Outcome.MISMATCH, report_only, pins, chain) == result
    elif on_expiry == "unpin":
        assert verdict(Outcome.EXPIRED, chain.is_verified, pins, chain) == result
    else:
        assert (result.outcome, result.is_allowed, result.host) == (Outcome.EXPIRED, False, HOST)
        assert result.is_violation


@pytest.mark.parametrize("report_only", [False, True])
@pytest.mark.parametrize("expires", [None, NOW])
@pytest.mark.parametrize(
    "chain",
    [MISSING, Chain((), is_verified=True), Chain(VERIFIED.certificates, is_verified=True, unavailable="it is old")],
)
def test_no_chain_no_pass(chain: Chain, expires: dt.datetime | None, report_only: bool) -> None:  # noqa: FBT001 - pytest's way
    """An unavailable chain is refused, also where the set is report-only or its pins have expired."""
    pins = PinSet([key(0), key(1)], report_only=report_only, expires=expires)
    assert verdict(Outcome.CHAIN_UNAVAILABLE, False, pins, chain) == decide(pins, chain)  # noqa: FBT003 - a record


@pytest.mark.parametrize("unpinned_hosts", ["block", "allow"])
@pytest.mark.parametrize("chain", [*BOTH, MISSING])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_exempt(scheme: str, chain: Chain, unpinned_hosts: UnpinnedHosts) -> None:
    """An exempt host is allowed with any chain, as in requests."""
    policy = PinPolicy({"**.example.com": [key(0), key(1)], HOST: PinSet.exempt()}, unpinned_hosts=unpinned_hosts)
    for result in (evaluate(policy, HOST, chain, NOW), admit(policy, scheme, HOST, None, NOW)):
        assert (Outcome.EXEMPT, True, HOST, None, HOST, PinSet.exempt()) == result._fields()[:6]
        assert not result.is_violation


@pytest.mark.parametrize("chain", [*BOTH, MISSING])
def test_unpinned(chain: Chain) -> None:
    """A host without a pattern is what the policy says: refused by default."""
    pinned = {"other.example": [key(0), key(1)]}
    blocked = evaluate(PinPolicy(pinned), HOST, chain, NOW)
    allowed = evaluate(PinPolicy(pinned, unpinned_hosts="allow"), HOST, chain, NOW)
    assert blocked._fields()[:6] == (Outcome.UNPINNED_HOST, False, HOST, None, None, None)
    assert allowed._fields()[:6] == (Outcome.UNPINNED, True, HOST, None, None, None)
    assert blocked.is_violation
    assert not allowed.is_violation


@pytest.mark.parametrize(
    "host", ["", "a..b", "a b", "api%2eexample.com", "a" * 2000, "\ud800", None, b"api.example.com", 1, []]
)
@pytest.mark.parametrize("unpinned_hosts", ["block", "allow"])
def test_a_host_without_a_form_is_refused(host: Any, unpinned_hosts: UnpinnedHosts) -> None:
    """Never unpinned, and never another error, for any type."""
    policy = PinPolicy({HOST: [key(0), key(1)]}, unpinned_hosts=unpinned_hosts)
    result = evaluate(policy, host, VERIFIED, NOW)
    assert result._fields()[:2] == (Outcome.UNPINNED_HOST, False)
    assert (host if isinstance(host, str) else result.host) == result.host
    assert isinstance(result.host, str)


@pytest.mark.parametrize("port", ["443", 443.0, True, [], b"443"])
def test_a_port_of_the_wrong_type_is_refused(port: Any) -> None:
    """It would match no pattern with a port, and the pinned host pass for unpinned."""
    policy = PinPolicy({f"{HOST}:443": [key(0), key(1)], f"{HOST}:1": [key(0), key(1)]}, unpinned_hosts="allow")
    assert evaluate(policy, HOST, VERIFIED, NOW, port=port)._fields()[:2] == (Outcome.UNPINNED_HOST, False)
    assert Outcome.MATCH is evaluate(policy, HOST, VERIFIED, NOW, port=443).outcome
    assert Outcome.UNPINNED is evaluate(policy, HOST, VERIFIED, NOW, port=444).outcome


@pytest.mark.parametrize(
    ("scheme", "host", "options", "outcome"),
    [
        ("https", HOST, {}, Outcome.UNDECIDED),
        ("http", HOST, {}, Outcome.INSECURE_URL),
        ("HTTPS", HOST, {}, Outcome.INSECURE_URL),
        ("ftp", HOST, {}, Outcome.INSECURE_URL),
        ("http", HOST, {"report_only": True}, Outcome.INSECURE_URL),
        ("http", HOST, {"expires": NOW}, Outcome.INSECURE_URL),
        ("http", HOST, {"expires": NOW, "on_expiry": "block"}, Outcome.INSECURE_URL),
        ("http", "other.example", {}, Outcome.INSECURE_URL),
        ("https", "other.example", {}, Outcome.UNPINNED_HOST),
        ("https", HOST, {"expires": NOW}, Outcome.UNDECIDED),
        ("https", HOST, {"expires": NOW, "on_expiry": "block"}, Outcome.EXPIRED),
        ("https", HOST, {"expires": NOW + SECOND, "on_expiry": "block"}, Outcome.UNDECIDED),
    ],
)
def test_what_is_decided_before_the_connection(
    scheme: str, host: str, options: dict[str, Any], outcome: Outcome
) -> None:
    """What needs no chain; until there is one, nothing pinned is allowed."""
    policy = PinPolicy({HOST: PinSet([key(0), key(1)], **options)})
    result = admit(policy, scheme, host, 443, NOW)
    assert (outcome, False, host, 443) == result._fields()[:4]
    assert result.is_violation is (outcome is not Outcome.UNDECIDED)


def test_a_verdict_is_a_value() -> None:
    """Equal, hashable, and pickle and copy give an equal one."""
    result = decide(PinSet([key(0), key(1)]), VERIFIED)
    again = pickle.loads(pickle.dumps(result))  # noqa: S301 - our own
    assert {result} == {result, again, copy.copy(result), copy.deepcopy(result)}
    assert "MATCH" in repr(result)

"""What is wrong with a host: the chains that it presents, held against a policy, today and in the near future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.host import HostPattern
from pinned_requests.core.verdict import Outcome, Verdict, evaluate
from pinned_requests.monitoring.details import validity
from pinned_requests.monitoring.errors import ServerError, UnreachableError
from pinned_requests.monitoring.fetch import addresses, fetch
from pinned_requests.monitoring.findings import Finding
from pinned_requests.monitoring.route import Route
from pinned_requests.monitoring.target import HTTPS_PORT, Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy

_EVER_BEFORE = datetime.min.replace(tzinfo=UTC)  # nothing has expired


class Options(NamedTuple):
    """How to check.

    Attributes:
        route: how the servers are reached.
        within: what is "soon".
        samples: connections a host; with more than one they go to its addresses in turns.
        ignored: kinds of findings to ignore.
    """

    route: Route = Route()
    within: timedelta = timedelta(days=30)
    samples: int = 1
    ignored: frozenset[str] = frozenset()


class HostCheck(NamedTuple):
    """What was found of one host.

    Attributes:
        target: the host.
        outcome: in a word.
        verdict: on the last connection, or None without one.
        findings: what is wrong.
    """

    target: Target
    outcome: str
    verdict: Verdict | None
    findings: tuple[Finding, ...]


def named_hosts(policy: PinPolicy) -> list[Target]:
    """Return the hosts that a policy names without a wildcard and does not exempt."""
    patterns = [HostPattern.parse(name) for name, pins in policy.hosts.items() if not pins.is_exempt]
    exact = (Target(each.host, each.port or HTTPS_PORT) for each in patterns if each.kind == "exact")
    return list(dict.fromkeys(exact))


def check_host(policy: PinPolicy, target: Target, *, options: Options, now: datetime) -> HostCheck:
    """Ask one host, and say what was found."""
    pins = policy.lookup(target.host, target.port)
    if pins is not None and pins.is_exempt:
        return HostCheck(target, Outcome.EXEMPT.value, None, ())
    if pins is None:
        findings = [Finding("not-pinned", "no pattern of the policy matches this host; pin it, or exempt it")]
        return HostCheck(target, "not-pinned", None, _kept(findings, options))
    verdicts, findings = _ask(policy, target, options, now)
    findings += _about_expiry(pins, now, options.within)
    findings += _about_chains(pins, verdicts, now, options.within)
    outcome = verdicts[-1].outcome.value if verdicts else "unreachable"
    return HostCheck(target, outcome, verdicts[-1] if verdicts else None, _kept(findings, options))


def _kept(findings: Collection[Finding], options: Options) -> tuple[Finding, ...]:
    return tuple(finding for finding in dict.fromkeys(findings) if finding.kind not in options.ignored)


def _ask(policy: PinPolicy, target: Target, options: Options, now: datetime) -> tuple[list[Verdict], list[Finding]]:
    verdicts: list[Verdict] = []
    findings: list[Finding] = []
    try:
        for place in _places(target, options):
            where = "" if place is None else f"at {place}: "
            try:
                chain = fetch(target, options.route, place)
            except ServerError as error:
                findings.append(Finding("unreachable", f"{where}{error.reason}"))
                continue
            verdict = evaluate(policy, target.host, chain, now, port=target.port)
            verdicts.append(verdict)
            if (
                verdict.outcome is Outcome.EXPIRED
            ):  # to renew the pins, their owner has to know whether they still match
                verdict = evaluate(policy, target.host, chain, _EVER_BEFORE, port=target.port)
            if verdict.outcome is Outcome.MISMATCH:
                findings.append(Finding("mismatch", f"{where}the chain holds none of the pins"))
            elif verdict.outcome is Outcome.BLOCKED_KEY:
                findings.append(
                    Finding("blocked-key", f"{where}the chain holds the blocked {described(verdict, policy)}")
                )
    except UnreachableError as error:  # the name has no addresses
        findings.append(Finding("unreachable", error.reason))
    return verdicts, findings


def _places(target: Target, options: Options) -> Iterator[str | None]:
    """Yield the addresses to connect to, as many as there are samples; None is the system's or the proxy's choice."""
    if options.samples <= 1 or options.route.has_proxy(target):
        return iter([None] * max(1, options.samples))
    return islice(cycle(addresses(target, options.route)), options.samples)


def _about_expiry(pins: PinSet, now: datetime, within: timedelta) -> Iterator[Finding]:
    if pins.has_expired(now):
        yield Finding("pins-expired", f"the pins expired at {pins.expires:%Y-%m-%d %H:%M} UTC; renew the policy")
    elif pins.expires is not None and pins.has_expired(now + within):
        yield Finding("pins-expire-soon", f"the pins expire at {pins.expires:%Y-%m-%d %H:%M} UTC; renew the policy")


def _about_chains(pins: PinSet, verdicts: Sequence[Verdict], now: datetime, within: timedelta) -> Iterator[Finding]:
    """Say what is doubtful of pins that match today."""
    chains = [verdict.chain.certificates for verdict in verdicts if verdict.outcome is Outcome.MATCH]
    if not chains:
        return
    served = {pin: depth for chain in chains for depth, seen in enumerate(chain) for pin in seen.pins}
    for pin in pins.backup_pins:
        if pin in served:
            backup = f"the backup {pin.describe()} is served at depth {served[pin]}"
            text = f"{backup}; make it a pin, and keep another in reserve"
            yield Finding("backup-pin-served", text)
    if pins.accepted <= served.keys():
        yield Finding("no-backup-pin", "every pin is served: if those keys must go, this client is locked out; add one")

    issuers = [{pin for seen in chain[1:] for pin in seen.pins & pins.accepted} for chain in chains]
    for pin in sorted(set().union(*issuers), key=str):
        others = sum(pin not in each for each in issuers)
        if others:
            shown = pin.describe((*pins.pins, *pins.backup_pins))
            text = f"{shown} is not in the chains of {others} of {len(chains)} connections; pin what all of them have"
            yield Finding("intermediate-differs", text)
    for chain, above in zip(chains, issuers, strict=True):
        _, ends = validity(chain[0].der)
        if not above and ends is not None and ends - now < within:
            text = f"only the leaf is pinned, and it expires at {ends:%Y-%m-%d %H:%M} UTC; its renewal must keep a key"
            yield Finding("leaf-expires-soon", text)


def described(verdict: Verdict, policy: PinPolicy) -> str:
    """Return the pin of a verdict, with the note that the policy has for it."""
    pins = verdict.pins
    of_host = () if pins is None else (*pins.pins, *pins.backup_pins, *pins.blocked_pins)
    return "" if verdict.pin is None else verdict.pin.describe((*of_host, *policy.blocked_pins))

"""`pinned-requests check`: compares what servers present with the policy, today and in the near future."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.cli.details import details_of_certificate, validity
from pinned_requests.cli.inputs import HTTPS_PORT, Target, read_target
from pinned_requests.cli.live import UnreachableError, Way, addresses, look
from pinned_requests.cli.output import CommandError, Finding, Row, progress, show_json, show_table
from pinned_requests.core.host import HostPattern
from pinned_requests.core.verdict import Outcome, Verdict, evaluate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pinned_requests import PinPolicy, PinSet

_EVER_BEFORE = datetime.min.replace(tzinfo=UTC)  # nothing has expired
MAX_JOBS = 64  # threads: each holds a connection

KINDS = {
    "unreachable": "no connection, or a certificate that is not valid",
    "mismatch": "the chain holds none of the pins",
    "blocked-key": "the chain holds a blocked key",
    "not-pinned": "no pattern of the policy matches the host",
    "pins-expired": "the pin set has expired",
    "pins-expire-soon": "the pin set expires within --within",
    "leaf-expires-soon": "only the leaf is pinned, and its certificate expires within --within",
    "no-backup-pin": "every pin is of a key that is served (RFC 7469 §4.3)",
    "backup-pin-served": "a backup pin is of a key that is served (RFC 7469 §4.3)",
    "intermediate-differs": "a pinned issuer is not in the chain of other servers of the same name",
}


class Options(NamedTuple):
    """How to check.

    Attributes:
        way: how the servers are reached.
        within: what is "soon".
        samples: connections a host; with more than one they go to its addresses in turns.
        ignored: kinds of findings to ignore.
    """

    way: Way = Way()
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


def check(policy: PinPolicy, hosts: Sequence[str], options: Options, *, jobs: int, as_json: bool) -> int:
    """Check hosts against a policy, several at a time, and show what was found.

    Args:
        policy: the policy.
        hosts: `HOST[:PORT]`; none: every host that the policy names, patterns excepted.
        options: how.
        jobs: how many hosts are asked at a time.
        as_json: whether to print JSON.

    Returns:
        1 for a finding, else 0.

    Raises:
        CommandError: there is no host to check, or an option is wrong.
        PolicyError: a host is invalid.
    """
    targets = list(dict.fromkeys(map(read_target, hosts))) if hosts else named_hosts(policy)
    if not targets:
        raise CommandError("the policy pins no host by its name; name hosts that its patterns match")
    now = datetime.now(UTC)
    executor = ThreadPoolExecutor(max_workers=min(jobs, MAX_JOBS))
    try:
        asked = executor.map(partial(check_host, policy, options=options, now=now), targets)
        checks = list(progress(asked, len(targets)))
    finally:
        executor.shutdown(cancel_futures=True)  # after an interrupt: what has not begun does not begin

    found = sum(len(each.findings) for each in checks)
    skipped = [] if hosts else [pattern for pattern in policy.hosts if HostPattern.parse(pattern).kind != "exact"]
    if as_json:
        show_json({"findings": found, "not_checked": skipped, "hosts": [_document(each) for each in checks]})
    else:
        show_table(None, ("host", "found"), [_row(each, policy) for each in checks])
        if skipped:
            print(f"Not checked, being patterns: {', '.join(skipped)}; name hosts that they match.")
    return 1 if found else 0


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
                chain = look(target, options.way, place)
            except UnreachableError as error:
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
                    Finding("blocked-key", f"{where}the chain holds the blocked {_described(verdict, policy)}")
                )
    except UnreachableError as error:  # the name has no addresses
        findings.append(Finding("unreachable", error.reason))
    return verdicts, findings


def _places(target: Target, options: Options) -> Iterator[str | None]:
    """Yield the addresses to connect to, as many as there are samples; None is the system's or the proxy's choice."""
    if options.samples <= 1 or options.way.proxies(target):
        return iter([None] * max(1, options.samples))
    return islice(cycle(addresses(target)), options.samples)


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


def _described(verdict: Verdict, policy: PinPolicy) -> str:
    """Return the pin of a verdict, with the note that the policy has for it."""
    pins = verdict.pins
    of_host = () if pins is None else (*pins.pins, *pins.backup_pins, *pins.blocked_pins)
    return "" if verdict.pin is None else verdict.pin.describe((*of_host, *policy.blocked_pins))


def _row(checked: HostCheck, policy: PinPolicy) -> Row:
    verdict, lines = checked.verdict, []
    if verdict is not None and verdict.pin is not None:
        subject = verdict.chain.certificates[verdict.depth or 0].subject
        lines = [f"{checked.outcome} at depth {verdict.depth}: {subject}", _described(verdict, policy)]
    elif verdict is not None and verdict.outcome is Outcome.MISMATCH:
        for depth, seen in enumerate(verdict.chain.certificates):
            lines += [f"presented at depth {depth}: {seen.subject}", str(seen.spki_pin)]
    elif not checked.findings:
        lines = [checked.outcome]
    lines += [f"{finding.kind}: {finding.text}" for finding in checked.findings]
    return Row(str(checked.target), lines, is_good=not checked.findings)


def _document(checked: HostCheck) -> dict[str, Any]:
    verdict = checked.verdict
    chain = verdict.chain.certificates if verdict else ()
    return {
        "host": str(checked.target),
        "outcome": checked.outcome,
        "pattern": verdict.pattern if verdict else None,
        "pin": str(verdict.pin) if verdict and verdict.pin else None,
        "depth": verdict.depth if verdict else None,
        "chain": [{"depth": at, **details_of_certificate(seen.der).document()} for at, seen in enumerate(chain)],
        "findings": [finding._asdict() for finding in checked.findings],
    }

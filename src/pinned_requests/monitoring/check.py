"""`check_hosts()`: live hosts held against a policy, today and in the near future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern, near_miss
from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.findings import (
    Finding,
    PinUse,
    Severity,
    blocked_pin,
    of_pins,
    of_samples,
    of_store,
    of_time,
    pin_uses,
)
from pinned_requests.monitoring.history import History, Learned, of_history
from pinned_requests.monitoring.route import Route
from pinned_requests.monitoring.sampling import (
    INVALID_CERTIFICATE,
    NOT_PINNED,
    UNREACHABLE,
    Asked,
    Sample,
    sample,
    survey,
)
from pinned_requests.monitoring.serving import MAX_CLIENT_AGE
from pinned_requests.monitoring.target import HTTPS_PORT, Target
from pinned_requests.monitoring.trust_store import TrustStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.monitoring.findings import Certificates

NOT_CHECKED = "not-checked"

# The worst first: the outcome of a host is the worst of its samples.
_WORST = (
    Outcome.BLOCKED_KEY.value,
    Outcome.MISMATCH.value,
    INVALID_CERTIFICATE,
    Outcome.CHAIN_UNAVAILABLE.value,
    Outcome.EXPIRED.value,
    UNREACHABLE,
    NOT_PINNED,
    Outcome.EXEMPT.value,
    Outcome.MATCH.value,
)


class Options(NamedTuple):
    """How to check."""

    route: Route = Route()  # how the servers are reached
    within: timedelta = timedelta(days=30)  # what is "soon"
    samples: int = 1  # connections to a host; with more than one they go to its addresses in turns
    all_addresses: bool = False  # whether each address of a host gets one connection at least
    ignored: frozenset[str] = frozenset()  # kinds of findings
    max_client_age: timedelta = MAX_CLIENT_AGE  # how long a policy takes to reach the last client
    jobs: int = 8  # how many hosts are asked at a time


class HostCheck(NamedTuple):
    """What was found of one host."""

    target: Target
    outcome: str  # that of its worst sample, such as `"match"`; `NOT_CHECKED` without one
    pattern: str | None  # of the policy that matches it
    pins: PinSet | None  # of that pattern
    samples: tuple[Sample, ...]  # its connections
    uses: tuple[PinUse, ...] = ()  # its accepted pins, and where their keys were seen
    findings: tuple[Finding, ...] = ()  # what is wrong, the worst first
    learned: Learned | None = None  # what its history tells; None without a history
    is_complete: bool = True  # False where an interrupt came before

    @property
    def severity(self) -> Severity | None:
        """That of the worst finding."""
        return max((each.severity for each in self.findings), default=None)

    @property
    def worst(self) -> Sample | None:
        """The sample that the outcome is of."""
        return min(self.samples, key=lambda each: _rank(each.outcome), default=None)


class Checked(NamedTuple):
    """What was found of all hosts."""

    hosts: tuple[HostCheck, ...]  # in the order in which they were given
    not_checked: tuple[str, ...]  # patterns of the policy that name no host
    time: datetime  # when
    is_complete: bool  # False after an interrupt

    @property
    def findings(self) -> list[Finding]:
        """Those of all hosts."""
        return [finding for host in self.hosts for finding in host.findings]

    @property
    def severity(self) -> Severity | None:
        """That of the worst finding."""
        return max((each.severity for each in self.findings), default=None)


def check_hosts(
    policy: PinPolicy,
    targets: Sequence[Target] = (),
    options: Options = Options(),  # noqa: B008  frozen
    *,
    history: History | None = None,
    on_progress: Callable[[int], object] = lambda _done: None,
) -> Checked:
    """Ask hosts, and say what is wrong with their chains and their pins. No HTTP is sent.

    Args:
        policy: the policy.
        targets: the hosts; none: those that the policy names (`named_hosts()`).
        options: how.
        history: what was seen before, which is added to; or None.
        on_progress: called now and then with the number of hosts that are done.

    Returns:
        What was found. A `KeyboardInterrupt` ends the connections or their judgement, and not this function: it returns
        what is known then.

    Raises:
        RouteError: the proxy or the CA bundle is wrong.
        PolicyError: there is no host to check.
    """
    now = datetime.now(UTC)
    options = options._replace(route=options.route.check())
    targets, skipped = (targets, ()) if targets else named_hosts(policy)
    if not targets:
        raise PolicyError("the policy pins no host by its name; name hosts that its patterns match")
    store = TrustStore(options.route.trusted())
    asked = [target for target in targets if _is_asked(policy, target)]
    answers = survey(
        asked,
        options.route,
        number=options.samples,
        all_addresses=options.all_addresses,
        jobs=options.jobs,
        on_progress=on_progress,
    )
    found = dict(zip(asked, answers, strict=True))
    hosts: list[HostCheck] = []

    def judge(target: Target, asked: Asked) -> None:
        hosts.append(_judge(policy, target, asked, options, store, history, now))

    # Not while hosts are asked: the threads would wait for each other.
    try:
        for target in targets:
            judge(target, found.get(target, Asked((), is_complete=True)))
    except KeyboardInterrupt:
        for target in targets[len(hosts) :]:
            judge(target, Asked((), is_complete=False))
    return Checked(tuple(hosts), skipped, now, is_complete=all(each.is_complete for each in hosts))


def named_hosts(policy: PinPolicy) -> tuple[list[Target], tuple[str, ...]]:
    """Return the hosts that a policy names without a wildcard, and the patterns with one.

    Exempt hosts are left out, unless the policy blocks keys of all hosts.
    """
    targets: dict[Target, None] = {}
    wildcards = []
    for name, pins in policy.hosts.items():
        pattern = HostPattern.parse(name)
        if pattern.kind != "exact":
            wildcards.append(name)
        elif policy.blocked or not pins.is_exempt:
            targets[Target(pattern.host, pattern.port or HTTPS_PORT)] = None
    return list(targets), tuple(wildcards)


def _is_asked(policy: PinPolicy, target: Target) -> bool:
    """Whether to connect: of a host without pins, only a blocked key can be found."""
    pins = policy.lookup(target.host, target.port)
    return bool(policy.blocked) or (pins is not None and not pins.is_exempt)


def _judge(  # noqa: PLR0913, PLR0917  each an input of the judgement
    policy: PinPolicy,
    target: Target,
    asked: Asked,
    options: Options,
    store: TrustStore,
    history: History | None,
    now: datetime,
) -> HostCheck:
    pattern, pins = policy.find(target.host, target.port) or (None, None)
    sampled = [sample(policy, target, each, now) for each in asked.contacts]
    samples = tuple(_with_outcome(policy, pins, each) for each in sampled)
    nearly = near_miss(policy.hosts, target.host, target.port) if pins is None else None
    findings = list(of_samples(policy, pins, sampled, nearly=nearly))
    uses: tuple[PinUse, ...] = ()
    learned = None
    if history is not None:
        for each in samples:
            if each.chain.is_verified and each.outcome != Outcome.BLOCKED_KEY:
                history.observe(str(target), each.chain.certificates, now)
        learned = history.learned(str(target))
    if pins is not None and not pins.is_exempt:
        chains = [_counted(each) for each in samples if each.verdict is not None]
        matching = [_counted(each) for each in samples if each.outcome == Outcome.MATCH]
        presented = [each.chain.certificates for each in samples if not each.chain.is_verified]
        remembered = {} if history is None else history.authorities
        uses = pin_uses(pins, chains, store)
        findings += of_time(pins, [*dict.fromkeys(matching)], now, options.within)
        findings += of_pins(pins, uses, matching)
        findings += of_store(pins, [*dict.fromkeys(chains)], presented, store, remembered)
        if history is not None:
            if learned is not None:
                findings += of_history(learned, uses, history.keys(str(target)), options.max_client_age)
            history.authorities.update({use.pin: found.subject for use in uses if (found := store.find(use.pin))})
    if samples and options.route.has_proxy(target):
        text = "seen through a proxy, which can show its own certificate; compare with a check without it"
        findings.append(Finding("seen-through-proxy", text))
    kept = [each for each in dict.fromkeys(findings) if each.kind not in options.ignored]
    kept.sort(key=lambda each: -each.severity)
    outcome = min((each.outcome for each in samples), key=_rank, default=NOT_CHECKED)
    if not samples and not _is_asked(policy, target):
        outcome = NOT_PINNED if pins is None else Outcome.EXEMPT.value
    return HostCheck(target, outcome, pattern, pins, samples, uses, tuple(kept), learned, asked.is_complete)


def _with_outcome(policy: PinPolicy, pins: PinSet | None, sample: Sample) -> Sample:
    if blocked_pin(policy, pins, sample) is not None:
        return sample._replace(outcome=Outcome.BLOCKED_KEY.value)
    if sample.outcome == INVALID_CERTIFICATE and (pins is None or pins.is_exempt):
        return sample._replace(outcome=NOT_PINNED if pins is None else Outcome.EXEMPT.value)
    return sample


def _counted(sample: Sample) -> Certificates:
    """Return the certificates that a pin may match: without verification the leaf alone."""
    return sample.chain.certificates[: None if sample.chain.is_verified else 1]


def _rank(outcome: str) -> int:
    return _WORST.index(outcome) if outcome in _WORST else len(_WORST)

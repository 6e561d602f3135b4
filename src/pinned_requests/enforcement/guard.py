"""`Guard`: the one place that turns a verdict into a refusal, a report or a pass; and `Refusal`.

Rules for the next maintainer:

- A guard belongs to one adapter, manager or context, and decides all that it sends.
- It remembers what does not depend on the time, for the policy in force. Policies and chains are immutable.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pinned_requests import exceptions
from pinned_requests.core.chain import Chain
from pinned_requests.core.errors import PolicyError, one_of
from pinned_requests.core.host import near_miss
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.report import ViolationReport
from pinned_requests.core.text import show
from pinned_requests.core.verdict import Outcome, Verdict, admit, settle
from pinned_requests.enforcement.notification import Notifier
from pinned_requests.policy_store import PolicyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import UnpinnedHosts


_UNSEEN = Chain.missing("the connection does not show it")

# A newer policy may decide otherwise. For the first two, a connection waits for it.
_CONFIRMED = frozenset((Outcome.MISMATCH, Outcome.OUTDATED_POLICY))
_LOOKED_INTO = _CONFIRMED | {Outcome.BLOCKED_KEY}

_REMEMBERED = 256  # admissions by one policy; bounded because a redirect chooses the host

ERRORS: dict[Outcome, type[exceptions.PinningError]] = {
    Outcome.MISMATCH: exceptions.PinMismatchError,
    Outcome.BLOCKED_KEY: exceptions.BlockedKeyError,
    Outcome.EXPIRED: exceptions.PinsExpiredError,
    Outcome.CHAIN_UNAVAILABLE: exceptions.ChainUnavailableError,
    Outcome.UNPINNED_HOST: exceptions.UnpinnedHostError,
    Outcome.INSECURE_URL: exceptions.InsecureURLError,
    Outcome.OUTDATED_POLICY: exceptions.PinsExpiredError,
}


class Refusal(Exception):  # noqa: N818  private: it becomes a PinningError
    """A connection was refused. Never leaves this package. Not an `OSError` or `SSLError`, which urllib3 retries."""

    def __init__(self, report: ViolationReport) -> None:
        super().__init__(report)
        self.report = report

    def as_error(self, request: Any = None) -> exceptions.PinningError:
        """Return the public error, with `request` if it is known."""
        report = self.report
        error_class = ERRORS.get(report.outcome, exceptions.ChainUnavailableError)
        return error_class(str(report), request=request, **error_fields(report))


def error_fields(report: ViolationReport) -> dict[str, Any]:
    """Return the attributes of the error about `report`, but its request."""
    return {"host": report.host, "port": report.port, "chain": report.chain, "expected": report.known_pins}


class Admission:
    """What was decided of a connection before its handshake, and by which policy."""

    __slots__ = ("only_if_named", "policy", "settled", "verdict")

    def __init__(self, policy: PinPolicy, verdict: Verdict, *, only_if_named: bool) -> None:
        self.policy = policy
        self.verdict = verdict
        self.only_if_named = only_if_named
        self.settled: Verdict | None = None  # the last one of `judge()`, if it is timeless

    @property
    def is_timeless(self) -> bool:
        """Whether the time changes no verdict."""
        return self.verdict.pins is None or self.verdict.pins.expires is None


class Guard:
    """Decides by the policy in force, and enforces and reports what was decided.

    The arguments are those of `PinnedSession`; without `unpinned_hosts`, the policy decides (`"block"` for a mapping).

    Raises:
        PolicyError: `pins` is wrong; `unpinned_hosts` contradicts the policy; `on_violation` is an `HTTPReporter` to a
            host that the policy pins.
    """

    def __init__(
        self,
        pins: PolicyStore | PinPolicy | Mapping[str, PinsLike],
        *,
        unpinned_hosts: UnpinnedHosts | None = None,
        on_violation: Callable[[ViolationReport], object] | None = None,
    ) -> None:
        self.store = _store(pins, unpinned_hosts)
        self.blocks_unpinned = unpinned_hosts == "block"
        current = self.store.current
        self._adjusted = (current, current.blocking_unpinned())
        self._admitted: tuple[PinPolicy, dict[object, Admission]] = (current, {})
        self._notify: Callable[[ViolationReport, PinPolicy], None] = Notifier(on_violation, self.policy).notify

    @property
    def policy(self) -> PinPolicy:
        """The policy in force: the same object until the store has another."""
        current = self.store.steady or self.store.current  # an attribute is quicker
        if not self.blocks_unpinned:
            return current
        given, adjusted = self._adjusted
        if given is not current:
            adjusted = current.blocking_unpinned()
            self._adjusted = current, adjusted
        return adjusted

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is remembered: other threads change it, and it names every host that was used."""
        return {**vars(self), "_admitted": (self._adjusted[0], {})}

    def decides_like(self, other: Guard) -> bool:
        """Whether both guards decide by the same policies."""
        return self.store is other.store and self.blocks_unpinned == other.blocks_unpinned

    def reporting_to(self, sink: Callable[[ViolationReport], object]) -> Guard:
        """Return a guard that decides the same and tells `sink` alone of violations."""
        guard = copy.copy(self)
        guard._notify = partial(_pass_on, sink)  # noqa: SLF001  of this class
        return guard

    def admit(
        self,
        scheme: str,
        host: str,
        port: int | None,
        *,
        only_if_named: bool = False,
        may_wait: Callable[[], bool] = lambda: True,
    ) -> Admission:
        """Refuse what can be refused before a connection is made, and return what `judge()` needs.

        The arguments are those of the pure `admit()`. `may_wait` is asked whether a newer policy may be waited for.

        Raises:
            Refusal: the host is not pinned and must be, the scheme is not `https`, or the pins have expired.
        """
        policy = self.policy
        of, admissions = self._admitted
        key = scheme, host, port, only_if_named
        is_plain = type(host) is str and (port is None or type(port) is int)  # others may be equal to what they are not
        if is_plain and of is policy and (known := admissions.get(key)) is not None:
            return known
        verdict = admit(policy, scheme, host, port, _now(), only_if_named=only_if_named)
        if verdict.is_refused_early:
            if self.is_reconsidered(verdict, may_wait=may_wait):
                policy = self.policy
                verdict = admit(policy, scheme, host, port, _now(), only_if_named=only_if_named)
            if verdict.is_refused_early:
                self.enforce(verdict)
        admission = Admission(policy, verdict, only_if_named=only_if_named)
        if is_plain and admission.is_timeless:
            if of is not policy or len(admissions) >= _REMEMBERED:
                self._admitted = policy, (admissions := {})
            admissions[key] = admission
        return admission

    def is_reconsidered(self, verdict: Verdict, *, may_wait: Callable[[], bool] = lambda: True) -> bool:
        """Return whether to judge once more before a refusal, by a policy that `PolicyStore.confirm()` may have got.

        A thread that serves other connections must not wait.
        """
        if verdict.is_allowed or verdict.outcome not in _LOOKED_INTO:
            return False
        return self.store.confirm(may_wait=verdict.outcome in _CONFIRMED and may_wait())

    def preview(self, scheme: str, host: str, port: int | None) -> Verdict:
        """Return the verdict before a connection is made. Nothing is enforced or reported."""
        return admit(self.policy, scheme, host, port, _now())

    def judge(self, admission: Admission, chain: Chain, policy: PinPolicy | None = None) -> Verdict:
        """Return the verdict on an `https` connection, by `policy` or the one in force. Nothing is enforced."""
        policy, early, settled = policy or self.policy, admission.verdict, admission.settled
        if policy is not admission.policy:
            now = _now()
            early = admit(policy, "https", early.host, early.port, now, only_if_named=admission.only_if_named)
            return settle(policy, early, chain, now)
        if settled is not None and settled.chain is chain:
            return settled
        verdict = settle(policy, early, chain, _now())
        if admission.is_timeless:
            admission.settled = verdict
        return verdict

    def allows_unseen(self, scheme: str, host: str, port: int | None) -> bool:
        """Return whether a connection whose chain cannot be checked may be used."""
        policy, now = self.policy, _now()
        verdict = admit(policy, scheme, host, port, now)
        if scheme == "https":
            verdict = settle(policy, verdict, _UNSEEN, now)
        return verdict.is_allowed

    def enforce(self, verdict: Verdict, served: Callable[[], tuple[bytes, ...]] = tuple) -> None:
        """Report a violation, and raise `Refusal` if the verdict does not allow the connection.

        For the report, `served` returns the certificates as the peer sent them, in DER.
        """
        if verdict.is_allowed and not verdict.is_violation:
            return
        policy = self.policy
        missed = verdict.outcome is Outcome.UNPINNED_HOST
        nearly = near_miss(policy.hosts, verdict.host, verdict.port) if missed else None
        report = ViolationReport(verdict, _now(), served(), policy.file, nearly)
        self._notify(report, policy)
        if not verdict.is_allowed:
            raise Refusal(report)


def _store(pins: PolicyStore | PinPolicy | Mapping[str, PinsLike], unpinned_hosts: UnpinnedHosts | None) -> PolicyStore:
    if unpinned_hosts is not None:
        one_of("unpinned_hosts", unpinned_hosts, ("block", "allow"))
    if not isinstance(pins, (PinPolicy, PolicyStore)):
        return PolicyStore(PinPolicy(pins, unpinned_hosts=unpinned_hosts or "block"))
    store = pins if isinstance(pins, PolicyStore) else PolicyStore(pins)
    if unpinned_hosts not in (None, store.current.unpinned_hosts):
        raise PolicyError(
            f"unpinned_hosts={show(unpinned_hosts)} contradicts the given policy, which says "
            f"{show(store.current.unpinned_hosts)}; set it in the policy alone"
        )
    return store


def _pass_on(sink: Callable[[ViolationReport], object], report: ViolationReport, _policy: PinPolicy) -> None:
    sink(report)


def _now() -> datetime:
    return datetime.now(UTC)

"""`Guard`: applies one policy. The one place that turns a verdict into a refusal, a report or a pass.

Rules for the next maintainer:

- A refusal travels through urllib3 as `Refusal`, which is no `OSError` and no `SSLError`: urllib3 catches and retries
  those. Whoever stands above urllib3 translates it, once, into the public error.
- Whoever is told of a violation (log, audit hooks, sinks, the callback) is told of a decision, and takes no part in it:
  what they raise changes nothing. What comes out of `_refuse()` is a `Refusal`.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pinned_requests import exceptions
from pinned_requests.core.host import DEFAULT_PORTS
from pinned_requests.core.report import ViolationReport
from pinned_requests.core.text import escape
from pinned_requests.core.verdict import Outcome, Verdict, admit, evaluate
from pinned_requests.policy_store import PolicyStore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from pinned_requests.core.chain import Chain
    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy

logger = logging.getLogger("pinned_requests")

AUDIT_EVENT = "pinned_requests.violation"  # with host, port and outcome: at each refusal
MAX_WARNED = 4096  # hosts: a redirect chooses them, where a pattern has expired

_ERRORS: dict[Outcome, type[exceptions.PinningError]] = {
    Outcome.MISMATCH: exceptions.PinMismatchError,
    Outcome.BLOCKED_KEY: exceptions.BlockedKeyError,
    Outcome.EXPIRED: exceptions.PinsExpiredError,
    Outcome.CHAIN_UNAVAILABLE: exceptions.ChainUnavailableError,
    Outcome.UNPINNED_HOST: exceptions.UnpinnedHostError,
    Outcome.INSECURE_URL: exceptions.InsecureURLError,
    Outcome.OUTDATED_POLICY: exceptions.PinsExpiredError,
}


class Refusal(Exception):  # noqa: N818  it is private, and becomes a PinningError
    """A connection was refused. Never leaves this package."""

    def __init__(self, report: ViolationReport) -> None:
        super().__init__(report)
        self.report = report

    def as_error(self, request: Any = None) -> exceptions.PinningError:
        """Return the public error, about `request` where that is known."""
        report = self.report
        return _ERRORS.get(report.verdict.outcome, exceptions.ChainUnavailableError)(
            str(report),
            host=report.host,
            port=report.port,
            chain=report.chain,
            expected=report.known_pins,
            request=request,
        )


class Guard:
    """A policy in force, and whom to tell of violations.

    Args:
        store: holds the policy.
        on_violation: called with a `ViolationReport` for each violation; what it raises is logged.
        ssl_context: the context of the caller's that connections must use as it is, or None.

    Raises:
        PolicyError: `on_violation` is an `HTTPReporter` to a host that the policy pins.
    """

    needs_handshake = False  # whether an open connection will not do

    def __init__(
        self,
        store: PolicyStore,
        on_violation: Callable[[ViolationReport], object] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if on_violation is not None:
            _demand_deliverable(on_violation, store)
        self.store = store
        self.on_violation = on_violation
        self.ssl_context = ssl_context
        self._warned: dict[tuple[str, datetime | None], object] = {}  # hosts whose pins have expired

    @classmethod
    def of(cls, policy: PolicyStore | PinPolicy | Mapping[str, PinsLike], **options: Any) -> Guard:
        """Return the guard of a store, a policy or a mapping.

        Raises:
            PolicyError: `policy` is none of these, or is wrong.
        """
        return cls(policy if isinstance(policy, PolicyStore) else PolicyStore(policy), **options)

    def admit_url(self, url: str) -> None:
        """Refuse what can be refused by its URL, before the host's name is looked up.

        Raises:
            Refusal: the host is not pinned and must be, the URL is not `https://`, or the pins have expired.
        """
        origin = origin_of(url)
        if origin is not None:  # without one there is nowhere to connect to, and requests says so
            self.admit(*origin)

    def preview(self, url: str) -> Verdict:
        """Return what can be said of a URL before a connection is made, and do nothing about it."""
        return admit(self.store.current, *(origin_of(url) or ("", "", None)), _now())

    def admit(self, scheme: str, host: str, port: int | None) -> None:
        """Refuse what can be refused before a connection is made.

        Raises:
            Refusal: as `admit_url`.
        """
        verdict = admit(self.store.current, scheme, host, port, _now())
        if not verdict.is_allowed and verdict.outcome is not Outcome.UNDECIDED:
            self._refuse(verdict, ())

    def judge(self, host: str, port: int | None, chain: Chain, policy: PinPolicy | None = None) -> Verdict:
        """Return the verdict on a connection for `host`, under `policy` or the one in force; do nothing about it."""
        return evaluate(policy or self.store.current, host, chain, _now(), port=port)

    def admits_plain(self, host: str, port: int | None) -> bool:
        """Say whether `host` may be reached without TLS."""
        return admit(self.store.current, "http", host, port, _now()).is_allowed

    def enforce(self, verdict: Verdict, served: tuple[bytes, ...]) -> None:
        """Report the violation that `verdict` is, if it is one, and refuse what it does not allow.

        Args:
            verdict: the decision.
            served: the certificates as the peer sent them, in DER, for the report.

        Raises:
            Refusal: the verdict does not allow the connection.
        """
        if not verdict.is_allowed:
            self._refuse(verdict, served)
        if verdict.is_violation:
            self.report(ViolationReport(verdict, _now(), served))

    def conclude(self, verdict: Verdict) -> None:
        """Be told that a connection was made and may be used, and with which verdict on its origin."""

    def report(self, report: ViolationReport) -> None:
        """Tell everybody who is to know: log, audit hooks, OpenTelemetry, the policy's `report_uri`, the callback."""
        if self._is_news(report):
            _tell(_log, report)
        if not report.verdict.is_allowed:
            _tell(_audit, report)
        _tell(_count, report)
        _tell(self._post, report)
        _tell(self._call, report)

    def _is_news(self, report: ViolationReport) -> bool:
        """Say whether to log a report: that pins have expired, and the host does without, once a host will do."""
        if report.verdict.outcome is not Outcome.EXPIRED or not report.verdict.is_allowed:
            return True
        if len(self._warned) >= MAX_WARNED:
            self._warned.clear()
        ticket = object()  # of two threads, the one whose object it is
        return self._warned.setdefault((report.host, report.effective_expiry), ticket) is ticket

    def _post(self, report: ViolationReport) -> None:
        if (uri := self.store.current.report_uri) is not None:
            from pinned_requests.reporting.http import shared_reporter  # noqa: PLC0415  for violations alone

            shared_reporter(uri)(report)

    def _call(self, report: ViolationReport) -> None:
        if self.on_violation is not None:
            _demand_deliverable(self.on_violation, self.store)  # the policy may be another one by now
            self.on_violation(report)

    def _refuse(self, verdict: Verdict, served: tuple[bytes, ...]) -> None:
        report = ViolationReport(verdict, _now(), served)
        self.report(report)
        raise Refusal(report)


def _tell(sink: Callable[[ViolationReport], object], report: ViolationReport) -> None:
    """Call `sink`, and log what it raises: the decision stands."""
    try:
        sink(report)
    except Exception:
        with contextlib.suppress(Exception):  # a filter of the log may be what has failed
            logger.exception("%s failed on a violation report", escape(getattr(sink, "__qualname__", repr(sink))))


def _demand_deliverable(on_violation: object, store: PolicyStore) -> None:
    """See that the policy in force does not pin the host that violations are reported to.

    Raises:
        PolicyError: it does.
    """
    from pinned_requests.reporting.http import HTTPReporter  # noqa: PLC0415  for those who want reports

    if isinstance(on_violation, HTTPReporter):
        store.current.demand_unpinned(on_violation.uri)


def _count(report: ViolationReport) -> None:
    from pinned_requests.reporting import telemetry  # noqa: PLC0415  for violations alone

    telemetry.record(report)


def _log(report: ViolationReport) -> None:
    try:
        logger.warning("%s", report, extra=report.fields())
    except KeyError:  # a log record factory of the program's has set one of these names already
        logger.warning("%s", report)


def _audit(report: ViolationReport) -> None:
    sys.audit(AUDIT_EVENT, report.host, report.port, report.verdict.outcome.value)


class Checked(Exception):  # noqa: N818  it is no error, and never leaves this package
    """A connection was made for the sake of its verdict, and must not be used."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class CheckingGuard(Guard):
    """Stops every connection as soon as there is a verdict on it, by `Checked` or by `Refusal`, and tells nobody."""

    needs_handshake = True

    def conclude(self, verdict: Verdict) -> None:
        """Stop before anything is sent, the verdict being as it may."""
        raise Checked(verdict)

    def report(self, report: ViolationReport) -> None:
        """Keep quiet: nobody asked for a page, and the caller gets the verdict."""


# The guard of the request that an adapter is sending in this thread. No attribute of adapter or pool: they are shared
# by threads, and an adapter may be mounted on two sessions.
guard_in_force: ContextVar[Guard | None] = ContextVar("guard_in_force", default=None)


def origin_of(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of a URL, or None where it has none that a connection could be made to."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return None if host is None else (parts.scheme, host, port)


def _now() -> datetime:
    return datetime.now(timezone.utc)

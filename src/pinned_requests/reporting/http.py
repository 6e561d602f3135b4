"""`HTTPReporter`: posts reports as JSON in the form of RFC 7469 §3, from a thread of its own.

Rules for the next maintainer:

- The thread of the request computes a key and appends to a queue. It waits for no network, gets no error, and takes a
  lock only for a report that is new.
- Who causes violations chooses how many: the queue, the keys that are remembered and what is read of an answer have
  bounds.
- Each outcome has room of its own. A redirect makes an `unpinned-host` for nothing, and any number of them: they must
  not keep a `mismatch`, which is an attack, from being sent.
- The session is a plain one. On a pinned one a refusal would be reported in turn.
- Errors of requests name the whole URL, which may hold a token: their text is not logged.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import threading
import time
import weakref
from collections import Counter, OrderedDict
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from requests.sessions import Session

from pinned_requests.core.report_uri import ReportURI

if TYPE_CHECKING:
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.core.verdict import Outcome

logger = logging.getLogger("pinned_requests.reporting")

PERIOD = 24 * 60 * 60.0  # seconds in which the same report is sent once
MAX_QUEUED = 128  # reports of an outcome: with certificates some 10 kB each, and never more than OpenSSL's 100 kB
MAX_KEYS = 4096  # reports of an outcome within PERIOD: 16 bytes each and their place in a table
MAX_REPORTERS = 64  # URLs that policies name: one in most processes
TIMEOUT = (5.0, 10.0)  # seconds to connect, and to wait for an answer
FIRST_DELAY, LAST_DELAY = 1.0, 300.0  # seconds between two attempts: doubled until then
AT_EXIT = 2.0  # seconds that the end of the process waits for reports, all reporters taken together

_SUCCESS, _REDIRECTION, _SERVER_ERROR = 200, 300, 500  # classes of status codes, RFC 9110 §15
_TRY_AGAIN = (408, 425, 429)  # what the server may take later, among what it blames on the client


class HTTPReporter:
    """Posts each report to a URL, in the background.

    The same report (host, port, outcome, pins that were expected and seen) is sent at most once in 24 hours, by one
    process. While the server does not answer, up to 128 different reports of each outcome wait, and attempts get rarer,
    down to one in five minutes; further reports of that outcome are dropped. Reports of different outcomes are sent in
    turn. At the end of the process reports that wait get two seconds. A forked child has none of the parent's reports.

    It posts over a session of its own that validates certificates, and takes proxies and the CA bundle from the
    environment, as requests does. That has neither pins nor cookies nor credentials, and follows no redirects. Answers
    are not read beyond their headers.

    Args:
        url: absolute, `https://` or `http://`. On a host that the session's policy pins it is a `PolicyError` there.

    Raises:
        PolicyError: `url` is none.
    """

    def __init__(self, url: str) -> None:
        self.uri = ReportURI.parse(url)
        self._start_over()
        _reporters.add(self)

    def _start_over(self) -> None:
        self._changed = threading.Condition()
        self._queue: OrderedDict[bytes, ViolationReport] = OrderedDict()
        self._sent: OrderedDict[bytes, tuple[float, Outcome]] = OrderedDict()  # when, in order
        self._waiting: Counter[Outcome] = Counter()  # in the queue
        self._known: Counter[Outcome] = Counter()  # in the queue and sent
        self._full_until: dict[Outcome, float] = {}  # when the next of MAX_KEYS is forgotten
        self._last: Outcome | None = None  # of the report that was sent last
        self._thread: threading.Thread | None = None  # while the queue holds something
        self._hurry = False  # whether `flush()` waits for the queue to empty
        self._has_complained = False

    def __call__(self, report: ViolationReport) -> None:
        """Take a report to send, unless it was sent within 24 hours, or waits already, or too many do."""
        key, outcome = _key(report), report.outcome
        if not self._takes(key, outcome):
            return
        with self._changed:
            if not self._takes(key, outcome):
                return
            self._forget()
            if self._known[outcome] >= MAX_KEYS:
                oldest = next((when for when, other in self._sent.values() if other is outcome), 0.0)
                self._full_until[outcome] = oldest + PERIOD
                return
            self._queue[key] = report
            self._waiting[outcome] += 1
            self._known[outcome] += 1
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="pinned_requests.reporting", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter shuts down: the next report tries
                    return
                self._thread = thread

    def _forget(self) -> None:
        """Forget the reports that were sent more than 24 hours ago."""
        while self._sent and _clock() - next(iter(self._sent.values()))[0] >= PERIOD:
            _, (_, outcome) = self._sent.popitem(last=False)
            self._known[outcome] -= 1

    def _takes(self, key: bytes, outcome: Outcome) -> bool:
        """Say whether a report neither waits nor was sent within 24 hours, and there may be room.

        Holds no lock: of many threads that ask for one at each violation, each would wait for the turns of all others.
        """
        now, sent = _clock(), self._sent.get(key)
        if key in self._queue or (sent is not None and now - sent[0] < PERIOD):
            return False
        if self._waiting[outcome] >= MAX_QUEUED or now < self._full_until.get(outcome, 0.0):
            self._complain("too many different reports, of which some are dropped")
            return False
        return True

    def demand_unpinned(self, policy: PinPolicy) -> None:
        """Check that `policy` does not pin the host that reports go to: a wrong pin could not be reported.

        Raises:
            PolicyError: it does.
        """
        policy.demand_unpinned(self.uri)

    def flush(self, timeout: float = AT_EXIT) -> bool:
        """Send now what waits, until that is done, an attempt fails, or time is up.

        Args:
            timeout: seconds.

        Returns:
            Whether nothing waits any more.
        """
        with self._changed:
            if self._thread is not None:
                self._hurry = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._queue or not self._hurry, timeout)
                self._hurry = False
            return not self._queue

    def __repr__(self) -> str:
        return f"<HTTPReporter to {self.uri.host}:{self.uri.port}>"

    def __reduce__(self) -> tuple[object, ...]:
        return HTTPReporter, (self.uri.text,)

    def _run(self) -> None:
        delay = 0.0
        with _PlainSession() as session:
            while (entry := self._next(delay)) is not None:
                key, report = entry
                is_settled = self._post(session, report)
                delay = 0.0 if is_settled else min(LAST_DELAY, max(FIRST_DELAY, 2 * delay))
                with self._changed:
                    if is_settled:
                        if self._queue.pop(key, None) is not None:
                            self._waiting[report.outcome] -= 1
                            self._sent[key] = _clock(), report.outcome
                    else:
                        if key in self._queue:
                            self._queue.move_to_end(key)
                        self._hurry = False
                    self._changed.notify_all()

    def _next(self, delay: float) -> tuple[bytes, ViolationReport] | None:
        """Return what to send, after `delay` seconds, or None, and the thread is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._hurry, delay)
            if self._queue:
                others = (entry for entry in self._queue.items() if entry[1].outcome is not self._last)
                entry = next(others, None) or next(iter(self._queue.items()))
                self._last = entry[1].outcome
                return entry
            self._thread = None
            return None

    def _post(self, session: Session, report: ViolationReport) -> bool:
        """Post a report, and say whether that is settled: the server took it, or never will."""
        try:
            body, headers = report.to_json().encode(), {"Content-Type": "application/json"}
            with session.post(self.uri.text, body, headers=headers, timeout=TIMEOUT, stream=True) as response:
                status = response.status_code
        except Exception as e:  # noqa: BLE001  the next attempt may do better, after any error
            self._complain(type(e).__name__)
            return False
        if _SUCCESS <= status < _REDIRECTION:
            self._has_complained = False
            return True
        self._complain(f"status {status}")
        return status < _SERVER_ERROR and status not in _TRY_AGAIN

    def _complain(self, what: str) -> None:
        """Log what is wrong, once until a report gets through."""
        if not self._has_complained:
            self._has_complained = True
            logger.warning("Reports to %s:%s are not delivered: %s", self.uri.host, self.uri.port, what)


class _PlainSession(Session):
    """A session that sends a report and nothing else: no cookies, no credentials of ~/.netrc, no redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.auth = _no_auth

    def get_redirect_target(self, resp: Any) -> None:
        """Return none. requests would read the whole body of a redirection even where it does not follow it."""


def _no_auth(request: Any) -> Any:
    return request


def shared_reporter(url: str) -> HTTPReporter:
    """Return the reporter to `url` of this process: sessions that share it also share what was sent within 24 hours.

    Raises:
        PolicyError: `url` is none to report to.
    """
    if (reporter := _shared.get(url)) is None:
        while len(_shared) >= MAX_REPORTERS:
            _shared.pop(next(iter(_shared), ""), None)
        reporter = _shared.setdefault(url, HTTPReporter(url))
    return reporter


def _key(report: ViolationReport) -> bytes:
    """Return what makes two reports the same: all but the moment, and certificates of the same keys."""
    verdict = report.verdict
    values = (
        *(report.host, report.port, report.noted_host, report.effective_expiry, report.report_only),
        *(verdict.outcome.value, verdict.is_allowed, *report.known_pins, "seen"),
        *(seen.spki_pin for seen in report.chain),
    )
    return hashlib.blake2b("\n".join(map(str, values)).encode(), digest_size=16).digest()


def _clock() -> float:
    """Return the seconds of a clock that is never set back."""
    return time.monotonic()


_shared: dict[str, HTTPReporter] = {}
_reporters: weakref.WeakSet[HTTPReporter] = weakref.WeakSet()  # their threads keep them alive while something waits


def _flush_all() -> None:
    deadline = _clock() + AT_EXIT
    for reporter in list(_reporters):
        reporter.flush(max(0.0, deadline - _clock()))


def _start_all_over() -> None:
    """In a forked child: the thread is not there, a held lock is never released, and the parent sends what waits."""
    for reporter in list(_reporters):
        reporter._start_over()  # noqa: SLF001  of this module


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_over)

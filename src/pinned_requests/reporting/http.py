"""`HTTPReporter`: posts reports as JSON in the form of RFC 7469 §3, in a background thread.

Rules for the next maintainer:

- The thread of the request computes a key and appends to a queue. It never waits for the network, never raises, and
  takes a lock only for a new report.
- An attacker chooses how many violations there are. So the queue, the remembered keys and the part of an answer that
  is read are bounded, for each outcome: any site can cause many `unpinned-host` reports by redirects, which must not
  keep a `mismatch` from being sent.
- The session is not pinned: a refusal would itself cause a report.
- The text of requests' errors is not logged: it has the whole URL, which may have a token.
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
_clock = time.monotonic  # seconds

PERIOD = 24 * 60 * 60.0  # seconds in which the same report is sent once
MAX_QUEUED = 128  # reports of an outcome: some 10 kB each with certificates, and at most OpenSSL's 100 kB
MAX_KEYS = 4096  # reports of an outcome within PERIOD: 16 bytes each and their place in a table
MAX_REPORTERS = 64  # URLs named by policies; most processes have one
TIMEOUT = (5.0, 10.0)  # seconds to connect, and to wait for an answer
FIRST_DELAY, LAST_DELAY = 1.0, 300.0  # seconds between two attempts, doubled each time
AT_EXIT = 2.0  # seconds that the end of the process waits for all reporters

_SUCCESS, _REDIRECTION, _SERVER_ERROR = 200, 300, 500  # classes of status codes, RFC 9110 §15
_TRY_AGAIN = (408, 425, 429)  # client errors after which the server may accept the same report later


class HTTPReporter:
    """Posts each report to a URL, in the background.

    A process sends the same report (host, port, outcome, expected and seen pins) at most once in 24 hours. While the
    server does not answer, up to 128 different reports of each outcome wait, others are dropped, and attempts become
    less frequent, down to one in five minutes. Reports of different outcomes are sent in turn. At the end of the
    process, waiting reports get two seconds. A forked child starts without the parent's reports.

    The session that posts validates certificates, and takes proxies and the CA bundle from the environment, as requests
    does. It has no pins, cookies or credentials, does not follow redirects, and reads only the headers of answers.

    Args:
        url: absolute `https://` or `http://` URL. A session whose policy pins this host raises a `PolicyError`.

    Raises:
        PolicyError: `url` is invalid.
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
        self._thread: threading.Thread | None = None
        self._hurry = False  # whether `flush()` waits
        self._has_complained = False

    def __call__(self, report: ViolationReport) -> None:
        """Queue a report, unless it was sent within 24 hours, is already queued, or the queue is full."""
        key, outcome = _key(report), report.outcome
        if not self._takes(key, outcome):
            return
        with self._changed:
            if not self._takes(key, outcome):
                return
            while self._sent and _clock() - next(iter(self._sent.values()))[0] >= PERIOD:
                _, (_, forgotten) = self._sent.popitem(last=False)
                self._known[forgotten] -= 1
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

    def _takes(self, key: bytes, outcome: Outcome) -> bool:
        """Return whether a report is new and there may be room, without the lock, which threads would wait for."""
        now, sent = _clock(), self._sent.get(key)
        if key in self._queue or (sent is not None and now - sent[0] < PERIOD):
            return False
        if self._waiting[outcome] >= MAX_QUEUED or now < self._full_until.get(outcome, 0.0):
            self._complain("too many different reports, of which some are dropped")
            return False
        return True

    def demand_unpinned(self, policy: PinPolicy) -> None:
        """Raise `PolicyError` if `policy` pins the host of the reports: a wrong pin for it could not be reported."""
        policy.demand_unpinned(self.uri)

    def flush(self, timeout: float = AT_EXIT) -> bool:
        """Send the queued reports now, until all are sent, an attempt fails, or `timeout` seconds are over.

        Returns:
            Whether the queue is empty.
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
        """Wait `delay` seconds and return the next report; None ends the thread."""
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
        """Post a report, and return whether the server accepted it or never will."""
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
        """Log a problem once, until a report is delivered."""
        if not self._has_complained:
            self._has_complained = True
            logger.warning("Reports to %s:%s are not delivered: %s", self.uri.host, self.uri.port, what)


class _PlainSession(Session):
    """Sends a report and nothing else: no cookies, no credentials of ~/.netrc, no redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.auth = lambda request: request

    def get_redirect_target(self, resp: Any) -> None:
        """Return None: requests reads the whole body of a redirect even if it does not follow it."""


def shared_reporter(url: str) -> HTTPReporter:
    """Return this process's reporter for `url`, so that sessions send the same report once in 24 hours."""
    if (reporter := _shared.get(url)) is None:
        while len(_shared) >= MAX_REPORTERS:
            _shared.pop(next(iter(_shared), ""), None)
        reporter = _shared.setdefault(url, HTTPReporter(url))
    return reporter


def _key(report: ViolationReport) -> bytes:
    """Return a digest of a report without its time and certificates, but with their keys."""
    verdict = report.verdict
    values = (
        *(report.host, report.port, report.noted_host, report.effective_expiry, report.report_only),
        *(verdict.outcome.value, verdict.is_allowed, *report.known_pins, "seen"),
        *(seen.spki_pin for seen in report.chain),
    )
    return hashlib.blake2b("\n".join(map(str, values)).encode(), digest_size=16).digest()


_shared: dict[str, HTTPReporter] = {}
_reporters: weakref.WeakSet[HTTPReporter] = weakref.WeakSet()  # a thread keeps its reporter alive


def _flush_all() -> None:
    deadline = _clock() + AT_EXIT
    for reporter in list(_reporters):
        reporter.flush(max(0.0, deadline - _clock()))


def _start_all_over() -> None:
    # A forked child has no thread, and its copy of a held lock is never released. The parent sends what waits.
    for reporter in list(_reporters):
        reporter._start_over()  # noqa: SLF001  of this module


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_over)

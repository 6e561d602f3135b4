"""`Refresher`: keeps a policy store fresh, in a thread of its own.

Rules for the next maintainer:

- One load at a time. A request never waits for it.
- The thread survives every error of a source or of a log handler.
- A refresher ends with its store. It knows the store only as a weakly held function that takes a policy, and does not
  import `policy_store`: that one imports this module.
- A forked child has no thread, and its copy of a held lock is never released: `_start_over()` makes new locks.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import random
import threading
import weakref
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape
from pinned_requests.sources.loaders import Loader

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.core.policy import PinPolicy

    Put = Callable[[PinPolicy | None, float | None], None]

logger = logging.getLogger("pinned_requests")

FIRST_RETRY = 1.0  # seconds after a failure; twice that after the next one, and so on up to `refresh_after`
_JITTER = 0.1  # of an interval: machines that were started together must not ask their vault together for ever
_random = random.SystemRandom()  # not the generator that programs seed


class Refresher:
    """Loads policies for one store: when asked to, and in a thread that starts with the store's first use.

    A copy, also one by pickle, has the same source, no thread and no store: `serve()` gives it one.

    Args:
        source: a `Loader`, or a callable to make one of.
        refresh_after: seconds from one load to the next; None: it has no thread.

    Attributes:
        is_running: whether `start()` has nothing to do: the thread runs, or none is wanted.
        last_error: why the last load failed, or None if it succeeded.

    Raises:
        PolicyError: `source` is neither.
    """

    is_running: bool

    def __init__(self, source: Loader | Callable[[], Any], refresh_after: float | None) -> None:
        self.last_error: BaseException | None = None
        self._loader = Loader.of(source)
        self._refresh_after = refresh_after
        self._put: Callable[[], Put | None] = _nothing
        self._failures = 0  # in a row
        self._generation = 0  # counts the calls of `overrule()`
        self._is_due = False  # whether the thread begins with a load
        self._start_over()
        _refreshers.add(self)

    def serve(self, put: Put) -> None:
        """Set the store to keep fresh, which is held weakly.

        Args:
            put: a bound method of the store that puts a policy in force. Its arguments are the policy (None: the one
                in force is still the newest) and when it was known to be good, in seconds since the epoch (None: now).
        """
        self._put = weakref.WeakMethod(put)

    def begin(self) -> None:
        """Give the store its first policy: the one that the loader brings, or a load.

        Raises:
            PolicyError: the source returns a wrong policy.
            Exception: any error of the source.
        """
        start = self._loader.start
        if start is None:
            self.refresh()
        else:
            self._fill(start.policy, start.loaded)
            self.last_error, self._is_due = start.error, True

    def start(self) -> None:
        """Start the thread, unless it runs or none is wanted."""
        with self._starting:
            if self.is_running:
                return
            gone = threading.Event()
            arguments = (weakref.ref(self), gone, 0.0 if self._is_due else self._delay())
            thread = threading.Thread(target=_follow, args=arguments, name="pinned-requests-policy", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can start now; at the end of the interpreter, none ever will
                return
            weakref.finalize(self, gone.set).atexit = False
            self.is_running = True

    def refresh(self) -> None:
        """Load the policy now, in this thread, after any load that is under way.

        Raises:
            PolicyError: the source returns a wrong policy.
            Exception: any error of the source.
        """
        self._load(self._loader.load)

    def overrule(self, policy: PinPolicy) -> None:
        """Put a policy in force that a load under way does not replace: that load began before."""
        with self._swapping:
            self._generation += 1
            self._fill(policy)

    def poll(self) -> float:
        """Load the policy if there is a new one, and return the seconds until the next time. Raises nothing."""
        try:
            self._load(self._loader.poll)
        except BaseException as e:  # noqa: BLE001  the thread must survive any error
            e.__traceback__ = None  # `last_error` would keep the frames alive, and everything that they refer to
            with contextlib.suppress(Exception):  # it must survive a log handler, too
                self._complain(e)
        return self._delay()

    def _load(self, load: Callable[[], PinPolicy | None]) -> None:
        with self._loading:
            generation = self._generation
            try:
                policy = load()
            except BaseException as e:
                self.last_error = e
                self._failures += 1
                raise
            self.last_error, self._failures = None, 0
            with self._swapping:
                if policy is None or generation == self._generation:
                    self._fill(policy)

    def _fill(self, policy: PinPolicy | None, loaded: float | None = None) -> None:
        put = self._put()
        if put is not None:
            put(policy, loaded)

    def _complain(self, error: BaseException) -> None:
        """Log a failure if it is the 1st, 2nd, 4th, 8th, … in a row."""
        if self._failures.bit_count() == 1:
            # The text of a foreign error is not logged: that of an HTTP client has the URL with its query.
            text = f": {escape(str(error))}" if isinstance(error, PolicyError) else ""
            logger.warning(
                "The pin policy could not be refreshed (%d times in a row), and the last good one stays in force: %s%s",
                self._failures,
                type(error).__name__,
                text,
            )

    def _delay(self) -> float:
        interval = self._refresh_after or 0.0
        if self._failures:
            interval = min(interval, FIRST_RETRY * 2 ** min(self._failures - 1, 30))
        return interval * _random.uniform(1 - _JITTER, 1)

    def _start_over(self) -> None:
        """Be without a thread and with free locks: at first, and in a forked child."""
        self._loading = threading.Lock()  # held while the source is asked
        self._swapping = threading.Lock()  # held for a few assignments
        self._starting = threading.Lock()
        self.is_running = self._refresh_after is None

    def __reduce__(self) -> tuple[Any, ...]:
        loader = copy.copy(self._loader)  # what one file loader has seen, the other has not
        loader.start = None  # the copied store has a policy
        return Refresher, (loader, self._refresh_after)


def _nothing() -> None:
    """Stand for a store that does not exist."""


def _follow(ref: weakref.ref[Refresher], gone: threading.Event, delay: float) -> None:
    while not gone.wait(delay):
        refresher = ref()
        if refresher is None:
            return
        delay = refresher.poll()
        del refresher


_refreshers: weakref.WeakSet[Refresher] = weakref.WeakSet()


def _after_fork() -> None:
    for refresher in list(_refreshers):
        refresher._start_over()  # noqa: SLF001  the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

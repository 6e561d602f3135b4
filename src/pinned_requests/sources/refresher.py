"""`Refresher`: looks at a source for one policy store, when a look is due, early, or by hand.

Rules for the next maintainer:

- One look at a time. Others wait for that one, within a bound, or do not wait.
- A signal handler may call every method, in the middle of every other one. So the lock is an `RLock`, no code of others
  (source, callback, log) runs under it, and a thread never waits for itself.
- A look is due by the clocks. If the thread wakes up late (a machine slept) or never (a fork), the next use of the
  store after `wake_at` looks.
- The thread survives every error of a source. It ends with its store, which is held weakly.
- A forked child has no thread, and its copy of a held lock is never released: `_start_over()` makes new ones.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pinned_requests.core import policy_text  # noqa: F401  a later look may not be able to import it
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape
from pinned_requests.enforcement.telemetry import Observed, observe
from pinned_requests.sources.loaders import Loader
from pinned_requests.sources.schedule import RETRY, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.core.policy import PinPolicy

logger = logging.getLogger("pinned_requests")

LONGEST_WAIT = 60.0  # seconds that `refresh()` waits for the look of another thread
MAX_WARNING = 500  # characters
SHORTEST_SILENCE, LONGEST_SILENCE = 5.0, 60.0  # seconds without an answer until that is an error


class Served(Observed, Protocol):
    """What a refresher needs of its store, a `PolicyStore`."""

    def _clocks(self) -> tuple[float, float]: ...

    def _put(self, policy: PinPolicy | None, loaded: float | None = None, version: str | None = None) -> None: ...

    def _announce(self, error: BaseException | None = None) -> None: ...


class Refresher:
    """Looks for policies for one store: by hand, and in a thread that starts with the store's first use.

    A copy, also by pickle, has the same source, but no thread and no store until `resume()`.

    Args:
        source: a `Loader`, or a callable to make one of.
        refresh_after: seconds: the age of a policy at which a look is due; None: never.
        takes_early_looks: whether `hurry()` does anything.
    """

    wake_at: float  # when `wake()` has something to do, in seconds since the epoch

    def __init__(
        self, source: Loader | Callable[[], Any], refresh_after: float | None, *, takes_early_looks: bool
    ) -> None:
        self.last_error: BaseException | None = None  # of the last look
        self._loader = Loader.of(source)
        self._takes_early_looks = takes_early_looks
        self._schedule = Schedule(refresh_after, RETRY if self._loader.is_shared else 1.0)
        self._finalizer: weakref.finalize[..., Refresher] | None = None
        self._store: Callable[[], Served | None] = lambda: None
        self._has_warned = False
        self._generation = 0  # counts the calls of `overrule()`
        self._good_at: float | None = None  # when the policy was last known to be good, since the epoch
        self._clear()
        _refreshers.add(self)

    def _clear(self) -> None:
        self._bell = _Bell()
        self._has_thread = False
        self._looker: int | None = None  # the thread that looks
        self._looks = 0  # that have ended
        self._is_wanted = False  # whether the thread shall look now
        self._is_asking = False  # whether a look is wanted or under way
        self._is_asked_again = False  # by the thread that looks, from a signal handler
        self._asked_at = 0.0  # when that look was wanted or begun, by the monotonic clock
        self._plan(math.inf)

    def begin(self, store: Served) -> None:
        """Give a store its first policy: the one that the loader brings, or that it loads. Raises any error of it."""
        self._store = weakref.ref(store)
        start = self._loader.start
        if start is None:
            self.refresh()
            return
        self._fill(start.policy, start.loaded, self._loader.version)
        self.last_error = start.error
        self._plan(self._schedule.after_start(self._age(start.loaded)))  # shipped: older than anything published

    def resume(self, store: Served, loaded: float | None) -> None:
        """Serve a store that has a policy, known to be good at `loaded` (seconds since the epoch)."""
        self._store = weakref.ref(store)
        self._good_at = loaded
        self._plan(self._schedule.after_success(self._age(loaded)))

    def wake(self) -> None:
        """Start the thread if it does not run, and let it look if a look is due."""
        with self._bell:
            if self._is_due():
                self._want()
            self._start()

    def hurry(self, bound: float | None) -> None:
        """Look early, unless that was done less than 30 seconds ago, and wait for that look or the one under way.

        If no look is made early, wait for the next one if it is due within the bound.

        Args:
            bound: seconds from the beginning of that look that connections wait for it; None: do not wait.
        """
        if not self._takes_early_looks:
            return
        with self._bell:
            steady, wall = self._clocks()
            if self._is_due() or (not self._is_asking and self._schedule.takes_early_look(wall)):
                self._want()
            until = steady if bound is None else bound + (self._asked_at if self._is_asking else steady)
            if not self._is_asking and self._due[0] >= until:
                return
            seen = self._looks
            if not self._start() and self._looker is None:  # no thread would make the look
                return
            if self._looker != threading.get_ident():  # the source may use its own store
                self._bell.wait_for(lambda: self._looks != seen, max(0.0, until - steady))

    def refresh(self) -> None:
        """Look now, in this thread; see `PolicyStore.refresh()`."""
        if not self._look(self._loader.load):
            raise PolicyError(f"another look at the source has been under way for {LONGEST_WAIT:g} seconds")

    def overrule(self, policy: PinPolicy) -> None:
        """Put a policy in force that a look under way, which began before, does not replace."""
        with self._bell:
            self._generation += 1
            self._fill(policy)

    def poll(self) -> float:
        """Look if that is due or wanted, and return the seconds until the next time. Raises nothing."""
        if self._is_wanted or self._is_due():
            try:
                self._look(self._loader.poll)
            except BaseException as e:  # noqa: BLE001  the thread must survive any error
                e.__traceback__ = None  # `last_error` would keep the frames alive
        now = self._clocks()
        return max(0.0, min(due - clock for due, clock in zip(self._due, now, strict=True)))

    def _look(self, load: Callable[[], PinPolicy | None]) -> bool:
        """Look, and again if a signal handler asked for it. Return False if the look of another thread does not end."""
        me = threading.get_ident()
        while True:
            with self._bell:
                if self._looker == me:
                    self._is_asked_again = True
                    return True
                if not self._bell.wait_for(lambda: self._looker is None, LONGEST_WAIT):
                    return False
            error: BaseException | None = None
            try:
                with self._bell:
                    self._is_asked_again = self._is_wanted = False
                    if not self._is_asking:
                        self._asked_at = self._clocks()[0]
                    self._looker, self._is_asking = me, True
                    self._plan(math.inf)
                self._ask(load)
            except BaseException as e:  # noqa: BLE001  raised below
                error = e
            try:
                self._end(error)
                self._announce(error)  # while no look is under way: a log may wait for a thread that waits for that
                if error is not None and not (self._is_asked_again and isinstance(error, Exception)):
                    raise error
            finally:
                del error  # it refers to this frame
            if not self._is_asked_again:
                return True
            load = self._loader.load

    def _ask(self, load: Callable[[], PinPolicy | None]) -> None:
        generation = self._generation
        watch = self._watch()
        try:
            policy = load()
        finally:
            if watch is not None:
                watch.cancel()
        with self._bell:
            if policy is None or generation == self._generation:
                self._fill(policy, version=self._loader.version)

    def _end(self, error: BaseException | None) -> None:
        with self._bell:
            self.last_error = self._loader.warning if error is None else error
            self._plan(self._schedule.after_success() if error is None else self._schedule.after_failure())
            self._looks += 1
            self._looker, self._is_asking = None, self._is_wanted
            self._bell.ring()  # for the thread, and for requests that wait

    def _watch(self) -> threading.Timer | None:
        """Let a source that does not answer show in `last_error`: it may hang forever."""
        if not self._loader.is_shared or self._good_at is None:  # the constructor's caller waits for the first answer
            return None
        interval = self._schedule.interval or LONGEST_SILENCE
        seconds = min(LONGEST_SILENCE, max(SHORTEST_SILENCE, interval))
        timer = threading.Timer(seconds, _complain_of_silence, (weakref.ref(self), self._looks, seconds))
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no thread can start now
            return None
        return timer

    def _note_silence(self, look: int, seconds: float) -> None:
        with self._bell:
            if self._looks != look or self._looker is None:
                return
            self.last_error = error = PolicyError(f"the source has not answered for {seconds:g} seconds")
        self._announce(error)

    def _fill(self, policy: PinPolicy | None, loaded: float | None = None, version: str | None = None) -> None:
        store = self._store()
        if store is not None:
            wall = store._clocks()[1]  # noqa: SLF001  of `Served`
            self._good_at = wall if loaded is None else loaded
            store._put(policy, loaded, version)  # noqa: SLF001  as above

    def _announce(self, error: BaseException | None) -> None:
        """Tell of changes and errors. The 1st, 2nd, 4th, 8th, … failure in a row is logged."""
        if error is not None and self._schedule.failures.bit_count() <= 1:
            with contextlib.suppress(Exception):  # a log filter may fail
                # The text of an HTTP client's error has the URL with its query.
                text = f": {escape(str(error))}" if isinstance(error, PolicyError) else ""
                logger.warning(
                    "The pin policy could not be refreshed (%d times in a row), and the last good one stays in force: "
                    "%s%s",
                    max(self._schedule.failures, 1),
                    type(error).__name__,
                    text,
                )
        if error is None:
            warning = self._loader.warning
            if warning is not None and not self._has_warned:
                with contextlib.suppress(Exception):  # as above
                    logger.warning("The pin policy was refreshed: %s", escape(str(warning), MAX_WARNING))
            self._has_warned = warning is not None
        store = self._store()
        if store is not None:
            if self._good_at is not None:  # it has a policy
                observe(store, escape(self._loader.name))
            store._announce(error)  # noqa: SLF001  of `Served`

    # What follows is called with the lock held, or before another thread can know this object.

    def _clocks(self) -> tuple[float, float]:
        store = self._store()
        return (0.0, 0.0) if store is None else store._clocks()  # noqa: SLF001  of `Served`

    def _is_due(self) -> bool:
        """Whether either clock says so: the monotonic one stops in a suspended machine, the other can be set."""
        steady, wall = self._clocks()
        return steady >= self._due[0] or wall >= self._due[1]

    def _plan(self, delay: float) -> None:
        steady, wall = self._clocks()
        self._due = steady + delay, wall + delay  # by both clocks
        self.wake_at = self._wake_at(self._due[1])

    def _age(self, good_at: float | None) -> float:
        """Return how old a policy is that was good then; infinite if that is not known, or in the future."""
        wall = self._clocks()[1]
        return wall - good_at if good_at is not None and good_at <= wall else math.inf

    def _wake_at(self, due: float) -> float:
        return due if self._has_thread or self._schedule.interval is None else -math.inf

    def _want(self) -> None:
        self._is_asking = self._is_wanted = True
        self._asked_at = self._clocks()[0]
        self._plan(math.inf)
        self._bell.ring()

    def _start(self) -> bool:
        """Start the thread, and return whether it runs."""
        if self._has_thread:
            return True
        thread = threading.Thread(
            target=_follow, args=(weakref.ref(self), self._bell), name="pinned-requests-policy", daemon=True
        )
        self._has_thread = True  # before: a signal handler may come here as well
        try:
            thread.start()
        except RuntimeError:  # no thread can start now; at the end of the interpreter, none ever will
            self._has_thread = False
            return False
        self.wake_at = self._wake_at(self._due[1])
        self._finalizer = weakref.finalize(self, self._bell.end)
        self._finalizer.atexit = False
        return True

    def _start_over(self) -> None:
        if self._finalizer is not None:
            self._finalizer.detach()  # its lock may be held by a thread that is not here
        self._clear()
        self._plan(self._schedule.after_success(self._age(self._good_at)))

    def __reduce__(self) -> tuple[Any, ...]:
        loader = copy.copy(self._loader)  # a file loader remembers what it has seen
        loader.start = None  # the copied store has a policy
        restore = partial(Refresher, takes_early_looks=self._takes_early_looks)
        return restore, (loader, self._schedule.interval)


class _Bell(threading.Condition):
    """Wakes the thread of a refresher, which holds the bell alone while it sleeps."""

    def __init__(self) -> None:
        super().__init__(threading.RLock())
        self._is_rung = self._is_over = False

    def notify_all(self) -> None:
        # Where a signal handler does the same in the middle of it, all have been notified, and it finds none.
        with contextlib.suppress(IndexError):
            super().notify_all()

    def ring(self) -> None:
        self._is_rung = True
        self.notify_all()

    def end(self) -> None:
        with self:
            self._is_over = True
            self.notify_all()

    def sleep(self, seconds: float) -> bool:
        """Sleep until rung, and return whether the refresher still exists."""
        with self:
            self.wait_for(lambda: self._is_rung or self._is_over, min(seconds, threading.TIMEOUT_MAX))
            self._is_rung = False
            return not self._is_over


def _follow(ref: weakref.ref[Refresher], bell: _Bell) -> None:
    while (refresher := ref()) is not None:
        delay = refresher.poll()
        del refresher
        if not bell.sleep(delay):
            return


def _complain_of_silence(ref: weakref.ref[Refresher], look: int, seconds: float) -> None:
    refresher = ref()
    if refresher is not None:
        refresher._note_silence(look, seconds)  # noqa: SLF001  the same module


_refreshers: weakref.WeakSet[Refresher] = weakref.WeakSet()


def _after_fork() -> None:
    for refresher in list(_refreshers):
        refresher._start_over()  # noqa: SLF001  the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

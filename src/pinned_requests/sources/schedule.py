"""`Schedule`: when to look at a source again. Pure: the caller passes the time and the age of the policy.

Every delay is random, so that a fleet does not ask its source in one second, nor after an outage. After a failure its
mean is one interval: a source that is down is asked as often as one that is up. Short first delays would multiply the
load (by 12 in an outage of an hour). `docs/fleet.md` shows the curves.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

JITTER = 0.1  # of an interval
RETRY = 2.0  # intervals
SPREAD, SPREAD_SHARE = 60.0, 0.1  # seconds, and share of an interval: over which first looks are spread
EARLY = 30.0  # seconds between two early looks: an attacker can provoke refusals at any rate

_uniform = random.SystemRandom().uniform  # not the generator that programs seed


class Schedule:
    """Delays for one client of a source.

    Args:
        interval: seconds from one look to the next; None: looks are made by hand, or early.
        retry: intervals; the longest delay after a failure.
        uniform: returns a random number between its two arguments.
    """

    __slots__ = ("_early", "_retry", "_uniform", "failures", "interval")

    def __init__(
        self, interval: float | None, retry: float = RETRY, uniform: Callable[[float, float], float] = _uniform
    ) -> None:
        self.interval = interval
        self.failures = 0  # in a row
        self._retry = retry
        self._uniform = uniform
        self._early: float | None = None  # when the last early look was taken

    def after_success(self, age: float = 0.0) -> float:
        """Return the seconds until the next look, for a policy that is `age` seconds old."""
        self.failures = 0
        if self.interval is None:
            return math.inf
        return max(0.0, self.interval * self._uniform(1 - JITTER, 1 + JITTER) - age)

    def after_start(self, age: float) -> float:
        """Return the seconds until the first look: random within a minute where the policy is old."""
        delay = self.after_success(age)
        if self.interval is None or delay > 0:
            return delay
        return self._uniform(0.0, min(SPREAD, self.interval * SPREAD_SHARE))

    def after_failure(self) -> float:
        """Return the seconds until the next look."""
        self.failures += 1
        if self.interval is None:
            return math.inf
        return self._uniform(0.0, self.interval * self._retry)

    def takes_early_look(self, now: float) -> bool:
        """Say whether an early look may be made now (seconds since the epoch), and count it if so."""
        if self._early is not None and 0 <= now - self._early < EARLY:  # a clock may be set back
            return False
        self._early = now
        return True

"""`Schedule`: when to look at a source again. Pure: the caller passes the time and the age of the policy.

Rules for the next maintainer:

- A fleet must not ask its source in one second, and must not do so after an outage either. So every delay is random.
- After a failure the delay is uniform from 0 to `RETRY` intervals, from the first failure on. Its mean is one interval:
  a source that is down is asked as often as one that is up, and so it is when it comes back. Short first delays would
  multiply the load of an outage (by 12 for an hour). `docs/fleet.md` shows the curves.
"""

from __future__ import annotations

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

    Attributes:
        failures: how many looks have failed in a row.
    """

    __slots__ = ("_early", "_retry", "_uniform", "failures", "interval")

    def __init__(
        self, interval: float | None, retry: float = RETRY, uniform: Callable[[float, float], float] = _uniform
    ) -> None:
        self.interval = interval
        self.failures = 0
        self._retry = retry
        self._uniform = uniform
        self._early: float | None = None  # when the last early look was taken

    def after_success(self, age: float = 0.0) -> float:
        """Return the seconds until the next look, for a policy that is `age` seconds old."""
        self.failures = 0
        if self.interval is None:
            return float("inf")
        return max(0.0, self.interval * self._uniform(1 - JITTER, 1 + JITTER) - age)

    def after_start(self, age: float) -> float:
        """Return the seconds until the first look of a client that starts with a policy of this age.

        Machines that start together and have an old policy look within a minute, spread evenly.
        """
        delay = self.after_success(age)
        if self.interval is None or delay > 0:
            return delay
        return self._uniform(0.0, min(SPREAD, self.interval * SPREAD_SHARE))

    def after_failure(self) -> float:
        """Return the seconds until the next look."""
        self.failures += 1
        if self.interval is None:
            return float("inf")
        return self._uniform(0.0, self.interval * self._retry)

    def takes_early_look(self, now: float) -> bool:
        """Say whether an early look may be made now, and count it if so.

        Args:
            now: seconds since the epoch. A clock that was set back does not stop early looks.
        """
        if self._early is not None and 0 <= now - self._early < EARLY:
            return False
        self._early = now
        return True

"""`PolicyStore`: the policy in force, which can change between two requests.

Rules for the next maintainer:

- `current` reads attributes and a clock. It never waits for a source, a lock or a file. A request waits in `confirm()`
  alone, which a guard calls before it refuses.
- A policy is replaced as a whole, and only by a valid one.
- `max_age` makes an old policy refuse. It never unpins a host. An unknown age is infinite.
- Callbacks and logs run outside of every lock, in the order of the changes.
- Policies come from `sources/`, a room above this one, which is imported when it is needed.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.resources.abc import Traversable
    from types import EllipsisType

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.sources.loaders import Loader
    from pinned_requests.sources.refresher import Refresher

    Resource = bytes | str | os.PathLike[str] | Traversable
    OnChange = Callable[[PinPolicy, PinPolicy], object]
    OnError = Callable[[BaseException], object]

logger = logging.getLogger("pinned_requests")

TUF_INTERVAL = 3600.0  # seconds: a change of pins is known within an hour; if nothing is new, one small file is fetched
FILE_INTERVAL = 1.0  # seconds: a look at a file costs microseconds
CONFIRM = 5.0  # seconds that a refusal waits for a look over a network
SETTLED = 1.0  # seconds until a fork or a clock that was set shows on an open connection
VERSION_DIGITS = 12  # hex digits


class PolicyStore:
    """Holds the policy in force and replaces it as a whole, while sessions use it.

    Pooled connections are evaluated against the new policy at their next request. The constructor loads the first
    policy and raises what goes wrong. Later looks at the source are made one at a time by a daemon thread, which starts
    with the first use and ends with the store. When one fails, the last good policy stays in force, `last_error` says
    why, and a warning is logged (at the 1st, 2nd, 4th, 8th, … failure in a row).

    A look is due when the policy is `refresh_after` seconds old, by the wall clock: a store that was not used for long,
    a forked or unpickled one, and one on a machine that slept look at once. The delay varies by 10 %; after a failure
    it is random, from 0 to twice `refresh_after` (once, for a file), so that many clients do not ask together. A
    refusal for a mismatch, a blocked key or an outdated policy brings the look forward, at most once in 30 seconds.

    A store can be pickled if its source and callbacks can. A forked child starts a thread of its own.

    Args:
        source: a `PinPolicy`; a mapping of host patterns to pins; or a callable without arguments that returns one of
            these or the text of a policy (`str` or `bytes`; JSON if it begins with `{`, else TOML).
        refresh_after: seconds; None: only `refresh()` calls the source, and refusals if `confirm_refusals` is given.
        max_age: seconds; an older policy refuses every host that it does not exempt (`PinsExpiredError`), until a look
            succeeds. None: a policy never becomes too old.
        confirm_refusals: seconds; a connection that would be refused for a mismatch or an outdated policy waits at most
            so long for a look, and is then evaluated once more. None: none waits. Default: 5 for a callable with
            `refresh_after`, else None. Sockets that do not block never wait.
        on_change: called with the old and the new policy after each change, in the thread that made it. Exceptions are
            logged and ignored, as those of `on_error`.
        on_error: called with each error of a look, also when the source has not answered for as long as
            `refresh_after` (at least 5 and at most 60 seconds).

    Raises:
        PolicyError: the source is none of these or returns a wrong policy; an interval is not a positive number, or is
            given with a fixed policy.
        Exception: any error of the source.
    """

    # Quicker than `current`, for each write of a connection. None where a subclass decides in `current`.
    in_force: PinPolicy | None = None  # what `current` returns, unless that has become too old: see `settled_for()`
    steady: PinPolicy | None = None  # the same where nothing but `set()` can change it
    _current: PinPolicy
    _refusing: PinPolicy  # the same policy past `max_age`
    _loaded: tuple[float, float] = (-math.inf, -math.inf)  # when the policy was last known to be good, by both clocks
    _number: str | None = None  # of a signed policy
    _digest: tuple[PinPolicy, str] | None = None  # the version of a policy without a number

    def __init__(  # noqa: PLR0913  each a documented option
        self,
        source: PinPolicy | Mapping[str, PinsLike] | Callable[[], Any] | Loader,
        *,
        refresh_after: float | None = None,
        max_age: float | None = None,
        confirm_refusals: float | EllipsisType | None = ...,
        on_change: OnChange | None = None,
        on_error: OnError | None = None,
    ) -> None:
        if confirm_refusals is ...:
            confirm_refusals = CONFIRM if refresh_after is not None else None
        intervals = {"refresh_after": refresh_after, "max_age": max_age, "confirm_refusals": confirm_refusals}
        for name, value in intervals.items():
            _check_interval(name, value, source)
        self._max_age, self._patience = max_age, confirm_refusals
        self._on_change, self._on_error = on_change, on_error
        self._refresher: Refresher | None = None
        self._news: deque[tuple[PinPolicy, PinPolicy] | BaseException] = deque()  # that have not been told
        self._begin_telling()
        if isinstance(source, (PinPolicy, Mapping)):
            self._put(_policy(source))
            return
        from pinned_requests.sources.refresher import Refresher  # noqa: PLC0415  a fixed policy needs no source

        is_asked = refresh_after is not None or confirm_refusals is not None
        self._refresher = Refresher(source, refresh_after, takes_early_looks=is_asked)
        self._refresher.begin(self)

    @classmethod
    def from_file(  # noqa: PLR0913  each a documented option
        cls,
        path: str | os.PathLike[str],
        *,
        refresh_after: float = FILE_INTERVAL,
        max_age: float | None = None,
        confirm_refusals: float | None = None,
        on_change: OnChange | None = None,
        on_error: OnError | None = None,
    ) -> PolicyStore:
        """Return a store that follows a file, however it is replaced.

        Args:
            path: of a `.toml` or `.json` file.
            refresh_after: seconds from one look at the file to the next. A file that is written in place is read once
                two looks have found it unchanged.
            max_age: seconds, as for the constructor; a look that finds the file unchanged counts as a load.
            confirm_refusals: seconds, as for the constructor.
            on_change: as for the constructor.
            on_error: as for the constructor.

        Raises:
            PolicyError: as `PinPolicy.from_file`; or it is not a regular file.
            OSError: the file cannot be read.
        """
        from pinned_requests.sources.loaders import FileLoader  # noqa: PLC0415  a fixed policy needs no source

        return cls(
            FileLoader(path),
            refresh_after=refresh_after,
            max_age=max_age,
            confirm_refusals=confirm_refusals,
            on_change=on_change,
            on_error=on_error,
        )

    @classmethod
    def from_env(cls, name: str, *, on_change: OnChange | None = None, on_error: OnError | None = None) -> PolicyStore:
        """Return a store with the policy in an environment variable; `refresh()` reads the variable again.

        Raises:
            PolicyError: as `PinPolicy.from_env`.
        """
        return cls(partial(PinPolicy.from_env, name), on_change=on_change, on_error=on_error)

    @classmethod
    def from_tuf(  # noqa: PLR0913  what a repository consists of, and the intervals of every store
        cls,
        metadata_url: str,
        targets_url: str,
        *,
        root: Resource,
        cache_dir: str | os.PathLike[str] | None,
        target: str = "pins.json",
        shipped: PinPolicy | Mapping[str, PinsLike] | Resource | None = None,
        verify: bool | str | os.PathLike[str] = True,
        proxies: Mapping[str, str] | None = None,
        refresh_after: float = TUF_INTERVAL,
        max_age: float | None = None,
        confirm_refusals: float | None = CONFIRM,
        on_change: OnChange | None = None,
        on_error: OnError | None = None,
    ) -> PolicyStore:
        """Return a store that follows a signed policy in a repository of The Update Framework; see `docs/remote.md`.

        The store begins with the last good policy in the cache, verified again, or else with `shipped`. Once it is
        used, it looks at the repository in the background: when the cached policy is `refresh_after` old, or, if it is
        older already, at a random moment within a minute or a tenth of `refresh_after`. Without either, the constructor
        asks the repository. When a later update fails, `last_error` is a `RemotePolicyError` that names the check.

        Args:
            metadata_url: the folder of the repository's metadata.
            targets_url: the folder of its targets.
            root: the trusted root metadata that the application ships: its bytes, the path of the file, or what
                `importlib.resources.files(…).joinpath(…)` returns.
            cache_dir: a folder of the application, which processes may share; it is created if it is missing. None, or
                a folder that cannot be written: the policy is verified and used in memory, and `last_error` says that a
                restart forgets which versions were seen.
            target: the name of the policy in the repository; `.toml` for TOML, anything else is JSON.
            shipped: the policy that the application ships: a `PinPolicy`, a mapping, or a file as for `root`.
            verify: True, or the path of a file or folder of CA certificates, for a repository with a private CA.
            proxies: scheme → URL, as for requests; the environment has the others.
            refresh_after: seconds from one look at the repository to the next.
            max_age: seconds, as for the constructor; the age of a cached policy counts from its download.
            confirm_refusals: seconds, as for the constructor.
            on_change: as for the constructor.
            on_error: as for the constructor.

        Raises:
            PolicyError: an argument is wrong: a URL, the root, the target's name, the shipped policy or an interval.
            RemotePolicyError: there is neither a usable cache nor a shipped policy, and the repository fails.
            OSError: `root` or `shipped` cannot be read.
            ImportError: the extra `remote` is not installed.
        """
        from pinned_requests.sources.tuf.client import SignedPolicy  # noqa: PLC0415  of the extra `remote`

        signed = SignedPolicy(
            metadata_url,
            targets_url,
            root=root,
            target=target,
            cache_dir=cache_dir,
            shipped=shipped,
            verify=verify,
            proxies=proxies,
        )
        return cls(
            signed,
            refresh_after=refresh_after,
            max_age=max_age,
            confirm_refusals=confirm_refusals,
            on_change=on_change,
            on_error=on_error,
        )

    @property
    def current(self) -> PinPolicy:
        """The policy in force; past `max_age` one that refuses (see `PinPolicy.outdated`).

        The same object each time, until the policy is replaced or becomes too old.
        """
        refresher = self._refresher
        if refresher is not None and self._clocks()[1] >= refresher.wake_at:
            refresher.wake()
        if self._max_age is not None and self.age > self._max_age:
            return self._refusing
        return self._current

    def settled_for(self) -> float:
        """Return for how many seconds `in_force` can be used in place of `current`: infinite for a fixed policy.

        For guards. Else at most a second, so that a store whose connections stay open is still asked whether a look is
        due.
        """
        if self._refresher is None:
            return math.inf
        return SETTLED if self._max_age is None else min(SETTLED, self._max_age - self.age)

    @property
    def last_error(self) -> BaseException | None:
        """Why the last look failed, or None if it succeeded."""
        return None if self._refresher is None else self._refresher.last_error

    @property
    def loaded_at(self) -> datetime | None:
        """When the policy was last known to be the newest, in UTC, or None if that is not known."""
        wall = self._loaded[1]
        return None if wall == -math.inf else datetime.fromtimestamp(wall, UTC)

    @property
    def age(self) -> float:
        """Seconds since `loaded_at`, by the clock that says more; infinite if that is not known."""
        # A monotonic clock stands still in a suspended machine; the wall clock can be set back.
        steady, wall = self._clocks()
        return max(steady - self._loaded[0], wall - self._loaded[1])

    @property
    def version(self) -> str:
        """The number of a signed policy; else 12 hex digits of the SHA-256 of its canonical JSON.

        That is `PinPolicy.to_json()` with sorted names and without white space.
        """
        if self._number is not None:
            return self._number
        policy, known = self._current, self._digest
        if known is None or known[0] is not policy:
            text = json.dumps(json.loads(policy.to_json()), sort_keys=True, separators=(",", ":"))
            self._digest = known = policy, hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]
        return known[1]

    def set(self, policy: PinPolicy | Mapping[str, PinsLike]) -> None:
        """Replace the policy in force, until the next refresh. A wrong policy changes nothing.

        Raises:
            PolicyError: `policy` is neither a `PinPolicy` nor a mapping, or is wrong.
        """
        new = _policy(policy)
        if self._refresher is None:
            self._put(new)
        else:
            self._refresher.overrule(new)
        self._announce()

    def refresh(self) -> None:
        """Look at the source now, in this thread, after any look that is under way.

        In a signal handler that interrupts a look of its own thread, it returns at once; another look then follows.

        Raises:
            PolicyError: the store has a fixed policy, or the source returns a wrong one; or the look of another thread
                does not end within a minute.
            Exception: any error of the source. The last good policy stays.
        """
        if self._refresher is None:
            raise PolicyError("this store was made of a fixed policy: give it a callable, or use set()")
        self._refresher.refresh()

    def confirm(self, *, may_wait: bool) -> bool:
        """Bring the next look forward, because a connection is about to be refused.

        Args:
            may_wait: whether to wait for the look, for `confirm_refusals` seconds at most.

        Returns:
            Whether to evaluate the connection once more.
        """
        if self._refresher is None:
            return False
        self._refresher.hurry(self._patience if may_wait else None)
        return may_wait and self._patience is not None

    def _put(self, policy: PinPolicy | None, loaded: float | None = None, version: str | None = None) -> None:
        """Put a policy in force, or confirm the one that is (None), for `_announce()` to tell of.

        It was known to be good at `loaded`, in seconds since the epoch (None: now; in the future: unknown).
        """
        steady, wall = self._clocks()
        if policy is not None:
            if self._max_age is not None:
                text = f"the policy could not be refreshed for more than {self._max_age} seconds"
                self._refusing = policy.as_outdated(text)
            old, self._current = getattr(self, "_current", None), policy
            self._number = version
            self.in_force = policy if type(self).current is PolicyStore.current else None
            self.steady = self.in_force if self._refresher is None else None
            if old is not None and old != policy:
                self._news.append((old, policy))
        if loaded is None:
            self._loaded = steady, wall
        else:  # monotonic clocks of other processes and boots do not compare
            self._loaded = (-math.inf, -math.inf) if loaded > wall else (steady - (wall - loaded), loaded)

    @staticmethod
    def _clocks() -> tuple[float, float]:
        return time.monotonic(), time.time()

    def _begin_telling(self) -> None:
        self._telling = threading.Lock()  # never waited for
        self._pid = os.getpid()

    def _announce(self, error: BaseException | None = None) -> None:
        """Tell of changes and errors, in their order. If another call is telling, it goes on with these."""
        if self._pid != os.getpid():  # a forked child: the thread that was telling is not here
            self._begin_telling()
        if error is not None:
            self._news.append(error)
        while self._news and self._telling.acquire(blocking=False):
            try:
                while self._news:
                    news = self._news.popleft()
                    if isinstance(news, tuple):
                        _tell("the log", self._log, *news)
                        if self._on_change is not None:
                            _tell("on_change", self._on_change, *news)
                    elif self._on_error is not None:
                        _tell("on_error", self._on_error, news)
            finally:
                self._telling.release()

    def _log(self, old: PinPolicy, new: PinPolicy) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        from pinned_requests.core.difference import difference  # noqa: PLC0415  only where it is used

        changes, version = difference(old, new), self.version
        fields = {"policy_version": version} | {
            f"hosts_{name}": list(getattr(changes, name)) for name in ("gained", "lost", "changed")
        }
        logger.info("The pin policy has changed to version %s: %s", version, changes, extra=fields)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "refresher": copy.copy(self._refresher),
            "max_age": self._max_age,
            "patience": self._patience,
            "callbacks": (self._on_change, self._on_error),
            "policy": self._current,
            "version": self._number,
            "loaded": None if self._loaded[1] == -math.inf else self._loaded[1],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._max_age = state["max_age"]
        self._patience = state["patience"]
        self._on_change, self._on_error = state["callbacks"]
        self._refresher = state["refresher"]
        self._news = deque()
        self._begin_telling()
        loaded = state["loaded"]
        self._put(state["policy"], math.inf if loaded is None else loaded, state["version"])
        if self._refresher is not None:
            self._refresher.resume(self, loaded)


def _check_interval(name: str, value: object, source: object) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= threading.TIMEOUT_MAX:
        raise PolicyError(f"invalid {name}={show(value)}: give a number of seconds, more than 0")
    if isinstance(source, (PinPolicy, Mapping)):
        raise PolicyError(f"{name} says when to load the policy again, and this policy is fixed: give a callable")


def _tell(name: str, callback: Callable[..., object], *arguments: object) -> None:
    try:
        callback(*arguments)
    except Exception:
        with contextlib.suppress(Exception):  # the failure may be in a log filter
            logger.exception("%s failed on a change or error of the pin policy", name)


def _policy(value: Any) -> PinPolicy:
    if isinstance(value, PinPolicy):
        return value
    if isinstance(value, Mapping):
        return PinPolicy(value)
    raise PolicyError(f"invalid policy {show(value)}: give a PinPolicy or a mapping of host patterns to pins")

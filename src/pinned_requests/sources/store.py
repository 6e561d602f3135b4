"""`PolicyStore`: the policy in force, which may be another one from one request to the next.

Rules for the next maintainer:

- A request reads an attribute and never waits: for no source, no lock that is held while one is asked, no file.
- A policy is swapped whole, and never for something worse: what cannot be had leaves the last good one where it is.
- What must not live for ever is refused by `max_age`, not forgotten: an old policy refuses, it does not unpin.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show
from pinned_requests.sources.loading import UNCHANGED, FileLoader, Loader

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.core.pinset import PinsLike

logger = logging.getLogger("pinned_requests")

FIRST_RETRY = 1.0  # seconds after a failure; twice that after the next one, and so on up to `refresh_after`
TUF_INTERVAL = 3600.0  # seconds: a change of pins is known within an hour; if nothing is new, one small file is fetched
FILE_INTERVAL = 1.0  # seconds: a look at a file costs microseconds
_random = random.SystemRandom()  # not the generator that programs seed
_JITTER = 0.1  # of an interval: a fleet that was started at once must not ask its vault at once for ever


class PolicyStore:
    """Holds the policy in force and lets it be replaced, as a whole, while sessions use it.

    Pooled connections are evaluated against the new policy at their next request. The first policy is loaded by the
    constructor, and what goes wrong then is raised. Later ones are loaded by a daemon thread, one at a time, which
    starts with the first use and ends with the store: a source that hangs delays no request. What goes wrong then is
    logged (the first time, and less and less often), stands in `last_error`, and leaves the last good policy in force;
    the next try comes after 1 second, then 2, 4, … up to `refresh_after`.

    Args:
        source: a `PinPolicy`; a mapping of host patterns to pins; or a callable without arguments that returns one of
            these or the text of a policy (`str` or `bytes`; JSON if it begins with `{`, else TOML).
        refresh_after: seconds from one call of the source to the next; None: it is called by `refresh()` alone.
        max_age: seconds; where the policy is older and could not be loaded anew, every host that it does not exempt is
            refused (`PinsExpiredError`) until it can. None: it is good for ever.

    Raises:
        PolicyError: the source is none of these or gives a wrong policy; an interval is no positive number, or stands
            beside a source that is never asked again.
        Exception: whatever the source raises.

    A store pickles if its source does. In a forked child the thread starts anew.
    """

    def __init__(
        self,
        source: PinPolicy | Mapping[str, PinsLike] | Callable[[], Any] | Loader,
        *,
        refresh_after: float | None = None,
        max_age: float | None = None,
    ) -> None:
        loader: Loader | None = None
        if isinstance(source, Loader):
            loader = source
        elif callable(source) and not isinstance(source, (PinPolicy, Mapping)):
            loader = Loader(source)
        self._prepare(loader, refresh_after, max_age)
        if loader is None:
            self._current = _policy(source)
        elif loader.initial is not None:
            self._current, self._is_due = loader.initial, True
        else:
            self.refresh()

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, refresh_after: float = FILE_INTERVAL, max_age: float | None = None
    ) -> PolicyStore:
        """Return a store that follows a file, however that is replaced.

        Args:
            path: of a `.toml` or `.json` file.
            refresh_after: seconds from one look at the file to the next. One that is written in place is read when it
                has stood still for that long.
            max_age: seconds, as for the constructor; a look that finds the file unchanged counts.

        Raises:
            PolicyError: as `PinPolicy.from_file`.
            OSError: the file cannot be read.
        """
        return cls(FileLoader(path), refresh_after=refresh_after, max_age=max_age)

    @classmethod
    def from_env(cls, name: str) -> PolicyStore:
        """Return a store with the policy of an environment variable, which `refresh()` reads again.

        Raises:
            PolicyError: as `PinPolicy.from_env`.
        """
        return cls(partial(PinPolicy.from_env, name))

    @classmethod
    def from_tuf(  # noqa: PLR0913  what a repository consists of, and the intervals of every store
        cls,
        metadata_url: str,
        targets_url: str,
        *,
        root: bytes | str | os.PathLike[str],
        cache_dir: str | os.PathLike[str],
        target: str = "pins.json",
        shipped: PinPolicy | Mapping[str, PinsLike] | str | os.PathLike[str] | None = None,
        refresh_after: float = TUF_INTERVAL,
        max_age: float | None = None,
    ) -> PolicyStore:
        """Return a store that follows a signed policy in a repository of The Update Framework; see `docs/remote.md`.

        The store begins with the last good policy that the cache holds, verified again, or else with `shipped`, and
        asks the repository in the background as soon as it is used. Where there is neither, it asks at once. Whatever
        fails later leaves the policy in force and stands in `last_error`: a `RemotePolicyError` that names the check.

        Args:
            metadata_url: the folder of the repository's metadata.
            targets_url: the folder of its targets.
            root: the trusted root metadata that the application ships: its bytes, or the path of the file.
            cache_dir: a folder of the application's, which is made where it is missing. Processes may share it.
            target: the name of the policy in the repository; `.toml` for TOML, anything else is JSON.
            shipped: the policy that the application ships: a `PinPolicy`, a mapping, or the path of a file.
            refresh_after: seconds from one look at the repository to the next.
            max_age: seconds, as for the constructor; the age of a cached policy counts from when it came.

        Raises:
            PolicyError: a URL, the root, the target's name, the shipped policy or an interval is wrong.
            RemotePolicyError: there is neither a usable cache nor a shipped policy, and the repository fails.
            OSError: `root` or `shipped` cannot be read.
            ImportError: the extra `remote` is not installed.
        """
        from pinned_requests.sources.tuf.client import SignedPolicy  # noqa: PLC0415  of the extra `remote`

        signed = SignedPolicy(metadata_url, targets_url, root=root, target=target, cache_dir=cache_dir, shipped=shipped)
        start = signed.start()
        store = cls(Loader(signed, initial=start.policy), refresh_after=refresh_after, max_age=max_age)
        if start.policy is not None:
            store._last_error = start.error
        if start.saved is not None:
            store._loaded = (store._loaded[0], start.saved)
        return store

    @property
    def current(self) -> PinPolicy:
        """The policy in force; past `max_age` one that refuses (see `PinPolicy.outdated`)."""
        if not self._is_watched:
            self._watch()
        if self._max_age is not None and self._age() > self._max_age:
            return self._current.as_outdated(f"the policy could not be refreshed for more than {self._max_age} seconds")
        return self._current

    @property
    def last_error(self) -> BaseException | None:
        """Why the policy could not be loaded the last time that was tried, or None where it could."""
        return self._last_error

    def set(self, policy: PinPolicy | Mapping[str, PinsLike]) -> None:
        """Replace the policy in force; the old one stays where the new one is wrong. The next refresh replaces it.

        Raises:
            PolicyError: `policy` is neither a `PinPolicy` nor a mapping, or is wrong.
        """
        new = _policy(policy)
        with self._swapping:
            self._generation += 1
            self._take(new)

    def refresh(self) -> None:
        """Load the policy now, in this thread, after any load that is under way.

        Raises:
            PolicyError: the store has no source to load from, or it gives a wrong policy.
            Exception: whatever the source raises. The last good policy stays.
        """
        if self._loader is None:
            raise PolicyError("this store holds a policy that was given to it; give it a callable, or use set()")
        self._load(self._loader.load)

    def _prepare(self, loader: Loader | None, refresh_after: float | None, max_age: float | None) -> None:
        for name, value in (("refresh_after", refresh_after), ("max_age", max_age)):
            if value is None:
                continue
            if type(value) not in (int, float) or not 0 < value <= threading.TIMEOUT_MAX:
                raise PolicyError(f"{name}={show(value)} is no interval; give seconds, more than 0")
            if loader is None:
                raise PolicyError(f"{name} says when to load the policy again, and this one was given; give a callable")
        self._loader = loader
        self._refresh_after = refresh_after
        self._max_age = max_age
        self._last_error: BaseException | None = None
        self._failures = 0
        self._generation = 0  # counts what was set
        self._loaded = _clocks()
        self._is_due = False  # whether the source is to be asked as soon as the thread starts
        self._start_anew()

    def _start_anew(self) -> None:
        """Be without a thread, as at first or in a forked child, where a lock that was held is held for ever."""
        self._loading = threading.Lock()  # held while the source is asked: by one thread at a time
        self._swapping = threading.Lock()  # held for a few assignments
        self._starting = threading.Lock()
        self._is_watched = self._refresh_after is None
        if self._loader is not None:
            _loaded.add(self)

    def _load(self, load: Callable[[], Any], *, may_be_unchanged: bool = False) -> None:
        with self._loading:
            generation = self._generation
            try:
                value = load()
                is_unchanged = may_be_unchanged and value is UNCHANGED
                policy = None if is_unchanged else _policy(value, text_too=True)
            except BaseException as e:
                self._last_error = e
                self._failures += 1
                raise
            self._last_error, self._failures = None, 0
            with self._swapping:
                if policy is None:
                    self._loaded = _clocks()
                elif generation == self._generation:  # else another was set meanwhile, and is the newer one
                    self._take(policy)

    def _take(self, policy: PinPolicy) -> None:
        self._loaded, self._current = _clocks(), policy

    def _age(self) -> float:
        """Return the seconds since the last success, by the clock that says more: one stands still in a suspended
        machine, the other can be set back."""  # noqa: D205, D209  one sentence
        steady, wall = _clocks()
        return max(steady - self._loaded[0], wall - self._loaded[1])

    def _watch(self) -> None:
        with self._starting:
            if self._is_watched:
                return
            gone = threading.Event()
            arguments = (weakref.ref(self), gone, 0.0 if self._is_due else self._delay())
            thread = threading.Thread(target=_follow, args=arguments, name="pinned-requests-policy", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be had now: at the end of the interpreter, never again
                return
            weakref.finalize(self, gone.set).atexit = False
            self._is_watched = True

    def _poll(self) -> float:
        """Load the policy in the background, if there is a new one, and return the seconds until the next time."""
        loader = self._loader
        if loader is not None:
            try:
                self._load(loader.poll, may_be_unchanged=True)
            except BaseException as e:  # noqa: BLE001  whatever it is, the thread must live
                e.__traceback__ = None  # kept in `last_error`, it would keep the frames, and by them this store
                with contextlib.suppress(Exception):  # so must it whatever a log handler does
                    self._complain(e)
        return self._delay()

    def _complain(self, error: BaseException) -> None:
        """Log a failure if it is the 1st, 2nd, 4th, 8th, … in a row."""
        if self._failures.bit_count() == 1:
            # Texts of others may hold anything: that of an HTTP client has the URL, with its query.
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

    def __getstate__(self) -> dict[str, Any]:
        return {
            "loader": copy.copy(self._loader),
            "refresh_after": self._refresh_after,
            "max_age": self._max_age,
            "policy": self._current,
            "loaded": self._loaded[1],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._prepare(state["loader"], state["refresh_after"], state["max_age"])
        self._current = state["policy"]
        self._loaded = (self._loaded[0], state["loaded"])


def _follow(ref: weakref.ref[PolicyStore], gone: threading.Event, delay: float) -> None:
    while not gone.wait(delay):
        store = ref()
        if store is None:
            return
        delay = store._poll()  # noqa: SLF001  this is its thread
        del store


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()


def _policy(value: Any, *, text_too: bool = False) -> PinPolicy:
    if isinstance(value, PinPolicy):
        return value
    if isinstance(value, Mapping):
        return PinPolicy(value)
    if text_too and isinstance(value, (str, bytes)):
        return PinPolicy.from_text(value)
    raise PolicyError(
        f"{show(value)} is no policy; give a PinPolicy, a mapping of host patterns to pins, or a callable that returns "
        "one of these or the text of a policy"
    )


_loaded: weakref.WeakSet[PolicyStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_loaded):
        store._start_anew()  # noqa: SLF001  the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

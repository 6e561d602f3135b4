"""`PolicyStore`: the policy in force, which can change between two requests.

Rules for the next maintainer:

- `current` reads attributes. It never waits: not for a source, not for a lock, not for a file.
- A policy is replaced as a whole, and only by a valid one. A failed load leaves the last good policy in force.
- `max_age` makes an old policy refuse. It never unpins a host.
- Where policies come from is the business of `sources/`, which stands above this module. The constructor and the class
  methods import it when they are called, because `PolicyStore` is the class that users know.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.sources.loaders import Loader
    from pinned_requests.sources.refresher import Refresher

TUF_INTERVAL = 3600.0  # seconds: a change of pins is known within an hour; if nothing is new, one small file is fetched
FILE_INTERVAL = 1.0  # seconds: a look at a file costs microseconds


class PolicyStore:
    """Holds the policy in force and replaces it as a whole, while sessions use it.

    Pooled connections are evaluated against the new policy at their next request. The constructor loads the first
    policy and raises what goes wrong. A daemon thread loads later ones, one at a time; it starts with the first use and
    ends with the store, and a source that hangs delays no request. When a later load fails, the last good policy stays
    in force, `last_error` says why, and a warning is logged (at the 1st, 2nd, 4th, 8th, … failure in a row). The next
    attempt follows after 1 second, then 2, 4, … up to `refresh_after`.

    Args:
        source: a `PinPolicy`; a mapping of host patterns to pins; or a callable without arguments that returns one of
            these or the text of a policy (`str` or `bytes`; JSON if it begins with `{`, else TOML).
        refresh_after: seconds from one call of the source to the next; None: only `refresh()` calls it.
        max_age: seconds; a policy that is older refuses every host that it does not exempt (`PinsExpiredError`), until
            a load succeeds. None: a policy never becomes too old.

    Raises:
        PolicyError: the source is none of these or returns a wrong policy; an interval is not a positive number, or is
            given with a fixed policy.
        Exception: any error of the source.

    A store can be pickled if its source can. A forked child starts a thread of its own.
    """

    # The policy in force if nothing but `set()` can change it, else None: an attribute, for what looks at each write.
    steady: PinPolicy | None = None
    _current: PinPolicy
    _refusing: PinPolicy  # the same policy past `max_age`; one object for as long as `_current` is
    _loaded: tuple[float, float]  # when the policy was last known to be good, by both clocks

    def __init__(
        self,
        source: PinPolicy | Mapping[str, PinsLike] | Callable[[], Any] | Loader,
        *,
        refresh_after: float | None = None,
        max_age: float | None = None,
    ) -> None:
        _check_interval("refresh_after", refresh_after, source)
        _check_interval("max_age", max_age, source)
        self._max_age = max_age
        self._refresher: Refresher | None = None
        if isinstance(source, (PinPolicy, Mapping)):
            self._put(_policy(source))
            return
        from pinned_requests.sources.refresher import Refresher  # noqa: PLC0415  a fixed policy needs no source

        self._refresher = Refresher(source, refresh_after)
        self._refresher.serve(self._put)
        self._refresher.begin()

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, refresh_after: float = FILE_INTERVAL, max_age: float | None = None
    ) -> PolicyStore:
        """Return a store that follows a file, however the file is replaced.

        Args:
            path: of a `.toml` or `.json` file.
            refresh_after: seconds from one look at the file to the next. A file that is written in place is read once
                two looks have found it unchanged.
            max_age: seconds, as for the constructor; a look that finds the file unchanged counts as a load.

        Raises:
            PolicyError: as `PinPolicy.from_file`.
            OSError: the file cannot be read.
        """
        from pinned_requests.sources.loaders import FileLoader  # noqa: PLC0415  a fixed policy needs no source

        return cls(FileLoader(path), refresh_after=refresh_after, max_age=max_age)

    @classmethod
    def from_env(cls, name: str) -> PolicyStore:
        """Return a store with the policy in an environment variable; `refresh()` reads the variable again.

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

        The store begins with the last good policy in the cache, verified again, or else with `shipped`, and asks the
        repository in the background once it is used. Without either, the constructor asks the repository. When a later
        update fails, the policy stays in force and `last_error` is a `RemotePolicyError` that names the failed check.

        Args:
            metadata_url: the folder of the repository's metadata.
            targets_url: the folder of its targets.
            root: the trusted root metadata that the application ships: its bytes, or the path of the file.
            cache_dir: a folder of the application; it is created if it is missing. Processes may share it.
            target: the name of the policy in the repository; `.toml` for TOML, anything else is JSON.
            shipped: the policy that the application ships: a `PinPolicy`, a mapping, or the path of a file.
            refresh_after: seconds from one look at the repository to the next.
            max_age: seconds, as for the constructor; the age of a cached policy counts from its download.

        Raises:
            PolicyError: a URL, the root, the target's name, the shipped policy or an interval is wrong.
            RemotePolicyError: there is neither a usable cache nor a shipped policy, and the repository fails.
            OSError: `root` or `shipped` cannot be read.
            ImportError: the extra `remote` is not installed.
        """
        from pinned_requests.sources.tuf.client import SignedPolicy  # noqa: PLC0415  of the extra `remote`

        signed = SignedPolicy(metadata_url, targets_url, root=root, target=target, cache_dir=cache_dir, shipped=shipped)
        return cls(signed, refresh_after=refresh_after, max_age=max_age)

    @property
    def current(self) -> PinPolicy:
        """The policy in force; past `max_age` one that refuses (see `PinPolicy.outdated`).

        The same object each time, until the policy is replaced or becomes too old.
        """
        if self._refresher is not None and not self._refresher.is_running:
            self._refresher.start()
        if self._max_age is not None and self._age() > self._max_age:
            return self._refusing
        return self._current

    @property
    def last_error(self) -> BaseException | None:
        """Why the last load failed, or None if it succeeded."""
        return None if self._refresher is None else self._refresher.last_error

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

    def refresh(self) -> None:
        """Load the policy now, in this thread, after any load that is under way.

        Raises:
            PolicyError: the store has a fixed policy, or the source returns a wrong one.
            Exception: any error of the source. The last good policy stays.
        """
        if self._refresher is None:
            raise PolicyError("this store was made of a fixed policy: give it a callable, or use set()")
        self._refresher.refresh()

    def _put(self, policy: PinPolicy | None, loaded: float | None = None) -> None:
        """Put a policy in force, or confirm the one that is.

        Args:
            policy: None: the one in force is still the newest.
            loaded: when it was known to be good, in seconds since the epoch; None: now.
        """
        steady, wall = _clocks()
        self._loaded = steady, wall if loaded is None else loaded
        if policy is None:
            return
        if self._max_age is not None:
            text = f"the policy could not be refreshed for more than {self._max_age} seconds"
            self._refusing = policy.as_outdated(text)
        self._current = policy
        self.steady = policy if self._refresher is None and self._max_age is None else None

    def _age(self) -> float:
        """Return the seconds since the policy was known to be good, by the clock that says more.

        A monotonic clock stands still in a suspended machine; the wall clock can be set back.
        """
        steady, wall = _clocks()
        return max(steady - self._loaded[0], wall - self._loaded[1])

    def __getstate__(self) -> dict[str, Any]:
        return {
            "refresher": copy.copy(self._refresher),
            "max_age": self._max_age,
            "policy": self._current,
            "loaded": self._loaded[1],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._max_age = state["max_age"]
        self._refresher = state["refresher"]
        self._put(state["policy"], state["loaded"])
        if self._refresher is not None:
            self._refresher.serve(self._put)


def _check_interval(name: str, value: float | None, source: object) -> None:
    if value is None:
        return
    if type(value) not in (int, float) or not 0 < value <= threading.TIMEOUT_MAX:
        raise PolicyError(f"invalid {name}={show(value)}: give a number of seconds, more than 0")
    if isinstance(source, (PinPolicy, Mapping)):
        raise PolicyError(f"{name} says when to load the policy again, and this policy is fixed: give a callable")


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()


def _policy(value: Any) -> PinPolicy:
    if isinstance(value, PinPolicy):
        return value
    if isinstance(value, Mapping):
        return PinPolicy(value)
    raise PolicyError(f"invalid policy {show(value)}: give a PinPolicy or a mapping of host patterns to pins")

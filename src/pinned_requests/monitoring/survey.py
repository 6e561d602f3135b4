"""`survey()`: many hosts, asked by several threads; an interrupt ends it at once and keeps what is known."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.monitoring.sampling import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.sampling import Sample
    from pinned_requests.monitoring.target import Target

MAX_JOBS = 64  # threads: each holds a connection
_LOOK = 0.5  # seconds: on Windows an interrupt does not end a wait


class Asked(NamedTuple):
    """What is known of one host: its samples so far, and whether these are all."""

    samples: tuple[Sample, ...]
    is_complete: bool


class _Done(NamedTuple):
    """A host that is done: its place among the targets, and the error that ended it, or None."""

    at: int
    error: BaseException | None = None


def survey(  # noqa: PLR0913  each an input of the samples
    policy: PinPolicy,
    targets: Sequence[Target],
    route: Route,
    now: datetime,
    *,
    number: int = 1,
    all_addresses: bool = False,
    jobs: int = 8,
    on_done: Callable[[Target, Asked], object] = lambda _target, _asked: None,
) -> list[Asked]:
    """Ask hosts, several at a time.

    Args:
        policy: the policy.
        targets: the hosts.
        route: how they are reached.
        now: aware.
        number: of connections to a host.
        all_addresses: whether each address of a host gets one connection at least.
        jobs: how many hosts are asked at a time, 1 to `MAX_JOBS`.
        on_done: called in this thread when a host is done, while others are still asked.

    Returns:
        What is known of each host, in their order. After an interrupt (`KeyboardInterrupt`) of this thread some are not
        complete; connections that are under way then are left to end with the process.

    Raises:
        RouteError: the proxy or the CA bundle is wrong.
    """
    found: list[list[Sample]] = [[] for _ in targets]
    is_complete = [False] * len(targets)
    waiting, done = queue.SimpleQueue[int](), queue.SimpleQueue[_Done]()
    for at in range(len(targets)):
        waiting.put(at)

    def work() -> None:
        with suppress(queue.Empty):
            while True:
                at = waiting.get_nowait()
                try:
                    each = samples(policy, targets[at], route, number, now, all_addresses=all_addresses)
                    found[at].extend(each)  # one after the other, as they come
                    is_complete[at] = True
                    done.put(_Done(at))
                except BaseException as error:  # noqa: BLE001  raised in the thread that waits
                    done.put(_Done(at, error))

    # Not an executor: the end of the process would wait for its threads, for as long as their time-outs are.
    for _ in range(min(jobs, MAX_JOBS, len(targets))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in targets:
            at, error = _next(done)
            if error is not None:
                raise error
            on_done(targets[at], Asked(tuple(found[at]), is_complete=True))
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(queue.Empty):
            while True:
                waiting.get_nowait()  # what has not begun does not begin
    return [Asked(tuple(each), is_all) for each, is_all in zip(found, is_complete, strict=True)]


def _next(done: queue.SimpleQueue[_Done]) -> _Done:
    while True:
        with suppress(queue.Empty):
            return done.get(timeout=_LOOK)

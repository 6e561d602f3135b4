"""`survey()`: many hosts, asked by several threads; an interrupt ends it at once and keeps what is known."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.monitoring.sampling import contacts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.sampling import Contact
    from pinned_requests.monitoring.target import Target

MAX_JOBS = 64  # threads: each holds a connection
_LOOK = 0.1  # seconds: on Windows an interrupt does not end a wait


class Asked(NamedTuple):
    """What is known of one host: the contacts so far, and whether these are all."""

    contacts: tuple[Contact, ...]
    is_complete: bool


def survey(  # noqa: PLR0913  each an input of the contacts
    targets: Sequence[Target],
    route: Route,
    *,
    number: int = 1,
    all_addresses: bool = False,
    jobs: int = 8,
    on_progress: Callable[[int], object] = lambda _done: None,
) -> list[Asked]:
    """Ask hosts, several at a time.

    Args:
        targets: the hosts.
        route: how they are reached.
        number: of connections to a host.
        all_addresses: whether each address of a host gets one connection at least.
        jobs: how many hosts are asked at a time, 1 to `MAX_JOBS`.
        on_progress: called in this thread, now and then, with the number of hosts that are done.

    Returns:
        What is known of each host, in their order. After an interrupt (`KeyboardInterrupt`) of this thread some are not
        complete; connections that are under way then are left to end with the process.

    Raises:
        RouteError: the proxy or the CA bundle is wrong.
    """
    found: list[list[Contact]] = [[] for _ in targets]
    is_complete = [False] * len(targets)
    errors: list[BaseException] = []
    waiting = queue.SimpleQueue[int]()
    for at in range(len(targets)):
        waiting.put(at)

    def work() -> None:
        try:
            while True:
                at = waiting.get_nowait()
                each = contacts(targets[at], route, number, all_addresses=all_addresses)
                found[at].extend(each)  # one after the other, as they come
                is_complete[at] = True
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001  raised in the thread that waits
            errors.append(error)

    # Not an executor: the end of the process would wait for its threads, for as long as their time-outs are.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, MAX_JOBS, len(targets)))]
    try:
        for thread in threads:
            thread.start()
        # Not woken for each host: threads that wake wait for others.
        while not errors and (alive := [thread for thread in threads if thread.is_alive()]):
            alive[0].join(_LOOK)
            on_progress(sum(is_complete))
    except KeyboardInterrupt:
        pass
    finally:
        _empty(waiting)  # what has not begun does not begin
    if errors:
        raise errors[0]
    return [Asked(tuple(each), is_all) for each, is_all in zip(found, is_complete, strict=True)]


def _empty(waiting: queue.SimpleQueue[int]) -> None:
    with suppress(queue.Empty):
        while True:
            waiting.get_nowait()

"""Which process this is, for what must not be shared with a forked child: connections, and locks that are held."""

from __future__ import annotations

import os
import threading

current: object = object()  # another one in a forked child; unlike `os.getpid()`, it takes no system call


class Lock:
    """A lock that is free in a forked child: a thread of the parent may have held it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


PINNING = Lock()  # held for the few assignments that pin an object, so that of two threads one does it


def _renew() -> None:
    global current  # noqa: PLW0603  what it is for
    current = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)

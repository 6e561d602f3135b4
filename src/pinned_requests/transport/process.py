"""Which process this is, for what must not be shared with a forked child: connections, and locks that are held.

Rule for the next maintainer: read both names through the module; a forked child has others.
"""

from __future__ import annotations

import os
import threading

current: object = object()  # another one in a forked child; unlike `os.getpid()`, it takes no system call
pinning = threading.Lock()  # held for the few assignments that pin an object, so that of two threads one does it


def _renew() -> None:
    global current, pinning
    current, pinning = object(), threading.Lock()  # a thread of the parent may have held the other one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)

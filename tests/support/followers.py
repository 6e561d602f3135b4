"""The threads of policy stores."""

from __future__ import annotations

import gc
import sys
import threading

# What pytest leaves of the last test that failed, for a debugger: a traceback, with all that its frames refer to.
_LAST_FAILURE = ("last_exc", "last_type", "last_value", "last_traceback")

_earlier: set[threading.Thread] = set()


def begin_anew() -> None:
    """Let `followers()` leave out what is there: a store of an earlier test that something else still refers to."""
    _earlier.clear()
    followers()  # what is garbage ends by itself
    _earlier.update(_threads())


def followers() -> list[threading.Thread]:
    """Return the threads of stores that are still in use; a test that failed, and is run again, uses none."""
    if _threads():  # else there is nothing to collect, which takes long in a large process
        for name in _LAST_FAILURE:
            vars(sys).pop(name, None)
        gc.collect()
    return _threads()


def _threads() -> list[threading.Thread]:
    threads = (thread for thread in threading.enumerate() if thread.name == "pinned-requests-policy")
    return [thread for thread in threads if thread not in _earlier]

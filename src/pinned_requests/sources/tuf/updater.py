"""`MemoryUpdater`: python-tuf's client workflow, with its files in memory.

python-tuf keeps the newest metadata that it has seen in a folder, file by file, which it opens by their names. Here
that is a dictionary, so that a policy is verified without a writable disk, and `folder.py` alone opens files.

Rule for the next maintainer: the four methods below are not public in python-tuf. The attacks in
`tests/attacks/test_remote_cache.py` and the rollbacks in `test_remote_policy.py` fail if they are not called any more.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tuf.ngclient import Updater, UpdaterConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ROOT = 512_000  # bytes, as in python-tuf
_CONFIG = UpdaterConfig(root_max_length=MAX_ROOT, max_root_rotations=256, max_delegations=8)
_NOWHERE = os.devnull  # there is no file in it: roots are asked for, and not looked for on the disk


class MemoryUpdater(Updater):
    """Updates from a repository.

    Args:
        seen: role → newest metadata, from before. It is changed.
        roots: the roots that follow the bootstrap root are added to it, in order.
        arguments: passed to `Updater`, without folders.
    """

    def __init__(self, seen: dict[str, str], roots: list[str], **arguments: Any) -> None:
        self._seen, self._roots = seen, roots
        self._is_begun = False
        super().__init__(_NOWHERE, config=_CONFIG, **arguments)
        self._is_begun = True

    def _load_local_metadata(self, rolename: str) -> bytes:
        if rolename not in self._seen:
            raise FileNotFoundError(rolename)
        return self._seen[rolename].encode()

    def _persist_metadata(self, rolename: str, data: bytes) -> None:
        self._seen[rolename] = data.decode()

    def _persist_root(self, version: int, data: bytes) -> None:  # noqa: ARG002  the signature of python-tuf
        if self._is_begun:
            self._roots.append(data.decode())

    def _update_root_symlink(self) -> None:
        pass


@contextmanager
def quiet() -> Iterator[None]:
    """Keep python-tuf's INFO records of this thread out of the log: they are of no use to an operator."""
    own = threading.get_ident()

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO or record.thread != own

    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("tuf.")]
    for logger in loggers:
        logger.addFilter(is_wanted)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_wanted)

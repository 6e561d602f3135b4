"""A drop-in replacement for `requests.Session` that refuses servers whose public key is not pinned.

The public names belong here, and nothing else.
"""

import importlib
import logging
import typing

from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.report import PinCheck, ViolationReport
from pinned_requests.exceptions import (
    BlockedKeyError,
    ChainUnavailableError,
    InsecureURLError,
    MissingBackupPinWarning,
    PinFormatError,
    PinMismatchError,
    PinningError,
    PinsExpiredError,
    PolicyError,
    UnpinnableAdapterError,
    UnpinnedHostError,
)
from pinned_requests.policy_store import PolicyStore
from pinned_requests.transport.adapter import PinnedAdapter
from pinned_requests.transport.manager import PinnedPoolManager, PinnedProxyManager
from pinned_requests.transport.session import (
    PinnedSession,
    delete,
    get,
    head,
    options,
    patch,
    post,
    put,
    request,
)

__all__ = [
    "BlockedKeyError",
    "ChainUnavailableError",
    "InsecureURLError",
    "MissingBackupPinWarning",
    "Pin",
    "PinCheck",
    "PinFormatError",
    "PinMismatchError",
    "PinPolicy",
    "PinSet",
    "PinnedAdapter",
    "PinnedPoolManager",
    "PinnedProxyManager",
    "PinnedSSLContext",
    "PinnedSession",
    "PinningError",
    "PinsExpiredError",
    "PolicyError",
    "PolicyStore",
    "UnpinnableAdapterError",
    "UnpinnedHostError",
    "ViolationReport",
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "pinning_error",
    "post",
    "put",
    "request",
]

# A library leaves it to the program whether its log is shown.
logging.getLogger(__name__).addHandler(logging.NullHandler())

# Imported at first use: most programs with a session need none of these.
_LATER = {"PinnedSSLContext": "pinned_requests.tls.context", "pinning_error": "pinned_requests.tls.errors"}

# Users know these names, in error texts and pickles too, not the modules that they happen to stand in.
for _name in __all__:
    if _name not in _LATER:
        globals()[_name].__module__ = __name__
del _name


def __dir__() -> list[str]:
    """Return the public names, for completion: not those of the modules that they happen to stand in."""
    return [*__all__, "__version__"]


if typing.TYPE_CHECKING:
    from pinned_requests.tls.context import PinnedSSLContext
    from pinned_requests.tls.errors import pinning_error

    __version__: str
else:  # hidden from type checkers: for them, a module with this function has every attribute

    def __getattr__(name: str) -> object:
        """Return a name of `_LATER`, or the version of the installed distribution: both are slow to import.

        Raises:
            AttributeError: `name` is neither, or the distribution's metadata is missing.
        """
        if name in _LATER:
            value = getattr(importlib.import_module(_LATER[name]), name)
            value.__module__ = __name__
            globals()[name] = value
            return value
        if name == "__version__":
            from importlib import metadata  # noqa: PLC0415  see above

            try:
                return metadata.version("pinned-requests")
            except metadata.PackageNotFoundError:
                pass
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

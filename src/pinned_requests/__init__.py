"""A drop-in replacement for `requests.Session` that refuses servers whose public key is not pinned.

The public names belong here, and nothing else.
"""

from pinned_requests.core.check import PinCheck
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.report import ViolationReport
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
    "post",
    "put",
    "request",
]

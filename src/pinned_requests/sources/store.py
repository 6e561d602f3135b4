"""`PolicyStore`: the policy in force, which may be another one from one request to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError, show
from pinned_requests.core.policy import PinPolicy

if TYPE_CHECKING:
    from pinned_requests.core.pinset import PinsLike


class PolicyStore:
    """Holds the policy in force and lets it be replaced, as a whole, while sessions use it.

    Pooled connections are evaluated against the new policy at their next request. Reading and replacing are atomic,
    from any thread.

    Args:
        policy: a `PinPolicy`, or a mapping of host patterns to pins.

    Raises:
        PolicyError: `policy` is neither, or is wrong.
    """

    def __init__(self, policy: PinPolicy | Mapping[str, PinsLike]) -> None:
        self._current = _policy(policy)

    @property
    def current(self) -> PinPolicy:
        """The policy in force."""
        return self._current

    def set(self, policy: PinPolicy | Mapping[str, PinsLike]) -> None:
        """Replace the policy in force; the old one stays where the new one is wrong.

        Raises:
            PolicyError: `policy` is neither a `PinPolicy` nor a mapping, or is wrong.
        """
        self._current = _policy(policy)


def _policy(value: Any) -> PinPolicy:
    if isinstance(value, PinPolicy):
        return value
    if isinstance(value, Mapping):
        return PinPolicy(value)
    raise PolicyError(f"{show(value)} is no policy; give a PinPolicy or a mapping of host patterns to pins")

"""The result of a conversion: a policy or a text, and what it could not carry over."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pinned_requests.core.policy import PinPolicy

# The `field` of a loss about the whole entry of a host: it is left out, narrowed or exempt.
WHOLE = "host"


class Loss(NamedTuple):
    """One thing that the result does not say, or says differently. `str(loss)` is a sentence about it.

    Attributes:
        host: the host pattern concerned, or None for the whole configuration.
        field: the field of a pin set or policy (`expires`, `unpinned_hosts`, …), `host` for a whole entry, or a word
            of the other system, escaped.
        text: what happens to it, escaped.
    """

    host: str | None
    field: str
    text: str

    def __str__(self) -> str:
        subject = [part for part in (self.host, self.field) if part is not None and part != WHOLE]
        return f"{': '.join(subject)} {self.text}"


class Reading(NamedTuple):
    """What `read()` returns: the policy, and what of the text it does not say."""

    policy: PinPolicy
    losses: tuple[Loss, ...]


class Writing(NamedTuple):
    """What `write()` returns: the text, which ends with a line feed, and what of the policy it does not say."""

    text: str
    losses: tuple[Loss, ...]

"""What a conversion gives: a policy or a text, and what got lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pinned_requests.core.policy import PinPolicy

# The field of a loss that is about a host's whole entry: it is left out, or holds for other hosts, or is exempt.
WHOLE = "host"


class Loss(NamedTuple):
    """One thing that the other side does not say, or understands differently. `str(loss)` is a sentence about it.

    Attributes:
        host: the host pattern it is about, or None where it is about the whole.
        field: the field of a pin set or policy that is concerned (`expires`, `unpinned_hosts`, …), `host` where it is
            the whole entry, or a word of the other system, escaped.
        text: what becomes of it, escaped.
    """

    host: str | None
    field: str
    text: str

    def __str__(self) -> str:
        subject = [part for part in (self.host, self.field) if part is not None and part != WHOLE]
        return f"{': '.join(subject)} {self.text}"


class Reading(NamedTuple):
    """What reading gives."""

    policy: PinPolicy
    losses: tuple[Loss, ...]


class Writing(NamedTuple):
    """What writing gives."""

    text: str
    losses: tuple[Loss, ...]

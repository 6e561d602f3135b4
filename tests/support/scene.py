"""The lab of the attacks, which counts what the attacker got.

Rules for the next maintainer:

- Plain requests accepts every attacker here. Otherwise the attack proves nothing about pins.
- What the attacker got is read from the server, by `Scene.toll()`, and not from what the client says it did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests import Pin, PinnedSession
from support.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pinned_requests.testing import TLSServer


class Toll(NamedTuple):
    """What a server saw of its clients."""

    connections: int
    handshakes: int
    application_bytes: int


class Scene(Lab):
    """A lab with sessions of given pins, and a count of what each server saw."""

    def pinned(
        self,
        *pins: Pin,
        host: str = "localhost",
        options: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        **fields: Any,
    ) -> PinnedSession:
        """Return a session that trusts the root and has these pins and the backup pin for a host.

        Args:
            pins: pins of the host.
            host: pattern of the host.
            options: arguments of `PinnedSession`.
            fields: further fields of the `PinSet`.
        """
        pin_set = {"pins": pins, "backup_pins": [self.backup], **fields}
        return self.trusting(PinnedSession({host: pin_set}, **dict(options)))

    @staticmethod
    def toll(server: TLSServer) -> Toll:
        """Count what a server saw, once all that was sent has arrived."""
        server.settle()
        return Toll(server.connections, server.handshakes, server.application_bytes)

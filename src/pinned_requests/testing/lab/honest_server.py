"""The legitimate server of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pinned_requests.testing.lab.takeover import Takeover
from pinned_requests.testing.server.tls_server import TLSServer
from pinned_requests.testing.server.wsgi import App, as_handler

if TYPE_CHECKING:
    from pinned_requests.core.pin import Pin
    from pinned_requests.testing.lab.host_identity import HostIdentity

__all__ = ["HonestServer"]


class HonestServer(Takeover):
    """The legitimate server of a host, for the time of a ``with`` block. Made by `MITMLab.honest`.

    In one lab a host keeps its keys, so the pins of two blocks are the same.

    Attributes:
        host: the host.
        pins: the pin of the key in use when the block begins; it does not change with `rotate`.
        backup_pins: the pin of the backup key.
    """

    def __init__(self, identity: HostIdentity, app: App | None) -> None:
        super().__init__(identity, TLSServer(identity.credential, handler=as_handler(app), cleartext=True))
        self._identity = identity
        self.pins: tuple[Pin, ...] = identity.pins
        self.backup_pins: tuple[Pin, ...] = identity.backup_pins

    def rotate(self, to: Literal["backup", "unknown"] = "backup") -> None:
        """Change the server's key, and close the connections that are open, as a restart does.

        Args:
            to: ``"backup"``: to the backup key, which a pinned client must accept; ``"unknown"``: to a new key from the
                same CA, which it must not.

        Raises:
            ValueError: *to* is none of these.
        """
        if to == "backup":
            self._server.credential = self._identity.backup
        elif to == "unknown":
            self._server.credential = self._identity.honest.issue(self.host)
        else:
            raise ValueError(f"a key is rotated to 'backup' or 'unknown', not to {to!r}")
        self._server.disconnect()

"""The legitimate server of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pinned_requests.core.pin import Pin
from pinned_requests.testing.lab.host_identity import context_of
from pinned_requests.testing.lab.takeover import Takeover
from pinned_requests.testing.server.connection import Face
from pinned_requests.testing.server.http_exchange import App, as_handler, respond
from pinned_requests.testing.server.tls_server import TLSServer

if TYPE_CHECKING:
    from pinned_requests.testing.lab.host_identity import Credentials, HostIdentity

_TICKETS = 1  # of TLS 1.3: a client may resume its session, as with most servers


class HonestServer(Takeover):
    """The legitimate server of a host, for the time of a ``with`` block. Made by `MITMLab.honest`.

    It has an ECDSA key, and an RSA key for clients that do not take that one. In one lab a host keeps its keys, so the
    pins of two blocks are the same.

    Attributes:
        host: the host.
        pins: the pins of the two keys in use when the block begins, ECDSA first; they do not change with `rotate`.
        backup_pins: the pins of the two backup keys.
        ca_pins: the pin of the CA that issued the certificates, for clients that pin a CA.
        fingerprints: the pins of the two certificates in use when the block begins, for clients that compare whole
            certificates: ``aiohttp.Fingerprint(server.fingerprints[0].digest)``,
            ``urllib3.PoolManager(assert_fingerprint=server.fingerprints[0].digest.hex())``.
    """

    def __init__(self, identity: HostIdentity, app: App | None) -> None:
        self._handler = as_handler(app)
        self._show(identity.credentials)
        super().__init__(identity, TLSServer(None, cleartext=True, face=lambda _number: self._face))
        self.pins: tuple[Pin, ...] = _pins(identity.credentials)
        self.backup_pins: tuple[Pin, ...] = _pins(identity.backups)
        self.ca_pins: tuple[Pin, ...] = (Pin.from_certificate(identity.authorities.honest.certificate),)
        self.fingerprints: tuple[Pin, ...] = tuple(Pin.fingerprint(each.certificate) for each in identity.credentials)

    def rotate(self, to: Literal["backup", "unknown"] = "backup") -> None:
        """Change the server's keys, and close the connections that are open, as a restart does.

        Args:
            to: ``"backup"``: to the backup keys, which a pinned client must accept; ``"unknown"``: to new keys from the
                same CA, which it must not.

        Raises:
            ValueError: *to* is none of these.
        """
        if to == "backup":
            self._show(self._identity.backups)
        elif to == "unknown":
            self._show(self._identity.issue())
        else:
            raise ValueError(f"a key is rotated to 'backup' or 'unknown', not to {to!r}")
        self._server.disconnect()

    def _show(self, credentials: Credentials) -> None:
        context = context_of(credentials, num_tickets=_TICKETS)
        self._face = Face(context, lambda request: respond(self._handler, request))


def _pins(credentials: Credentials) -> tuple[Pin, ...]:
    return tuple(Pin.from_certificate(each.certificate) for each in credentials)

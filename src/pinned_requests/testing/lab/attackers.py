"""The attackers: what each presents to a client, and what it does then."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from pinned_requests.testing.pki.authority import Authority, Credential
from pinned_requests.testing.server.messages import Request, Response, respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing.lab.host_identity import HostIdentity
    from pinned_requests.testing.server.connection import OnHello
    from pinned_requests.testing.server.messages import Handler

__all__ = ["ATTACKERS", "Appearance", "AttackerName", "appearance_of"]

AttackerName = Literal[
    "trusted-ca",
    "self-signed",
    "chain-stuffing",
    "forged-issuer",
    "expired",
    "wrong-host",
    "downgrade",
    "revoked-key",
    "tls-close",
    "hang",
]

ATTACKERS: tuple[AttackerName, ...] = get_args(AttackerName)
"""The names of all attackers."""

_WRONG_HOST = "attacker.example"  # RFC 2606: nobody's
_EXPIRED_FOR = dt.timedelta(days=1)


@dataclass(frozen=True)
class Appearance:
    """How an attacker appears."""

    credential: Credential
    on_hello: OnHello = "answer"
    redirects: bool = False
    """Whether what comes over TLS is the host's own, and is only redirected to ``http://``, where the attacker is."""

    def handler(self, handler: Handler | None) -> Handler | None:
        """Return what answers the requests, given what the attacker is to answer."""
        if not self.redirects:
            return handler

        def redirect(request: Request) -> Response:
            if request.scheme == "http":
                return respond(handler, request)
            host = (request.header("Host") or "").rpartition("@")[2]
            name = host[: host.index("]") + 1] if host.startswith("[") else host.partition(":")[0]
            return Response(307, (("Location", f"http://{name}{request.path}"),))

        return redirect


def appearance_of(name: AttackerName, identity: HostIdentity) -> Appearance:
    """Return how an attacker appears to the clients of a host.

    Args:
        name: one of `ATTACKERS`.
        identity: of the host.

    Raises:
        ValueError: there is no such attacker.
    """
    if name not in _APPEARANCES:
        raise ValueError(f"there is no attacker {name!r}; choose one of {', '.join(ATTACKERS)}")
    return _APPEARANCES[name](identity)


def _self_signed(identity: HostIdentity) -> Appearance:
    return Appearance(Credential.self_signed(identity.host, common_name="Lab Attacker"))


def _chain_stuffing(identity: HostIdentity) -> Appearance:
    own = identity.impostor()
    return Appearance(own.with_served(*own.served, *identity.credential.chain))


def _forged_issuer(identity: HostIdentity) -> Appearance:
    forged = Authority.forge(identity.honest).issue(identity.host)
    return Appearance(forged.with_served(forged.certificate, *identity.honest.chain))


def _expired(identity: HostIdentity) -> Appearance:
    yesterday = dt.datetime.now(dt.UTC) - _EXPIRED_FOR
    return Appearance(identity.impostor().renew(not_after=yesterday))


_APPEARANCES: dict[AttackerName, Callable[[HostIdentity], Appearance]] = {
    "trusted-ca": lambda identity: Appearance(identity.impostor()),
    "self-signed": _self_signed,
    "chain-stuffing": _chain_stuffing,
    "forged-issuer": _forged_issuer,
    "expired": _expired,
    "wrong-host": lambda identity: Appearance(identity.careless.issue(_WRONG_HOST)),
    "downgrade": lambda identity: Appearance(identity.credential, redirects=True),
    "revoked-key": lambda identity: Appearance(identity.impostor(identity.revoked_key)),
    "tls-close": lambda identity: Appearance(identity.impostor(), "close"),
    "hang": lambda identity: Appearance(identity.impostor(), "hang"),
}

"""The attackers: what each presents to a client, and what it does then."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from pinned_requests.testing.clock import now
from pinned_requests.testing.lab.host_identity import Credentials, of_both_kinds
from pinned_requests.testing.pki.authority import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing.lab.host_identity import HostIdentity
    from pinned_requests.testing.lab.verdict import Needs, Opening
    from pinned_requests.testing.pki.certificate_builder import PrivateKey
    from pinned_requests.testing.server.connection import OnHello

__all__ = ["ATTACKERS", "Appearance", "AttackerName", "appearance_of"]

AttackerName = Literal[
    "trusted-ca",
    "self-signed",
    "chain-stuffing",
    "forged-issuer",
    "same-name-ca",
    "expired",
    "wrong-host",
    "downgrade",
    "trailing-dot",
    "parser-differential",
    "second-connection",
    "renegotiation",
    "connect-proxy",
    "revoked-key",
    "own-ca-revoked-key",
    "own-ca-expired",
    "own-ca-wrong-host",
    "leaked-intermediate",
    "tls-close",
    "hang",
]

ATTACKERS: tuple[AttackerName, ...] = get_args(AttackerName)
"""The names of all attackers."""

_WRONG_HOST = "attacker.example"  # a name that is reserved for documentation: RFC 2606
_EXPIRED_FOR = dt.timedelta(days=1)


@dataclass(frozen=True)
class Appearance:
    """How an attacker appears."""

    credentials: Credentials
    needs: Needs = "accepted-chain"
    """What a client must have done, so that its refusal tells something."""
    on_hello: OnHello = "answer"
    opening: Opening | None = None
    """How it begins with the host's own server; None: it does not."""
    location: str = ""
    """Where the host's own server redirects to: ``{name}`` (with brackets around IPv6), ``{port}`` (with its colon, or
    empty) and ``{path}`` stand for those of the request."""
    tunnels: bool = False
    """Whether it is also a proxy."""


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


def _impostor(identity: HostIdentity) -> Credentials:
    """Return valid certificates for the host, from a trusted CA, for keys that are not the host's."""
    return of_both_kinds(lambda key: identity.authorities.careless.issue(identity.host, key=key))


def _self_signed(identity: HostIdentity) -> Appearance:
    def issue(key: PrivateKey) -> Credential:
        return Credential.self_signed(identity.host, key=key, common_name="Lab Attacker")

    return Appearance(of_both_kinds(issue), needs="refusal")


def _chain_stuffing(identity: HostIdentity) -> Appearance:
    honest = identity.credentials[0].chain
    return Appearance(tuple(own.with_served(*own.served, *honest) for own in _impostor(identity)))


def _forged_issuer(identity: HostIdentity) -> Appearance:
    honest = identity.authorities.honest
    forger = Authority.forge(honest)

    def issue(key: PrivateKey) -> Credential:
        forged = forger.issue(identity.host, key=key)
        return forged.with_served(forged.certificate, *honest.chain)

    return Appearance(of_both_kinds(issue), needs="refusal")


def _same_name_ca(identity: HostIdentity) -> Appearance:
    name = identity.authorities.honest.certificate.subject.rfc4514_string().removeprefix("CN=")
    return _issued_by(identity.authorities.root.intermediate(name), identity.host)


def _issued_by(authority: Authority, host: str, needs: Needs = "accepted-chain") -> Appearance:
    return Appearance(of_both_kinds(lambda key: authority.issue(host, key=key)), needs=needs)


def _expired_of(authority: Authority, host: str) -> Appearance:
    yesterday = now() - _EXPIRED_FOR
    return Appearance(
        of_both_kinds(lambda key: authority.issue(host, key=key, not_after=yesterday)), needs="trusted-ca"
    )


def _revoked_of(authority: Authority, identity: HostIdentity) -> Appearance:
    keys = identity.authorities.revoked_keys
    return Appearance(tuple(authority.issue(identity.host, key=key) for key in keys))


_APPEARANCES: dict[AttackerName, Callable[[HostIdentity], Appearance]] = {
    "trusted-ca": lambda identity: Appearance(_impostor(identity)),
    "self-signed": _self_signed,
    "chain-stuffing": _chain_stuffing,
    "forged-issuer": _forged_issuer,
    "same-name-ca": _same_name_ca,
    "expired": lambda identity: _expired_of(identity.authorities.careless, identity.host),
    "wrong-host": lambda identity: _issued_by(identity.authorities.careless, _WRONG_HOST, "trusted-ca"),
    "downgrade": lambda identity: Appearance(identity.credentials, opening="redirect", location="http://{name}{path}"),
    "trailing-dot": lambda identity: Appearance(
        # A client may well refuse the certificate, which is not for the name with the dot.
        _impostor(identity),
        needs="trusted-ca",
        opening="redirect",
        location="https://{name}.{port}{path}",
    ),
    # To one parser the host is what stands before the backslash, to another what stands behind the @, where no server
    # listens.
    "parser-differential": lambda identity: Appearance(
        _impostor(identity), opening="redirect", location="https://{name}\\@127.0.0.1:1{path}"
    ),
    "second-connection": lambda identity: Appearance(_impostor(identity), opening="first-connection"),
    "renegotiation": lambda identity: Appearance(_impostor(identity), opening="renegotiation"),
    "connect-proxy": lambda identity: Appearance(_impostor(identity), tunnels=True),
    "revoked-key": lambda identity: _revoked_of(identity.authorities.careless, identity),
    "own-ca-revoked-key": lambda identity: _revoked_of(identity.authorities.honest, identity),
    "own-ca-expired": lambda identity: _expired_of(identity.authorities.honest, identity.host),
    "own-ca-wrong-host": lambda identity: _issued_by(identity.authorities.honest, _WRONG_HOST, "trusted-ca"),
    "leaked-intermediate": lambda identity: _issued_by(identity.authorities.leaked, identity.host),
    "tls-close": lambda identity: Appearance(_impostor(identity), needs="hello", on_hello="close"),
    "hang": lambda identity: Appearance(_impostor(identity), needs="hello", on_hello="hang"),
}

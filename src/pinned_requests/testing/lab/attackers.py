"""The attackers: what each presents to a client, what it does then, and how reports explain it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from pinned_requests.testing.clock import now
from pinned_requests.testing.lab.takeover import Credentials, of_both_kinds
from pinned_requests.testing.pki.authority import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinned_requests.testing.lab.takeover import HostIdentity
    from pinned_requests.testing.lab.verdict import Needs, Opening
    from pinned_requests.testing.pki.certificate_builder import PrivateKey
    from pinned_requests.testing.server.connection import OnHello

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

_WRONG_HOST = "attacker.example"  # RFC 2606 reserves it for documentation


@dataclass(frozen=True)
class Appearance:
    """How an attacker appears."""

    credentials: Credentials
    needs: Needs = "accepted-chain"
    on_hello: OnHello = "answer"
    opening: Opening | None = None
    """How it begins with the host's own server; None: it does not."""
    location: str = ""
    """Where the host's own server redirects to; ``{name}`` (IPv6 in brackets), ``{port}`` (with its colon, or empty)
    and ``{path}`` are those of the request."""
    tunnels: bool = False
    """Whether it is also a proxy."""


def appearance_of(name: AttackerName, identity: HostIdentity) -> Appearance:
    """Return how an attacker appears to the clients of a host.

    Raises:
        ValueError: there is no such attacker.
    """
    if name not in DETAILS:
        raise ValueError(f"there is no attacker {name!r}; choose one of {', '.join(ATTACKERS)}")
    return DETAILS[name].appear(identity)


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


def _issued_by(
    authority: Authority, host: str, needs: Needs = "accepted-chain", not_after: dt.datetime | None = None
) -> Appearance:
    return Appearance(of_both_kinds(lambda key: authority.issue(host, key=key, not_after=not_after)), needs=needs)


def _expired_of(authority: Authority, host: str) -> Appearance:
    return _issued_by(authority, host, "trusted-ca", now() - dt.timedelta(days=1))


def _revoked_of(authority: Authority, identity: HostIdentity) -> Appearance:
    keys = identity.authorities.revoked_keys
    return Appearance(tuple(authority.issue(identity.host, key=key) for key in keys))


class Attacker(NamedTuple):
    """An attacker, and how reports explain it."""

    meets: str
    """What follows "the client meets"."""
    remedy: str
    """What refuses it: a sentence."""
    appear: Callable[[HostIdentity], Appearance]
    """How it appears to the clients of a host."""


_PIN = "Pin the host's key (SPKI), and check it before anything is sent."
_VALIDATE = "Validate certificates: leave `verify` and `check_hostname` on, also where pins are checked."
_NO_FALLBACK = "Do not fall back to http:// where TLS fails."
_BLOCK = "Pin the host's key; or block the keys that were lost, beside a pin of the CA."

DETAILS: dict[AttackerName, Attacker] = {
    "trusted-ca": Attacker(
        "a valid certificate from a trusted CA, for another key", _PIN, lambda identity: Appearance(_impostor(identity))
    ),
    "self-signed": Attacker("a certificate that only vouches for itself", _VALIDATE, _self_signed),
    "chain-stuffing": Attacker(
        "that of trusted-ca, with the host's own certificates behind it",
        "Compare pins with the chain that TLS verified, not with the certificates that the server sent.",
        _chain_stuffing,
    ),
    "forged-issuer": Attacker(
        "a certificate that names the host's CA as its issuer, and is signed by another key", _VALIDATE, _forged_issuer
    ),
    "same-name-ca": Attacker(
        "a certificate from a trusted CA with the same name as the host's",
        "Pin keys. Names of issuers prove nothing: every CA may choose them.",
        _same_name_ca,
    ),
    "expired": Attacker(
        "that of trusted-ca, valid until yesterday",
        _VALIDATE,
        lambda identity: _expired_of(identity.authorities.careless, identity.host),
    ),
    "wrong-host": Attacker(
        "a valid certificate for another host",
        _VALIDATE,
        lambda identity: _issued_by(identity.authorities.careless, _WRONG_HOST, "trusted-ca"),
    ),
    "downgrade": Attacker(
        "the host itself, which redirects to http://, where the attacker is",
        "Refuse http:// for this host, also where a redirect leads there.",
        lambda identity: Appearance(identity.credentials, opening="redirect", location="http://{name}{path}"),
    ),
    "trailing-dot": Attacker(
        "the host itself, which redirects to its name with a dot at the end, where the attacker is",
        "Normalise host names before pins are looked up: example.com. is example.com.",
        # A client may well refuse the certificate, which is not for the name with the dot.
        lambda identity: Appearance(
            _impostor(identity), "trusted-ca", opening="redirect", location="https://{name}.{port}{path}"
        ),
    ),
    "parser-differential": Attacker(
        "the host itself, which redirects to a URL that parsers read differently",
        "Look up pins for the host that is connected to, not for one that another parser reads from the URL.",
        # To one parser the host is what stands before the backslash, to another what stands behind the @, where no
        # server listens.
        lambda identity: Appearance(
            _impostor(identity), opening="redirect", location="https://{name}\\@127.0.0.1:1{path}"
        ),
    ),
    "second-connection": Attacker(
        "the host itself at first, the attacker from the second connection on",
        "Check every connection: also those that a pool opens later.",
        lambda identity: Appearance(_impostor(identity), opening="first-connection"),
    ),
    "renegotiation": Attacker(
        "the host itself, which shows another certificate in the middle of the connection (TLS 1.2)",
        "Do not renegotiate: set `ssl.OP_NO_RENEGOTIATION`, or require TLS 1.3.",
        lambda identity: Appearance(_impostor(identity), opening="renegotiation"),
    ),
    "connect-proxy": Attacker(
        "that of trusted-ca, behind a proxy that answers CONNECT",
        "Check pins on connections through a proxy, too.",
        lambda identity: Appearance(_impostor(identity), tunnels=True),
    ),
    "revoked-key": Attacker(
        "that of trusted-ca, for a key of the host that was lost",
        _PIN,
        lambda identity: _revoked_of(identity.authorities.careless, identity),
    ),
    "own-ca-revoked-key": Attacker(
        "a certificate from the host's own CA, for a key that was lost",
        _BLOCK,
        lambda identity: _revoked_of(identity.authorities.honest, identity),
    ),
    "own-ca-expired": Attacker(
        "a certificate from the host's own CA, valid until yesterday",
        _VALIDATE,
        lambda identity: _expired_of(identity.authorities.honest, identity.host),
    ),
    "own-ca-wrong-host": Attacker(
        "a certificate from the host's own CA, for another host",
        _VALIDATE,
        lambda identity: _issued_by(identity.authorities.honest, _WRONG_HOST, "trusted-ca"),
    ),
    "leaked-intermediate": Attacker(
        "a certificate from an intermediate CA whose key was stolen",
        _BLOCK,
        lambda identity: _issued_by(identity.authorities.leaked, identity.host),
    ),
    "tls-close": Attacker(
        "a connection that ends in the handshake",
        _NO_FALLBACK,
        lambda identity: Appearance(_impostor(identity), "hello", on_hello="close"),
    ),
    "hang": Attacker(
        "a connection on which no answer ever comes",
        _NO_FALLBACK,
        lambda identity: Appearance(_impostor(identity), "hello", on_hello="hang"),
    ),
}

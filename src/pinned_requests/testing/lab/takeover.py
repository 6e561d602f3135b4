"""A host in the lab: its keys and certificates, what stands in for it in a ``with`` block, and its own server."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pinned_requests.core.pin import Pin
from pinned_requests.testing.intercept.redirection import Route, redirection
from pinned_requests.testing.pki.authority import Authority
from pinned_requests.testing.pki.certificate_builder import generate_key, published_rsa_key
from pinned_requests.testing.server.connection import Face
from pinned_requests.testing.server.http_exchange import App, as_handler, respond
from pinned_requests.testing.server.tls_server import TLSServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Self

    from pinned_requests.testing.pki.authority import Credential
    from pinned_requests.testing.pki.certificate_builder import PrivateKey
    from pinned_requests.testing.server.http_exchange import Request

Credentials = tuple["Credential", ...]
"""What a server presents: a credential for each kind of key, ECDSA first."""

_open: list[Takeover] = []  # of all labs of this process, the oldest first
_lock = threading.Lock()
_TICKETS = 1  # of TLS 1.3: a client may resume its session, as with most servers


def of_both_kinds(issue: Callable[[PrivateKey], Credential]) -> Credentials:
    """Return what is issued for a new ECDSA key and a new RSA key: some clients take only one."""
    return issue(generate_key()), issue(published_rsa_key())


def context_of(credentials: Credentials, *, num_tickets: int = 0) -> ssl.SSLContext:
    """Return a server's context that presents all of the credentials."""
    first, *others = credentials
    return first.server_context(beside=others, num_tickets=num_tickets)


class LabAuthorities:
    """The authorities of one lab, and the keys of servers that its clients are to block."""

    def __init__(self) -> None:
        self.root = Authority.create("Lab Root CA")  # clients are made to trust it
        self.honest = self.root.intermediate("Lab Honest CA")  # issues the hosts' certificates
        self.careless = self.root.intermediate("Lab Careless CA")  # issues a certificate for any name
        self.leaked = self.honest.intermediate("Lab Leaked CA")  # its key was stolen
        self.revoked_keys: tuple[PrivateKey, ...] = (generate_key(), published_rsa_key())


class HostIdentity:
    """A host's keys and certificates, for the life of a lab."""

    def __init__(self, host: str, authorities: LabAuthorities) -> None:
        self.host = host
        self.authorities = authorities

    @cached_property
    def credentials(self) -> Credentials:
        """The host's keys in use."""
        return self.issue()

    @cached_property
    def backups(self) -> Credentials:
        """Its backup keys."""
        return self.issue()

    def issue(self) -> Credentials:
        """Return new keys, with certificates from the host's own CA."""
        return of_both_kinds(lambda key: self.authorities.honest.issue(self.host, key=key))


class Takeover:
    """What stands in for a host while it is open.

    When it opens, connections to an older takeover of that host are closed: a client that went on over one would never
    meet this one. The counts are read when all is at rest; after the block they do not change.

    Args:
        identity: of the host.
        server: the server, not yet started.
        is_proxy: whether it answers CONNECT, and is the environment's proxy for https while it is open.
    """

    def __init__(self, identity: HostIdentity, server: TLSServer, *, is_proxy: bool = False) -> None:
        self.host = identity.host
        """The host, in lower case and A-labels."""
        self.is_proxy = is_proxy
        """Whether it answers CONNECT, as a proxy does."""
        self._identity = identity
        self._server = server
        self._handshakes = redirection.handshakes
        self._route: Route | None = None
        self._was_interrupted = False

    def __enter__(self) -> Self:
        """Begin the block.

        Raises:
            RuntimeError: another lab of this process has taken over the host; or the block was begun before.
        """
        with _lock:
            if any(each.host == self.host and each._identity is not self._identity for each in _open):  # noqa: SLF001 - of the same class
                raise RuntimeError(
                    f"another MITMLab of this process has taken over {self.host}: its clients cannot be told from those"
                    " of this lab. Use one lab for both, other hosts, or run the tests in several processes (xdist)."
                )
            self._server.start()
            route = Route(self.host, self._server.port, self._identity.authorities.root.certificate_der, self.is_proxy)
            redirection.add(route)
            self._handshakes = redirection.handshakes
            self._route = route
            for other in _open:
                if other.host == self.host:
                    other._server.disconnect()  # noqa: SLF001 - of the same class
            _open.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        # The user does not wait for a verdict.
        self._was_interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.close()

    def close(self) -> None:
        """End the block: all connections are closed, no more come here, and the counts are final.

        Raises:
            TimeoutError: a handler is still running after 5 seconds, or a client still sending.
        """
        route, self._route = self._route, None
        if route is None:
            return
        with _lock:
            _open.remove(self)
            redirection.remove(route)
        try:
            if not self._was_interrupted:
                self._server.settle()
                self._conclude()
        finally:
            self._server.stop()

    @property
    def port(self) -> int:
        """The port of its server, on 127.0.0.1.

        Raises:
            RuntimeError: the block has not begun.
        """
        return self._server.port

    @property
    def connections(self) -> int:
        """How many TCP connections clients made."""
        return self._settled().connections

    @property
    def handshakes(self) -> int:
        """How many TLS handshakes the server completed.

        A client that speaks TLS over memory (asyncio, httpx, aiohttp), and refuses after the handshake, may be missing.
        """
        return self._settled().handshakes

    @property
    def failed_handshakes(self) -> tuple[str, ...]:
        """The errors of the others, as the server's OpenSSL tells them: which alert the client sent, for example."""
        return self._settled().failed_handshakes

    @property
    def requests(self) -> list[Request]:
        """The requests that arrived whole, over TLS or in the clear."""
        return self._settled().requests

    def _conclude(self) -> None:
        """Read what cannot be read when the server has stopped."""

    def _settled(self) -> TLSServer:
        if self._route is not None:
            self._server.settle()
        return self._server


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
        """Change the server's keys, and close all open connections, as a restart does.

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

"""The scene of the attacks: one trusted CA, an honest server, and a man in the middle whom the same CA vouches for.

Rules for the next maintainer:

- Every attacker here is one that plain requests would talk to, or the attack proves nothing about pins.
- What the attacker got is read from the server, by `Scene.toll()`: never from what the client says it did.
"""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pinned_requests import Pin, PinnedSession
from pinned_requests.testing import Authority, Credential, TLSServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = ("localhost", "127.0.0.1", "::1", "api.example.com", "xn--bcher-kva.example", "other.example.com")


class Toll(NamedTuple):
    """What a server saw of its clients."""

    connections: int
    handshakes: int
    application_bytes: int


class Cast(NamedTuple):
    """Who is who: made once for all tests."""

    root: Authority  # the one root that the client trusts
    intermediate: Authority  # who issued the honest server's certificate
    honest: Credential
    attacker: Credential  # for the same names, from another CA below the trusted root
    backup: Pin  # of a key that nobody presents
    bundles: Path


class Scene:
    """The cast, and what is open during one test."""

    tls: ssl.TLSVersion | None = None  # the only version that the servers speak, or any

    def __init__(self, cast: Cast, opened: contextlib.ExitStack) -> None:
        self.root, self.intermediate, self.honest, self.attacker, self.backup, self._bundles = cast
        self._opened = opened
        self.bundle = self.bundle_of(self.root)

    def serve(self, credential: Credential | None, **options: Any) -> TLSServer:
        """Start a server; None for plain HTTP."""
        if credential is not None and self.tls is not None:
            options["context"] = credential.server_context(minimum_version=self.tls, maximum_version=self.tls)
        return self._opened.enter_context(TLSServer(credential, **options))

    def pinned(self, *pins: Pin, host: str = "localhost", options: Any = (), **fields: Any) -> PinnedSession:
        """Make a session with these pins, and a backup pin, for a host, which trusts the root.

        Args:
            pins: of the host.
            host: pattern of the host.
            options: of `PinnedSession`, as a mapping.
            fields: of the `PinSet`.
        """
        pin_set = {"pins": pins, "backup_pins": [self.backup], **fields}
        return self.trusting(PinnedSession({host: pin_set}, **dict(options)))

    def pins_of(self, credential: Credential) -> list[Pin]:
        """Pin a key, with a backup."""
        return [Pin.from_certificate(credential.certificate), self.backup]

    def trusting(self, session: Any) -> Any:
        """Let a session of any kind trust the root, and close it after the test."""
        session.verify = self.bundle
        return self._opened.enter_context(session)

    def bundle_of(self, *trusted: Authority) -> str:
        """Write a CA bundle of some authorities, and return its path."""
        number = len(list(self._bundles.iterdir()))
        path = self._bundles / f"{number}.pem"
        path.write_bytes(b"".join(authority.certificate_pem for authority in trusted))
        return str(path)

    @staticmethod
    def toll(server: TLSServer) -> Toll:
        """Count what a server got, once all that was sent has arrived."""
        server.settle()
        return Toll(server.connections, server.handshakes, server.application_bytes)


@pytest.fixture(scope="session")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Cast:
    """Make the certificates."""
    root = Authority.create()
    intermediate = root.intermediate()
    return Cast(
        root,
        intermediate,
        intermediate.issue(*NAMES),
        root.intermediate("Careless CA").issue(*NAMES),
        Pin.from_certificate(root.issue("backup.example.com").certificate),
        tmp_path_factory.mktemp("bundles"),
    )


@pytest.fixture
def scene(cast: Cast) -> Iterator[Scene]:
    """Set the scene for one test; all that it opens is closed afterwards, the sessions first."""
    with contextlib.ExitStack() as opened:
        yield Scene(cast, opened)


class Proxy(NamedTuple):
    """A real HTTP proxy, and what it takes to be let in."""

    port: int
    user: str = "proxy-user"
    password: str = "proxy-password"  # noqa: S105  of a proxy that lives for the time of the tests

    @property
    def url(self) -> str:
        """Its URL, with the credentials."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.port}"

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must not come to anybody else."""
        token = base64.b64encode(f"{self.user}:{self.password}".encode())
        return self.password.encode(), token, b"Proxy-Authorization"


@pytest.fixture(scope="session")
def proxy(start_proxy: Callable[..., int]) -> Proxy:
    """proxy.py with basic authentication."""
    proxy = Proxy(0)
    return proxy._replace(port=start_proxy("--basic-auth", f"{proxy.user}:{proxy.password}"))

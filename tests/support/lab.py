"""One trusted CA, an honest server and an attacker with a certificate from the same CA, for the time of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from pinned_requests import Pin
from pinned_requests.testing import Authority, Credential, TLSServer

if TYPE_CHECKING:
    import contextlib
    import ssl
    from pathlib import Path


class Session(Protocol):
    """What `Lab.trusting` takes: a session of requests, of this project or of another library."""

    verify: Any

    def __enter__(self) -> Any: ...
    def __exit__(self, *exception: object) -> Any: ...


SessionT = TypeVar("SessionT", bound=Session)


class Certificates(NamedTuple):
    """The certificates of a lab. They are made once for all tests.

    Attributes:
        root: the one root that the client trusts.
        intermediate: the issuer of the honest server's certificate.
        honest: the honest server's key and certificate.
        attacker: for the same names, from another CA below the same root.
        backup: pin of a key that no server presents.
        bundles: folder of CA bundles.
    """

    root: Authority
    intermediate: Authority
    honest: Credential
    attacker: Credential
    backup: Pin
    bundles: Path

    @classmethod
    def create(cls, bundles: Path, *names: str) -> Certificates:
        """Make certificates for DNS names and IP addresses."""
        root = Authority.create()
        intermediate = root.intermediate()
        return cls(
            root,
            intermediate,
            intermediate.issue(*names),
            root.intermediate("Careless CA").issue(*names),
            Pin.from_certificate(root.issue("backup.example.com").certificate),
            bundles,
        )


class Lab:
    """The certificates, and the servers and sessions of one test.

    Args:
        certificates: those of the servers.
        opened: closes the servers and sessions at the end of the test, the last one first.

    Attributes:
        bundle: path of a CA bundle with the root.
        tls: the only TLS version of the servers; None: all of them.
    """

    tls: ssl.TLSVersion | None = None

    def __init__(self, certificates: Certificates, opened: contextlib.ExitStack) -> None:
        self.root, self.intermediate, self.honest, self.attacker, self.backup, self._bundles = certificates
        self.opened = opened
        self.bundle = self.bundle_of(self.root)

    @property
    def pins(self) -> dict[str, list[Pin]]:
        """Hosts and pins for the honest server's key."""
        return {"localhost": self.pins_of(self.honest)}

    def pins_of(self, credential: Credential) -> list[Pin]:
        """Return the pin of a key, and the backup pin."""
        return [Pin.from_certificate(credential.certificate), self.backup]

    def serve(self, credential: Credential | None, **options: Any) -> TLSServer:
        """Start a server; plain HTTP if the credential is None. The options are those of `TLSServer`."""
        if credential is not None and self.tls is not None:
            options["context"] = credential.server_context(minimum_version=self.tls, maximum_version=self.tls)
        return self.opened.enter_context(TLSServer(credential, **options))

    def trusting(self, session: SessionT) -> SessionT:
        """Let a session trust the root, and close it at the end of the test."""
        session.verify = self.bundle
        self.opened.enter_context(session)
        return session

    def bundle_of(self, *trusted: Authority) -> str:
        """Write a CA bundle of some authorities, and return its path."""
        number = len(list(self._bundles.iterdir()))
        path = self._bundles / f"{number}.pem"
        path.write_bytes(b"".join(authority.certificate_pem for authority in trusted))
        return str(path)

"""`Target`: one server, as commands and reports name it; and why it gave no chain.

Exception
├── ServerError               one server; a finding
│   ├── UnreachableError          no TLS handshake
│   └── InvalidCertificateError   a certificate that CA validation refuses
└── RouteError                a setting for all servers is wrong: the proxy, the CA bundle
"""

from __future__ import annotations

from typing import NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import DEFAULT_PORTS, HostPattern, spell_host
from pinned_requests.core.text import show

HTTPS_PORT = DEFAULT_PORTS["https"]


class Target(NamedTuple):
    """A server; its host is in canonical form."""

    host: str
    port: int = HTTPS_PORT

    def __str__(self) -> str:
        return spell_host(self.host, self.port)

    @property
    def pattern(self) -> str:
        """Its host pattern in a policy: with its port only where that is not 443."""
        return spell_host(self.host, None if self.port == HTTPS_PORT else self.port)

    @property
    def url(self) -> str:
        """The URL of its root."""
        return f"https://{self}/"


def read_target(text: str) -> Target:
    """Return the server that `HOST[:PORT]` names.

    Raises:
        PolicyError: the host is invalid, or a pattern.
    """
    pattern = HostPattern.parse(text)
    if pattern.kind != "exact":
        raise PolicyError(f"{show(text)} is a pattern; name a server that it matches")
    return Target(pattern.host, HTTPS_PORT if pattern.port is None else pattern.port)


class ServerError(Exception):
    """A server, `target`, that gave no chain; `reason` is half a sentence, escaped."""

    def __init__(self, target: Target, reason: str) -> None:
        super().__init__(f"{target}: {reason}")
        self.target = target
        self.reason = reason


class UnreachableError(ServerError):
    """No TLS handshake was completed, for another reason than the certificate."""


class InvalidCertificateError(ServerError):
    """The certificate is not valid: expired, of another name, or not issued by a trusted CA.

    Not an outage: an interceptor without a trusted CA looks like this.
    """


class RouteError(ValueError):
    """The proxy or the CA bundle cannot be used for any server."""

"""Errors of monitoring.

Exception
├── ServerError               one server; a finding
│   ├── UnreachableError          no TLS handshake
│   └── InvalidCertificateError   a certificate that CA validation refuses
└── RouteError                a setting for all servers is wrong: the proxy, the CA bundle
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pinned_requests.monitoring.target import Target


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

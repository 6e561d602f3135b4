"""`PinCheck`: what `PinnedSession.check()` found, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.text import escape
from pinned_requests.core.value import Value
from pinned_requests.core.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin


class PinCheck(Value):
    """Whether a URL is pinned, and what matched.

    Attributes:
        host: the host in canonical form, escaped. If a proxy was refused before the host was reached, the proxy.
        port: the port of that host.
        outcome: what was found, such as `Outcome.MATCH`; it is equal to its text, such as `"match"`.
        pattern: the host pattern that matched, or None.
        pin: the pin that matched, or that is blocked, or None.
        depth: the position of its certificate in the chain, 0 for the leaf, or None.
        chain: the certificates, leaf first; empty without a handshake.
        verified: whether the chain and the host name were verified.
    """

    __slots__ = ("host", "port", "outcome", "pattern", "pin", "depth", "chain", "verified")  # noqa: RUF023  the order of the arguments
    host: str
    port: int | None
    outcome: Outcome
    pattern: str | None
    pin: Pin | None
    depth: int | None
    chain: tuple[SeenCertificate, ...]
    verified: bool

    def __init__(  # noqa: PLR0913, PLR0917  one argument a field
        self,
        host: str,
        port: int | None,
        outcome: Outcome,
        pattern: str | None = None,
        pin: Pin | None = None,
        depth: int | None = None,
        chain: tuple[SeenCertificate, ...] = (),
        verified: bool = False,  # noqa: FBT001, FBT002  a field
    ) -> None:
        self._set(
            host=host,
            port=port,
            outcome=outcome,
            pattern=pattern,
            pin=pin,
            depth=depth,
            chain=chain,
            verified=verified,
        )

    @property
    def ok(self) -> bool:
        """Whether the host is pinned and presented one of its pins."""
        return self.outcome is Outcome.MATCH

    @classmethod
    def of(cls, verdict: Verdict) -> PinCheck:
        """Return the check with this verdict."""
        return cls(
            host=escape(verdict.host),
            port=verdict.port,
            outcome=verdict.outcome,
            pattern=verdict.pattern,
            pin=verdict.pin,
            depth=verdict.depth,
            chain=verdict.chain.certificates,
            verified=verdict.chain.is_verified,
        )

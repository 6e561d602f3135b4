"""`PinCheck`: what `PinnedSession.check()` found, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.text import escape
from pinned_requests.core.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin


class PinCheck(NamedTuple):
    """Whether pinning is on for a URL, and by what.

    Attributes:
        host: the host in its canonical form, escaped. Where a proxy was refused before the host was reached: the proxy.
        port: its port.
        verdict: what was found, such as `Outcome.MATCH`; equal to its text, such as `"match"`.
        pattern: the host pattern that matched, or None.
        pin: the pin that matched, or that is blocked, or None.
        depth: the place of its certificate in the chain, 0 for the leaf, or None.
        chain: what was seen, leaf first; empty where no handshake was made.
        verified: whether the chain and the host name were verified.
    """

    host: str
    port: int | None
    verdict: Outcome
    pattern: str | None
    pin: Pin | None
    depth: int | None
    chain: tuple[SeenCertificate, ...]
    verified: bool

    @property
    def ok(self) -> bool:
        """Whether the host is pinned, and presented one of its pins."""
        return self.verdict is Outcome.MATCH

    @classmethod
    def of(cls, verdict: Verdict) -> PinCheck:
        """Return the check that ended with `verdict`."""
        return cls(
            host=escape(verdict.host),
            port=verdict.port,
            verdict=verdict.outcome,
            pattern=verdict.pattern,
            pin=verdict.pin,
            depth=verdict.depth,
            chain=verdict.chain.certificates,
            verified=verdict.chain.is_verified,
        )

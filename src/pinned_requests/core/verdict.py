"""`evaluate()`: does this chain satisfy the policy for this host? All decisions are made here.

Rules for the next maintainer:

- Fail closed if something is missing. A missing chain, or a host without a canonical form, is refused.
- Only a verified chain counts. Without verification nothing connects the leaf to the rest of the chain: the handshake
  proves that the peer has the key of the leaf, and the peer may send any other certificate with it.
- `report_only` allows a mismatch and nothing else.
- The functions are pure: no socket, file, clock or log. The result depends on the arguments alone.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from pinned_requests.core.chain import Chain
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import normalize_host
from pinned_requests.core.text import exact, show
from pinned_requests.core.value import Value, put

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy

ALLOWED, REFUSED = True, False

_NO_CHAIN_YET = Chain.missing("no handshake has been made")


class Outcome(enum.StrEnum):
    """What `evaluate()` found. The value is its name in reports."""

    MATCH = "match"
    UNPINNED = "unpinned"  # no pattern matches, and the policy allows that
    EXEMPT = "exempt"
    UNDECIDED = "undecided"  # the host is pinned, and no chain has been seen yet
    EXPIRED = "expired"
    MISMATCH = "mismatch"
    BLOCKED_KEY = "blocked-key"
    UNPINNED_HOST = "unpinned-host"  # no pattern matches, and the policy blocks that
    INSECURE_URL = "insecure-url"
    CHAIN_UNAVAILABLE = "chain-unavailable"
    OUTDATED_POLICY = "outdated-policy"  # it could not be refreshed for longer than its `max_age`


_NO_VIOLATION = frozenset((Outcome.MATCH, Outcome.UNPINNED, Outcome.EXEMPT, Outcome.UNDECIDED))
_WITHOUT_PINS = frozenset((Outcome.UNPINNED, Outcome.EXEMPT))


class Verdict(Value):
    """The decision about a connection.

    Attributes:
        outcome: what was found.
        is_allowed: whether the connection may be used. Two violations are allowed: a mismatch if the pin set is
            report-only, and expired pins if the set falls back to CA validation.
        host: the host in canonical form; unchanged if it has none.
        port: the port of the connection, or None if it is unknown.
        pattern: the host pattern that matched, or None.
        pins: the pin set of that pattern, or None.
        chain: the chain that was evaluated.
        pin: the pin that matched, or that is blocked, or None.
        depth: the position in the chain of the certificate that it matched, 0 for the leaf, or None.
    """

    outcome: Outcome
    is_allowed: bool
    host: str
    port: int | None
    pattern: str | None
    pins: PinSet | None
    chain: Chain
    pin: Pin | None
    depth: int | None
    __slots__ = tuple(__annotations__)

    def __init__(  # noqa: PLR0913, PLR0917  one argument a field
        self,
        outcome: Outcome,
        is_allowed: bool,  # noqa: FBT001  a field
        host: str,
        port: int | None,
        pattern: str | None,
        pins: PinSet | None,
        chain: Chain,
        pin: Pin | None = None,
        depth: int | None = None,
    ) -> None:
        put(self, "outcome", outcome)
        put(self, "is_allowed", is_allowed)
        put(self, "host", host)
        put(self, "port", port)
        put(self, "pattern", pattern)
        put(self, "pins", pins)
        put(self, "chain", chain)
        put(self, "pin", pin)
        put(self, "depth", depth)

    @property
    def is_violation(self) -> bool:
        """Whether the outcome is a violation, which is reported even if the connection is allowed."""
        return self.outcome not in _NO_VIOLATION

    @property
    def is_refused_early(self) -> bool:
        """Whether `admit()` refuses the connection before the handshake."""
        return not self.is_allowed and self.outcome is not Outcome.UNDECIDED


def admit(  # noqa: PLR0911, PLR0913  a return for each outcome; each argument is an input of the decision
    policy: PinPolicy, scheme: str, host: str, port: int | None, now: datetime, *, only_if_named: bool = False
) -> Verdict:
    """Decide, before a connection is made, what does not depend on its chain.

    Args:
        policy: the policy in force.
        scheme: the scheme of the URL in lower case: `"https"`, or another, which has no key to check.
        host: the host of the connection or URL, in any spelling.
        port: the port of the connection.
        now: the current time, aware.
        only_if_named: whether the host is subject to the policy only if a pattern matches it, as a proxy or an SNI
            name.

    Returns:
        A `Verdict`, for any input. Its outcome is `UNDECIDED` if the chain is needed; then call `settle()`.
    """
    try:
        name = normalize_host(host)
        entry = policy.find(name, port)
    except PolicyError:
        # Refused also with `unpinned_hosts="allow"`: it may be a spelling of a pinned host.
        return Verdict(Outcome.UNPINNED_HOST, REFUSED, _as_text(host), port, None, None, _NO_CHAIN_YET)
    pattern, pins = entry or (None, None)
    known = (name, port, pattern, pins)
    if pins is not None and pins.is_exempt:
        return Verdict(Outcome.EXEMPT, ALLOWED, *known, _NO_CHAIN_YET)
    if pins is None and only_if_named:
        return Verdict(Outcome.UNPINNED, ALLOWED, *known, _NO_CHAIN_YET)
    if policy.outdated is not None:
        return Verdict(Outcome.OUTDATED_POLICY, REFUSED, *known, Chain.missing(policy.outdated))
    if pins is None:
        if policy.unpinned_hosts == "allow":
            return Verdict(Outcome.UNPINNED, ALLOWED, *known, _NO_CHAIN_YET)
        outcome = Outcome.UNPINNED_HOST if scheme == "https" else Outcome.INSECURE_URL
        return Verdict(outcome, REFUSED, *known, _NO_CHAIN_YET)
    outcome = Outcome.UNDECIDED
    if scheme != "https":
        outcome = Outcome.INSECURE_URL
    elif pins.on_expiry == "block" and pins.has_expired(now):
        outcome = Outcome.EXPIRED
    return Verdict(outcome, REFUSED, *known, _NO_CHAIN_YET)


def evaluate(policy: PinPolicy, host: str, chain: Chain, now: datetime, *, port: int | None = None) -> Verdict:
    """Decide whether `chain` satisfies `policy` for an https connection to `host`.

    Args:
        policy: the policy in force.
        host: the host of the connection, in any spelling.
        chain: the chain that the TLS library verified, or a `Chain.missing()`.
        now: the current time, aware; callers read the clock once for each handshake.
        port: the port of the connection.

    Returns:
        A `Verdict`, for any input. Dates, signatures, names and revocation are *not* checked: that is CA validation,
        which happens before and which pins do not replace.
    """
    return settle(policy, admit(policy, "https", host, port, now), chain, now)


def settle(policy: PinPolicy, early: Verdict, chain: Chain, now: datetime) -> Verdict:  # noqa: PLR0911  one an outcome
    """Complete `early`, the verdict of `admit()` about an https connection by the same policy, with its chain.

    The arguments are as for `evaluate()`. Returns `early` itself if the chain changes nothing.
    """
    pins = early.pins
    known = (early.host, early.port, early.pattern, pins, chain)
    if early.outcome in _WITHOUT_PINS:
        if not policy.blocked:
            return early
        pins = None  # an exempt set has none
    elif early.outcome is not Outcome.UNDECIDED:
        return early

    if chain.unavailable is not None or not chain.certificates:
        return Verdict(Outcome.CHAIN_UNAVAILABLE, REFUSED, *known)

    # First, at any depth, and in an unverified chain too: a compromised key is never acceptable.
    for owner in (policy, pins):
        if owner is not None and owner.blocked and (found := _find(owner.blocked, chain.certificates)):
            pin, depth = found
            listed = owner.blocked_pins[owner.blocked_pins.index(pin)]  # the equal pin that carries the note
            return Verdict(Outcome.BLOCKED_KEY, REFUSED, *known, listed, depth)
    if pins is None:
        return early

    if pins.has_expired(now):
        # "unpin" falls back to CA validation, which an unverified chain has not passed. "block" gets here if the pins
        # expired after `admit()`, on a kept-alive connection.
        return Verdict(Outcome.EXPIRED, pins.on_expiry == "unpin" and chain.is_verified, *known)

    # RFC 7469 §2.6: pins are compared with the validated chain. Without validation, only the key of the leaf is proven.
    counted = chain.certificates if chain.is_verified else chain.certificates[:1]
    if found := _find(pins.accepted, counted):
        return Verdict(Outcome.MATCH, ALLOWED, *known, *found)
    return Verdict(Outcome.MISMATCH, pins.report_only, *known)


def _as_text(host: object) -> str:
    return exact(host) if isinstance(host, str) else show(host)


def _find(wanted: frozenset[Pin], certificates: tuple[SeenCertificate, ...]) -> tuple[Pin, int] | None:
    """Return the first pin of `certificates` that is in `wanted`, and its depth."""
    for depth, certificate in enumerate(certificates):
        if not wanted.isdisjoint(certificate.pins):  # sets keep the hashes
            pin = certificate.spki_pin if certificate.spki_pin in wanted else certificate.certificate_pin
            return pin, depth
    return None

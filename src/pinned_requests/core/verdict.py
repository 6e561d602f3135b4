"""`evaluate()`: may this chain speak for this host? The heart of the package; everything else extracts or enforces.

Rules for the next maintainer:

- Fail closed on absence. No chain, no canonical host, no answer: that is a verdict that blocks.
- Only a verified chain counts. Without verification nothing connects the leaf to the rest: the peer proved in the
  handshake that it holds the leaf's key, and sent the other certificates as one sends a picture of somebody else.
- `report_only` softens a mismatch and nothing else.
- Pure: no socket, file, clock or log. What is not an argument has no say.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.chain import Chain
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import normalize_host
from pinned_requests.core.text import exact, show

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy

ALLOWED, REFUSED = True, False

_NO_CHAIN_YET = Chain.missing("no handshake has been made")


class Outcome(str, enum.Enum):
    """What was found. The value is its name in reports."""

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
    OUTDATED_POLICY = "outdated-policy"  # that could not be refreshed for longer than it may live


_NO_VIOLATION = frozenset((Outcome.MATCH, Outcome.UNPINNED, Outcome.EXEMPT, Outcome.UNDECIDED))


class Verdict(NamedTuple):
    """What `evaluate()` says.

    Attributes:
        outcome: what was found.
        is_allowed: whether the connection may be used. A violation may be allowed: a mismatch where the set is
            report-only, and expired pins that fall back to CA validation.
        host: the host in its canonical form, or as it came where it has none.
        port: the port of the connection, or None where none was given.
        pattern: the pattern that matched the host, or None.
        pins: its pin set, or None.
        chain: what was looked at.
        pin: the pin that matched, or that is blocked, or None.
        depth: the place in the chain of the certificate it matched, 0 for the leaf, or None.
    """

    outcome: Outcome
    is_allowed: bool
    host: str
    port: int | None
    pattern: str | None
    pins: PinSet | None
    chain: Chain
    pin: Pin | None = None
    depth: int | None = None

    @property
    def is_violation(self) -> bool:
        """Whether there is something to report, be it softened or not."""
        return self.outcome not in _NO_VIOLATION


def admit(policy: PinPolicy, scheme: str, host: str, port: int | None, now: datetime) -> Verdict:
    """Decide what can be decided before a connection is made; the outcome is `UNDECIDED` where that takes a chain.

    Args:
        policy: the policy in force.
        scheme: of the URL, lower case: `"https"`, or another, for which no key vouches.
        host: as the connection or the URL has it.
        port: of the connection.
        now: aware.
    """
    try:
        name = normalize_host(host)
        entry = policy.find(name, port)
    except PolicyError:
        # Also where the policy allows unpinned hosts: nobody knows whether this is one.
        return Verdict(Outcome.UNPINNED_HOST, REFUSED, _as_text(host), port, None, None, _NO_CHAIN_YET)
    pattern, pins = entry or (None, None)
    known = (name, port, pattern, pins)
    if pins is not None and pins.is_exempt:
        return Verdict(Outcome.EXEMPT, ALLOWED, *known, _NO_CHAIN_YET)
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
    """Decide whether `chain` may speak for `host` under `policy` at the moment `now`.

    Args:
        policy: the policy in force.
        host: the host that the connection is made for, in any spelling.
        chain: what the TLS library verified, or a `Chain.missing()`.
        now: aware; the caller reads the clock once a handshake.
        port: the port of the connection.

    Returns:
        A `Verdict`, for any input. Dates, signatures, names and revocation are *not* checked: that is CA validation,
        which comes before and which pins do not replace.
    """
    early = admit(policy, "https", host, port, now)
    pins = early.pins
    if early.outcome is not Outcome.UNDECIDED or pins is None:
        return early
    known = (early.host, port, early.pattern, pins, chain)

    if chain.unavailable is not None or not chain.certificates:
        return Verdict(Outcome.CHAIN_UNAVAILABLE, REFUSED, *known)

    # Before all else, and at any depth, even of a chain that nobody verified: a compromised key has no good use.
    if pins.blocked and (found := _find(pins.blocked, chain.certificates)):
        return Verdict(Outcome.BLOCKED_KEY, REFUSED, *known, *found)

    if pins.has_expired(now):
        # Only "unpin" comes here. It falls back to CA validation, which an unverified chain has not had.
        return Verdict(Outcome.EXPIRED, chain.is_verified, *known)

    # RFC 7469 §2.6: the pins are matched against the validated chain. Without validation the leaf alone is proven.
    counted = chain.certificates if chain.is_verified else chain.certificates[:1]
    if found := _find(pins.accepted, counted):
        return Verdict(Outcome.MATCH, ALLOWED, *known, *found)
    return Verdict(Outcome.MISMATCH, pins.report_only, *known)


def _as_text(host: object) -> str:
    return exact(host) if isinstance(host, str) else show(host)


def _find(wanted: frozenset[Pin], certificates: tuple[SeenCertificate, ...]) -> tuple[Pin, int] | None:
    """Return the first pin of `certificates` that is wanted, and its depth."""
    for depth, certificate in enumerate(certificates):
        if not wanted.isdisjoint(certificate.pins):  # of two sets this compares hashes that are computed already
            pin = certificate.spki_pin if certificate.spki_pin in wanted else certificate.certificate_pin
            return pin, depth
    return None

"""`evaluate()`: may this chain speak for this host? The decision of the package; everything else extracts or enforces.

Rules for the next maintainer:

- Fail closed on absence. A missing chain, or a host without a canonical form, is a verdict that refuses.
- Only a verified chain counts. Without verification nothing connects the leaf to the rest of the chain: the handshake
  proves that the peer holds the leaf's key, and the peer may add any other certificate to it.
- `report_only` softens a mismatch and nothing else.
- Pure: no socket, file, clock or log. The arguments alone decide.
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


class Outcome(enum.StrEnum):
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
    OUTDATED_POLICY = "outdated-policy"  # it could not be refreshed for longer than its `max_age`


_NO_VIOLATION = frozenset((Outcome.MATCH, Outcome.UNPINNED, Outcome.EXEMPT, Outcome.UNDECIDED))
_WITHOUT_PINS = frozenset((Outcome.UNPINNED, Outcome.EXEMPT))


class Verdict(NamedTuple):
    """What `evaluate()` returns.

    Attributes:
        outcome: what was found.
        is_allowed: whether the connection may be used. A violation may be allowed: a mismatch where the set is
            report-only, and expired pins that fall back to CA validation.
        host: the host in its canonical form; unchanged if it cannot be normalised.
        port: the port of the connection, or None where none was given.
        pattern: the pattern that matched the host, or None.
        pins: its pin set, or None.
        chain: the chain that was evaluated.
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
        """Whether this is reported, whether the connection is allowed or not."""
        return self.outcome not in _NO_VIOLATION

    @property
    def is_refused_early(self) -> bool:
        """Whether this verdict of `admit()` refuses the connection without a handshake."""
        return not self.is_allowed and self.outcome is not Outcome.UNDECIDED


def admit(  # noqa: PLR0911, PLR0913  a return for each outcome; each argument is an input of the decision
    policy: PinPolicy, scheme: str, host: str, port: int | None, now: datetime, *, only_if_named: bool = False
) -> Verdict:
    """Decide what can be decided before a connection is made; the outcome is `UNDECIDED` where that takes a chain.

    Args:
        policy: the policy in force.
        scheme: of the URL, lower case: `"https"`, or another, which has no key to check.
        host: as the connection or the URL has it, in any spelling.
        port: of the connection.
        now: aware.
        only_if_named: the host is subject to pins only if the policy has an entry for it: a proxy, or an SNI name.
    """
    try:
        name = normalize_host(host)
        entry = policy.find(name, port)
    except PolicyError:
        # Refused under `unpinned_hosts="allow"` too: it may be a spelling of a pinned host.
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
    return settle(policy, admit(policy, "https", host, port, now), chain, now)


def settle(  # noqa: PLR0911  a return for each outcome
    policy: PinPolicy, early: Verdict, chain: Chain, now: datetime
) -> Verdict:
    """Finish the decision that `admit()` began for an `https` connection, now that its chain is known.

    Args:
        policy: the policy that `admit()` was given.
        early: what `admit()` returned, now or before.
        chain: what the TLS library verified, or a `Chain.missing()`.
        now: aware.
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

    # First, and at any depth, also of an unverified chain: a compromised key is never acceptable.
    for owner in (policy, pins):
        if owner is not None and owner.blocked and (found := _find(owner.blocked, chain.certificates)):
            pin, depth = found
            listed = owner.blocked_pins[owner.blocked_pins.index(pin)]  # the equal pin that carries the note
            return Verdict(Outcome.BLOCKED_KEY, REFUSED, *known, listed, depth)
    if pins is None:
        return early

    if pins.has_expired(now):
        # "unpin" falls back to CA validation, which an unverified chain has not passed. "block" comes here if the pins
        # have expired since `admit()`: on a kept-alive connection.
        return Verdict(Outcome.EXPIRED, pins.on_expiry == "unpin" and chain.is_verified, *known)

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
        if not wanted.isdisjoint(certificate.pins):  # sets keep the hashes
            pin = certificate.spki_pin if certificate.spki_pin in wanted else certificate.certificate_pin
            return pin, depth
    return None

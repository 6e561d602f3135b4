"""Samples of a host, its pins and the trust store → findings: what is wrong today, and what will be soon.

`docs/check.md` repeats the table of their kinds and severities.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.details import validity
from pinned_requests.monitoring.sampling import INVALID_CERTIFICATE, UNREACHABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.monitoring.sampling import Sample
    from pinned_requests.monitoring.trust_store import TrustStore


LEAF, INTERMEDIATE, ROOT = "leaf", "intermediate", "root"

Certificates = tuple["SeenCertificate", ...]


class Severity(IntEnum):
    """How bad a finding is; the greater, the worse."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3

    def __str__(self) -> str:
        return self.name.lower()


class Kind(NamedTuple):
    """A kind of finding: how bad it is, and what it means."""

    severity: Severity
    meaning: str


KINDS = {
    "blocked-key": Kind(Severity.CRITICAL, "the chain holds a blocked key"),
    "mismatch": Kind(Severity.CRITICAL, "the chain holds none of the pins"),
    "invalid-certificate": Kind(
        Severity.CRITICAL, "CA validation refuses the certificate: an interceptor, or an expired one"
    ),
    "pins-expired": Kind(Severity.CRITICAL, "the pin set has expired: the host is refused, or not pinned any more"),
    "unreachable": Kind(Severity.WARNING, "no TLS handshake was completed"),
    "not-pinned": Kind(Severity.WARNING, "no pattern of the policy matches the host"),
    "pins-expire-soon": Kind(Severity.WARNING, "the pin set expires within --within"),
    "leaf-expires-soon": Kind(
        Severity.WARNING, "of the chain only the leaf is pinned, and its certificate expires within --within"
    ),
    "issuer-expires-soon": Kind(Severity.WARNING, "the certificate of a pinned issuer expires within --within"),
    "no-backup-pin": Kind(Severity.WARNING, "every pin is of a key that is served (RFC 7469 §4.3)"),
    "backup-pin-served": Kind(Severity.WARNING, "a backup pin is of a key that is served (RFC 7469 §4.3)"),
    "intermediate-differs": Kind(
        Severity.WARNING, "a pinned issuer is not in the chains of other servers of the same name"
    ),
    "pinned-ca-left-store": Kind(Severity.WARNING, "a pin is of a CA that the trust store does not hold any more"),
    "anchor-shortened": Kind(
        Severity.WARNING, "the trust store holds an intermediate below a pin, where Python 3.13 and later end the chain"
    ),
    "key-changes-each-renewal": Kind(
        Severity.WARNING, "of the chain only the leaf is pinned, and each renewal has brought another key (--state)"
    ),
    "validity-short": Kind(
        Severity.WARNING,
        "of the chain only the leaf is pinned, and it lives shorter than a policy takes to reach the clients (--state)",
    ),
    "issuer-rotates": Kind(
        Severity.WARNING, "of the chain only intermediates are pinned, and renewals bring others (--state)"
    ),
    "one-ca-only": Kind(Severity.INFO, "all pins are of one CA: if it fails, no pin is left"),
    "single-depth": Kind(Severity.INFO, "all pins are of one intermediate, which CAs replace without notice"),
    "seen-through-proxy": Kind(Severity.INFO, "the chain was seen through a proxy, and may be that of an interceptor"),
}


class Finding(NamedTuple):
    """One thing that is wrong or doubtful.

    Attributes:
        kind: its name, for `--ignore` and for machines.
        text: what it is, and what to do, escaped.
    """

    kind: str
    text: str

    @property
    def severity(self) -> Severity:
        """How bad it is; `kind` is one of `KINDS`."""
        return KINDS[self.kind].severity


class PinUse(NamedTuple):
    """An accepted pin of a host. Names are escaped."""

    pin: Pin  # with its note
    is_backup: bool  # among `backup_pins` alone
    depth: int | None = None  # the lowest in the chains at which its key was seen, 0 for the leaf; None: in reserve
    role: str | None = None  # `LEAF`, `INTERMEDIATE` or `ROOT`; None: the key is not known
    subject: str | None = None  # of its certificate in a chain or in the trust store
    authority: str | None = None  # the CA that it hangs on; None for a leaf's key and for one that is not known


def pin_uses(pins: PinSet, chains: Sequence[Certificates], store: TrustStore) -> tuple[PinUse, ...]:
    """Return the accepted pins of a set, and where their keys were seen: in chains, or else in the trust store.

    Of an unverified chain, `chains` has the leaf alone.
    """
    listed = dict.fromkeys((*pins.pins, *pins.backup_pins))
    return tuple(_use(pin, pin not in pins.pins, chains, store) for pin in listed)


def _use(pin: Pin, is_backup: bool, chains: Sequence[Certificates], store: TrustStore) -> PinUse:  # noqa: FBT001  a field
    seen = [(depth, chain) for chain in chains for depth, each in enumerate(chain) if pin in each.pins]
    if seen:
        depth, chain = min(seen, key=lambda place: place[0])
        if depth == 0:
            return PinUse(pin, is_backup, depth, LEAF, chain[0].subject)
        return PinUse(pin, is_backup, depth, _role(chain[depth]), chain[depth].subject, authority_of(chain[-1]))
    if trusted := store.find(pin):
        return PinUse(pin, is_backup, None, _role(trusted), trusted.subject, authority_of(trusted))
    return PinUse(pin, is_backup)


def _role(certificate: SeenCertificate) -> str:
    return ROOT if certificate.is_self_issued else INTERMEDIATE


def authority_of(certificate: SeenCertificate) -> str:
    """Return whose a CA certificate is: the organization in its name, which several share, or else the name."""
    found = re.search(r"(?:^|(?<!\\)[,+])O=((?:\\.|[^,+\\])*)", certificate.subject)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else certificate.subject


def of_samples(
    policy: PinPolicy, pins: PinSet | None, samples: Sequence[Sample], *, nearly: str | None = None
) -> Iterator[Finding]:
    """Yield what single connections show. `pins` is None for a host without a pattern; `nearly` names a near miss."""
    is_pinned = pins is not None and not pins.is_exempt
    for each in samples:
        if (blocked := blocked_pin(policy, pins, each)) is not None:
            yield Finding("blocked-key", f"{each.where}the chain holds the blocked {blocked}")
        elif each.outcome == Outcome.MISMATCH:
            yield Finding("mismatch", f"{each.where}the chain holds none of the pins")
        if each.outcome == UNREACHABLE:
            yield Finding("unreachable", f"{each.where}{each.reason}")
        elif each.outcome == INVALID_CERTIFICATE and is_pinned:  # whether clients verify others is not known
            yield Finding("invalid-certificate", f"{each.where}{each.reason}")
    if pins is None:
        yield Finding("not-pinned", f"no pattern of the policy matches this host; {nearly or 'pin it, or exempt it'}")


def blocked_pin(policy: PinPolicy, pins: PinSet | None, sample: Sample) -> str | None:
    """Return the blocked pin that a chain holds, with its note: at any depth, also of an unverified chain."""
    listed = (*policy.blocked_pins, *(() if pins is None else pins.blocked_pins))
    for seen in sample.chain.certificates if listed else ():
        for pin in listed:
            if pin in seen.pins:
                return pin.describe()
    return None


def of_time(pins: PinSet, chains: Sequence[Certificates], now: datetime, within: timedelta) -> Iterator[Finding]:
    """Yield what expires: the pins, a leaf that is pinned alone, and pinned issuers."""
    if pins.has_expired(now):
        yield Finding("pins-expired", f"the pins expired at {pins.expires:%Y-%m-%d %H:%M} UTC; renew the policy")
    elif pins.expires is not None and pins.has_expired(now + within):
        yield Finding("pins-expire-soon", f"the pins expire at {pins.expires:%Y-%m-%d %H:%M} UTC; renew the policy")
    for chain in chains:
        pinned = [each for each in chain[1:] if each.pins & pins.accepted]
        for each in pinned:
            ends = validity(each.der)[1]
            if ends is not None and ends - now < within:
                text = f"{each.subject} expires at {ends:%Y-%m-%d %H:%M} UTC; pin the key of the issuer that follows it"
                yield Finding("issuer-expires-soon", text)
        ends = None if pinned else validity(chain[0].der)[1]
        if ends is not None and ends - now < within:
            text = f"only the leaf is pinned, and it expires at {ends:%Y-%m-%d %H:%M} UTC; its renewal must keep a key"
            yield Finding("leaf-expires-soon", text)


def of_pins(pins: PinSet, uses: Sequence[PinUse], chains: Sequence[Certificates]) -> Iterator[Finding]:
    """Yield what is doubtful of pins of which one matches in each of `chains`."""
    if not chains:
        return
    for use in uses:
        if use.depth is not None and use.pin in pins.backup_pins:
            text = f"the backup {use.pin.describe()} is served at depth {use.depth}; make it a pin, and keep another"
            yield Finding("backup-pin-served", f"{text} in reserve")
    if all(use.depth is not None for use in uses):
        yield Finding("no-backup-pin", "every pin is served: if those keys must go, this client is locked out; add one")
    yield from _of_authorities(uses)
    issuers: list[set[Pin]] = [{pin for each in chain[1:] for pin in each.pins & pins.accepted} for chain in chains]
    for pin in sorted(set().union(*issuers), key=str):
        if others := sum(pin not in each for each in issuers):
            text = f"{pin.describe(pins.accepted)} is not in the chains of {others} of {len(chains)} connections"
            yield Finding("intermediate-differs", f"{text}; pin what all of them have")


def _of_authorities(uses: Sequence[PinUse]) -> Iterator[Finding]:
    authorities = {use.authority for use in uses}
    if None in authorities or len(authorities) != 1:  # None may be a key of the owner's, in reserve
        return
    subjects = {use.subject for use in uses}
    if len(subjects) == 1 and all(use.role == INTERMEDIATE for use in uses):
        text = f"all pins are of {subjects.pop()}; CAs replace intermediates without notice; pin a key of yours as well"
        yield Finding("single-depth", text)
    else:
        yield Finding("one-ca-only", f"all pins are of {authorities.pop()}; pin a key of yours, or another CA, as well")


def of_store(
    pins: PinSet,
    chains: Sequence[Certificates],
    presented: Sequence[Certificates],
    store: TrustStore,
    remembered: Mapping[Pin, str],
) -> Iterator[Finding]:
    """Yield the pins of CAs that no chain can lead to any more.

    `presented` are chains that were not verified; `remembered` are pins and names of CAs that clients trusted before.
    """
    served = {pin for chain in chains for each in chain for pin in each.pins}
    for pin in dict.fromkeys((*pins.pins, *pins.backup_pins)):
        if pin not in served and store.find(pin) is None and (name := _known(pin, presented, store, remembered)):
            text = f"{pin.describe()} is of {name}, which the trust store does not hold: it matches no chain"
            yield Finding("pinned-ca-left-store", text)
    for chain in chains:
        yield from _of_anchor(pins, chain, store)


def _known(pin: Pin, presented: Sequence[Certificates], store: TrustStore, remembered: Mapping[Pin, str]) -> str | None:
    """Return the name of a CA that the store does not hold."""
    if pin in remembered:
        return remembered[pin]
    roots = (each for chain in presented for each in chain[1:] if each.is_self_issued and pin in each.pins)
    found = next(roots, None) or store.others.find(pin)
    return found.subject if found else None


def _of_anchor(pins: PinSet, chain: Certificates, store: TrustStore) -> Iterator[Finding]:
    # Python 3.13 and later end a chain at an intermediate that is in the store (`VERIFY_X509_PARTIAL_CHAIN`).
    for depth, anchor in enumerate(chain[1:], 1):
        if anchor.is_self_issued or not store.holds(anchor):
            continue
        below = {pin for each in chain[: depth + 1] for pin in each.pins}
        for each in (*chain[depth + 1 :], *store.issuers_of(chain[-1])):
            for pin in sorted(each.pins & pins.accepted - below, key=str):
                text = (
                    f"the trust store holds {anchor.subject}, where Python 3.13 and later end the chain: "
                    f"{pin.describe(pins.accepted)} of {each.subject} does not match there; "
                    "pin the intermediate, or take it out of the trust store"
                )
                yield Finding("anchor-shortened", text)
        return

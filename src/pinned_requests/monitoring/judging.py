"""Samples of a host, its pins and the trust store → findings: what is wrong today, and what will be soon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.verdict import Outcome
from pinned_requests.monitoring.details import validity
from pinned_requests.monitoring.findings import Finding
from pinned_requests.monitoring.pin_use import INTERMEDIATE
from pinned_requests.monitoring.sampling import INVALID_CERTIFICATE, UNREACHABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.monitoring.pin_use import Certificates, PinUse
    from pinned_requests.monitoring.sampling import Sample
    from pinned_requests.monitoring.trust_store import TrustStore


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

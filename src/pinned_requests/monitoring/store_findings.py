"""The trust store against a policy: pins of CAs that no chain can lead to any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.monitoring.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.monitoring.pin_use import Certificates
    from pinned_requests.monitoring.trust_store import TrustStore


def of_store(
    pins: PinSet,
    chains: Sequence[Certificates],
    presented: Sequence[Certificates],
    store: TrustStore,
    remembered: Mapping[Pin, str],
) -> Iterator[Finding]:
    """Yield what the trust store keeps from matching.

    Args:
        pins: of the host.
        chains: its verified chains.
        presented: chains that were not verified.
        store: the trust store.
        remembered: pins of CAs that the store has held before, and their names.
    """
    served = frozenset().union(*(each.pins for chain in chains for each in chain))
    for pin in dict.fromkeys((*pins.pins, *pins.backup_pins)):
        if pin not in served and store.find(pin) is None and (name := _known(pin, presented, store, remembered)):
            text = f"{pin.describe()} is of {name}, which the trust store does not hold: it matches no chain"
            yield Finding("pinned-ca-left-store", text)
    for chain in chains:
        yield from _of_anchor(pins, chain, store)


def _known(pin: Pin, presented: Sequence[Certificates], store: TrustStore, remembered: Mapping[Pin, str]) -> str | None:
    """Return the name of the CA whose key was pinned, if this can be known of one that the store does not hold."""
    if pin in remembered:
        return remembered[pin]
    certificates = (each for chain in presented for each in chain[1:] if each.is_self_issued and pin in each.pins)
    found = next(certificates, None) or store.others.find(pin)
    return None if found is None else found.subject


def _of_anchor(pins: PinSet, chain: Certificates, store: TrustStore) -> Iterator[Finding]:
    """Look for an intermediate in the store, below a pinned CA.

    Python 3.13 and later end a chain there (`VERIFY_X509_PARTIAL_CHAIN`), earlier versions at a root.
    """
    for depth, anchor in enumerate(chain[1:], 1):
        if anchor.is_self_issued or not store.holds(anchor):
            continue
        above: list[SeenCertificate] = [*chain[depth + 1 :], *store.issuers_of(chain[-1])]
        below = frozenset().union(*(each.pins for each in chain[: depth + 1]))
        for each in above:
            for pin in sorted(each.pins & pins.accepted - below, key=str):
                text = (
                    f"the trust store holds {anchor.subject}, where Python 3.13 and later end the chain: "
                    f"{pin.describe((*pins.pins, *pins.backup_pins))} of {each.subject} does not match there; "
                    "pin the intermediate, or take it out of the trust store"
                )
                yield Finding("anchor-shortened", text)
        return

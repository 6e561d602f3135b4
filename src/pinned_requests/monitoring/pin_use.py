"""`PinUse`: an accepted pin, and where its key was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.monitoring.details import organization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.monitoring.trust_store import TrustStore

LEAF, INTERMEDIATE, ROOT = "leaf", "intermediate", "root"

Certificates = tuple["SeenCertificate", ...]


class PinUse(NamedTuple):
    """An accepted pin of a host.

    Attributes:
        pin: with its note.
        is_backup: whether it is among `backup_pins` alone.
        depth: the lowest place in the chains where its key was seen, 0 for the leaf; None: it is in reserve.
        role: `LEAF`, `INTERMEDIATE` or `ROOT`; None: the key is not known.
        subject: of its certificate in a chain or in the trust store, escaped; or None.
        authority: the CA that it hangs on, escaped; None for a leaf's key and for one that is not known.
    """

    pin: Pin
    is_backup: bool
    depth: int | None = None
    role: str | None = None
    subject: str | None = None
    authority: str | None = None


def pin_uses(pins: PinSet, chains: Sequence[Certificates], store: TrustStore) -> tuple[PinUse, ...]:
    """Return the accepted pins of a set, each once, and where their keys were seen.

    Args:
        pins: the set.
        chains: verified ones; of an unverified one the leaf alone.
        store: what clients trust; it is only looked into for pins that no chain has.
    """
    listed = dict.fromkeys((*pins.pins, *pins.backup_pins))
    return tuple(_use(pin, pin not in pins.pins, chains, store) for pin in listed)


def _use(pin: Pin, is_backup: bool, chains: Sequence[Certificates], store: TrustStore) -> PinUse:  # noqa: FBT001  a field
    seen = [(depth, chain) for chain in chains for depth, each in enumerate(chain) if pin in each.pins]
    if seen:
        depth, chain = min(seen, key=lambda place: place[0])
        certificate = chain[depth]
        authority = None if depth == 0 else _authority(chain[-1])
        role = LEAF if depth == 0 else _role(certificate)
        return PinUse(pin, is_backup, depth, role, certificate.subject, authority)
    if trusted := store.find(pin):
        return PinUse(pin, is_backup, None, _role(trusted), trusted.subject, _authority(trusted))
    return PinUse(pin, is_backup)


def _role(certificate: SeenCertificate) -> str:
    return ROOT if certificate.is_self_issued else INTERMEDIATE


def _authority(certificate: SeenCertificate) -> str:
    return organization(certificate.der) or certificate.subject

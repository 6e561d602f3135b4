"""`PinUse`: an accepted pin, and where its key was seen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.monitoring.trust_store import TrustStore

LEAF, INTERMEDIATE, ROOT = "leaf", "intermediate", "root"

Certificates = tuple["SeenCertificate", ...]


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

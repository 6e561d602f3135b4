"""The argument of `--pinnedpubkey` of curl and wget: `sha256//BASE64=;sha256//BASE64=`."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import show
from pinned_requests.formats.bounds import one_line
from pinned_requests.formats.collect import policy_of, put
from pinned_requests.formats.loss import Loss, Reading, Writing
from pinned_requests.formats.narrow import Abilities, narrow

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.core.host import HostPattern
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy

_PREFIX = "sha256//"
_DEPTH = "of a pin is lost: curl compares the leaf alone, and here a pin matches at any depth"
_ABILITIES = Abilities(
    "curl",
    kinds=frozenset(("exact", "one-label", "subtree")),  # it has none: the pins are those of whatever URL it is given
    ports=True,
    addresses=True,
)


def read(text: str | bytes, host: HostPattern, _now: datetime | None) -> Reading:
    """Read the pins of `host`. A path, which the option takes as well, is refused."""
    pins = []
    for spelling in one_line(text).split(";"):
        if not spelling.startswith(_PREFIX):
            raise PinFormatError(f"{show(spelling)} is no pin as curl has it; write '{_PREFIX}' and the base64")
        pins.append(Pin.parse(spelling))
    entries: dict[HostPattern, PinSet] = {}
    put(entries, host, {"pins": pins})
    return Reading(policy_of(entries), (Loss(None, "depth", _DEPTH),))


def write(policy: PinPolicy, _now: datetime | None) -> Writing:
    """Write the pins of the policy's one host."""
    narrowed = narrow(policy, _ABILITIES)
    losses = narrowed.finish(_ABILITIES.system)
    ((_, entry),) = narrowed.entries.items()
    text = ";".join(_PREFIX + base64.b64encode(pin.digest).decode("ascii") for pin in entry.pins)
    depth = Loss(None, "depth", "of a pin is not said: curl compares the leaf alone, and never matches a pin of a CA")
    return Writing(text + "\n", (*losses, depth))

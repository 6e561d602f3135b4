"""The argument of `--pinnedpubkey` of curl and wget: `sha256//BASE64=;sha256//BASE64=`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.errors import PinFormatError, PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import show
from pinned_requests.formats.export import EVERY_KIND, Abilities, export
from pinned_requests.formats.parsing import one_line, policy_of
from pinned_requests.formats.results import Loss, Reading, Writing

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.core.host import HostPattern
    from pinned_requests.core.policy import PinPolicy

# The option has no patterns and ports: it holds for the URL beside it.
_ABILITIES = Abilities("curl", kinds=EVERY_KIND, ports=True, addresses=True)


def read(text: str | bytes, host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read the pins of `host`. The path of a key file, which the option also takes, is refused."""
    if host is None:
        raise PolicyError("curl does not name the host of its pins; give it as host=")
    pins = []
    for spelling in one_line(text).split(";"):
        if not spelling.startswith("sha256//"):
            raise PinFormatError(f"invalid pin {show(spelling)}: curl wants 'sha256//' and the base64")
        pins.append(Pin.parse(spelling))
    depth = "of a pin is not kept: curl compares only the leaf, and a policy matches a pin at any depth"
    return Reading(policy_of([(host, {"pins": pins})]), (Loss(None, "depth", depth),))


def write(policy: PinPolicy, host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write the pins of `host`."""
    exported = export(policy, _ABILITIES, only=host)
    losses = exported.finish()
    (entry,) = exported.entries.values()
    depth = Loss(None, "depth", "of a pin is not kept: curl compares only the leaf, and never matches the pin of a CA")
    return Writing(";".join(pin.spelled("curl") for pin in entry.pins) + "\n", (*losses, depth))

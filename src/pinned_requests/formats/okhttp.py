"""OkHttp's `CertificatePinner` as source code, in Kotlin and in Java. Written only: reading would take a compiler.

Patterns mean there what they mean here: `*.` is one label more, `**.` is the host and all below it. But OkHttp accepts
the pins of all patterns that match, where here the most specific holds alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.formats.loss import Loss, Writing
from pinned_requests.formats.narrow import Abilities, covering, narrow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pinned_requests.core.host import HostPattern
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.formats.narrow import Entry

_ABILITIES = Abilities("OkHttp", kinds=frozenset(("exact", "one-label", "subtree")), addresses=True)


def write_kotlin(policy: PinPolicy, _now: datetime | None) -> Writing:
    """Write the builder in Kotlin."""
    return _write(policy, "import okhttp3.CertificatePinner\n\nval certificatePinner = CertificatePinner.Builder()", "")


def write_java(policy: PinPolicy, _now: datetime | None) -> Writing:
    """Write the builder in Java."""
    begin = "import okhttp3.CertificatePinner;\n\nCertificatePinner certificatePinner = new CertificatePinner.Builder()"
    return _write(policy, begin, ";")


def _write(policy: PinPolicy, begin: str, end: str) -> Writing:
    narrowed = narrow(policy, _ABILITIES)
    narrowed.losses.extend(_united(narrowed.entries))
    losses = narrowed.finish(_ABILITIES.system)
    lines = [begin]
    for pattern, entry in narrowed.entries.items():
        # An IPv6 address without brackets, as HttpUrl.host() has it. No escaping: see the rules of the package.
        name = pattern.host if pattern.kind == "exact" else str(pattern)
        arguments = ", ".join(f'"{text}"' for text in (name, *map(str, entry.pins)))
        lines.append(f"    .add({arguments})")
    return Writing("\n".join((*lines, f"    .build(){end}\n")), losses)


def _united(entries: dict[HostPattern, Entry]) -> Iterator[Loss]:
    for pattern, entry in entries.items():
        own = set(entry.pins)
        for wider in covering(pattern, entries):
            if any(pin not in own for pin in entries[wider].pins):  # stops soon: a wider pattern may have many
                yield Loss(str(pattern), "pins", f"are joined by those of {wider}: OkHttp accepts both there")

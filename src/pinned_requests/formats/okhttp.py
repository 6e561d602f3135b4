"""OkHttp's `CertificatePinner` as source code, in Kotlin and in Java. Reading would take a compiler.

Patterns have the same meaning as in a policy, but OkHttp accepts the pins of all that match, and a policy only those of
the most specific one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.host import HostPattern
from pinned_requests.formats.export import EVERY_KIND, Abilities, covering, export
from pinned_requests.formats.results import Loss, Writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.formats.export import Entry

_ABILITIES = Abilities("OkHttp", kinds=EVERY_KIND, addresses=True)


def write_kotlin(policy: PinPolicy, _host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write the builder in Kotlin."""
    return _write(policy, "import okhttp3.CertificatePinner\n\nval certificatePinner = CertificatePinner.Builder()", "")


def write_java(policy: PinPolicy, _host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write the builder in Java."""
    begin = "import okhttp3.CertificatePinner;\n\nCertificatePinner certificatePinner = new CertificatePinner.Builder()"
    return _write(policy, begin, ";")


def _write(policy: PinPolicy, begin: str, end: str) -> Writing:
    exported = export(policy, _ABILITIES)
    losses = exported.finish()
    losses += tuple(_united(exported.entries))
    lines = [begin]
    for pattern, entry in exported.entries.items():
        # An IPv6 address has no brackets, as in HttpUrl.host(). No escaping: see the rules of the package.
        name = pattern.host if pattern.kind == "exact" else str(pattern)
        arguments = ", ".join(f'"{text}"' for text in (name, *map(str, entry.pins)))
        lines.append(f"    .add({arguments})")
    return Writing("\n".join((*lines, f"    .build(){end}\n")), losses)


def _united(entries: dict[HostPattern, Entry]) -> Iterator[Loss]:
    """Yield a loss for each pattern on whose hosts OkHttp accepts other pins as well."""
    for pattern, entry in entries.items():
        own = set(entry.pins)
        others = list(covering(pattern, entries))
        above = HostPattern("one-label", pattern.host.partition(".")[2])  # matches the host of a `**.` pattern
        if pattern.kind == "subtree" and above in entries:
            others.append(above)
        for wider in others:
            # `any()` stops early: a wider pattern may have many pins.
            if any(pin not in own for pin in entries[wider].pins):
                yield Loss(str(pattern), "pins", f"are not the only ones: OkHttp also accepts those of {wider} there")

"""`select()`: the part of a policy that is about one host or host pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from pinned_requests.core.pinset import PinSet


def select(policy: PinPolicy, host: str) -> PinPolicy:
    """Return the policy for `host` alone. For everything that `host` matches it says what `policy` says.

    So entries within the pattern stay: the exempt host and the port with other pins below `**.example.com`. So do
    `unpinned_hosts`, `report_uri` and `blocked_pins`.

    Args:
        policy: the whole policy.
        host: a host pattern of `policy`, in any spelling, or a host that one of its patterns matches.

    Raises:
        PolicyError: `host` is not a host pattern, or `policy` has no entry for it.
    """
    wanted = HostPattern.parse(host)
    name = wanted.host if wanted.kind == "exact" else None
    found = policy.lookup(name, wanted.port) if name else policy.hosts.get(str(wanted))
    if found is None:
        raise PolicyError(f"no pattern of the policy matches {show(host)}; give one of its host patterns")
    patterns = [HostPattern.parse(each) for each in policy.hosts]
    selected: dict[HostPattern, PinSet] = {wanted: found}
    if name is not None:
        for port in sorted({each.port for each in patterns if each.port is not None} if wanted.port is None else ()):
            entry = policy.find(name, port)
            if entry is not None and entry.pins != found:
                selected[wanted._replace(port=port)] = entry.pins
    else:
        # Entries without a port first: the one with the port is more specific and replaces it.
        for each in sorted(patterns, key=lambda each: each.port is not None):
            if (narrower := _within(each, wanted)) is not None:
                entry = policy.find(narrower.host, narrower.port) if narrower.kind == "exact" else None
                selected[narrower] = entry.pins if entry else policy.hosts[str(each)]
    return PinPolicy(
        {str(pattern): pins for pattern, pins in selected.items()},
        unpinned_hosts=policy.unpinned_hosts,
        report_uri=policy.report_uri,
        blocked_pins=policy.blocked_pins,
    )


def _within(pattern: HostPattern, wanted: HostPattern) -> HostPattern | None:
    """Return what of `pattern` lies within the wildcard pattern `wanted` and is more specific, or None."""
    if wanted.port is not None and pattern.port not in (None, wanted.port):
        return None
    kind, host = pattern.kind, pattern.host
    if host == wanted.host:
        # `*.` comes before `**.`, with any ports; of two with the same wildcard, the one with a port comes first.
        more_specific = (
            pattern.port is not None and wanted.port is None
            if kind == wanted.kind
            else wanted.kind == "subtree"  # which alone matches the host itself, and what `*.` matches
        )
        if not more_specific:
            return None
    elif wanted.kind == "one-label":
        if host.partition(".")[2] != wanted.host or kind == "one-label":
            return None
        kind = "exact"  # all that `**.` has in common with it
    elif not host.endswith(f".{wanted.host}"):
        return None
    return HostPattern(kind, host, wanted.port if pattern.port is None else pattern.port)

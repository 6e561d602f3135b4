"""Why a policy has no entry for a host that its author may have meant to pin. For error texts only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.host import HostPattern

if TYPE_CHECKING:
    from pinned_requests.core.policy import PinPolicy

_MAX_COMPARED = 1_000  # patterns: more take longer than an error text is worth, and a redirect may ask for many
_MAX_NAME = 100  # characters: difflib takes quadratic time
_ALIKE = 0.8  # of difflib's ratio: one or two characters of a name


def near_miss(policy: PinPolicy, host: str, port: int | None) -> str | None:
    """Return which entry nearly matches a host, in canonical form, that no entry matches: half a sentence, or None."""
    if len(policy.hosts) > _MAX_COMPARED:
        return None
    patterns = [HostPattern.parse(name) for name in policy.hosts]
    ports = sorted(each.port for each in patterns if each.port not in (None, port) and _covers(each, host))
    if ports:
        return f"{host} is pinned for port {ports[0]}, and was asked on {'another' if port is None else port}"
    for each in patterns:
        if each.kind == "one-label" and host == each.host:
            return f"{each} does not match {host} itself; '**.{each.host}' does"
        if each.kind == "one-label" and host.endswith(f".{each.host}"):
            return f"{each} matches one label only; '**.{each.host}' matches any number"
        if each.kind == "exact" and host.endswith(f".{each.host}"):
            return f"{each} does not match its subdomains; '**.{each.host}' does"
    import difflib  # noqa: PLC0415  for errors only

    names = [each.host for each in patterns if len(each.host) <= _MAX_NAME]
    close = difflib.get_close_matches(host[:_MAX_NAME], names, n=1, cutoff=_ALIKE)
    return f"the policy has {close[0]!r}" if close and close[0] != host else None


def _covers(pattern: HostPattern, host: str) -> bool:
    if pattern.kind == "exact":
        return host == pattern.host
    below = host.endswith(f".{pattern.host}")
    if pattern.kind == "one-label":
        return below and "." not in host.removesuffix(f".{pattern.host}")
    return below or host == pattern.host

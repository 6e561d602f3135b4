"""A policy → the policy after one change. Pure. The order of hosts and pins stays, and new ones come last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import near_miss
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pinned_requests.core.pin import Pin


def with_hosts(policy: PinPolicy, hosts: Mapping[str, PinSet]) -> PinPolicy:
    """Return the policy with more hosts.

    Raises:
        PolicyError: the policy has an entry for one of them already.
    """
    check_absent(policy, hosts)
    return _with(policy, hosts={**policy.hosts, **hosts})


def check_absent(policy: PinPolicy, patterns: Iterable[str]) -> None:
    """Raise a `PolicyError` if the policy has an entry for one of these patterns, in their canonical spelling."""
    for name in patterns:
        if name in policy.hosts:
            raise PolicyError(f"the policy has an entry for {name} already; change it with 'rotate' or 'repin'")


def with_backup(policy: PinPolicy, pattern: str, backup: Pin, served: Collection[Pin]) -> PinPolicy:
    """Return the policy with one more backup pin for a host; backup pins of keys that are `served` become pins.

    What was accepted is accepted: no client that follows the old policy or the new one refuses a server.
    """
    old = policy.hosts[pattern]
    promoted = [pin for pin in old.backup_pins if pin in served]
    reserve = [pin for pin in old.backup_pins if pin not in served]
    return _with_pins(policy, pattern, (*old.pins, *promoted), (*reserve, backup))


def without(policy: PinPolicy, pattern: str, pins: Collection[Pin]) -> PinPolicy:
    """Return the policy without some accepted pins of a host.

    Raises:
        PolicyError: none would be left.
    """
    old = policy.hosts[pattern]
    left, reserve = ([pin for pin in each if pin not in pins] for each in (old.pins, old.backup_pins))
    if not left and not reserve:
        raise PolicyError(f"{pattern} would have no pins left; give it others first")
    return _with_pins(policy, pattern, left, reserve)


def blocking(policy: PinPolicy, pins: Iterable[Pin]) -> PinPolicy:
    """Return the policy with more keys that no connection may use, to any host."""
    return _with(policy, blocked_pins=(*policy.blocked_pins, *(pin for pin in pins if pin not in policy.blocked)))


def repinned(policy: PinPolicy, pattern: str, gone: Collection[Pin], new: Iterable[Pin]) -> PinPolicy:
    """Return the policy with some pins of a host replaced by others. Backup pins stay, unless one becomes a pin."""
    old = policy.hosts[pattern]
    kept = [pin for pin in old.pins if pin not in gone]
    added = [pin for pin in new if pin not in kept]
    backups = [pin for pin in old.backup_pins if pin not in added]
    return _with_pins(policy, pattern, (*added, *kept), backups)


def _with_pins(policy: PinPolicy, pattern: str, pins: Iterable[Pin], backup_pins: Iterable[Pin]) -> PinPolicy:
    old = policy.hosts[pattern]
    new = PinSet(
        pins,
        backup_pins,
        old.blocked_pins,
        expires=old.expires,
        on_expiry=old.on_expiry,
        report_only=old.report_only,
    )
    return _with(policy, hosts={**policy.hosts, pattern: new})


def entry_of(policy: PinPolicy, host: str, port: int) -> str:
    """Return the pattern of the entry that decides about a host.

    Raises:
        PolicyError: no pattern matches it, or it is exempt.
    """
    entry = policy.find(host, port)
    if entry is None:
        advice = near_miss(policy.hosts, host, port) or "add it with 'init --add'"
        raise PolicyError(f"the policy has no entry for {show(host)} on port {port}; {advice}")
    pattern, pins = entry
    if pins.is_exempt:
        raise PolicyError(f"the policy exempts {pattern}: it has no pins to change")
    return pattern


def _with(
    policy: PinPolicy, *, hosts: Mapping[str, PinSet] | None = None, blocked_pins: tuple[Pin, ...] | None = None
) -> PinPolicy:
    return PinPolicy(
        policy.hosts if hosts is None else hosts,
        unpinned_hosts=policy.unpinned_hosts,
        report_uri=policy.report_uri,
        blocked_pins=policy.blocked_pins if blocked_pins is None else blocked_pins,
    )

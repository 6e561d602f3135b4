"""`Difference`: what one policy changes of another, for logs and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pinned_requests.core.policy import PinPolicy

MAX_NAMED = 20  # host patterns of each kind in `str()`


class Difference(NamedTuple):
    """Host patterns, in their canonical spelling, in the order of the policy that has them.

    Attributes:
        gained: only the new policy has them.
        lost: only the old policy has them.
        changed: both have them, with different pin sets. Notes do not count.
        others: names of the fields of the whole policy that differ.
    """

    gained: tuple[str, ...]
    lost: tuple[str, ...]
    changed: tuple[str, ...]
    others: tuple[str, ...]

    @classmethod
    def of(cls, old: PinPolicy, new: PinPolicy) -> Difference:
        """Return what `new` changes of `old`."""
        fields = ("unpinned_hosts", "report_uri", "blocked")
        return cls(
            tuple(host for host in new.hosts if host not in old.hosts),
            tuple(host for host in old.hosts if host not in new.hosts),
            tuple(host for host, pins in new.hosts.items() if host in old.hosts and old.hosts[host] != pins),
            tuple(
                {"blocked": "blocked_pins"}.get(name, name)
                for name in fields
                if getattr(old, name) != getattr(new, name)
            ),
        )

    def __str__(self) -> str:
        """Return one line, such as ``gained api.example.com; changed blocked_pins``."""
        parts = [
            f"{verb} {_named(hosts)}"
            for verb, hosts in (("gained", self.gained), ("lost", self.lost), ("changed", self.changed + self.others))
            if hosts
        ]
        return "; ".join(parts) or "no host changed"


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more

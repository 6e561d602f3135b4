"""`status()`: what a repository says now, for people and for monitoring, without a key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import RepositoryError

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape
from pinned_requests.publishing.keys import holder_of
from pinned_requests.publishing.state import is_due, load, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from pinned_requests.core.policy import PinPolicy

PINS_WITHIN = timedelta(days=30)  # pins that expire within this are a finding


@dataclass(frozen=True)
class KeyStatus:
    """A key of a role, and whether it signed the present version."""

    keyid: str
    holder: str | None  # see `holder_of()`; None also for a key that the root does not show
    has_signed: bool


@dataclass(frozen=True)
class RoleStatus:
    """A role and its metadata."""

    role: str
    version: int
    expires: datetime  # aware UTC
    threshold: int  # how many of its keys must sign
    keys: tuple[KeyStatus, ...]
    state: str  # `"ok"`, `"expires-soon"` (see `is_due()`) or `"expired"`


@dataclass(frozen=True)
class Status:
    """What a repository says."""

    roles: tuple[RoleStatus, ...]
    policies: Mapping[str, PinPolicy | str]  # name → the policy that a client would take, or why it would take none
    findings: tuple[str, ...]  # what has expired or expires soon, and what a client would refuse

    def document(self) -> dict[str, Any]:
        """Return it for JSON. A policy is text in JSON, as it is published."""
        roles = {
            each.role: {
                "version": each.version,
                "expires": f"{each.expires:%Y-%m-%dT%H:%M:%SZ}",
                "state": each.state,
                "threshold": each.threshold,
                "keys": [asdict(key) for key in each.keys],
            }
            for each in self.roles
        }
        policies = {
            name: {"error": found} if isinstance(found, str) else {"policy": found.to_json()}
            for name, found in self.policies.items()
        }
        return {"roles": roles, "policies": policies, "findings": list(self.findings)}


def status(read: Callable[[str], bytes], now: datetime, trusted_root: bytes | None = None) -> Status:
    """Read and verify a repository as a client does that remembers no newer version. Expired metadata is a finding.

    Args:
        read: see `state.load()`, also for the errors.
        now: aware.
        trusted_root: the root metadata that clients ship; None: the repository's own first one.
    """
    state = load(read, trusted_root)
    root, roles, findings = state.root.signed, [], []
    for role, metadata in state.by_role():
        result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        named = ((keyid, root.keys.get(keyid)) for keyid in root.roles[role].keyids)
        keys = tuple(
            KeyStatus(keyid, None if key is None else holder_of(key), keyid in result.signed) for keyid, key in named
        )
        signed, state_of = metadata.signed, "ok"
        if signed.expires <= now:
            state_of = "expired"
            findings.append(f"{role} expired on {signed.expires:%Y-%m-%d %H:%M} UTC: clients refuse it; sign it again")
        elif is_due(signed, now):
            state_of = "expires-soon"
            findings.append(f"{role} expires on {signed.expires:%Y-%m-%d %H:%M} UTC; sign it again")
        roles.append(RoleStatus(role, signed.version, signed.expires, result.threshold, keys, state_of))
    policies: dict[str, PinPolicy | str] = {}
    for name, target in state.targets.signed.targets.items():
        try:
            policy = policies[escape(name)] = read_policy(target, read)
        except (RepositoryError, PolicyError, OSError) as e:
            why = policies[escape(name)] = escape(str(e))
            findings.append(f"{escape(name)} is not a policy that a client would take: {why}")
        else:
            findings += _of_pins(policy, now)
    return Status(tuple(roles), policies, tuple(findings))


def _of_pins(policy: PinPolicy, now: datetime) -> list[str]:
    found = []
    for host, pins in policy.hosts.items():
        if pins.has_expired(now):
            found.append(f"the pins of {host} expired on {pins.expires:%Y-%m-%d %H:%M} UTC; publish new ones")
        elif pins.has_expired(now + PINS_WITHIN):
            found.append(f"the pins of {host} expire on {pins.expires:%Y-%m-%d %H:%M} UTC; publish new ones")
    return found

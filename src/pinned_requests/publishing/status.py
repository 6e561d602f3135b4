"""`status()`: what a repository says now, for people and for monitoring, without a key."""

from __future__ import annotations

from dataclasses import dataclass
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
    """A key of a role.

    Attributes:
        keyid: its id.
        holder: the name of the key folder that it was made in, escaped, or None if the metadata does not say it.
        has_signed: whether it signed the present version.
    """

    keyid: str
    holder: str | None
    has_signed: bool


@dataclass(frozen=True)
class RoleStatus:
    """A role.

    Attributes:
        role: its name.
        version: of its metadata.
        expires: aware UTC.
        threshold: how many of its keys must sign.
        keys: its keys.
        state: `"ok"`, `"expires-soon"` (less than a quarter of its days are left) or `"expired"`.
    """

    role: str
    version: int
    expires: datetime
    threshold: int
    keys: tuple[KeyStatus, ...]
    state: str


@dataclass(frozen=True)
class Status:
    """What a repository says.

    Attributes:
        roles: each role.
        policies: name → the policy that a client would take, or why it would take none.
        findings: what has expired or expires soon, and what a client would refuse, one sentence each.
    """

    roles: tuple[RoleStatus, ...]
    policies: Mapping[str, PinPolicy | str]
    findings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return it for JSON. A policy is text in JSON, as it is published."""
        roles = {
            each.role: {
                "version": each.version,
                "expires": f"{each.expires:%Y-%m-%dT%H:%M:%SZ}",
                "state": each.state,
                "threshold": each.threshold,
                "keys": [{"keyid": key.keyid, "holder": key.holder, "has_signed": key.has_signed} for key in each.keys],
            }
            for each in self.roles
        }
        policies = {
            name: {"error": found} if isinstance(found, str) else {"policy": found.to_json()}
            for name, found in self.policies.items()
        }
        return {"roles": roles, "policies": policies, "findings": list(self.findings)}


def status(read: Callable[[str], bytes], now: datetime, trusted_root: bytes | None = None) -> Status:
    """Read and verify a repository as a client does, and say what it says. Expired metadata is a finding.

    Args:
        read: returns the content of a file of the repository; see `state.load()`.
        now: aware.
        trusted_root: the root metadata that clients ship; None: the repository's own first one is believed.

    Raises:
        RepositoryError: a client would refuse it: a signature, version, length or hash is wrong.
        OSError: a file of the metadata is missing or cannot be read.

    What is not checked: whether a client remembers a newer version.
    """
    state = load(read, trusted_root)
    root, roles, findings = state.root.signed, [], []
    for role, metadata in state.by_role():
        result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        keys = tuple(
            KeyStatus(keyid, holder_of(root.keys[keyid]), keyid in result.signed) for keyid in root.roles[role].keyids
        )
        signed = metadata.signed
        state_of = "expired" if signed.expires <= now else "expires-soon" if is_due(signed, now) else "ok"
        roles.append(RoleStatus(role, signed.version, signed.expires, result.threshold, keys, state_of))
        if state_of == "expired":
            findings.append(f"{role} expired on {signed.expires:%Y-%m-%d %H:%M} UTC: clients refuse it; sign it again")
        elif state_of == "expires-soon":
            findings.append(f"{role} expires on {signed.expires:%Y-%m-%d %H:%M} UTC; sign it again")
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

"""Policy files of this package in TOML and JSON, which say everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats.results import Reading, Writing

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.core.host import HostPattern


def read_toml(text: str | bytes, _host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read a policy file in TOML."""
    return Reading(PinPolicy.from_toml(text), ())


def write_toml(policy: PinPolicy, _host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write a policy file in TOML."""
    return Writing(policy.to_toml(), ())


def read_json(text: str | bytes, _host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read a policy file in JSON."""
    return Reading(PinPolicy.from_json(text), ())


def write_json(policy: PinPolicy, _host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write a policy file in JSON."""
    return Writing(policy.to_json(), ())

"""What several readers need: pins, days and host names as other systems write them, and the policy made of them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PinFormatError, PolicyError
from pinned_requests.core.host import HostPattern, is_address, normalize_host
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Mapping

# Hosts may share a list of pins: 25,000 hosts and as many pins fit into 2 MB, and make 40 GB if each has its own.
MAX_PINS = 100_000
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_BASE64_LENGTH = 44  # characters of 32 bytes in base64, padding included


def bare_pin(text: str, about: str | None) -> Pin:
    """Return the SPKI pin that is written as base64 alone.

    Args:
        text: 44 characters of base64.
        about: where it was found, for the error.

    Raises:
        PinFormatError: it is something else.
    """
    if len(text) == _BASE64_LENGTH:  # all other spellings that `Pin.parse` reads are longer
        with suppress(PinFormatError):
            return Pin.parse(text)
    raise PinFormatError(f"{about}: invalid pin {show(text)}; write the {_BASE64_LENGTH} characters of its base64")


def midnight(text: str, about: str) -> datetime:
    """Return the start of a day in UTC.

    Args:
        text: the day, as in `2027-03-01`.
        about: where it was found, for the error.

    Raises:
        PolicyError: it is something else.
    """
    if _DAY.fullmatch(text):  # stricter than `fromisoformat`, which differs between Python versions
        with suppress(ValueError):
            return datetime.fromisoformat(f"{text}T00:00:00+00:00")
    raise PolicyError(f"{about}: invalid day {show(text)}; write it as '2027-03-01'")


def domain(text: str, *, with_subdomains: bool = False) -> HostPattern:
    """Return the pattern of a host name without wildcard and port.

    Args:
        text: the host name or IP address.
        with_subdomains: whether everything below it is included. It has no effect for an address.

    Raises:
        PolicyError: it is not a host name.
    """
    host = normalize_host(text)
    return HostPattern("subtree" if with_subdomains and not is_address(host) else "exact", host)


def put(entries: dict[HostPattern, PinSet], pattern: HostPattern, pins: PinSet | Mapping[str, Any]) -> None:
    """Add the entry of a host: a pin set or its fields.

    Raises:
        PolicyError: the host has an entry already, or the fields do not make a pin set.
    """
    if pattern in entries:
        raise PolicyError(f"{pattern} is listed twice; keep one of the two")
    try:
        entries[pattern] = PinSet.of(pins)
    except PolicyError as e:
        raise type(e)(f"{pattern}: {e}") from None


def policy_of(entries: Mapping[HostPattern, PinSet]) -> PinPolicy:
    """Return the policy of what was found. It allows unpinned hosts, as the system does that the text is from.

    Raises:
        PolicyError: there is no entry, or hosts that share pins have too many together.
    """
    if not entries:
        raise PolicyError("the text has no host with pins; is it in this format?")
    if (count := sum(len(pins.pins) for pins in entries.values())) > MAX_PINS:
        raise PolicyError(f"the hosts have {count} pins together, at most {MAX_PINS} are read; split the text")
    return PinPolicy({str(pattern): pins for pattern, pins in entries.items()}, unpinned_hosts="allow")

"""What the readers have in common: their pins, and the policy of what they found."""

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

# Hosts can share a list of pins: 25,000 hosts and as many pins fit into 2 MB, and make 40 GB where each has its own.
MAX_PINS = 100_000
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_BASE64_LENGTH = 44  # characters of 32 bytes in base64, padding included


def bare_pin(text: str, about: str | None) -> Pin:
    """Return the SPKI pin whose base64 `text` is, and nothing else.

    Raises:
        PinFormatError: it is not; `about` says where it stands.
    """
    if len(text) == _BASE64_LENGTH:  # all other spellings that `Pin.parse` reads are longer
        with suppress(PinFormatError):
            return Pin.parse(text)
    raise PinFormatError(f"{about}: {show(text)} is no pin; write the {_BASE64_LENGTH} characters of its base64")


def midnight(text: str, about: str) -> datetime:
    """Return the beginning, in UTC, of the day that `text` is, as in `2027-03-01`.

    Raises:
        PolicyError: it is no day; `about` says where it stands.
    """
    if _DAY.fullmatch(text):  # stricter than `fromisoformat`, of which each Python has its own
        with suppress(ValueError):
            return datetime.fromisoformat(f"{text}T00:00:00+00:00")
    raise PolicyError(f"{about} is {show(text)}; give a day as '2027-03-01'")


def domain(text: str, *, with_subdomains: bool = False) -> HostPattern:
    """Return the pattern of a host name, with all below it or alone. It has no wildcard and no port.

    Raises:
        PolicyError: it is no host name.
    """
    host = normalize_host(text)
    return HostPattern("subtree" if with_subdomains and not is_address(host) else "exact", host)


def put(entries: dict[HostPattern, PinSet], pattern: HostPattern, pins: PinSet | Mapping[str, Any]) -> None:
    """Add the entry of a host: a pin set or its fields.

    Raises:
        PolicyError: it has one already, or the fields make no pin set.
    """
    if pattern in entries:
        raise PolicyError(f"{pattern} stands there twice; keep one of them")
    try:
        entries[pattern] = PinSet.of(pins)
    except PolicyError as e:
        raise type(e)(f"{pattern}: {e}") from None


def policy_of(entries: Mapping[HostPattern, PinSet]) -> PinPolicy:
    """Return the policy of what was found; like the systems it comes from it leaves other hosts alone.

    Raises:
        PolicyError: nothing was, or hosts and pins multiply to too many.
    """
    if not entries:
        raise PolicyError("the text names no host with pins; is it of this format?")
    if (count := sum(len(pins.pins) for pins in entries.values())) > MAX_PINS:
        raise PolicyError(f"the hosts have {count} pins together, and {MAX_PINS} are read; split the text")
    return PinPolicy({str(pattern): pins for pattern, pins in entries.items()}, unpinned_hosts="allow")

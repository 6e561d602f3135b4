"""DNS TLSA records (RFC 6698) in presentation format (§2.2), as of zone files and of `dig +noall +answer`.

Rules for the next maintainer:

- A pin matches at any depth, and a record names one: usages 1 and 3 the leaf, 0 and 2 a CA. So each pin is written as
  both; of several records one suffices (RFC 7671 §5).
- Only SHA-256 is a pin (matching type 1); the selector tells keys (1) from whole certificates (0).
"""

from __future__ import annotations

import re
from itertools import dropwhile
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import MAX_NAME, MAX_PORT, HostPattern, is_address, normalize_host
from pinned_requests.core.pin import DIGEST_SIZE, Pin
from pinned_requests.core.text import escape, show
from pinned_requests.formats.bounds import bounded_lines
from pinned_requests.formats.collect import policy_of, put
from pinned_requests.formats.loss import WHOLE, Loss, Reading, Writing
from pinned_requests.formats.narrow import Abilities, narrow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pinned_requests.core.pin import PinKind
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.formats.narrow import Narrowed

_ABILITIES = Abilities("DNS", kinds=frozenset(("exact",)), ports=True, certificates=True)
_QUOTED = re.compile(r'"[^"]*"')  # of other records: marks within have no meaning
_HTTPS = 443
_TTL = 3600  # seconds
_DANE_EE, _DANE_TA = 3, 2
_USAGES = (0, 1, _DANE_TA, _DANE_EE)
_SELECTOR: dict[PinKind, int] = {"cert": 0, "spki": 1}
_SHA256 = 1
_OWNER = re.compile(r"(?:_([1-9][0-9]{0,4})|\*)\._(tcp|udp|sctp)\.([^\s]+)\.", re.ASCII | re.IGNORECASE)
_TTL_OR_CLASS = re.compile(r"IN|[0-9][0-9smhdw]*", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,3}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII | re.IGNORECASE)


class _Record(NamedTuple):
    owner: str
    data: list[str]


def read(text: str | bytes, _host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read TLSA records. Records of other types are left out."""
    losses: dict[Loss, None] = {}
    pins: dict[HostPattern, list[Pin]] = {}
    for record in _records(bounded_lines(text), losses):
        pattern = _pattern(record.owner)
        if isinstance(pattern, Loss):
            losses[pattern] = None
        elif isinstance(pin := _pin(pattern, record.data), Loss):
            losses[pin] = None
        else:
            pins.setdefault(pattern, []).append(pin)
    entries: dict[HostPattern, PinSet] = {}
    for pattern, found in pins.items():
        put(entries, pattern, {"pins": found})
    depth = "of a pin is lost: a record is about a leaf or a CA, and here a pin matches at any depth of a valid chain"
    return Reading(policy_of(entries), (*losses, Loss(None, "depth", depth)))


def _records(text: str, losses: dict[Loss, None]) -> Iterator[_Record]:
    owner = ""
    for begins_blank, words in _entries(text):
        rest = list(dropwhile(_TTL_OR_CLASS.fullmatch, words if begins_blank else words[1:]))
        if words[0].startswith("$"):
            if words[0].upper() not in ("$ORIGIN", "$TTL"):  # owners are wanted in full, and nobody asks for the TTL
                losses[Loss(None, escape(words[0]), "is not followed")] = None
            continue
        owner = owner if begins_blank else words[0]
        if not owner:
            raise PolicyError("the first record has no owner; begin with '_443._tcp.api.example.com.'")
        if not rest:
            raise PolicyError(f"the record of {show(owner)} has no type; write 'IN TLSA 3 1 1' and a SHA-256 behind")
        if rest[0].upper() == "TLSA":
            yield _Record(owner, rest[1:])
        else:
            losses[Loss(None, escape(rest[0]), "is left out: it is no TLSA record")] = None


def _entries(text: str) -> Iterator[tuple[bool, list[str]]]:
    """Yield the entries of a zone file (RFC 1035 §5.1), and whether each begins with a blank: then it has no owner."""
    begins_blank, words, is_open = False, list[str](), False
    for line in text.split("\n"):
        plain = _QUOTED.sub("", line).partition(";")[0]
        if not is_open:
            begins_blank, words = plain[:1].isspace(), []
        for word in plain.replace("(", " ( ").replace(")", " ) ").split():
            if word not in ("(", ")"):
                words.append(word)
            elif is_open == (word == "("):
                raise PolicyError("the parentheses of a record do not match")
            else:
                is_open = not is_open
        if words and not is_open:
            yield begins_blank, words
    if is_open:
        raise PolicyError("the parentheses of a record do not match")


def _pattern(owner: str) -> HostPattern | Loss:
    """Return the host and port of an owner name, `_443._tcp.example.com.` (RFC 6698 §3); `*` for a port is any."""
    if not (parts := _OWNER.fullmatch(owner)):
        raise PolicyError(f"{show(owner)} is no owner of TLSA records; write it in full, '_443._tcp.api.example.com.'")
    host = normalize_host(parts[3])
    port = int(parts[1]) if parts[1] else None
    if is_address(host) or (port or 0) > MAX_PORT:
        raise PolicyError(f"{show(owner)} is no owner of TLSA records: it needs a host name and a port to {MAX_PORT}")
    pattern = HostPattern("exact", host, port)
    if parts[2].lower() != "tcp":
        return Loss(str(pattern), WHOLE, f"is left out for {parts[2].lower()}: HTTPS is spoken over tcp")
    return pattern


def _pin(pattern: HostPattern, data: list[str]) -> Pin | Loss:
    """Return the pin of a record's data, `usage selector matching-type hex…`."""
    digits = "".join(data[3:])
    if not (all(map(_NUMBER.fullmatch, data[:3])) and _HEX.fullmatch(digits)):
        raise PolicyError(f"{pattern}: {show(' '.join(data))} is no TLSA record; write '3 1 1' and hexadecimal digits")
    usage, selector, matching = map(int, data[:3])
    if usage not in _USAGES or selector not in _SELECTOR.values() or matching != _SHA256:
        return Loss(
            str(pattern), "pins", f"of a record '{usage} {selector} {matching}' are left out: no SHA-256 of a key"
        )
    if len(digits) != 2 * DIGEST_SIZE:
        raise PolicyError(f"{pattern}: {show(digits)} is no SHA-256; that has {2 * DIGEST_SIZE} hexadecimal digits")
    return Pin("cert" if selector == _SELECTOR["cert"] else "spki", bytes.fromhex(digits))


def write(policy: PinPolicy, _now: datetime | None) -> Writing:
    """Write TLSA records. A host without a port is written for 443, the port of https."""
    narrowed = narrow(policy, _ABILITIES)
    _give_ports(narrowed, policy)
    dane = "is not asked for by usages 2 and 3, and a client believes records that DNSSEC signs, alone"
    narrowed.losses.append(Loss(None, "CA validation", dane))
    losses = narrowed.finish(_ABILITIES.system)
    lines = [
        f"_{pattern.port}._tcp.{pattern.host}. {_TTL} IN TLSA "
        f"{usage} {_SELECTOR[pin.kind]} {_SHA256} {pin.digest.hex()}"
        for pattern, entry in narrowed.entries.items()
        for usage in (_DANE_EE, _DANE_TA)
        for pin in entry.pins
    ]
    return Writing("\n".join(lines) + "\n", losses)


def _give_ports(narrowed: Narrowed, policy: PinPolicy) -> None:
    for pattern in list(narrowed.entries):
        with_port = pattern._replace(port=pattern.port or _HTTPS)
        if len(f"_{with_port.port}._tcp.{pattern.host}") > MAX_NAME:
            narrowed.leave_out(pattern, "its records would have too long a name")
        elif with_port != pattern and str(with_port) in policy.hosts:
            # Also where that entry was left out, as a report-only one is: these pins would be enforced in its place.
            narrowed.leave_out(pattern, f"{with_port} has an entry of its own, and DNS has records for a port")
        elif with_port != pattern:
            narrowed.entries[with_port] = narrowed.entries.pop(pattern)
            text = f"holds on port {_HTTPS} alone: DNS has records for a port"
            narrowed.losses.append(Loss(str(pattern), WHOLE, text))

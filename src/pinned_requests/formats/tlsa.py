"""DNS TLSA records in presentation format (RFC 6698 §2.2), as in zone files and in what `dig +noall +answer` prints.

A pin matches at any depth, and a record names one: usages 1 and 3 the leaf, 0 and 2 a CA. So each pin is written as
both; one matching record is enough (RFC 7671 §5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import MAX_NAME, MAX_PORT, HostPattern, is_address, normalize_host
from pinned_requests.core.pin import DIGEST_SIZE, Pin
from pinned_requests.core.text import escape, show
from pinned_requests.formats.export import Abilities, export
from pinned_requests.formats.parsing import bounded, parsing, policy_of
from pinned_requests.formats.results import WHOLE, Loss, Reading, Writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pinned_requests.core.pin import PinKind
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.formats.export import Export

_ABILITIES = Abilities("DNS", kinds=frozenset(("exact",)), ports=True, certificates=True)
_HTTPS = 443
_TTL = 3600  # seconds
_DANE_EE, _DANE_TA = 3, 2
_USAGES = (0, 1, _DANE_TA, _DANE_EE)
_SELECTOR: dict[PinKind, int] = {"cert": 0, "spki": 1}
_SHA256 = 1  # the matching type
_NO_ORIGIN = "origin-is-unknown.invalid."  # RFC 2606 §2: no zone has this name
_LONG_NUMBER = re.compile(r"[0-9]{1000}", re.ASCII)  # dnspython takes quadratic time for a number
_OWNER = re.compile(r"(?:_([1-9][0-9]{0,4})|\*)\._(tcp|udp|sctp)\.([^\s]+)\.", re.ASCII | re.IGNORECASE)


def read(text: str | bytes, _host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read TLSA records. Records of other types are left out."""
    losses: dict[Loss, None] = {}
    pins: dict[HostPattern, list[Pin]] = {}
    for owner, kind, record in _records(bounded(text, lines="\n")):
        if kind != "TLSA":
            losses[Loss(None, escape(kind), "is left out: it is not a TLSA record")] = None
            continue
        pattern = _pattern(owner)
        if isinstance(pattern, Loss):
            losses[pattern] = None
        elif isinstance(pin := _pin(pattern, record), Loss):
            losses[pin] = None
        else:
            pins.setdefault(pattern, []).append(pin)
    depth = "of a pin is not kept: a record is about a leaf or a CA, and a policy matches a pin at any depth"
    policy = policy_of((pattern, {"pins": found}) for pattern, found in pins.items())
    return Reading(policy, (*losses, Loss(None, "depth", depth)))


class _Records:
    """Collects what `dns.zonefile.Reader` reads, as the part of a `dns.transaction.Transaction` that it uses.

    A `dns.zone.Zone` takes the SOA of one zone only, and quadratic time for many records of one name.
    """

    def __init__(self, root: Any) -> None:
        self.found: list[tuple[Any, Any]] = []
        self.manager = self
        self._root = root

    def origin_information(self) -> tuple[Any, bool, Any]:
        """Return the origin, outside of which names are skipped, and whether names are made relative to it."""
        return self._root, False, self._root

    def check_put_rdataset(self, check: object) -> None:
        """Ignore the check that a CNAME has no other record beside it."""

    def add(self, name: Any, _ttl: int, record: Any) -> None:
        """Collect a record."""
        self.found.append((name, record))

    def _set_origin(self, origin: object) -> None:
        """Ignore `$ORIGIN`, which the reader follows itself."""


def _records(text: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the records of a zone file: owner, type and data."""
    try:
        import dns.name  # noqa: PLC0415  of the `cli` extra, for this format alone
        import dns.rdataclass  # noqa: PLC0415
        import dns.rdatatype  # noqa: PLC0415
        import dns.tokenizer  # noqa: PLC0415
        import dns.zonefile  # noqa: PLC0415
    except ImportError:
        raise ImportError("reading tlsa needs dnspython; run: pip install 'pinned-requests[cli]'") from None
    if _LONG_NUMBER.search(text):
        raise PolicyError("invalid zone file: it has a number of 1000 or more digits; remove it")
    records = _Records(dns.name.root)
    with parsing("zone file"):
        reader = dns.zonefile.Reader(
            dns.tokenizer.Tokenizer(text.replace("\r\n", "\n"), "line"),
            dns.rdataclass.IN,
            records,
            # $INCLUDE would open files, and $GENERATE would make millions of records out of one line.
            allow_directives=("$ORIGIN", "$TTL"),
            default_ttl=_TTL,
        )
        # A name that is relative to an unknown origin must not become one below the root.
        reader.current_origin = dns.name.from_text(_NO_ORIGIN)
        reader.read()
    for name, record in records.found:
        yield name.to_text(), dns.rdatatype.to_text(record.rdtype), record


def _pattern(owner: str) -> HostPattern | Loss:
    """Return the host and port of an owner name, `_443._tcp.example.com.` (RFC 6698 §3); `*` for a port is any."""
    parts = _OWNER.fullmatch(owner)
    if not parts or owner.endswith(f".{_NO_ORIGIN}"):
        name = owner.removesuffix(f".{_NO_ORIGIN}")
        raise PolicyError(
            f"invalid owner {show(name)} of a TLSA record; write it in full, as '_443._tcp.api.example.com.'"
        )
    host = normalize_host(parts[3])
    port = int(parts[1]) if parts[1] else None
    if is_address(host) or (port or 0) > MAX_PORT:
        raise PolicyError(
            f"invalid owner {show(owner)} of a TLSA record; it needs a host name, and a port of at most {MAX_PORT}"
        )
    pattern = HostPattern("exact", host, port)
    if parts[2].lower() != "tcp":
        return Loss(str(pattern), WHOLE, f"is left out for {parts[2].lower()}: a policy is about https, over tcp")
    return pattern


def _pin(pattern: HostPattern, record: Any) -> Pin | Loss:
    """Return the pin in the data of a TLSA record."""
    usage, selector, matching = record.usage, record.selector, record.mtype
    if usage not in _USAGES or selector not in _SELECTOR.values() or matching != _SHA256:
        text = f"of a record '{usage} {selector} {matching}' are left out: they are not the SHA-256 of a key"
        return Loss(str(pattern), "pins", text)
    if len(record.cert) != DIGEST_SIZE:  # older versions of dnspython do not check it
        raise PolicyError(f"{pattern}: invalid SHA-256; write {2 * DIGEST_SIZE} hexadecimal digits")
    return Pin("cert" if selector == _SELECTOR["cert"] else "spki", bytes(record.cert))


def write(policy: PinPolicy, _host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write TLSA records. A host without a port is written for 443, the port of https."""
    exported = export(policy, _ABILITIES)
    _give_ports(exported, policy)
    dane = "is not required by usages 2 and 3, and clients use only records that DNSSEC signs"
    exported.lose(None, "CA validation", dane)
    losses = exported.finish()
    lines = [
        f"_{pattern.port}._tcp.{pattern.host}. {_TTL} IN TLSA "
        f"{usage} {_SELECTOR[pin.kind]} {_SHA256} {pin.digest.hex()}"
        for pattern, entry in exported.entries.items()
        for usage in (_DANE_EE, _DANE_TA)
        for pin in entry.pins
    ]
    return Writing("\n".join(lines) + "\n", losses)


def _give_ports(exported: Export, policy: PinPolicy) -> None:
    for pattern in list(exported.entries):
        with_port = HostPattern(pattern.kind, pattern.host, pattern.port or _HTTPS)
        if len(f"_{with_port.port}._tcp.{pattern.host}") > MAX_NAME:
            exported.leave_out(pattern, "the names of its records would be too long")
        elif with_port != pattern and str(with_port) in policy.hosts:
            # Also if that entry is left out, as a report-only one is: these pins would be enforced in its place.
            exported.leave_out(pattern, f"{with_port} has an entry of its own, and DNS has records for one port")
        elif with_port != pattern:
            exported.entries[with_port] = exported.entries.pop(pattern)
            exported.lose(pattern, WHOLE, f"is limited to port {_HTTPS}: DNS has records for one port")

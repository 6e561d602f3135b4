"""`History`: what was seen of hosts over time, in a file; and what can be learned of it.

Rules for the next maintainer:

- A renewal is a certificate that was issued after the host was first seen, however many servers it has.
- Nothing is concluded from less than two renewals: one may be an accident.
- A file that cannot be read is an error, not a new beginning: the past would be lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import escape, show
from pinned_requests.monitoring.details import validity
from pinned_requests.monitoring.findings import INTERMEDIATE, LEAF, Finding
from pinned_requests.monitoring.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from pinned_requests.monitoring.findings import Certificates, PinUse

_VERSION = 1
_MAX_SIZE = 64_000_000  # bytes: some 20,000 hosts
_MAX_KEPT = 16  # certificates of a host: of those that live six days, three months
_ENOUGH = 2  # renewals
_DATES = ("not_before", "not_after", "first_seen", "last_seen")
_BACKDATED = timedelta(hours=1)  # by Let's Encrypt and others, against clocks that are slow

KEPT, CHANGES, SOMETIMES, ROTATES, UNKNOWN = "kept", "changes", "sometimes-kept", "rotates", "unknown"


class Seen(NamedTuple):
    """A leaf certificate that a host has presented."""

    certificate: str  # its fingerprint, as a pin
    key: str  # the pin of its key
    issuer: str | None  # the pin of the key of the certificate above it
    not_before: datetime
    not_after: datetime
    first_seen: datetime
    last_seen: datetime


class Learned(NamedTuple):
    """What the history of a host tells."""

    renewals: int  # how many were seen
    key: str  # `KEPT` over each renewal, `CHANGES` with each, `SOMETIMES` kept, or `UNKNOWN` yet
    issuer: str  # `KEPT` over all renewals, `ROTATES`, or `UNKNOWN` yet
    issuer_changed: datetime | None  # when another issuer than before was last seen
    lifetime: timedelta  # of the newest certificate

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        fields = self._asdict()
        fields["issuer_changed"] = self.issuer_changed and _text(self.issuer_changed)
        fields["lifetime_days"] = round(fields.pop("lifetime") / timedelta(days=1), 2)
        return fields


@dataclass
class History:
    """What was seen of hosts."""

    hosts: dict[str, list[Seen]] = field(default_factory=dict)  # in the order in which they were first seen
    authorities: dict[Pin, str] = field(default_factory=dict)  # names of CAs that are pinned and were trusted once

    @classmethod
    def read(cls, path: Path) -> History:
        """Return what a file holds that `write()` has written; one that does not exist is the beginning.

        Raises:
            PolicyError: it holds something else.
            OSError: it cannot be read.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_SIZE + 1)
        except FileNotFoundError:
            return cls()
        try:
            return cls._of(json.loads(data) if len(data) <= _MAX_SIZE else {})
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise PolicyError(f"{show(str(path))} is not a state file of this version; move it away") from None

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> History:
        if document["version"] != _VERSION:
            raise PolicyError
        hosts = {str(host): [_seen(each) for each in listed] for host, listed in document["hosts"].items()}
        authorities = {Pin.parse(pin): escape(str(name)) for pin, name in document["authorities"].items()}
        return cls(hosts, authorities)

    def write(self, path: Path) -> None:
        """Write a file, as `write_whole()` does."""
        document = {
            "version": _VERSION,
            "hosts": {host: [each._asdict() for each in seen] for host, seen in sorted(self.hosts.items())},
            "authorities": {str(pin): name for pin, name in sorted(self.authorities.items(), key=str)},
        }
        write_whole(path, (json.dumps(document, indent=1, default=_text) + "\n").encode())

    def observe(self, host: str, chain: Certificates, now: datetime) -> None:
        """Note a verified chain of a host, if its dates can be read."""
        leaf = chain[0]
        begins, ends = validity(leaf.der)
        if begins is None or ends is None:
            return
        listed = self.hosts.setdefault(host, [])
        name = str(leaf.certificate_pin)
        for at, seen in enumerate(listed):
            if seen.certificate == name:
                listed[at] = seen._replace(last_seen=now)
                return
        issuer = str(chain[1].spki_pin) if len(chain) > 1 else None
        listed.append(Seen(name, str(leaf.spki_pin), issuer, begins, ends, now, now))
        del listed[:-_MAX_KEPT]

    def keys(self, host: str) -> frozenset[str]:
        """Return the pins of the leaf keys that a host has presented."""
        return frozenset(each.key for each in self.hosts.get(host, ()))

    def learned(self, host: str) -> Learned | None:
        """Return what is known of a host; None if it was never seen."""
        return learn(self.hosts.get(host, ()))


def learn(seen: Sequence[Seen]) -> Learned | None:
    """Return what certificates tell, in the order in which they were first seen; None for none."""
    if not seen:
        return None
    begin = min(each.first_seen for each in seen)
    renewals = [
        (at, each) for at, each in enumerate(seen) if each.first_seen > begin and each.not_before > begin - _BACKDATED
    ]
    kept = sum(each.key in {before.key for before in seen[:at]} for at, each in renewals)
    changes = [each.first_seen for at, each in renewals if each.issuer != seen[at - 1].issuer]
    newest = max(seen, key=lambda each: each.not_before)
    key = issuer = UNKNOWN
    if len(renewals) >= _ENOUGH:
        key = KEPT if kept == len(renewals) else CHANGES if kept == 0 else SOMETIMES
        issuer = ROTATES if changes else KEPT
    return Learned(len(renewals), key, issuer, max(changes, default=None), newest.not_after - newest.not_before)


def of_history(
    learned: Learned, uses: Sequence[PinUse], keys: Collection[str], max_client_age: timedelta
) -> Iterator[Finding]:
    """Yield what the pins of a host will not survive. `keys` are those of `History.keys()`."""
    roles = {use.role for use in uses if use.depth is not None}
    roles |= {LEAF for use in uses if str(use.pin) in keys}  # one that has been changed does not match any more
    days = f"{learned.lifetime / timedelta(days=1):.0f} days"
    if roles == {LEAF} and learned.key == CHANGES:
        text = f"each of {learned.renewals} renewals brought another key, and only the leaf is pinned; make the renewal"
        yield Finding("key-changes-each-renewal", f"{text} keep the key, or pin the issuer")
    if roles == {LEAF} and learned.key != KEPT and learned.lifetime < max_client_age:
        text = f"its certificates live {days}, and a policy takes up to {max_client_age.days} to reach the clients"
        yield Finding("validity-short", f"{text}; make the renewal keep the key, or pin the next keys ahead")
    # A leaf's key that changes does not help when the issuer does.
    lasting = roles if learned.key == KEPT else roles - {LEAF}
    if lasting == {INTERMEDIATE} and learned.issuer == ROTATES:
        when = "" if learned.issuer_changed is None else f", last on {learned.issuer_changed:%Y-%m-%d}"
        text = f"its issuer changed within {learned.renewals} renewals{when}; pin the root, or a key of yours"
        yield Finding("issuer-rotates", text)


def _seen(fields: Mapping[str, Any]) -> Seen:
    certificate, key, issuer = (fields[name] for name in ("certificate", "key", "issuer"))
    return Seen(
        str(Pin.parse(certificate)),
        str(Pin.parse(key)),
        None if issuer is None else str(Pin.parse(issuer)),
        *(_moment(fields[name]) for name in _DATES),
    )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment

"""What was seen: `PinCheck`, and `ViolationReport` as a value, text for people, and JSON for machines (RFC 7469 §3).

Rules for the next maintainer:

- A report contains host, port, pins and chain of a request, and nothing else of it: no path, query, header or body.
- Names from certificates are escaped where they are parsed; hosts are escaped here. A line has at most 200 characters,
  and a list at most 20 lines: the peer chooses both.
"""

from __future__ import annotations

import base64
import json
import textwrap
from typing import TYPE_CHECKING, Any

from pinned_requests.core.host import DEFAULT_PORTS, HostPattern, spell_host
from pinned_requests.core.text import escape
from pinned_requests.core.value import Value
from pinned_requests.core.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin

MAX_LINES = 20
_MAX_HOST = 100  # characters of a host in the sentence: the rest of the sentence needs room


class PinCheck(Value):
    """Whether a URL is pinned, and what matched.

    Attributes:
        host: the host in canonical form, escaped. If a proxy was refused before the host was reached, the proxy.
        port: the port of that host.
        outcome: what was found, such as `Outcome.MATCH`; it is equal to its text, such as `"match"`.
        pattern: the host pattern that matched, or None.
        pin: the pin that matched, or that is blocked, or None.
        depth: the position of its certificate in the chain, 0 for the leaf, or None.
        chain: the certificates, leaf first; empty without a handshake.
        verified: whether the chain and the host name were verified.
    """

    host: str
    port: int | None
    outcome: Outcome
    pattern: str | None
    pin: Pin | None
    depth: int | None
    chain: tuple[SeenCertificate, ...]
    verified: bool
    __slots__ = tuple(__annotations__)

    def __init__(  # noqa: PLR0913, PLR0917  one argument a field
        self,
        host: str,
        port: int | None,
        outcome: Outcome,
        pattern: str | None = None,
        pin: Pin | None = None,
        depth: int | None = None,
        chain: tuple[SeenCertificate, ...] = (),
        verified: bool = False,  # noqa: FBT001, FBT002  a field
    ) -> None:
        self._set(
            host=host,
            port=port,
            outcome=outcome,
            pattern=pattern,
            pin=pin,
            depth=depth,
            chain=chain,
            verified=verified,
        )

    @property
    def ok(self) -> bool:
        """Whether the host is pinned and presented one of its pins."""
        return self.outcome is Outcome.MATCH

    @classmethod
    def of(cls, verdict: Verdict) -> PinCheck:
        """Return the check with this verdict."""
        return cls(
            host=escape(verdict.host),
            port=verdict.port,
            outcome=verdict.outcome,
            pattern=verdict.pattern,
            pin=verdict.pin,
            depth=verdict.depth,
            chain=verdict.chain.certificates,
            verified=verdict.chain.is_verified,
        )


class ViolationReport(Value):
    """A violation of a policy: a refusal, or a connection that is allowed because its pins are report-only or expired.

    Attributes:
        verdict: the decision, with the validated chain that it is based on.
        date_time: when it was made: aware, UTC.
        served_chain: the certificates that the peer sent, in DER, leaf first; empty without a handshake.
        policy_file: the path of the policy's file, where it is known.
        near_miss: why the policy has no entry for the host, where one nearly matches.
    """

    verdict: Verdict
    date_time: datetime
    served_chain: tuple[bytes, ...]
    policy_file: str | None
    near_miss: str | None
    _text: str | None
    __slots__ = tuple(__annotations__)

    def __init__(
        self,
        verdict: Verdict,
        date_time: datetime,
        served_chain: tuple[bytes, ...] = (),
        policy_file: str | None = None,
        near_miss: str | None = None,
    ) -> None:
        self._set(
            verdict=verdict,
            date_time=date_time,
            served_chain=served_chain,
            policy_file=policy_file,
            near_miss=near_miss,
            _text=None,
        )

    def _fields(self) -> tuple[Any, ...]:
        return self.verdict, self.date_time, self.served_chain, self.policy_file, self.near_miss

    @property
    def outcome(self) -> Outcome:
        """What was found."""
        return self.verdict.outcome

    @property
    def allowed(self) -> bool:
        """Whether the connection may be used nevertheless: the pins are report-only, or expired and not blocking."""
        return self.verdict.is_allowed

    @property
    def noted_host(self) -> str:
        """The host pattern that matched, or the host if none did."""
        return self.verdict.pattern or self.host

    @property
    def host(self) -> str:
        """The host of the connection, escaped."""
        return escape(self.verdict.host)

    @property
    def port(self) -> int | None:
        """The port of the connection."""
        return self.verdict.port

    @property
    def effective_expiry(self) -> datetime | None:
        """When the pins expire or expired: aware, UTC; or None."""
        return self.verdict.pins.expires if self.verdict.pins else None

    @property
    def report_only(self) -> bool:
        """Whether the pin set is report-only."""
        return self.verdict.pins is not None and self.verdict.pins.report_only

    @property
    def chain(self) -> tuple[SeenCertificate, ...]:
        """The chain that was evaluated, leaf first."""
        return self.verdict.chain.certificates

    @property
    def known_pins(self) -> tuple[Pin, ...]:
        """The pins that would have been accepted."""
        return (*self.verdict.pins.pins, *self.verdict.pins.backup_pins) if self.verdict.pins else ()

    def fields(self) -> dict[str, Any]:
        """Return the report as plain values for structured logs: the `extra=` of its log record."""
        return {
            "host": self.host,
            "port": self.verdict.port,
            "noted_host": self.noted_host,
            "outcome": self.verdict.outcome.value,
            "allowed": self.verdict.is_allowed,
            "report_only": self.report_only,
            "spki_pins_seen": [str(seen.spki_pin) for seen in self.chain],
        }

    def to_json(self) -> str:
        """Return the report as a JSON object in the form of RFC 7469 §3, on one line.

        `port` and `effective-expiration-date` may be null. In `known-pins`, pins of whole certificates, which the RFC
        does not have, use the token `cert-sha256`. Further members that the RFC does not have are `noted-pattern`,
        `outcome`, `allowed`, `report-only` and `spki-pins-seen`.
        """
        expiry = self.effective_expiry
        pattern = HostPattern.parse(self.verdict.pattern) if self.verdict.pattern else None
        value: dict[str, Any] = {
            "date-time": _rfc3339(self.date_time),
            "hostname": self.host,
            "port": self.port,
            "effective-expiration-date": None if expiry is None else _rfc3339(expiry),
            "include-subdomains": pattern is not None and pattern.kind != "exact",
            "noted-hostname": pattern.host if pattern else self.host,
            "noted-pattern": self.verdict.pattern,
            "served-certificate-chain": [_pem(der) for der in self.served_chain],
            "validated-certificate-chain": [_pem(seen.der) for seen in self.chain if self.verdict.chain.is_verified],
            "known-pins": [_rfc7469(pin) for pin in self.known_pins],
            "outcome": self.verdict.outcome.value,
            "report-only": self.report_only,
            "allowed": self.verdict.is_allowed,
            "spki-pins-seen": [str(seen.spki_pin) for seen in self.chain],
        }
        return json.dumps(value)

    def __str__(self) -> str:
        """Return a sentence, the chain, and the pins in the spelling of the configuration."""
        if self._text is None:
            self._set(_text=self._render())
        return self._text or ""

    def __repr__(self) -> str:
        return f"<ViolationReport {self.outcome.value} of {self.host}, {_rfc3339(self.date_time)}>"

    def _render(self) -> str:
        verdict, lines = self.verdict, [self._sentence()]
        if certificates := verdict.chain.certificates:
            heading = "verified" if verdict.chain.is_verified else "not verified: only its first certificate counts"
            lines += [f"  Chain ({heading}):", *_cut([f"{seen.spki_pin}  {seen.subject}" for seen in certificates])]
            lines += self._hints()
        if verdict.outcome is Outcome.BLOCKED_KEY and verdict.pin:
            of_set = verdict.pins.blocked_pins if verdict.pins else ()
            where = f"for {self.noted_host}" if verdict.pin in of_set else "by the policy, for every host"
            lines += [f"  Blocked {where}:", *_cut([verdict.pin.describe()])]
        elif verdict.pins and self.known_pins and verdict.outcome in (Outcome.MISMATCH, Outcome.CHAIN_UNAVAILABLE):
            in_use = [pin.describe() for pin in verdict.pins.pins]
            backup = [f"{pin.describe()}  (backup)" for pin in verdict.pins.backup_pins]
            lines += [f"  Pinned for {self.noted_host}:", *_cut(in_use + backup)]
        if verdict.outcome is Outcome.MISMATCH:
            lines += self._remedy()
        if self.near_miss is not None:
            lines.append(f"  {self.near_miss}.")
        return "\n".join(map(escape, lines))

    def _remedy(self) -> list[str]:
        """Return a line with the command that pins a new key; none if it is too long to be pasted."""
        try:
            from shlex import quote  # noqa: PLC0415  for this line alone
        except (ImportError, OSError):  # without file descriptors, or in another root folder: the rest is said
            return []
        host, port = self.verdict.host, self.verdict.port
        target = spell_host(host, None if port == DEFAULT_PORTS["https"] else port)
        policy = "" if self.policy_file is None else f" --policy {quote(self.policy_file)}"
        line = f"  If its owner has changed the key: pinned-requests repin {quote(target)}{policy}"
        return [line] if escape(line) == line else []

    def _sentence(self) -> str:  # noqa: PLR0911  a sentence for each outcome
        verdict = self.verdict
        peer = spell_host(escape(verdict.host, _MAX_HOST), verdict.port)
        match verdict.outcome:
            case Outcome.MISMATCH:
                end = "; the request went on: the pin set is report-only" if verdict.is_allowed else ""
                return f"{peer} presented a certificate chain that holds none of its pins{end}."
            case Outcome.BLOCKED_KEY:
                return f"{peer} presented a certificate chain with a blocked key."
            case Outcome.EXPIRED:
                went_on = "the request went on: the host falls back to CA validation"
                end = went_on if verdict.is_allowed else "update the policy"
                return f"The pins of {peer} expired at {_rfc3339(self.effective_expiry)}; {end}."
            case Outcome.UNPINNED_HOST:
                return (
                    f"refused {peer}: it is not pinned, and the policy blocks unpinned hosts "
                    '(pin it, exempt it, or set unpinned_hosts="allow").'
                )
            case Outcome.INSECURE_URL:
                kind = "pinned hosts are https only" if verdict.pins else "the policy blocks unpinned hosts"
                return f"refused plain http:// to {peer}: {kind}; use https://."
            case Outcome.CHAIN_UNAVAILABLE:
                is_pinned = verdict.pins and not verdict.pins.is_exempt
                kind = "pinned" if is_pinned else "subject to the policy's blocked pins"
                return f"{peer} is {kind}, and its certificate chain is not available: {verdict.chain.unavailable}."
            case Outcome.OUTDATED_POLICY:
                return f"refused {peer}: {verdict.chain.unavailable}."
        return f"{peer}: {verdict.outcome.value}"

    def _hints(self) -> list[str]:
        """Return hints on why a pin that looks right did not match."""
        chain, pins = self.verdict.chain, self.verdict.pins
        if self.verdict.outcome is not Outcome.MISMATCH or pins is None:
            return []
        if chain.is_verified:
            if chain.certificates[-1].is_self_issued:
                return []
            # Python >= 3.13 stops at the first trusted certificate (VERIFY_X509_PARTIAL_CHAIN): no root pin can match.
            return ["  The chain ended at a trusted certificate that is not self-signed: no pin above it can match."]
        for depth, seen in enumerate(chain.certificates[1:], start=1):
            if not pins.accepted.isdisjoint(seen.pins):
                return [f"  A pin matches the certificate at depth {depth}, which is not verified; pin the leaf."]
        return []


def _cut(lines: Iterable[str]) -> list[str]:
    everything = [f"    {line}" for line in lines]
    if len(everything) <= MAX_LINES:
        return everything
    return [*everything[: MAX_LINES - 1], f"    … and {len(everything) - MAX_LINES + 1} more"]


def _rfc3339(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _rfc7469(pin: Pin) -> str:
    token = "pin-sha256" if pin.kind == "spki" else "cert-sha256"
    return f'{token}="{str(pin).partition("/")[2]}"'


def _pem(der: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode("ascii"), 64))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"

"""The findings of `check`, their severities, and the table of both, which `docs/check.md` repeats."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Severity(IntEnum):
    """How bad a finding is; the greater, the worse."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3

    def __str__(self) -> str:
        return self.name.lower()


class Kind(NamedTuple):
    """A kind of finding: how bad it is, and what it means."""

    severity: Severity
    meaning: str


KINDS = {
    "blocked-key": Kind(Severity.CRITICAL, "the chain holds a blocked key"),
    "mismatch": Kind(Severity.CRITICAL, "the chain holds none of the pins"),
    "invalid-certificate": Kind(
        Severity.CRITICAL, "CA validation refuses the certificate: an interceptor, or an expired one"
    ),
    "pins-expired": Kind(Severity.CRITICAL, "the pin set has expired: the host is refused, or not pinned any more"),
    "unreachable": Kind(Severity.WARNING, "no TLS handshake was completed"),
    "not-pinned": Kind(Severity.WARNING, "no pattern of the policy matches the host"),
    "pins-expire-soon": Kind(Severity.WARNING, "the pin set expires within --within"),
    "leaf-expires-soon": Kind(
        Severity.WARNING, "of the chain only the leaf is pinned, and its certificate expires within --within"
    ),
    "issuer-expires-soon": Kind(Severity.WARNING, "the certificate of a pinned issuer expires within --within"),
    "no-backup-pin": Kind(Severity.WARNING, "every pin is of a key that is served (RFC 7469 §4.3)"),
    "backup-pin-served": Kind(Severity.WARNING, "a backup pin is of a key that is served (RFC 7469 §4.3)"),
    "intermediate-differs": Kind(
        Severity.WARNING, "a pinned issuer is not in the chains of other servers of the same name"
    ),
    "pinned-ca-left-store": Kind(Severity.WARNING, "a pin is of a CA that the trust store does not hold any more"),
    "anchor-shortened": Kind(
        Severity.WARNING, "the trust store holds an intermediate below a pin, where Python 3.13 and later end the chain"
    ),
    "key-changes-each-renewal": Kind(
        Severity.WARNING, "of the chain only the leaf is pinned, and each renewal has brought another key (--state)"
    ),
    "validity-short": Kind(
        Severity.WARNING,
        "of the chain only the leaf is pinned, and it lives shorter than a policy takes to reach the clients (--state)",
    ),
    "issuer-rotates": Kind(
        Severity.WARNING, "of the chain only intermediates are pinned, and renewals bring others (--state)"
    ),
    "one-ca-only": Kind(Severity.INFO, "all pins are of one CA: if it fails, no pin is left"),
    "single-depth": Kind(Severity.INFO, "all pins are of one intermediate, which CAs replace without notice"),
    "seen-through-proxy": Kind(Severity.INFO, "the chain was seen through a proxy, and may be that of an interceptor"),
}


class Finding(NamedTuple):
    """One thing that is wrong or doubtful.

    Attributes:
        kind: its name, for `--ignore` and for machines.
        text: what it is, and what to do, escaped.
    """

    kind: str
    text: str

    @property
    def severity(self) -> Severity:
        """How bad it is; `kind` is one of `KINDS`."""
        return KINDS[self.kind].severity

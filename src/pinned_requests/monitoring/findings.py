"""`Finding`: one thing that is wrong or doubtful about a host."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong or doubtful.

    Attributes:
        kind: its name, for `--ignore` and for machines.
        text: what it is, and what to do, escaped.
    """

    kind: str
    text: str


KINDS = {
    "unreachable": "no connection, or a certificate that is not valid",
    "mismatch": "the chain holds none of the pins",
    "blocked-key": "the chain holds a blocked key",
    "not-pinned": "no pattern of the policy matches the host",
    "pins-expired": "the pin set has expired",
    "pins-expire-soon": "the pin set expires within --within",
    "leaf-expires-soon": "only the leaf is pinned, and its certificate expires within --within",
    "no-backup-pin": "every pin is of a key that is served (RFC 7469 §4.3)",
    "backup-pin-served": "a backup pin is of a key that is served (RFC 7469 §4.3)",
    "intermediate-differs": "a pinned issuer is not in the chain of other servers of the same name",
}

"""Other systems' pin configuration to and from `PinPolicy`: text in, text out, and what got lost on the way.

Rules for the next maintainer:

- Pure: no file, socket or clock, and nothing of this package but `core`. Parsers of others are imported when first used.
- Whatever a reader is given, it answers with a value or with a `PolicyError`, in bounded memory.
- Nothing is lost in silence: what the other side cannot express, or means differently, is a `Loss`.
- A host is never pinned by a text that the policy does not pin: what cannot be said exactly is left out, and named.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.formats.loss import Loss, Reading, Writing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pinned_requests.core.policy import PinPolicy

__all__ = ["FORMATS", "Format", "Loss", "Reading", "Writing", "read", "write"]


class Format(NamedTuple):
    """One format.

    Attributes:
        name: as `read()` and `write()` know it.
        title: what it is, in a few words.
        module: the module of this package that knows it.
        reads: whether it can be read.
        writes: whether it can be written.
        is_hostless: whether its text holds the pins of one host and does not name it: `host=` does.
        needs_now: whether its text gives times relative to now: `now=` says when that is.
    """

    name: str
    title: str
    module: str
    reads: bool = True
    writes: bool = True
    is_hostless: bool = False
    needs_now: bool = False


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        each.name: each
        for each in (
            Format("toml", "policy file in TOML", "native"),
            Format("json", "policy file in JSON", "native"),
            Format("curl", "curl and wget --pinnedpubkey", "curl", is_hostless=True),
            Format("rfc7469", "Public-Key-Pins header (RFC 7469)", "rfc7469", is_hostless=True, needs_now=True),
            Format("okhttp-kotlin", "OkHttp CertificatePinner in Kotlin", "okhttp", reads=False),
            Format("okhttp-java", "OkHttp CertificatePinner in Java", "okhttp", reads=False),
            Format("android", "Android Network Security Configuration", "android"),
            Format("apple", "Apple NSPinnedDomains property list", "apple"),
            Format("trustkit", "TrustKit property list", "trustkit"),
            Format("tlsa", "DNS TLSA records (RFC 6698)", "tlsa"),
        )
    }
)


def read(name: str, text: str | bytes, *, host: str | None = None, now: datetime | None = None) -> Reading:
    """Return the policy that `text` spells in the format `name`, and what of it a policy cannot say.

    Args:
        name: one of `FORMATS`.
        text: the configuration; bytes are UTF-8.
        host: the host or host pattern that the pins are of, for a format whose text does not name it, and only then.
        now: aware; for a format with relative times (`Format.needs_now`).

    Returns:
        A `Reading`: `policy` and `losses`. The policy allows unpinned hosts, as all these systems do (toml and json:
        as they say).

    Raises:
        PolicyError: no such format, or it cannot be read, or the text is wrong, or `host` or `now` is.
    """
    raise NotImplementedError


def write(name: str, policy: PinPolicy, *, host: str | None = None, now: datetime | None = None) -> Writing:
    """Return the text that says `policy` in the format `name`, and what of it that text does not say.

    Args:
        name: one of `FORMATS`.
        policy: the policy.
        host: one of its host patterns, or a host that one of them matches: then this host alone is written. A format
            whose text does not name hosts needs it where the policy has several.
        now: aware; for a format with relative times (`Format.needs_now`).

    Returns:
        A `Writing`: `text`, which ends with a line feed, and `losses`.

    Raises:
        PolicyError: no such format, or it cannot be written, or nothing of the policy can be said in it, or `host` or
            `now` is wrong.
    """
    raise NotImplementedError

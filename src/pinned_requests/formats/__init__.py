"""Other systems' pin configuration, converted to and from `PinPolicy`: text in, text and a list of losses out.

A format is a module with `read()` and `write()`, and a line in `_ALL`. Files, sockets and the clock do not belong here.

Rules for the next maintainer:

- Import only `core` from this package. Import parsers and other libraries lazily.
- A reader returns a value or raises a `PolicyError`, for any input and in bounded memory (`parsing.py`).
- What the other format cannot express, or understands differently, is a `Loss`. It is left out and never widened: the
  text pins no host that the policy does not pin (`export.py`).
- Writers write canonical host patterns and pins, never text from the input. Their characters have no meaning in a
  header, a zone file or a string literal; XML is escaped by a library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show
from pinned_requests.formats import android, apple, curl, okhttp, rfc7469, tlsa, trustkit
from pinned_requests.formats.export import select
from pinned_requests.formats.results import Loss, Reading, Writing

__all__ = ["FORMATS", "Format", "Loss", "Reader", "Reading", "Writer", "Writing", "read", "write"]

# One signature for all formats. The host is for those that do not name it (`is_hostless`), the time for those with
# relative times (`needs_now`); a reader or writer that needs one refuses None.
Reader: TypeAlias = Callable[[str | bytes, HostPattern | None, datetime | None], Reading]
Writer: TypeAlias = Callable[[PinPolicy, HostPattern | None, datetime | None], Writing]


class Format(NamedTuple):
    """One format.

    Attributes:
        name: the name by which `read()` and `write()` know it.
        title: what it is, in a few words.
        reader: the function that reads it, or None if it can only be written.
        writer: the function that writes it.
        is_hostless: whether its text has the pins of one host without naming it; `host=` names it.
        needs_now: whether its text gives times relative to now; `now=` gives the time.
    """

    name: str
    title: str
    reader: Reader | None
    writer: Writer
    is_hostless: bool = False
    needs_now: bool = False


_ALL = (
    Format(
        "toml",
        "policy file in TOML",
        lambda text, _host, _now: Reading(PinPolicy.from_toml(text), ()),
        lambda policy, _host, _now: Writing(policy.to_toml(), ()),
    ),
    Format(
        "json",
        "policy file in JSON",
        lambda text, _host, _now: Reading(PinPolicy.from_json(text), ()),
        lambda policy, _host, _now: Writing(policy.to_json(), ()),
    ),
    Format("curl", "curl and wget --pinnedpubkey", curl.read, curl.write, is_hostless=True),
    Format(
        "rfc7469",
        "Public-Key-Pins header (RFC 7469)",
        rfc7469.read,
        rfc7469.write,
        is_hostless=True,
        needs_now=True,
    ),
    Format("okhttp-kotlin", "OkHttp CertificatePinner in Kotlin", None, okhttp.write_kotlin),
    Format("okhttp-java", "OkHttp CertificatePinner in Java", None, okhttp.write_java),
    Format("android", "Android Network Security Configuration", android.read, android.write),
    Format("apple", "Apple NSPinnedDomains property list", apple.read, apple.write),
    Format("trustkit", "TrustKit property list", trustkit.read, trustkit.write),
    Format("tlsa", "DNS TLSA records (RFC 6698)", tlsa.read, tlsa.write),
)
FORMATS: Mapping[str, Format] = MappingProxyType({each.name: each for each in _ALL})
_WITH_REPORT_URI = ("toml", "json")


def read(name: str, text: str | bytes, *, host: str | None = None, now: datetime | None = None) -> Reading:
    """Read a configuration.

    Args:
        name: the format, one of `FORMATS`.
        text: the configuration, at most `parsing.MAX_TEXT` characters (toml and json: `policy_text.MAX_SIZE` bytes).
            Bytes are UTF-8.
        host: the host or host pattern of the pins. Required for a format whose text does not name it
            (`Format.is_hostless`), refused for others.
        now: aware; required for a format with relative times (`Format.needs_now`).

    Returns:
        The policy, and what of the text it does not say. The policy allows unpinned hosts, as all these systems do
        (toml and json: as the text says).

    Raises:
        PolicyError: the format is unknown or can only be written, or the text, `host` or `now` is wrong.
        ImportError: a library of the `cli` extra is not installed: `android` and `tlsa` need one.
    """
    known = _format(name)
    if known.reader is None:
        raise PolicyError(f"cannot read {known.name}: it is source code; it can only be written")
    if host is not None and not known.is_hostless:
        raise PolicyError(f"{known.name} names its hosts itself; leave host={show(host)} out")
    return known.reader(text, None if host is None else HostPattern.parse(host), now)


def write(name: str, policy: PinPolicy, *, host: str | None = None, now: datetime | None = None) -> Writing:
    """Write a configuration.

    Args:
        name: the format, one of `FORMATS`.
        policy: the policy.
        host: one of its host patterns, or a host that one of them matches: only what the policy says about it is
            written, narrower entries within a pattern included. Required for a format whose text does not name its
            host (`Format.is_hostless`) if the policy has several.
        now: aware; required for a format with relative times (`Format.needs_now`).

    Returns:
        The text, and what of the policy it does not say. The text pins no host that the policy does not pin.

    Raises:
        PolicyError: the format is unknown, nothing of the policy can be expressed in it, or `host` or `now` is wrong.
    """
    known = _format(name)
    if host is not None:
        policy = select(policy, host)
    pattern = None
    if known.is_hostless:
        if host is None and len(policy.hosts) != 1:
            raise PolicyError(
                f"{known.name} has the pins of one host, and the policy has {len(policy.hosts)}; give one as host="
            )
        pattern = HostPattern.parse(next(iter(policy.hosts)) if host is None else host)
    text, losses = known.writer(policy, pattern, now)
    if policy.report_uri is not None and name not in _WITH_REPORT_URI:
        losses = (Loss(None, "report_uri", "is left out: only a policy file has it"), *losses)
    return Writing(text, losses)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise PolicyError(f"unknown format {show(name)}; use one of {', '.join(FORMATS)}")
    return FORMATS[name]

"""Other systems' pin configuration, converted to and from `PinPolicy`: text in, text and a list of losses out.

Readers and writers of one format each belong here. Files, sockets, the clock and the command line do not.

Rules for the next maintainer:

- Import only `core` from this package. Import libraries when they are first used.
- A reader returns a value or raises a `PolicyError`, for any input and in bounded memory (`bounds.py`).
- Nothing is lost silently: what the other format cannot express, or understands differently, is a `Loss`.
- What cannot be expressed exactly is left out and named, never widened: the text pins no host that the policy does not.
- Writers write canonical host patterns and pins, never text from the input. Their characters have no meaning in a
  header, a zone file or a string literal; for XML a library escapes them anyway.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import show
from pinned_requests.formats.loss import Loss, Reading, Writing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

__all__ = ["FORMATS", "Format", "Loss", "Reading", "Writing", "read", "write"]


class Format(NamedTuple):
    """One format.

    Attributes:
        name: as `read()` and `write()` know it.
        title: what it is, in a few words.
        reader: the function of this package that reads it, as `module.function`, or None.
        writer: the one that writes it.
        is_hostless: whether its text holds the pins of one host and does not name it: `host=` does.
        needs_now: whether its text gives times relative to now: `now=` says when that is.
    """

    name: str
    title: str
    reader: str | None
    writer: str
    is_hostless: bool = False
    needs_now: bool = False

    @property
    def reads(self) -> bool:
        """Whether it can be read."""
        return self.reader is not None


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        each.name: each
        for each in (
            Format("toml", "policy file in TOML", "native.read_toml", "native.write_toml"),
            Format("json", "policy file in JSON", "native.read_json", "native.write_json"),
            Format("curl", "curl and wget --pinnedpubkey", "curl.read", "curl.write", is_hostless=True),
            Format(
                "rfc7469",
                "Public-Key-Pins header (RFC 7469)",
                "rfc7469.read",
                "rfc7469.write",
                is_hostless=True,
                needs_now=True,
            ),
            Format("okhttp-kotlin", "OkHttp CertificatePinner in Kotlin", None, "okhttp.write_kotlin"),
            Format("okhttp-java", "OkHttp CertificatePinner in Java", None, "okhttp.write_java"),
            Format("android", "Android Network Security Configuration", "android.read", "android.write"),
            Format("apple", "Apple NSPinnedDomains property list", "apple.read", "apple.write"),
            Format("trustkit", "TrustKit property list", "trustkit.read", "trustkit.write"),
            Format("tlsa", "DNS TLSA records (RFC 6698)", "tlsa.read", "tlsa.write"),
        )
    }
)


def read(name: str, text: str | bytes, *, host: str | None = None, now: datetime | None = None) -> Reading:
    """Return the policy that `text` spells in the format `name`, and what of it a policy does not say.

    Args:
        name: one of `FORMATS`.
        text: the configuration; bytes are UTF-8. At most `bounds.MAX_TEXT` characters (toml and json: as they have it).
        host: the host or host pattern that the pins are of, for a format whose text does not name it, and only then.
        now: aware; for a format with relative times (`Format.needs_now`).

    Returns:
        A `Reading`: `policy` and `losses`. The policy allows unpinned hosts, as all these systems do (toml and json:
        as they say).

    Raises:
        PolicyError: no such format, or it cannot be read, or the text is wrong, or `host` or `now` is.
        ImportError: a library of the extra `cli` is not installed, which reading `android` needs.
    """
    known = _known(name)
    if known.reader is None:
        raise PolicyError(f"{known.name} can be written, not read: it is a program")
    pattern = None
    if known.is_hostless:
        if host is None:
            raise PolicyError(f"{known.name} does not name the host that its pins are of; give it as host=")
        pattern = HostPattern.parse(host)
    elif host is not None:
        raise PolicyError(f"{known.name} names its hosts itself; leave host={show(host)} out")
    _check_now(known, now)
    function = cast("Callable[[str | bytes, HostPattern | None, datetime | None], Reading]", _function(known.reader))
    return function(text, pattern, now)


def write(name: str, policy: PinPolicy, *, host: str | None = None, now: datetime | None = None) -> Writing:
    """Return the text that says `policy` in the format `name`, and what of it that text does not say.

    Args:
        name: one of `FORMATS`.
        policy: the policy.
        host: one of its host patterns, or a host that one of them matches: then this host alone is written. A format
            whose text does not name hosts needs it where the policy has several.
        now: aware; for a format with relative times (`Format.needs_now`).

    Returns:
        A `Writing`: `text`, which ends with a line feed, and `losses`. Where one host is written, or in another
        system's format, `report_uri` is lost.

    Raises:
        PolicyError: no such format, or nothing of the policy can be said in it, or `host` or
            `now` is wrong.
        ImportError: a library of the extra `cli` is not installed.
    """
    known = _known(name)
    lost = []
    if policy.report_uri is not None and (host is not None or name not in _NATIVE):
        lost.append(Loss(None, "report_uri", "is left out: it is of the whole policy, in a policy file"))
    if host is not None:
        policy = _of_host(policy, host)
    elif known.is_hostless and len(policy.hosts) != 1:
        raise PolicyError(
            f"{known.name} holds the pins of one host, and the policy has {len(policy.hosts)}; name one by host="
        )
    _check_now(known, now)
    function = cast("Callable[[PinPolicy, datetime | None], Writing]", _function(known.writer))
    written = function(policy, now)
    return written._replace(losses=(*lost, *written.losses))


_NATIVE = ("toml", "json")


def _known(name: str) -> Format:
    if name not in FORMATS:
        raise PolicyError(f"{show(name)} is no format; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def _check_now(known: Format, now: datetime | None) -> None:
    if known.needs_now and (now is None or now.utcoffset() is None):
        raise PolicyError(f"{known.name} counts its times from now; give that as now=, with a time zone")


def _function(name: str) -> object:
    module, _, function = name.partition(".")
    return getattr(import_module(f"{__name__}.{module}"), function)


def _of_host(policy: PinPolicy, host: str) -> PinPolicy:
    """Return the policy of one host alone."""
    pattern = HostPattern.parse(host)
    pins = policy.hosts.get(str(pattern))
    if pins is None and pattern.kind == "exact":
        pins = policy.lookup(pattern.host, pattern.port)
    if pins is None:
        raise PolicyError(f"no pattern of the policy matches {show(host)}; name one of its hosts")
    return PinPolicy({str(pattern): pins}, unpinned_hosts=policy.unpinned_hosts, blocked_pins=policy.blocked_pins)

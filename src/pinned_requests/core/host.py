"""Host names and host patterns, in the canonical form in which they are compared; and which pattern nearly matches.

Rules for the next maintainer:

- Two spellings that a resolver sends to the same host must normalize to the same text: otherwise one of them is a way
  around the pins. A host without a canonical form is refused (`HostError`), never used unchanged.
- Decisions are made by host and port. Do not handle URLs here.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import exact, show
from pinned_requests.core.value import Value, put

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Literal

    PatternKind = Literal["exact", "one-label", "subtree"]

MAX_LABEL = 63  # characters, RFC 1035 §2.3.4
MAX_NAME = 253  # characters, RFC 1035 §2.3.4 less the length octets
MAX_TEXT = 1024  # characters of a spelling, which the cache keeps: trailing dots and a zone make it longer than a name
MAX_PORT = 65535
DEFAULT_PORTS = {"https": 443, "http": 80}
_CANONICAL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")  # characters
_NAME = r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}"  # compiled where it is needed, as the next two
_NUMBER = r"0x[0-9a-f]+|[0-9]+"
_PORT = r"[1-9][0-9]{0,4}"
_ACCEPTED = "write the host alone, such as 'api.example.com', '*.example.com' or '**.example.com'"

_KINDS: dict[str, PatternKind] = {"": "exact", "*.": "one-label", "**.": "subtree"}
PREFIXES = {kind: prefix for prefix, kind in _KINDS.items()}


class HostError(PolicyError):
    """A host without a canonical form, which cannot be looked up."""


def normalize_host(host: str) -> str:
    """Return the canonical form of a host: lower case, IDNA A-labels, no trailing dots, canonical IP address.

    IPv4 addresses are read as the resolver reads them (`inet_aton`: `127.1`, `0x7f.1`, `0177.0.0.1`). Brackets and zone
    of an IPv6 address are removed, and an IPv4-mapped one (RFC 4291 §2.5.5.2) becomes its IPv4 address. Non-ASCII names
    are encoded by the same call as in requests (UTS 46, then IDNA 2008). Whether the host exists is not checked.

    Args:
        host: a host name or IP address, without a port.

    Raises:
        HostError: it has no canonical form: an empty label, a label over 63 or a name over 253 characters (RFC 1035
            §2.3.4), another character than letters, digits, hyphens and underscores, or an invalid address.
    """
    if not isinstance(host, str):
        raise HostError(f"invalid host name {show(host)}: expected text such as 'api.example.com'")
    text = exact(host)
    if len(text) > MAX_TEXT:
        raise HostError(
            f"invalid host name {show(text)}: it has {len(text)} characters, at most {MAX_NAME} are allowed"
        )
    return _normalize(text)


@lru_cache(maxsize=4096)  # hosts: more than a process connects to; bounded, because redirects choose them
def _normalize(host: str) -> str:
    if _is_plain(host):
        return host
    name = (host if host.isascii() else _to_a_labels(host)).lower()
    if name.startswith("[") and name.endswith("]"):
        return _ipv6(host, name[1:-1])
    if ":" in name:
        return _ipv6(host, name)
    name = name.rstrip(".")
    if (address := _ipv4(name)) is not None:
        return address
    if len(name) > MAX_NAME or not re.fullmatch(_NAME, name, re.ASCII):
        raise HostError(f"invalid host name {show(host)}: it needs 1 to 63 letters, digits or hyphens between dots")
    return name


def _is_plain(name: str) -> bool:
    """Return whether a text is certainly a name in canonical form, and not an address. Nearly all names are short."""
    return (
        len(name) <= MAX_LABEL  # so no label is too long
        and _CANONICAL.issuperset(name)
        and ".." not in f".{name}"  # no label in front of the last is empty
        and name.rpartition(".")[2][:1].isalpha()  # the last is not empty, and the name is not an IP address
    )


def is_address(host: str) -> bool:
    """Return whether a normalized host is an IP address."""
    return ":" in host or _ipv4(host) is not None


def spell_host(host: str, port: int | None = None) -> str:
    """Return a host and its port, if it has one, as in a URL: an IPv6 address in brackets (RFC 3986 §3.2.2)."""
    return (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")


class HostPattern(Value):
    """A host, or the hosts that a wildcard matches.

    Attributes:
        kind: `"exact"` for the host alone; `"one-label"` (`*.`) for names with exactly one more label; `"subtree"`
            (`**.`) for the host and all names below it.
        host: the host in canonical form, without the wildcard.
        port: the only port that it matches, or None for all ports.
    """

    kind: PatternKind
    host: str
    port: int | None
    __slots__ = tuple(__annotations__)

    def __init__(self, kind: PatternKind, host: str, port: int | None = None) -> None:
        put(self, "kind", kind)  # not by `_set()`: a policy may have a hundred thousand of them
        put(self, "host", host)
        put(self, "port", port)

    def __str__(self) -> str:
        return PREFIXES[self.kind] + spell_host(self.host, self.port)

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Parse a host pattern.

        Args:
            text: `host`, `*.host` or `**.host`, each optionally followed by `:port`. An IPv6 address with a port needs
                brackets (RFC 3986 §3.2.2).

        Raises:
            PolicyError: it is something else.
        """
        if not isinstance(text, str):
            raise PolicyError(f"invalid host pattern {show(text)}; {_ACCEPTED}")
        text = exact(text)
        prefix = next(filter(text.startswith, ("**.", "*.")), "")
        kind = _KINDS[prefix]
        if _is_plain(plain := text.removeprefix(prefix)):
            return cls(kind, plain)
        _refuse_url_parts(text)
        name, port = _split_port(text)
        name = name.removeprefix(prefix)
        if "*" in name:
            raise PolicyError(f"invalid host pattern {show(text)}: '*' must be the first label; {_ACCEPTED}")
        try:
            host = normalize_host(name)
        except HostError as e:
            raise PolicyError(f"invalid host pattern {show(text)}: {e}") from None
        if kind != "exact" and is_address(host):
            raise PolicyError(f"invalid host pattern {show(text)}: an IP address has no wildcard; write it alone")
        return cls(kind, host, port)


def _refuse_url_parts(text: str) -> None:
    if not text:
        raise PolicyError(f"invalid host pattern {show(text)}; {_ACCEPTED}")
    for hint, marks in (("white space", " \t\r\n\v\f"), ("a scheme or a path", "/"), ("user information", "@")):
        if any(mark in text for mark in marks):
            raise PolicyError(f"invalid host pattern {show(text)}: it contains {hint}; {_ACCEPTED}")


def _split_port(text: str) -> tuple[str, int | None]:
    name, colon, port = text.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")) or text.endswith("]"):
        return text, None
    if not re.fullmatch(_PORT, port) or int(port) > MAX_PORT:
        raise PolicyError(f"invalid host pattern {show(text)}: a port is a number from 1 to {MAX_PORT}")
    return name, int(port)


def _to_a_labels(name: str) -> str:
    import idna  # noqa: PLC0415  a dependency of requests, which also imports it only for such names

    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except UnicodeError as e:  # idna.IDNAError is one
        raise HostError(f"invalid host name {show(name)}: {show(str(e))}") from None


def _ipv6(host: str, text: str) -> str:
    try:
        # The zone (RFC 4007 §11) names an interface of this machine, not a host.
        address = ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        raise HostError(f"invalid IPv6 address {show(host)}; write it as '2001:db8::1'") from None
    return str(address.ipv4_mapped or address)


def _ipv4(name: str) -> str | None:
    """Return the dotted form of an address that `inet_aton` reads, or None."""
    numbers = name.split(".")
    if len(numbers) > 4 or not numbers[-1][:1].isdecimal():  # noqa: PLR2004  octets
        return None
    if not all(re.fullmatch(_NUMBER, number) for number in numbers):
        return None
    try:
        *leading, last = (_number(number) for number in numbers)
    except ValueError:  # an 8 or 9 in an octal number: `inet_aton` refuses it, and it is looked up as a name
        return None
    if any(octet > 255 for octet in leading) or last >= 256 ** (5 - len(numbers)):  # noqa: PLR2004
        return None
    return str(ipaddress.IPv4Address(sum(octet << 8 * (3 - at) for at, octet in enumerate(leading)) + last))


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text, 16)
    return int(text, 8 if text.startswith("0") else 10)


_MAX_COMPARED = 1_000  # patterns: more take longer than an error text is worth, and a redirect may ask for many
_MAX_ALIKE = 100  # characters: difflib takes quadratic time
_ALIKE = 0.8  # of difflib's ratio: one or two characters of a name


def near_miss(names: Collection[str], host: str, port: int | None) -> str | None:
    """Return which of `names`, canonical host patterns, nearly matches a host that none of them matches.

    It is half a sentence for an error text, or None. `host` is in canonical form.
    """
    if len(names) > _MAX_COMPARED:
        return None
    patterns = [HostPattern.parse(name) for name in names]
    ports = sorted(each.port for each in patterns if each.port not in (None, port) and _covers(each, host))
    if ports:
        return f"{host} is pinned for port {ports[0]}, and was asked on {'another' if port is None else port}"
    for each in patterns:
        if each.kind == "one-label" and host == each.host:
            return f"{each} does not match {host} itself; '**.{each.host}' does"
        if each.kind == "one-label" and host.endswith(f".{each.host}"):
            return f"{each} matches one label only; '**.{each.host}' matches any number"
        if each.kind == "exact" and host.endswith(f".{each.host}"):
            return f"{each} does not match its subdomains; '**.{each.host}' does"
    alike = _most_alike([each.host for each in patterns if len(each.host) <= _MAX_ALIKE], host[:_MAX_ALIKE])
    return f"the policy has {alike!r}" if alike not in (None, host) else None


def _most_alike(names: list[str], name: str) -> str | None:
    try:
        import difflib  # noqa: PLC0415  for errors only
    except (ImportError, OSError):  # without file descriptors, or in another root folder: the rest is said
        return None
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)), None)


def _covers(pattern: HostPattern, host: str) -> bool:
    if pattern.kind == "exact":
        return host == pattern.host
    below = host.endswith(f".{pattern.host}")
    if pattern.kind == "one-label":
        return below and "." not in host.removesuffix(f".{pattern.host}")
    return below or host == pattern.host

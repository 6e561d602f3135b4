"""What readers need: bounded text, values as other systems write them, property lists, and the policy of these."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pinned_requests.core.errors import PinFormatError, PolicyError
from pinned_requests.core.host import HostPattern, is_address, normalize_host
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.text import escape, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# The largest app configuration known to us has about a hundred hosts in 50 kB. 2 MB hold a zone file of 20,000
# records, and keep a conversion far below 200 MB of memory.
MAX_TEXT = 2 << 20  # characters
MAX_MARKS = 100_000  # XML tags, XML attributes, or lines: each may become an object of some 200 bytes
MAX_LINE = 1 << 16  # characters of a one-line format: servers and browsers accept headers of 8 to 16 kB
# Hosts may share a list of pins: 25,000 hosts and as many pins fit into 2 MB, and make 40 GB if each has its own.
MAX_PINS = 100_000
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_BASE64_LENGTH = 44  # characters of 32 bytes in base64, padding included

_T = TypeVar("_T", dict[str, Any], list[Any], str, bool)
_NAMES = {dict: "a dictionary", list: "an array", str: "a string", bool: "true or false"}


def bounded(text: str | bytes, **marks: str) -> str:
    """Return a text (bytes are UTF-8) without a byte order mark. Every reader begins with it.

    Args:
        text: the text.
        marks: characters that it may have `MAX_MARKS` times, by what they stand for.

    Raises:
        PolicyError: it is not text, too long, not UTF-8, or has too many of the marks.
    """
    if not isinstance(text, (str, bytes)):
        raise PolicyError(f"expected text, got {escape(type(text).__name__)}; give a str, or bytes in UTF-8")
    if len(text) > MAX_TEXT:
        raise PolicyError(f"the text is too long: {len(text)} characters, at most {MAX_TEXT} are read; split it")
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text.encode("utf-8").decode("utf-8")
    except UnicodeError as e:
        raise PolicyError(
            f"the text is not UTF-8: {escape(str(e))}; convert it (a binary property list: to XML)"
        ) from None
    for what, mark in marks.items():
        if (count := plain.count(mark)) > MAX_MARKS:
            raise PolicyError(f"the text has up to {count} {what}, at most {MAX_MARKS} are read; split it")
    return plain.removeprefix("\ufeff")  # Windows editors write one


def bounded_xml(text: str | bytes) -> str:
    """Return the text of an XML document, as `bounded()` does."""
    return bounded(text, tags="<", attributes="=")


def one_line(text: str | bytes) -> str:
    """Return a text of one line, as `bounded()` does, without its final line feed; others stay."""
    line = bounded(text).removesuffix("\n").removesuffix("\r")
    if len(line) > MAX_LINE:
        raise PolicyError(f"the line is too long: {len(line)} characters, at most {MAX_LINE} are read")
    return line


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Raise a `PolicyError` for any error of a parser: it means that the text cannot be read."""
    try:
        yield
    except PolicyError:
        raise
    except Exception as e:  # noqa: BLE001  see above
        raise PolicyError(f"invalid {what}: {escape(str(e) or type(e).__name__)}") from None


class _OnceEach(dict[str, Any]):
    """A dictionary in which a key can be set once. In `plistlib` the last of two equal keys wins silently."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise PolicyError(f"the key {show(key)} is listed twice; keep one of the two")
        super().__setitem__(key, value)


def load_plist(text: str | bytes) -> dict[str, Any]:
    """Return the dictionary in an XML property list. The binary form is refused: `plutil -convert xml1` converts it."""
    import plistlib  # noqa: PLC0415  only these formats need it

    data = bounded_xml(text).encode("utf-8")
    with parsing("property list"):
        # plistlib refuses entity declarations, and loads no DTD.
        value = plistlib.loads(data, fmt=plistlib.FMT_XML, dict_type=_OnceEach)
    return typed(value, dict, "the property list")


def dump_plist(value: dict[str, Any]) -> str:
    """Return a dictionary as an XML property list, in its order."""
    import plistlib  # noqa: PLC0415  only these formats need it

    return plistlib.dumps(value, fmt=plistlib.FMT_XML, sort_keys=False).decode("utf-8")


def typed(value: Any, kind: type[_T], what: str) -> _T:
    """Return `value`, which must be of a type. The error calls it `what`."""
    if not isinstance(value, kind):
        raise PolicyError(f"{escape(what)} is {show(value)}; expected {_NAMES[kind]}")
    return value


def bare_pin(text: str, about: str | None) -> Pin:
    """Return the SPKI pin that is written as base64 alone. Errors begin with `about`."""
    if len(text) == _BASE64_LENGTH:  # all other spellings that `Pin.parse` reads are longer
        with suppress(PinFormatError):
            return Pin.parse(text)
    raise PinFormatError(f"{about}: invalid pin {show(text)}; write the {_BASE64_LENGTH} characters of its base64")


def midnight(text: str, about: str) -> datetime:
    """Return the start of a day, such as `2027-03-01`, in UTC. Errors begin with `about`."""
    if _DAY.fullmatch(text):  # stricter than `fromisoformat`, which differs between Python versions
        with suppress(ValueError):
            return datetime.fromisoformat(f"{text}T00:00:00+00:00")
    raise PolicyError(f"{about}: invalid day {show(text)}; write it as '2027-03-01'")


def domain(text: str, *, with_subdomains: bool = False) -> HostPattern:
    """Return the pattern of a host name, or of it and everything below; an IP address has nothing below."""
    host = normalize_host(text)
    return HostPattern("subtree" if with_subdomains and not is_address(host) else "exact", host)


def policy_of(entries: Iterable[tuple[HostPattern, PinSet | Mapping[str, Any]]]) -> PinPolicy:
    """Return the policy of the pin sets, or of their fields. As all these systems do, it allows unpinned hosts.

    Raises:
        PolicyError: there is no entry, a host has two, fields do not make a pin set, or all hosts together have more
            than `MAX_PINS` pins.
    """
    hosts: dict[str, PinSet] = {}
    for pattern, pins in entries:
        name = str(pattern)
        if name in hosts:
            raise PolicyError(f"{name} is listed twice; keep one of the two")
        try:
            hosts[name] = PinSet.of(pins)
        except PolicyError as e:
            raise type(e)(f"{name}: {e}") from None
    if not hosts:
        raise PolicyError("the text has no host with pins; is it in this format?")
    if (count := sum(len(pins.pins) for pins in hosts.values())) > MAX_PINS:
        raise PolicyError(f"the hosts have {count} pins together, at most {MAX_PINS} are read; split the text")
    return PinPolicy(hosts, unpinned_hosts="allow")

"""`Public-Key-Pins` and `Public-Key-Pins-Report-Only` (RFC 7469): headers about the host that sends them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern, is_address
from pinned_requests.core.text import escape, show
from pinned_requests.formats.export import Abilities, export
from pinned_requests.formats.parsing import bare_pin, one_line, policy_of
from pinned_requests.formats.results import Loss, Reading, Writing

if TYPE_CHECKING:
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.policy import PinPolicy

_ENFORCED, _REPORTED = "Public-Key-Pins", "Public-Key-Pins-Report-Only"
_ABILITIES = Abilities("RFC 7469", report_only=True, expires="second")
_DEFAULT_AGE = 60 * 24 * 3600  # seconds: the maximum that RFC 7469 §4.1 suggests
_MAX_AGE = 1 << 31  # seconds: RFC 7234 §1.2.1 lets a recipient read a larger number as this one
_DISTINCT_PINS = 2  # RFC 7469 §2.5: without a backup pin a user agent does not note the host

# RFC 7469 §2.1: directive = directive-name [ "=" directive-value ], a token and a token or quoted-string of RFC 7230.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r"[\t !#-\[\]-~\x80-\xff]*(?:\\[\t -~\x80-\xff][\t !#-\[\]-~\x80-\xff]*)*"
_DIRECTIVE = re.compile(rf'[ \t]*({_NAME})(?:=(?:({_NAME})|"({_QUOTED})"))?[ \t]*(;|\Z)')
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


def read(text: str | bytes, host: HostPattern | None, now: datetime | None) -> Reading:
    """Read the header that `host` sent at `now`."""
    if host is None:
        raise PolicyError("rfc7469 does not name the host of its pins; give it as host=")
    now = _aware(now)
    name, colon, value = one_line(text).partition(":")
    if not colon or name.lower() not in (_ENFORCED.lower(), _REPORTED.lower()):
        raise PolicyError(f"not a header of RFC 7469: {show(text[:100])}; begin with '{_ENFORCED}:'")
    if is_address(host.host):
        raise PolicyError(f"{host} is an IP address, and user agents do not pin addresses (RFC 7469 §2.3.1)")
    if host.kind != "exact" or host.port is not None:
        raise PolicyError(f"{host} is not the name of one host; give one without '*' and port")
    losses: list[Loss] = []
    directives, pins = _directives(value, losses)
    fields: dict[str, Any] = {"pins": pins}
    age = directives.pop("max-age", None)
    if name.lower() == _REPORTED.lower():
        fields["report_only"] = True
        if age is not None:
            losses.append(Loss(None, "max-age", f"has no meaning in {_REPORTED} (RFC 7469 §2.1.2)"))
    else:
        fields["expires"] = _expiry(age, now, losses)
    if "includesubdomains" in directives:
        if directives.pop("includesubdomains") is not None:
            raise PolicyError("includeSubDomains has a value; RFC 7469 §2.1.3 allows none")
        host = HostPattern("subtree", host.host, host.port)
    for directive, argument in directives.items():  # RFC 7469 §2.1 rule 5: unknown directives are ignored
        losses.append(Loss(None, escape(directive), "is left out" + (f": {show(argument)}" if argument else "")))
    return Reading(policy_of([(host, fields)]), tuple(losses))


def _aware(now: datetime | None) -> datetime:
    if now is None or now.utcoffset() is None:
        raise PolicyError("max-age in rfc7469 is relative to now; give now=, with a time zone")
    return now


def _directives(value: str, losses: list[Loss]) -> tuple[dict[str, str | None], list[Pin]]:
    """Return the directives other than pins, each with its value or None, and the pins."""
    directives: dict[str, str | None] = {}
    pins: list[Pin] = []
    at, separator = 0, ";"
    while separator:
        if not (found := _DIRECTIVE.match(value, at)):
            # RFC 7469 §2.1 rule 4: a header that does not conform to the syntax is ignored as a whole.
            raise PolicyError(f'invalid directive {show(value[at : at + 100])}; write name=value, or name="value"')
        at, separator = found.end(), found[4]
        name = found[1].lower()  # rule 3: in any case
        argument = found[2] if found[3] is None else _QUOTED_PAIR.sub(r"\1", found[3])
        if name.startswith("pin-"):
            if found[3] is None:
                raise PolicyError(f'{show(found[1])} has no quoted value; write {found[1]}="BASE64"')
            if name == "pin-sha256":
                pins.append(bare_pin(argument, "pin-sha256"))
            else:  # §2.1.1: pins by other hashes are ignored
                losses.append(Loss(None, escape(found[1]), "is left out: RFC 7469 has only SHA-256"))
        elif name in directives:
            raise PolicyError(f"{show(found[1])} is listed twice; keep one of the two (RFC 7469 §2.1)")
        else:
            directives[name] = argument
    if not pins:
        raise PolicyError("the header has no pin-sha256, so user agents ignore it (RFC 7469 §2.1.1); add one")
    return directives, pins


def _expiry(age: str | None, now: datetime, losses: list[Loss]) -> datetime:
    if age is None:
        raise PolicyError(f"max-age is missing; {_ENFORCED} requires it (RFC 7469 §2.1.2)")
    if not (age.isascii() and age.isdigit()):
        raise PolicyError(f"invalid max-age {show(age)}; write a number of seconds")
    seconds = int(age.lstrip("0")[: len(str(_MAX_AGE)) + 1] or 0)  # int() refuses thousands of digits
    if not seconds:
        raise PolicyError("max-age is 0, which removes the pins (RFC 7469 §2.3.1)")
    if seconds > _MAX_AGE:
        seconds = _MAX_AGE
        losses.append(Loss(None, "max-age", f"is limited to {_MAX_AGE} seconds (RFC 7234 §1.2.1)"))
    try:
        return now.replace(microsecond=0) + timedelta(seconds=seconds)
    except OverflowError:
        raise PolicyError(f"max-age {show(age)} ends after the year 9999; write less") from None


def write(policy: PinPolicy, host: HostPattern | None, now: datetime | None) -> Writing:
    """Write the header that `host` is to send at `now`."""
    now = _aware(now)
    exported = export(policy, _ABILITIES, only=host)
    losses = list(exported.finish())
    ((pattern, entry),) = exported.entries.items()
    if len(entry.pins) < _DISTINCT_PINS and not entry.report_only:
        raise PolicyError(f"{pattern} has one pin, and user agents ignore a header without a backup pin; add one")
    directives = [pin.spelled("rfc7469") for pin in entry.pins]
    if entry.report_only:
        if entry.expires is not None:
            losses.append(Loss(str(pattern), "expires", f"is left out: {_REPORTED} applies to one response"))
    else:
        directives.append(f"max-age={_age(pattern, entry.expires, now, losses)}")
    if pattern.kind == "subtree":
        directives.append("includeSubDomains")
    header = _REPORTED if entry.report_only else _ENFORCED
    return Writing(f"{header}: {'; '.join(directives)}\n", tuple(losses))


def _age(pattern: HostPattern, expires: datetime | None, now: datetime, losses: list[Loss]) -> int:
    if expires is None:
        losses.append(Loss(str(pattern), "expires", f"is added: a header needs a max-age, {_DEFAULT_AGE} seconds here"))
        return _DEFAULT_AGE
    seconds = int((expires - now.replace(microsecond=0)).total_seconds())
    if seconds <= 0:
        raise PolicyError(f"{pattern}: the pins have expired; renew them")
    if seconds > _MAX_AGE:
        losses.append(Loss(str(pattern), "expires", f"is limited to {_MAX_AGE} seconds from now (RFC 7234 §1.2.1)"))
    return min(seconds, _MAX_AGE)

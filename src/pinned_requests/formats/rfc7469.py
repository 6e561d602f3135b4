"""The `Public-Key-Pins` header and its `-Report-Only` sibling (RFC 7469). It holds for the host that sent it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern, is_address
from pinned_requests.core.text import escape, show
from pinned_requests.formats.bounds import one_line
from pinned_requests.formats.collect import bare_pin, policy_of, put
from pinned_requests.formats.loss import Loss, Reading, Writing
from pinned_requests.formats.narrow import Abilities, narrow

if TYPE_CHECKING:
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy

_ENFORCED, _REPORTED = "Public-Key-Pins", "Public-Key-Pins-Report-Only"
_ABILITIES = Abilities("RFC 7469", report_only=True, expires="second")
_DEFAULT_AGE = 60 * 24 * 3600  # seconds: the maximum that RFC 7469 §4.1 suggests
_MAX_AGE = 1 << 31  # seconds: what RFC 7234 §1.2.1 has a recipient make of a larger number
_DISTINCT_PINS = 2  # RFC 7469 §2.5: without a backup pin a user agent does not note the host

# RFC 7469 §2.1: directive = directive-name [ "=" directive-value ], a token and a token or quoted-string of RFC 7230.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r"[\t !#-\[\]-~\x80-\xff]*(?:\\[\t -~\x80-\xff][\t !#-\[\]-~\x80-\xff]*)*"
_DIRECTIVE = re.compile(rf'[ \t]*({_NAME})(?:=(?:({_NAME})|"({_QUOTED})"))?[ \t]*(;|\Z)')
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


def read(text: str | bytes, host: HostPattern, now: datetime) -> Reading:
    """Read the header that `host` sent at `now`."""
    name, colon, value = one_line(text).partition(":")
    if not colon or name.lower() not in (_ENFORCED.lower(), _REPORTED.lower()):
        raise PolicyError(f"{show(text[:100])} is no header of RFC 7469; begin with '{_ENFORCED}:'")
    _check_host(host)
    losses: list[Loss] = []
    directives, pins = _directives(value, losses)
    fields: dict[str, Any] = {"pins": pins}
    age = directives.pop("max-age", None)
    if name.lower() == _REPORTED.lower():
        fields["report_only"] = True
        if age is not None:
            losses.append(Loss(None, "max-age", f"means nothing in {_REPORTED} (RFC 7469 §2.1.2)"))
    else:
        fields["expires"] = _expiry(age, now, losses)
    kind = host.kind
    if "includesubdomains" in directives:
        if directives.pop("includesubdomains") is not None:
            raise PolicyError("includeSubDomains has a value; RFC 7469 §2.1.3 allows none")
        kind = "subtree"
    for directive, argument in directives.items():  # RFC 7469 §2.1 rule 5: unknown directives are ignored
        losses.append(Loss(None, escape(directive), "is left out" + (f": {show(argument)}" if argument else "")))
    entries: dict[HostPattern, PinSet] = {}
    put(entries, host._replace(kind=kind), fields)
    return Reading(policy_of(entries), tuple(losses))


def _check_host(host: HostPattern) -> None:
    if is_address(host.host):
        raise PolicyError(f"{host} is an IP address, which no user agent notes pins for (RFC 7469 §2.3.1)")
    if host.kind != "exact" or host.port is not None:
        raise PolicyError(f"{host} sends no header; name one host, without '*' and port")


def _directives(value: str, losses: list[Loss]) -> tuple[dict[str, str | None], list[Pin]]:
    """Return the directives but for the pins, with their values or None, and the pins."""
    directives: dict[str, str | None] = {}
    pins: list[Pin] = []
    at, separator = 0, ";"
    while separator:
        if not (found := _DIRECTIVE.match(value, at)):
            # RFC 7469 §2.1 rule 4: a header that does not conform to the syntax is ignored as a whole.
            raise PolicyError(f'{show(value[at : at + 100])} is no directive; write name=value, or name="value"')
        at, separator = found.end(), found[4]
        name = found[1].lower()  # rule 3: in any case
        argument = found[2] if found[3] is None else _QUOTED_PAIR.sub(r"\1", found[3])
        if name.startswith("pin-"):
            if found[3] is None:
                raise PolicyError(f'{show(found[1])} has no quoted value; write {found[1]}="BASE64"')
            if name == "pin-sha256":
                pins.append(bare_pin(argument, "pin-sha256"))
            else:  # §2.1.1: pins by other hashes are ignored
                losses.append(Loss(None, escape(found[1]), "is left out: RFC 7469 knows SHA-256 only"))
        elif name in directives:
            raise PolicyError(f"{show(found[1])} stands there twice; keep one of them (RFC 7469 §2.1)")
        else:
            directives[name] = argument
    if not pins:
        raise PolicyError("the header has no pin-sha256, and means nothing (RFC 7469 §2.1.1)")
    return directives, pins


def _expiry(age: str | None, now: datetime, losses: list[Loss]) -> datetime:
    if age is None:
        raise PolicyError(f"max-age is missing; {_ENFORCED} needs it (RFC 7469 §2.1.2)")
    if not (age.isascii() and age.isdigit()):
        raise PolicyError(f"max-age is {show(age)}; give a number of seconds")
    digits = age.lstrip("0")
    if not digits:
        raise PolicyError("max-age is 0, which forgets the pins (RFC 7469 §2.3.1)")
    seconds = int(digits) if len(digits) <= len(str(_MAX_AGE)) else _MAX_AGE
    if seconds > _MAX_AGE or len(digits) > len(str(_MAX_AGE)):
        seconds = _MAX_AGE
        losses.append(Loss(None, "max-age", f"is cut to {_MAX_AGE} seconds (RFC 7234 §1.2.1)"))
    try:
        return now.replace(microsecond=0) + timedelta(seconds=seconds)
    except OverflowError:
        raise PolicyError(f"max-age is {show(age)}, which ends after the last year; give less") from None


def write(policy: PinPolicy, now: datetime) -> Writing:
    """Write the header that the policy's one host is to send at `now`."""
    narrowed = narrow(policy, _ABILITIES)
    losses = list(narrowed.finish(_ABILITIES.system))
    ((pattern, entry),) = narrowed.entries.items()
    if len(entry.pins) < _DISTINCT_PINS and not entry.report_only:
        raise PolicyError(f"{pattern} has one pin, and a user agent ignores a header without a backup pin; add one")
    directives = [f'pin-sha256="{str(pin).removeprefix("sha256/")}"' for pin in entry.pins]
    if entry.report_only:
        if entry.expires is not None:
            losses.append(Loss(str(pattern), "expires", f"is left out: {_REPORTED} holds for one response"))
    else:
        directives.append(f"max-age={_age(pattern, entry.expires, now, losses)}")
    if pattern.kind == "subtree":
        directives.append("includeSubDomains")
    header = _REPORTED if entry.report_only else _ENFORCED
    return Writing(f"{header}: {'; '.join(directives)}\n", tuple(losses))


def _age(pattern: HostPattern, expires: datetime | None, now: datetime, losses: list[Loss]) -> int:
    if expires is None:
        losses.append(Loss(str(pattern), "expires", f"is set: a max-age is needed, of {_DEFAULT_AGE} seconds here"))
        return _DEFAULT_AGE
    seconds = int((expires - now.replace(microsecond=0)).total_seconds())
    if seconds <= 0:
        raise PolicyError(f"{pattern}: the pins have expired; renew them")
    if seconds > _MAX_AGE:
        losses.append(Loss(str(pattern), "expires", f"is cut to {_MAX_AGE} seconds from now (RFC 7234 §1.2.1)"))
    return min(seconds, _MAX_AGE)

"""Apple's `NSPinnedDomains`, in the `NSAppTransportSecurity` dictionary of an app's `Info.plist`.

`NSIncludesSubdomains` adds the subdomains with one more label, as `*.` does, and none below. Pins of leaves and of
CAs are told apart, and where a domain has both, both must match. A policy has one list, of which any may match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinned_requests.core.host import HostPattern, is_address
from pinned_requests.core.text import escape
from pinned_requests.formats.collect import bare_pin, domain, policy_of, put
from pinned_requests.formats.loss import WHOLE, Loss, Reading, Writing
from pinned_requests.formats.narrow import Abilities, narrow
from pinned_requests.formats.plist import array, boolean, dictionary, dump, load, string

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinSet
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.formats.narrow import Entry, Narrowed

_ATS, _DOMAINS, _SUBDOMAINS = "NSAppTransportSecurity", "NSPinnedDomains", "NSIncludesSubdomains"
_LEAF, _CA, _SPKI = "NSPinnedLeafIdentities", "NSPinnedCAIdentities", "SPKI-SHA256-BASE64"
_ABILITIES = Abilities("Apple", kinds=frozenset(("exact", "one-label", "subtree")))


def read(text: str | bytes, _host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read an `Info.plist`. What of it stands outside of `NSAppTransportSecurity` has nothing to do with pins."""
    root = load(text)
    security = dictionary(root.get(_ATS, root), _ATS)
    losses = [Loss(None, "depth", "of a pin is lost: Apple tells leaves from CAs, and here a pin matches at any depth")]
    losses += [Loss(None, escape(key), "is left out: it is no pin") for key in security if key != _DOMAINS]
    entries: dict[HostPattern, PinSet] = {}
    for name, value in dictionary(security.get(_DOMAINS, {}), _DOMAINS).items():
        pattern = domain(name)
        settings = dictionary(value, f"the value of {pattern}")
        put(entries, pattern, {"pins": _pins(pattern, settings, losses)})
        if boolean(settings.get(_SUBDOMAINS, False), f"{pattern}: {_SUBDOMAINS}") and not is_address(pattern.host):
            put(entries, pattern._replace(kind="one-label"), entries[pattern])
        known = (_SUBDOMAINS, _LEAF, _CA)
        losses += [Loss(str(pattern), escape(key), "is left out: it is no pin") for key in settings if key not in known]
    return Reading(policy_of(entries), tuple(losses))


def _pins(pattern: HostPattern, settings: dict[str, Any], losses: list[Loss]) -> list[Pin]:
    leaves, authorities = (_identities(pattern, settings, key) for key in (_LEAF, _CA))
    if leaves and authorities:
        # One list in which any may match would ask for less than either of the two.
        losses.append(Loss(str(pattern), _CA, f"is left out: Apple asks for a match there and in {_LEAF}"))
    return leaves or authorities


def _identities(pattern: HostPattern, settings: dict[str, Any], key: str) -> list[Pin]:
    pins = []
    for identity in array(settings.get(key, []), f"{pattern}: {key}"):
        what = f"{pattern}: an identity of {key}"
        pins.append(bare_pin(string(dictionary(identity, what).get(_SPKI), f"{what}: {_SPKI}"), what))
    return pins


def write(policy: PinPolicy, _now: datetime | None) -> Writing:
    """Write an `Info.plist` with nothing in it but the pins, all of them as those of leaves."""
    narrowed = narrow(policy, _ABILITIES)
    domains = _domains(narrowed)
    depth = f"is not said in a policy: all pins stand in {_LEAF}; move those of CAs to {_CA}, of hosts with no other"
    narrowed.losses.append(Loss(None, "depth", depth))
    losses = narrowed.finish(_ABILITIES.system)
    pinned = {
        host: {
            _SUBDOMAINS: with_subdomains,
            _LEAF: [{_SPKI: str(pin).removeprefix("sha256/")} for pin in entry.pins],
        }
        for host, (entry, with_subdomains) in domains.items()
    }
    return Writing(dump({_ATS: {_DOMAINS: pinned}}), losses)


def _domains(narrowed: Narrowed) -> dict[str, tuple[Entry, bool]]:
    """Return the entry of each domain and whether it includes subdomains; what does not fit is left out."""
    entries = narrowed.entries
    left_out = {loss.host for loss in narrowed.losses if loss.field == WHOLE}  # with pins of their own: not these
    for pattern in [pattern for pattern in entries if pattern.kind == "subtree"]:
        entry = entries.pop(pattern)
        for kind in ("exact", "one-label"):
            narrower = HostPattern(kind, pattern.host)
            if str(narrower) not in left_out:
                entries.setdefault(narrower, entry)
        text = "holds on the host and one label below it alone: Apple has no pattern for all"
        narrowed.losses.append(Loss(str(pattern), WHOLE, text))
    domains: dict[str, tuple[Entry, bool]] = {}
    for pattern in [pattern for pattern in entries if pattern.kind == "exact"]:
        below = entries.get(pattern._replace(kind="one-label"))
        domains[pattern.host] = entries[pattern], below is not None and below.is_like(entries[pattern])
    for pattern in [pattern for pattern in entries if pattern.kind == "one-label"]:
        if not domains.get(pattern.host, (None, False))[1]:
            narrowed.leave_out(pattern, f"Apple pins subdomains with the pins of {pattern.host} alone")
    return domains

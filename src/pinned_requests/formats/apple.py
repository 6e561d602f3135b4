"""Apple's `NSPinnedDomains`, in the `NSAppTransportSecurity` dictionary of an app's `Info.plist`.

`NSIncludesSubdomains` adds the subdomains with exactly one more label, as `*.` does. Apple tells pins of leaves from
pins of CAs, and a domain with both needs a match of both. A policy has one list, any pin of which may match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinned_requests.core.host import HostPattern, is_address
from pinned_requests.core.text import escape
from pinned_requests.formats.export import EVERY_KIND, Abilities, export
from pinned_requests.formats.parsing import bare_pin, domain, dump_plist, load_plist, policy_of, typed
from pinned_requests.formats.results import WHOLE, Loss, Reading, Writing

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.formats.export import Entry, Export

_ATS, _DOMAINS, _SUBDOMAINS = "NSAppTransportSecurity", "NSPinnedDomains", "NSIncludesSubdomains"
_LEAF, _CA, _SPKI = "NSPinnedLeafIdentities", "NSPinnedCAIdentities", "SPKI-SHA256-BASE64"
_NOT_A_PIN = "is left out: it is not a pin"
_ABILITIES = Abilities("Apple", kinds=EVERY_KIND)


def read(text: str | bytes, _host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read an `Info.plist`, or the `NSAppTransportSecurity` dictionary alone."""
    root = load_plist(text)
    security = typed(root.get(_ATS, root), dict, _ATS)
    depth = "of a pin is not kept: Apple tells leaves from CAs, and a policy matches a pin at any depth"
    losses = [Loss(None, "depth", depth)]
    losses += [Loss(None, escape(key), _NOT_A_PIN) for key in security if key != _DOMAINS]
    entries = []
    for name, value in typed(security.get(_DOMAINS, {}), dict, _DOMAINS).items():
        pattern = domain(name)
        settings = typed(value, dict, f"the value of {pattern}")
        fields = {"pins": _pins(pattern, settings, losses)}
        entries.append((pattern, fields))
        if typed(settings.get(_SUBDOMAINS, False), bool, f"{pattern}: {_SUBDOMAINS}") and not is_address(pattern.host):
            entries.append((HostPattern("one-label", pattern.host, pattern.port), fields))
        known = (_SUBDOMAINS, _LEAF, _CA)
        losses += [Loss(str(pattern), escape(key), _NOT_A_PIN) for key in settings if key not in known]
    return Reading(policy_of(entries), tuple(losses))


def _pins(pattern: HostPattern, settings: dict[str, Any], losses: list[Loss]) -> list[Pin]:
    leaves, authorities = (_identities(pattern, settings, key) for key in (_LEAF, _CA))
    if leaves and authorities:
        # One list, any pin of which may match, would be weaker than either of the two.
        losses.append(Loss(str(pattern), _CA, f"is left out: Apple requires a match in it and in {_LEAF}"))
    return leaves or authorities


def _identities(pattern: HostPattern, settings: dict[str, Any], key: str) -> list[Pin]:
    pins = []
    for identity in typed(settings.get(key, []), list, f"{pattern}: {key}"):
        what = f"{pattern}: an identity of {key}"
        pins.append(bare_pin(typed(typed(identity, dict, what).get(_SPKI), str, f"{what}: {_SPKI}"), what))
    return pins


def write(policy: PinPolicy, _host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write an `Info.plist` with the pins alone, all of them as pins of leaves."""
    exported = export(policy, _ABILITIES)
    _split_subtrees(exported)
    exported.leave_out_too_strict()
    domains = _domains(exported)
    depth = f"of a pin is unknown: all pins are in {_LEAF}; move them to {_CA} if all pins of a domain are of CAs"
    exported.lose(None, "depth", depth)
    losses = exported.finish()
    pinned = {
        host: {_SUBDOMAINS: with_subdomains, _LEAF: [{_SPKI: pin.spelled("openssl")} for pin in entry.pins]}
        for host, (entry, with_subdomains) in domains.items()
    }
    return Writing(dump_plist({_ATS: {_DOMAINS: pinned}}), losses)


def _split_subtrees(exported: Export) -> None:
    """Replace each `**.` pattern by the host and one label below it."""
    entries = exported.entries
    left_out = {loss.host for loss in exported.losses if loss.field == WHOLE}  # they have pins of their own
    for pattern in exported.of_kind("subtree"):
        entry = entries.pop(pattern)
        for kind in ("exact", "one-label"):
            narrower = HostPattern(kind, pattern.host)
            if str(narrower) not in left_out:
                entries.setdefault(narrower, entry)
        exported.lose(pattern, WHOLE, "is limited to the host and one label below it: Apple has no pattern for all")


def _domains(exported: Export) -> dict[str, tuple[Entry, bool]]:
    """Return the entry of each domain and whether it includes subdomains. Leave out the `*.` patterns that differ."""
    entries = exported.entries
    domains: dict[str, tuple[Entry, bool]] = {}
    for pattern in exported.of_kind("exact"):
        below = entries.get(HostPattern("one-label", pattern.host, pattern.port))
        domains[pattern.host] = entries[pattern], below is not None and below.is_like(entries[pattern])
    for pattern in exported.of_kind("one-label"):
        if not domains.get(pattern.host, (None, False))[1]:
            exported.leave_out(pattern, f"Apple pins subdomains only with the pins of {pattern.host} itself")
    return domains

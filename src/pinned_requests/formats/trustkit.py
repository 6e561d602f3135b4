"""TrustKit's configuration for Apple's platforms: the `TSKConfiguration` dictionary of an app's `Info.plist`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape
from pinned_requests.formats.export import Abilities, covering, export
from pinned_requests.formats.parsing import bare_pin, domain, dump_plist, load_plist, midnight, policy_of, typed
from pinned_requests.formats.results import Loss, Reading, Writing

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.core.host import HostPattern
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.formats.export import Entry, Export

_ROOT, _DOMAINS, _SWIZZLE = "TSKConfiguration", "TSKPinnedDomains", "TSKSwizzleNetworkDelegates"
_HASHES, _SUBDOMAINS, _ENFORCE = "TSKPublicKeyHashes", "TSKIncludeSubdomains", "TSKEnforcePinning"
_EXPIRES = "TSKExpirationDate"
# The value of kTSKExcludeSubdomainFromParentPolicy: TrustKit's source misspells it, and ignores the right spelling.
_EXCLUDE = "kSKExcludeSubdomainFromParentPolicy"
_EXCLUDES = (_EXCLUDE, "TSKExcludeSubdomainFromParentPolicy")
_ABILITIES = Abilities("TrustKit", one_entry_a_name=True, exempt=True, report_only=True, expires="day")
_DISTINCT_PINS = 2  # TrustKit aborts the app if an enforcing domain has fewer


def read(text: str | bytes, _host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read an `Info.plist` with a `TSKConfiguration`, or that dictionary alone."""
    root = load_plist(text)
    configuration = typed(root.get(_ROOT, root), dict, _ROOT)
    losses = [Loss(None, escape(key), "is left out") for key in configuration if key != _DOMAINS]
    entries = []
    names: set[str] = set()
    for name, value in typed(configuration.get(_DOMAINS, {}), dict, _DOMAINS).items():
        settings = typed(value, dict, f"the value of {name}")
        pattern = domain(name, with_subdomains=typed(settings.pop(_SUBDOMAINS, False), bool, f"{name}: {_SUBDOMAINS}"))
        if pattern.host in names:
            raise PolicyError(f"{pattern.host} is listed twice; keep one of the two")
        names.add(pattern.host)
        entries.append((pattern, _fields(str(pattern), settings)))
        losses += [Loss(str(pattern), escape(key), "is left out") for key in settings]
    return Reading(policy_of(entries), tuple(losses))


def _fields(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a pin set, and remove the settings that they are made of."""
    if any([typed(settings.pop(key, False), bool, f"{name}: {key}") for key in _EXCLUDES]):  # noqa: C419  pop both
        return {"exempt": True}
    hashes = typed(settings.pop(_HASHES, []), list, f"{name}: {_HASHES}")
    fields: dict[str, Any] = {
        "pins": [bare_pin(typed(each, str, f"{name}: {_HASHES}"), name) for each in hashes],
        "report_only": not typed(settings.pop(_ENFORCE, True), bool, f"{name}: {_ENFORCE}"),
    }
    if (day := settings.pop(_EXPIRES, None)) is not None:
        what = f"{name}: {_EXPIRES}"
        fields["expires"] = midnight(typed(day, str, what), what)
    return fields


def write(policy: PinPolicy, _host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write an `Info.plist` with TrustKit's configuration alone."""
    exported = export(policy, _ABILITIES)
    _leave_out_refused(exported)
    losses = exported.finish()
    domains = {pattern.host: _settings(pattern, entry) for pattern, entry in exported.entries.items()}
    return Writing(dump_plist({_ROOT: {_SWIZZLE: False, _DOMAINS: domains}}), losses)


def _leave_out_refused(exported: Export) -> None:
    """Leave out what makes TrustKit abort the app."""
    for pattern, entry in list(exported.entries.items()):
        if "." not in pattern.host:
            exported.leave_out(pattern, "TrustKit refuses names without a public suffix")
        elif entry.pins and not entry.report_only and len(entry.pins) < _DISTINCT_PINS:
            exported.leave_out(pattern, "TrustKit aborts the app if a host has one pin; add a backup pin")
        elif not entry.pins and pattern.kind != "exact":
            exported.leave_out(pattern, "TrustKit can only exempt single hosts")
    exported.leave_out_too_strict()
    for pattern, entry in list(exported.entries.items()):
        if not entry.pins and not any(exported.entries[wider].pins for wider in covering(pattern, exported.entries)):
            exported.leave_out(pattern, "TrustKit can only exempt a host from a wider pattern, and there is none")


def _settings(pattern: HostPattern, entry: Entry) -> dict[str, Any]:
    if not entry.pins:
        return {_EXCLUDE: True}  # TrustKit aborts the app if there is another key
    settings: dict[str, Any] = {
        _SUBDOMAINS: pattern.kind == "subtree",
        _ENFORCE: not entry.report_only,
        _HASHES: [pin.spelled("openssl") for pin in entry.pins],
    }
    if entry.expires is not None:
        settings[_EXPIRES] = f"{entry.expires:%Y-%m-%d}"
    return settings

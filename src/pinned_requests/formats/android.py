"""Android's Network Security Configuration, `res/xml/network_security_config.xml`.

The meaning is that of the platform's own parser (`android.security.net.config.XmlConfigSource`): the most specific
domain wins, a nested `domain-config` inherits the pins of its parent, and one without pins pins nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests.core.errors import PinFormatError, PolicyError
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.text import escape, show
from pinned_requests.formats.export import Abilities, export
from pinned_requests.formats.parsing import bare_pin, bounded_xml, domain, midnight, parsing, policy_of
from pinned_requests.formats.results import Loss, Reading, Writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from xml.etree.ElementTree import Element

    from pinned_requests.core.host import HostPattern
    from pinned_requests.core.pin import Pin
    from pinned_requests.core.policy import PinPolicy

_ABILITIES = Abilities("Android", addresses=True, one_entry_a_name=True, exempt=True, expires="day")
_BOOLEANS = {"true": True, "false": False}
_ZONE = Loss(None, "expires", "is midnight UTC in a policy, and midnight in the device's time zone on Android")


def read(text: str | bytes, _host: HostPattern | None, _now: datetime | None) -> Reading:
    """Read a Network Security Configuration."""
    root = _parse(bounded_xml(text))
    if root.tag != "network-security-config":
        raise PolicyError(f"unexpected root element {show(root.tag)}; expected 'network-security-config'")
    entries: list[tuple[HostPattern, PinSet]] = []
    losses: list[Loss] = []
    names: set[str] = set()
    # No recursion: the input chooses its depth.
    pending: list[tuple[Element, PinSet]] = [(root, PinSet.exempt())]
    while pending:
        config, pins = pending.pop()
        about, known = None, {"domain-config"}
        if config is not root:
            domains = _domains(config, names)
            about, known = str(domains[0]), {"domain", "domain-config", "pin-set"}
            losses += _attributes(config, about, ())
            pins = _pin_set(config, about, losses) or pins
            entries += [(pattern, pins) for pattern in domains]
        pending += [(child, pins) for child in reversed(config) if child.tag == "domain-config"]
        losses += [_unknown(child, about) for child in config if child.tag not in known]
    if any(pins.expires for _, pins in entries):
        losses.append(_ZONE)
    return Reading(policy_of(entries), tuple(losses))


def _parse(text: str) -> Element:
    try:
        from defusedxml.ElementTree import fromstring  # noqa: PLC0415  of the `cli` extra, for this format alone
    except ImportError:
        raise ImportError("reading android needs defusedxml; run: pip install 'pinned-requests[cli]'") from None
    with parsing("XML"):
        root: Element = fromstring(text, forbid_dtd=True)
    return root


def _domains(config: Element, names: set[str]) -> list[HostPattern]:
    domains = []
    for element in config.iterfind("domain"):
        if len(element):
            raise PolicyError("a domain has child elements; write the name alone")
        subdomains = element.get("includeSubdomains", "false")
        if subdomains.lower() not in _BOOLEANS:
            raise PolicyError(f"invalid includeSubdomains {show(subdomains)}; write true or false")
        pattern = domain((element.text or "").strip(), with_subdomains=_BOOLEANS[subdomains.lower()])
        if pattern.host in names:
            raise PolicyError(f"{pattern.host} is listed twice; Android takes a name once, with or without subdomains")
        names.add(pattern.host)
        domains.append(pattern)
    if not domains:
        raise PolicyError("a domain-config has no domain; Android refuses it")
    return domains


def _pin_set(config: Element, about: str | None, losses: list[Loss]) -> PinSet | None:
    """Return the pin set of a `domain-config`, or None if it has none of its own."""
    found = config.findall("pin-set")
    if not found:
        return None
    if len(found) > 1:
        raise PolicyError(f"{about}: several pin-sets; Android takes one")
    losses += _attributes(found[0], about, ("expiration",))
    pins = [_pin(pin, about) for pin in found[0].iterfind("pin")]
    losses += [_unknown(child, about) for child in found[0] if child.tag != "pin"]
    if not pins:
        return PinSet.exempt()  # an empty one pins nothing, and inherits nothing
    day = found[0].get("expiration")
    return PinSet(pins, expires=None if day is None else midnight(day, f"{about}: expiration"))


def _pin(element: Element, about: str | None) -> Pin:
    digest = element.get("digest")
    if digest != "SHA-256":
        raise PinFormatError(f"{about}: unknown digest {show(digest)}; Android takes only 'SHA-256'")
    if len(element):
        raise PinFormatError(f"{about}: a pin has child elements; write the base64 alone")
    return bare_pin((element.text or "").strip(), about)


def _attributes(element: Element, about: str | None, known: tuple[str, ...]) -> Iterator[Loss]:
    for name, value in element.attrib.items():
        if name not in known:
            yield Loss(about, escape(name), f"is left out: {show(value)}")


def _unknown(element: Element, about: str | None) -> Loss:
    text = "is left out: it is not about pins"  # the parser drops comments
    if element.tag in ("trust-anchors", "debug-overrides") and (
        element.tag == "debug-overrides" or any(each.get("overridePins", "").lower() == "true" for each in element)
    ):
        text = "is left out: a policy checks the pins of every CA, these included"
    elif element.tag == "pin-set":
        raise PolicyError("a pin-set is outside of a domain-config; Android refuses it")
    return Loss(about, escape(str(element.tag)), text)


def write(policy: PinPolicy, _host: HostPattern | None, _now: datetime | None) -> Writing:
    """Write a Network Security Configuration."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415  its usual name; only writing needs it

    exported = export(policy, _ABILITIES)
    losses = exported.finish()
    if any(entry.expires for entry in exported.entries.values()):
        losses = (*losses, _ZONE)
    root = ET.Element("network-security-config")
    for pattern, entry in exported.entries.items():
        config = ET.SubElement(root, "domain-config")
        subdomains = "true" if pattern.kind == "subtree" else "false"
        ET.SubElement(config, "domain", includeSubdomains=subdomains).text = pattern.host
        if not entry.pins:
            continue
        pin_set = ET.SubElement(config, "pin-set")
        if entry.expires is not None:
            pin_set.set("expiration", f"{entry.expires:%Y-%m-%d}")
        for pin in entry.pins:
            ET.SubElement(pin_set, "pin", digest="SHA-256").text = pin.spelled("openssl")
    ET.indent(root, "    ")
    return Writing(f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n', losses)

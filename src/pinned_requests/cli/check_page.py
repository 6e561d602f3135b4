"""The HTML page of `check`: for people who run nothing themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pinned_requests.cli.check_report import fine_hosts, is_judged, issuer_ends, leaf_ends, reserve
from pinned_requests.cli.check_timeline import TIMELINE_STYLE, Ends, timeline
from pinned_requests.core.text import escape
from pinned_requests.core.verdict import Outcome
from pinned_requests.html_page import badge, card, element, facts, join, page, table, tile
from pinned_requests.monitoring.details import validity
from pinned_requests.monitoring.findings import Severity
from pinned_requests.monitoring.history import CHANGES, KEPT, ROTATES, SOMETIMES, UNKNOWN
from pinned_requests.monitoring.sampling import INVALID_CERTIFICATE, NOT_PINNED, UNREACHABLE

if TYPE_CHECKING:
    from datetime import datetime

    from pinned_requests.cli.check_report import Report
    from pinned_requests.html_page import Level, Markup
    from pinned_requests.monitoring.check import HostCheck
    from pinned_requests.monitoring.findings import PinUse
    from pinned_requests.monitoring.history import Learned

_LEVELS: dict[Severity | None, Level] = {
    Severity.CRITICAL: "critical",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
    None: "ok",
}
_GROUPS = {
    Severity.CRITICAL: "Act now",
    Severity.WARNING: "Act soon",
    Severity.INFO: "Good to know",
    None: "Fine",
}
_OUTCOMES = {
    Outcome.MATCH.value: "presents a pinned key",
    Outcome.MISMATCH.value: "presents none of its pinned keys",
    Outcome.BLOCKED_KEY.value: "presents a blocked key",
    Outcome.EXPIRED.value: "its pins have expired",
    Outcome.EXEMPT.value: "not pinned, on purpose",
    INVALID_CERTIFICATE: "its certificate is not valid",
    UNREACHABLE: "was not reached",
    NOT_PINNED: "has no pins",
}
_LEARNED = {
    KEPT: "kept so far",
    CHANGES: "changed each time",
    SOMETIMES: "changed at times",
    ROTATES: "changed",
}
_STYLE = (
    """
.host { font-weight: 600; margin-right: .5rem; }
summary .badge { margin-left: .4rem; }
.findings { list-style: none; padding: 0; }
.chain { list-style: none; padding: 0; margin: .5rem 0; border-left: 2px solid var(--line); }
.chain li { position: relative; margin: 0; padding: .35rem 0 .35rem 1.1rem; }
.chain li::before { content: ""; position: absolute; left: -.4rem; top: .8rem; width: .7rem; height: .7rem;
  border-radius: 50%; background: var(--surface); border: 2px solid var(--line); }
.chain li.ok::before { background: var(--ok); border-color: var(--ok); }
.chain li.critical::before { background: var(--critical); border-color: var(--critical); }
"""
    + TIMELINE_STYLE
)


def as_page(report: Report) -> str:
    """Return the page."""
    checked = report.checked
    counts = {each: sum(host.severity is each and host.is_complete for host in checked.hosts) for each in _GROUPS}
    groups = [
        join([element("h2", title), *(_host(host, report) for host in hosts)])
        for severity, title in _GROUPS.items()
        if (hosts := [each for each in checked.hosts if each.severity is severity and each.is_complete])
    ]
    rest = [each for each in checked.hosts if not each.is_complete]
    if rest:
        groups.insert(0, join([element("h2", "Not checked, or not in full"), *(_host(each, report) for each in rest)]))
    return page(
        f"Pin check of {report.name}",
        element("p", f"{checked.time:%Y-%m-%d %H:%M} UTC. ", element("strong", _verdict(report)), class_="muted"),
        element(
            "div",
            tile("critical", counts[Severity.CRITICAL], "act now"),
            tile("warning", counts[Severity.WARNING], "act soon"),
            tile("info", counts[Severity.INFO], "good to know"),
            tile("ok", fine_hosts(checked), "fine"),
            class_="tiles",
        ),
        _how_to_read(),
        _next_year(report),
        *groups,
        element("p", f"Patterns, which were not checked: {', '.join(checked.not_checked)}.", class_="muted")
        if checked.not_checked
        else None,
        style=_STYLE,
    )


def _verdict(report: Report) -> str:
    hosts = len(report.checked.hosts)
    bad = sum((each.severity or 0) >= Severity.WARNING for each in report.checked.hosts)
    said = f"{bad} of {hosts} hosts need attention." if bad else f"Nothing to do for {hosts} hosts."
    return said if report.checked.is_complete else f"{said} The check was interrupted."


def _how_to_read() -> Markup:
    return card(
        "none",
        "How to read this page",
        element(
            "p",
            "A pin is the fingerprint of a key that our clients accept for a host. A client refuses a server that "
            "presents none of them, which stops an interceptor, and locks clients out if the server gets a key that "
            "is not pinned.",
        ),
        element(
            "p",
            "Each host presents a chain of certificates: its own (the leaf), that of the CA that issued it, and so on "
            "up to a root. One of them must match a pin. A pin in reserve is of a key that is kept for the day when "
            "the key in use must go.",
        ),
        is_open=False,
    )


def _host(host: HostCheck, report: Report) -> Markup:
    level = _LEVELS[host.severity] if host.is_complete else "none"
    word = str(host.severity) if host.severity else "fine" if host.is_complete else "interrupted"
    summary = join(
        [
            element("span", str(host.target), class_="host"),
            element("span", _OUTCOMES.get(host.outcome, host.outcome), class_="muted"),
            badge(level, word),
        ]
    )
    return card(
        level,
        summary,
        _findings(host),
        _facts(host, report),
        _chain(host),
        _pins(host),
        _samples(host),
        is_open=host.severity in (Severity.CRITICAL, Severity.WARNING),
    )


def _findings(host: HostCheck) -> Markup | None:
    if not host.findings:
        return None
    return element(
        "ul",
        *(
            element(
                "li",
                badge(_LEVELS[each.severity], str(each.severity)),
                " ",
                each.text,
                " ",
                element("code", each.kind),
            )
            for each in host.findings
        ),
        class_="findings",
    )


def _facts(host: HostCheck, report: Report) -> Markup | None:
    names = {"leaf": "Certificate of the host expires", "issuer": "Pinned issuer expires", "pins": "Pins expire"}
    pairs = [(names[name], _date(moment, report.checked.time)) for name, moment in _ends(host).dates()]
    if is_judged(host):
        pairs.append(("Pins in reserve", str(len(reserve(host)))))
    if host.learned is not None:
        pairs += _learned(host.learned)
    return facts(pairs) if pairs else None


def _learned(learned: Learned) -> list[tuple[str, str]]:
    pairs = [("Renewals seen", str(learned.renewals))]
    if learned.key != UNKNOWN:
        pairs += [("Key over renewals", _LEARNED[learned.key]), ("Issuer over renewals", _LEARNED[learned.issuer])]
    return pairs


def _chain(host: HostCheck) -> Markup | None:
    sample = host.worst
    if sample is None or not sample.chain.certificates:
        return None
    accepted = host.pins.accepted if host.pins is not None else frozenset()
    is_blocked = host.outcome == Outcome.BLOCKED_KEY.value
    matched = sample.verdict.depth if sample.verdict is not None else None
    last = len(sample.chain.certificates) - 1
    items = []
    for depth, seen in enumerate(sample.chain.certificates):
        mark: tuple[Level, str] | None = None
        if depth == matched:
            mark = ("critical", "blocked") if is_blocked else ("ok", "matches a pin")
        elif seen.pins & accepted and sample.chain.is_verified:
            mark = ("ok", "pinned")
        name = "leaf" if depth == 0 else "root" if depth == last and seen.is_self_issued else "issuer"
        ends = validity(seen.der)[1]
        until = "" if ends is None else f", expires {ends:%Y-%m-%d}"
        items.append(
            element(
                "li",
                element("div", element("strong", seen.subject), " ", mark and badge(*mark)),
                element("div", f"{name}{until}", class_="muted small"),
                element("code", str(seen.spki_pin)),
                class_=mark and mark[0],
            )
        )
    title = "Chain" if sample.chain.is_verified else "Chain, as presented: NOT verified"
    return join([element("h3", title), element("ol", *items, class_="chain")])


def _pins(host: HostCheck) -> Markup | None:
    if not host.uses:
        return None
    is_known = is_judged(host)
    rows = [
        (_state(use, is_known=is_known), escape(use.pin.note or "") or use.subject or "", element("code", str(use.pin)))
        for use in host.uses
    ]
    return join([element("h3", "Pins"), table(("State", "Note", "Pin"), rows)])


def _state(use: PinUse, *, is_known: bool) -> Markup:
    kind = "backup" if use.is_backup else "pin"
    if not is_known:
        return join([badge("none", "not checked"), f" {kind}"])
    if use.depth is None:
        return join([badge("info", "in reserve" if use.is_backup else "not served"), f" {kind}"])
    return join([badge("ok", f"served: {use.role}"), f" {kind}"])


def _samples(host: HostCheck) -> Markup | None:
    if len(host.samples) <= 1 and all(each.address is None for each in host.samples):
        return None
    rows = [
        (each.address or "", _OUTCOMES.get(each.outcome, each.outcome) + (f": {each.reason}" if each.reason else ""))
        for each in host.samples
    ]
    return join([element("h3", "Connections"), table(("Address", "Found"), dict.fromkeys(rows))])


def _next_year(report: Report) -> Markup | None:
    drawn = timeline([_ends(host) for host in report.checked.hosts], report.checked.time)
    return None if drawn is None else join([element("h2", "The next year"), drawn])


def _ends(host: HostCheck) -> Ends:
    sample = host.worst
    return Ends(
        host.target.pattern,
        leaf=None if sample is None else leaf_ends(sample),
        issuer=None if sample is None else issuer_ends(host, sample),
        pins=None if host.pins is None else host.pins.expires,
    )


def _date(moment: datetime, now: datetime) -> str:
    days = (moment - now) // timedelta(days=1)
    when = f"in {days} days" if days >= 0 else f"{-days} days ago"
    return f"{moment:%Y-%m-%d} ({when})"

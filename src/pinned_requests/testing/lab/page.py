"""The HTML page of audits: clients against attackers as a matrix, for people who look at it in a browser.

Rule for the next maintainer: the page may be sent around, so what a client sent is masked if it is not known to be
harmless: only some header fields and plain paths stay, and no body or query.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from pinned_requests.core.text import escape
from pinned_requests.html_page import badge, card, element, facts, join, page, table, tile
from pinned_requests.testing.clock import now
from pinned_requests.testing.lab.attackers import ATTACKERS, DETAILS
from pinned_requests.testing.lab.verdict import without_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pinned_requests.html_page import Level, Markup
    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.lab.audit import AuditResult
    from pinned_requests.testing.lab.verdict import Verdict

_Results = dict["AttackerName", list["AuditResult"]]  # of one client

_LEVELS: dict[Verdict, Level] = {
    "accepted": "critical",
    "undecided": "warning",
    "untested": "warning",
    "rejected": "ok",
}
_WORST_FIRST: tuple[Verdict, ...] = tuple(_LEVELS)
_MEANINGS: dict[Verdict, str] = {
    "rejected": "the client met the attacker's certificate, decided against it, and hung up",
    "accepted": "the attacker got HTTP from the client, or took over its connection",
    "undecided": "the client had connected, and whether it would have gone on is not known",
    "untested": "the client did not come so far that its refusal would tell anything",
}
MASK = "•••"

_END_OF_LINE = "\\r\\n"  # as `ascii()` writes it
_REQUEST_LINE = re.compile(r"([A-Z]{1,20}) (/\S*) (HTTP/\d\.\d)", re.ASCII)
# Such as "things", "list_all.json", "v2": an identifier or a token is longer, or mixes in digits.
_HARMLESS_SEGMENT = re.compile(r"([A-Za-z][a-z]{0,15}([_.-][a-z]{1,15}){0,3}|v\d{1,3})?", re.ASCII)
_HARMLESS_FIELDS = frozenset(
    ("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding")
)
_USERINFO = re.compile(r"://[^/@\s]*@")
_URL = re.compile(r"(https?://[^/\s?#'\"<>]*|\burl: )(/[^\s'\"<>)]*)")
_QUERY = re.compile(r"\?[^\s'\"<>)]+")
_CREDENTIALS = re.compile(
    r"\b(authorization|bearer|basic|token|api[-_]?key|password|secret|cookie)\b(['\"]?\s*[:= ]\s*)"
    r"(?:(?:bearer|basic)\s+)?[^\s,;]+",
    re.IGNORECASE,
)
_MAX_TEXT = 500  # characters of an error or a reason
_MAX_CLIENT = 120  # characters of a client's name

_STYLE = """
main { max-width: 84rem; }
.matrix { background: var(--surface); border: 1px solid var(--line); border-radius: .6rem; overflow-x: auto; }
.matrix table { width: auto; min-width: 100%; }
.matrix th, .matrix td { padding: .35rem .6rem; }
.matrix th { color: var(--text); }
.matrix th, .matrix .body, pre { overflow-wrap: anywhere; }
.matrix thead th { vertical-align: bottom; min-width: 7rem; max-width: 14rem; }
.matrix tbody th { width: 10rem; max-width: 34vw; }
.matrix tbody th, .matrix thead th:first-child { position: sticky; left: 0; background: var(--surface);
  border-right: 1px solid var(--line); }
.matrix tbody tr:last-child > * { border-bottom: 0; }
.matrix .host { display: block; color: var(--muted); font-weight: 400; }
.matrix details { border: 0; margin: 0; background: none; }
.matrix summary { padding: .1rem 0; white-space: nowrap; }
.matrix .body { padding: .4rem 0 .6rem; width: min(20rem, 52vw); }
.matrix .body + .body { border-top: 1px solid var(--line); }
.matrix dl { grid-template-columns: repeat(auto-fill, minmax(5rem, 1fr)); }
pre { background: var(--code); border-radius: .4rem; padding: .5rem .7rem; margin: .4rem 0; white-space: pre-wrap;
  font: .8rem/1.4 ui-monospace, monospace; }
"""


def as_page(
    rows: Iterable[tuple[str, AuditResult]], *, title: str = "Clients against attackers", time: datetime | None = None
) -> str:
    """Return the page, whose HTML loads nothing.

    Requests and error texts of clients are masked, as far as `masked_error()` can; all else of theirs is escaped.

    Args:
        rows: the name of a client, and how it fared against one attacker. A cell shows the worst result of a client on
            a host against an attacker.
        title: of the page.
        time: of the audits; by default now.
    """
    cells: dict[tuple[str, str], _Results] = {}
    for client, result in rows:
        cells.setdefault((client, result.host), {}).setdefault(result.attacker, []).append(result)
    verdicts = [_worst(found) for of_client in cells.values() for found in of_client.values()]
    met = _in_order({attacker for of_client in cells.values() for attacker in of_client})
    meanings = [(badge(_LEVELS[each], each), meaning) for each, meaning in _MEANINGS.items()]
    attackers = [(element("code", each), DETAILS[each].meets, _prose(DETAILS[each].remedy)) for each in met]
    headings = ("Attacker", "The client meets", "What refuses it")
    return page(
        title,
        element(
            "p", f"{time or now():%Y-%m-%d %H:%M} UTC. ", element("strong", _conclusion(cells.values())), class_="muted"
        ),
        element("div", *(tile(_LEVELS[each], verdicts.count(each), each) for each in _WORST_FIRST), class_="tiles"),
        _matrix(cells, met) if cells else None,
        *_to_do(cells),
        card("none", "The four verdicts", table(("Verdict", "Meaning"), meanings), is_open=False),
        card("none", "The attackers", table(headings, attackers), is_open=False) if cells else None,
        style=_STYLE,
    )


def _worst(results: Iterable[AuditResult]) -> Verdict:
    return min((each.verdict for each in results), key=_WORST_FIRST.index)


def _conclusion(clients: Iterable[_Results]) -> str:
    worst = [_worst(chain.from_iterable(each.values())) for each in clients]
    if not worst:
        return "No audit was made."
    fooled, unproven = worst.count("accepted"), worst.count("untested") + worst.count("undecided")
    said = [f"{fooled} of {len(worst)} clients gave an attacker what it wanted."] if fooled else []
    if unproven:
        said.append(f"{unproven} of {len(worst)} clients prove nothing in some cells.")
    return (
        " ".join(said)
        or (f"All {len(worst)} clients" if len(worst) > 1 else "The client") + " rejected every attacker of the audit."
    )


def _to_do(cells: dict[tuple[str, str], _Results]) -> list[Markup]:
    """Return what each client that failed must do: one line a remedy."""
    cards = []
    for (client, host), of_client in cells.items():
        remedies: dict[tuple[Verdict, str], dict[str, None]] = {}
        for attacker in _in_order(of_client):
            for result in of_client[attacker]:
                if result.verdict != "rejected":
                    remedies.setdefault((result.verdict, _remedy(result)), {})[attacker] = None
        if remedies:
            order = sorted(remedies, key=lambda each: _WORST_FIRST.index(each[0]))
            items = [
                element("li", badge(_LEVELS[verdict], verdict), " ", _prose(remedy), *_codes(remedies[verdict, remedy]))
                for verdict, remedy in order
            ]
            summary = join([element("strong", escape(client, _MAX_CLIENT)), " ", element("span", host, class_="muted")])
            cards.append(card(_LEVELS[order[0][0]], summary, element("ul", *items)))
    return [element("h2", "What to do"), *cards] if cards else []


def _codes(words: Iterable[str]) -> list[str]:
    return [part for each in words for part in (" ", element("code", each))]


def _matrix(cells: dict[tuple[str, str], _Results], attackers: Iterable[AttackerName]) -> Markup:
    head = [element("th", "Attacker", scope="col")]
    head += [
        element("th", escape(client, _MAX_CLIENT), element("span", host, class_="host"), scope="col")
        for client, host in cells
    ]
    rows = [
        element(
            "tr",
            element("th", attacker, scope="row"),
            *(element("td", _cell(of_client.get(attacker))) for of_client in cells.values()),
        )
        for attacker in attackers
    ]
    drawn = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    return join(
        [
            element("h2", "All clients against all attackers"),
            element("p", "Open a cell to see what happened.", class_="muted"),
            element("div", drawn, class_="matrix", tabindex="0", role="region", aria_label="Clients against attackers"),
        ]
    )


def _cell(results: Sequence[AuditResult] | None) -> Markup:
    if not results:
        return badge("none", "not run")
    verdict = _worst(results)
    times = f" (worst of {len(results)})" if len(results) > 1 else None
    summary = element("summary", badge(_LEVELS[verdict], verdict), times)
    return element("details", summary, *(element("div", *_happened(each), class_="body") for each in results))


def _happened(result: AuditResult) -> list[Markup]:
    """Return what a cell shows when it is opened."""
    counts = [
        ("Connections", str(result.connections)),
        ("Handshakes", str(result.handshakes)),
        ("Bytes of HTTP", str(result.application_bytes)),
    ]
    parts = [element("p", escape(result.reason, _MAX_TEXT)), facts(counts)]
    if plain := dict.fromkeys(map(without_code, result.failed_handshakes)):
        seen = [element("li", escape(each, _MAX_TEXT)) for each in plain]
        parts += [element("h3", "TLS alerts and errors, at the server"), element("ul", *seen)]
    if lines := masked_request(result.received):
        parts += [element("h3", "First bytes, masked"), element("pre", "\n".join(lines))]
    raised = escape(masked_error(result.error), _MAX_TEXT) or "nothing"
    parts += [element("h3", "The client raised"), element("p", raised)]
    if result.verdict != "rejected":
        parts += [element("h3", "What to do"), element("p", _prose(_remedy(result)))]
    return parts


def _remedy(result: AuditResult) -> str:
    return result.advice or DETAILS[result.attacker].remedy


def _prose(text: str) -> Markup:
    """Return a text with what stands between backticks as code."""
    parts = text.split("`")
    return join(element("code", each) if number % 2 else each for number, each in enumerate(parts))


def _in_order(attackers: Iterable[AttackerName]) -> list[AttackerName]:
    return sorted(attackers, key=ATTACKERS.index)


def masked_request(received: str) -> list[str]:
    """Return the lines of an HTTP/1 request without what may be secret.

    Args:
        received: its beginning, as in `AuditResult.received`: escaped, in quotes, of which the last may be cut off.
    """
    quote = received[:1]
    text = received[1:].removesuffix(quote) if quote in {"'", '"'} else received
    if not text:
        return []
    head, blank, body = text.partition(_END_OF_LINE * 2)
    request_line, *fields = head.split(_END_OF_LINE)
    parts = _REQUEST_LINE.fullmatch(request_line)
    if parts is None:
        return [MASK]
    lines = [f"{parts[1]} {_target(parts[2])} {parts[3]}", *map(_field, filter(None, fields))]
    return [*lines, "", MASK] if blank and body else lines


def masked_error(error: str) -> str:
    """Return an error text without what may be secret in URLs, and behind names of credentials.

    Free text cannot be masked with certainty: what stands elsewhere stays.
    """
    text = _USERINFO.sub(f"://{MASK}@", error)
    text = _URL.sub(lambda found: found[1] + _target(found[2]), text)
    return _CREDENTIALS.sub(rf"\1\2{MASK}", _QUERY.sub(f"?{MASK}", text))


def _target(target: str) -> str:
    path, question_mark, _query = target.partition("?")
    segments = [each if _HARMLESS_SEGMENT.fullmatch(each) else MASK for each in path.split("/")]
    return "/".join(segments) + (f"?{MASK}" if question_mark else "")


def _field(line: str) -> str:
    name, colon, value = line.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9-]{1,60}", name):
        return MASK
    return f"{name}:{value}" if name.lower() in _HARMLESS_FIELDS else f"{name}: {MASK}"

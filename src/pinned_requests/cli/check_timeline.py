"""A time line of the next year, as SVG: when certificates and pins of hosts expire."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.html_page import Markup, element

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_ROWS = 40  # hosts: those whose first date comes soonest

_YEAR = timedelta(days=365)
_WIDTH, _LABELS, _EDGE = 800, 190, 16  # units: of the whole, of the column of names, of the right edge
_HEAD, _ROW, _FOOT = 26, 30, 30
_MAX_LABEL = 28  # characters
_MARKS = {"leaf": "certificate of the host", "issuer": "pinned issuer", "pins": "pins"}

TIMELINE_STYLE = """
.timeline svg { width: 100%; min-width: 42rem; }
.timeline .grid { stroke: var(--line); stroke-width: 1; }
.timeline .now { stroke: var(--muted); stroke-width: 2; }
.timeline .bar { stroke: var(--line); stroke-width: 4; stroke-linecap: round; }
.timeline .month { fill: var(--muted); font-size: 11px; }
.timeline .leaf { fill: var(--info); }
.timeline .issuer { fill: var(--warning); }
.timeline .pins { fill: var(--critical); }
"""


class Ends(NamedTuple):
    """When what a host depends on expires; None: never, or not known."""

    host: str
    leaf: datetime | None = None
    issuer: datetime | None = None
    pins: datetime | None = None

    def dates(self) -> list[tuple[str, datetime]]:
        """Return the known dates with their names."""
        named = (("leaf", self.leaf), ("issuer", self.issuer), ("pins", self.pins))
        return [(name, moment) for name, moment in named if moment is not None]


def timeline(hosts: Sequence[Ends], now: datetime) -> Markup | None:
    """Return the drawing, the host whose first date comes soonest on top; None if no date is within the year.

    Dates that have passed stand at its beginning; those after the year are left out.
    """
    rows = sorted(
        (
            (min(moment for _, moment in dates), host.host, dates)
            for host in hosts
            if (dates := [(name, moment) for name, moment in host.dates() if moment <= now + _YEAR])
        ),
        key=lambda row: row[:2],
    )
    if not rows:
        return None
    shown = rows[:MAX_ROWS]
    height = _HEAD + _ROW * len(shown) + _FOOT
    bottom = height - _FOOT
    drawing = element(
        "svg",
        element("title", "When certificates and pins expire, within a year"),
        *_months(now, bottom),
        *(part for at, (_, host, dates) in enumerate(shown) for part in _row(at, host, dates, now)),
        *_legend(height - 9),
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
    )
    hidden = len(rows) - len(shown)
    more = f" {hidden} more hosts have dates within the year." if hidden else ""
    return element(
        "figure",
        element("div", drawing, class_="scroll", tabindex="0"),
        element("figcaption", f"The soonest on top; the line on the left is today.{more}", class_="small"),
        class_="timeline",
    )


def _x(moment: datetime, now: datetime) -> float:
    share = min(max((moment - now) / _YEAR, 0.0), 1.0)
    return round(_LABELS + share * (_WIDTH - _LABELS - _EDGE), 1)


def _months(now: datetime, bottom: int) -> Iterator[Markup]:
    yield element("line", x1=_LABELS, y1=_HEAD - 4, x2=_LABELS, y2=bottom, class_="now")
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(12):
        month = (month + timedelta(days=32)).replace(day=1)
        x = _x(month, now)
        yield element("line", x1=x, y1=_HEAD - 4, x2=x, y2=bottom, class_="grid")
        text = f"{month:%Y}" if month.month == 1 else f"{month:%b}"
        yield element("text", text, x=x + 3, y=_HEAD - 10, class_="month")


def _row(at: int, host: str, dates: Sequence[tuple[str, datetime]], now: datetime) -> Iterator[Markup]:
    y = _HEAD + _ROW * at + _ROW / 2
    label = host if len(host) <= _MAX_LABEL else f"{host[: _MAX_LABEL - 1]}…"
    yield element("text", label, x=0, y=y + 4)
    last = max(_x(moment, now) for _, moment in dates)
    yield element("line", x1=_LABELS, y1=y, x2=last, y2=y, class_="bar")
    for name, moment in dates:
        yield _mark(name, _x(moment, now), y, f"{host}: {_MARKS[name]}, {moment:%Y-%m-%d}")


def _mark(name: str, x: float, y: float, title: str) -> Markup:
    """Draw a circle, a diamond or a square: the shape tells as much as the colour."""
    about = element("title", title)
    if name == "leaf":
        return element("circle", about, cx=x, cy=y, r=6, class_=name)
    if name == "issuer":
        return element("path", about, d=f"M{x - 8} {y}L{x} {y - 8}L{x + 8} {y}L{x} {y + 8}Z", class_=name)
    return element("rect", about, x=x - 5.5, y=y - 5.5, width=11, height=11, class_=name)


def _legend(y: float) -> Iterator[Markup]:
    x = float(_LABELS)
    for name, words in _MARKS.items():
        yield _mark(name, x + 8, y - 4, words)
        yield element("text", words, x=x + 20, y=y, class_="month")
        x += 40 + 6.4 * len(words)

"""Self-contained HTML pages: escaping, and one style for light and dark screens.

Rules for the next maintainer:

- `element()` makes all markup, and escapes every text and attribute value. Nothing else writes into a page.
- A page loads nothing and links nowhere: `element()` refuses references, and the Content-Security-Policy blocks the
  rest.
- Colour is never the only sign: a word stands beside it (WCAG 2.2, 1.4.1).
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Level = Literal["critical", "warning", "info", "ok", "none"]

_VOID = frozenset({"br", "hr", "meta"})
_REFERENCES = frozenset({"href", "src", "action", "data", "poster", "srcset", "style", "xlink:href"})


class Markup(str):
    """HTML made by `element()`, which is not escaped again."""

    __slots__ = ()


def element(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Markup:
    """Return an HTML or SVG element. Texts and values are escaped, children that are None left out.

    Of attributes, `class_` means `class` and `stroke_width` means `stroke-width`; None and False omit one, True writes
    it without a value. One that would load, link to, run or style something is a `ValueError`.
    """
    parts = [name]
    for given, value in attributes.items():
        if value is None or value is False:
            continue
        key = given.rstrip("_").replace("_", "-")
        if key.startswith("on") or (key in _REFERENCES and not str(value).startswith("#")):
            raise ValueError(f"a page is self-contained: the attribute {key!r} is not allowed")
        parts.append(key if value is True else f'{key}="{html.escape(str(value))}"')
    start = Markup(f"<{' '.join(parts)}>")
    return start if name in _VOID else Markup(f"{start}{join(children)}</{name}>")


def join(children: Iterable[str | None]) -> Markup:
    """Concatenate markup and texts; the texts are escaped."""
    return Markup(
        "".join(str(each) if isinstance(each, Markup) else html.escape(each) for each in children if each is not None)
    )


def badge(level: Level, word: str) -> Markup:
    """Return a word in the colours of a level."""
    return element("span", word, class_=f"badge {level}")


def tile(level: Level, number: int, word: str) -> Markup:
    """Return a number and what it counts, for the row of tiles on top of a page."""
    return element(
        "div",
        element("span", str(number), class_="number"),
        element("span", word, class_="word"),
        class_=f"tile {level if number else 'none'}",
    )


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Return a description list of names and values; a value may be `Markup`."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Markup:
    """Return a table that scrolls sideways on narrow screens; cells may be `Markup`."""
    head = element("thead", element("tr", *(element("th", heading, scope="col") for heading in headings)))
    body = element("tbody", *(element("tr", *(element("td", cell) for cell in row)) for row in rows))
    return element("div", element("table", head, body), class_="scroll", tabindex="0")


def card(level: Level, summary: str, *children: str | None, is_open: bool = True) -> Markup:
    """Return a section that opens and closes, in the colour of a level."""
    return element(
        "details", element("summary", summary), element("div", *children, class_="body"), class_=level, open=is_open
    )


def page(title: str, *body: str | None, style: str = "") -> str:
    """Return a page under a title.

    `style` is CSS to add, from the program and never from input; it is a `ValueError` if it could end the style element
    or load a resource.
    """
    if "<" in style or "url(" in style or "@import" in style:
        raise ValueError("the style of a page must not contain markup or load anything")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        element("title", title),
        element("style", Markup(_STYLE + style)),
    )
    main = element("main", element("h1", title), *body)
    return f"<!DOCTYPE html>\n{element('html', head, element('body', main), lang='en')}\n"


_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f5f6f8; --surface: #ffffff; --text: #1a1e23; --muted: #59636e; --line: #d9dee4; --code: #eef1f4;
  --critical: #b3261e; --critical-ground: #fdeceb; --warning: #865000; --warning-ground: #fff3dc;
  --info: #1c5ca8; --info-ground: #e6f0fb; --ok: #17683a; --ok-ground: #e4f4ea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #121518; --surface: #1b1f24; --text: #e7eaee; --muted: #9ba6b2; --line: #333b44; --code: #262c33;
    --critical: #ff9289; --critical-ground: #3b1d1b; --warning: #ffc873; --warning-ground: #35290f;
    --info: #91c2ff; --info-ground: #16283d; --ok: #82dba3; --ok-ground: #12301e;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); line-height: 1.5;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .75rem; }
h3 { font-size: .8rem; margin: 1.25rem 0 .4rem; color: var(--muted); text-transform: uppercase; letter-spacing: .05em; }
p { margin: .4rem 0; }
.muted, figcaption { color: var(--muted); }
.small { font-size: .85rem; }
code { font: .85em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  background: var(--code); border-radius: .25rem; padding: .1em .35em; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.tile { flex: 1 1 7rem; background: var(--surface); border: 1px solid var(--line); border-radius: .6rem;
  padding: .75rem 1rem; display: flex; flex-direction: column; }
.tile .number { font-size: 1.9rem; font-weight: 700; line-height: 1.1; }
.tile .word { color: var(--muted); font-size: .9rem; }
.badge { display: inline-block; border-radius: 1rem; padding: .05rem .6rem; font-size: .8rem; font-weight: 600;
  white-space: nowrap; background: var(--code); color: var(--muted); }
.badge.critical, .tile.critical { background: var(--critical-ground); color: var(--critical); }
.badge.warning, .tile.warning { background: var(--warning-ground); color: var(--warning); }
.badge.info, .tile.info { background: var(--info-ground); color: var(--info); }
.badge.ok, .tile.ok { background: var(--ok-ground); color: var(--ok); }
.tile.critical .word, .tile.warning .word, .tile.info .word, .tile.ok .word { color: inherit; }
details { background: var(--surface); border: 1px solid var(--line); border-left: .35rem solid var(--line);
  border-radius: .6rem; margin: .75rem 0; }
details.critical { border-left-color: var(--critical); }
details.warning { border-left-color: var(--warning); }
details.info { border-left-color: var(--info); }
details.ok { border-left-color: var(--ok); }
summary { cursor: pointer; padding: .75rem 1rem; overflow-wrap: anywhere; }
summary:focus-visible, .scroll:focus-visible { outline: 2px solid var(--info); outline-offset: 2px; }
.body { padding: 0 1rem 1rem; }
ul, ol { margin: .4rem 0; padding-left: 1.25rem; }
li { margin: .3rem 0; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .6rem 1rem; margin: .5rem 0; }
dt { color: var(--muted); font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; color: var(--muted); font-weight: 600; font-size: .85rem; }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
figure { margin: 1rem 0; }
svg { max-width: 100%; height: auto; display: block; }
svg text { fill: var(--text); font-size: 12px; font-family: system-ui, sans-serif; }
@media print { details { break-inside: avoid; } }
"""

"""HTML pages: what is put in is escaped, and nothing is loaded."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinned_requests.html_page import Markup, badge, card, element, facts, join, page, table, tile


class Reader(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and its attributes."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r")))
def test_any_text_stays_text(text: str) -> None:
    """As a child and as the value of an attribute; it makes no tag."""
    read = Reader(element("p", text, title=text))
    assert read.tags == ["p"]
    assert read.attributes == [("title", text)]
    assert read.text == text


def test_markup_is_not_escaped_again() -> None:
    """And None is left out."""
    assert element("p", element("b", "a & b"), None, " < c") == "<p><b>a &amp; b</b> &lt; c</p>"
    assert element("br") == "<br>"
    assert join(["<", Markup("<hr>")]) == "&lt;<hr>"


def test_attributes() -> None:
    """Names are spelled as Python can; None and False leave one out."""
    made = element("path", class_="a", stroke_width=2, viewBox="0 0 1 1", title=None, hidden=False, open=True)
    assert made == '<path class="a" stroke-width="2" viewBox="0 0 1 1" open></path>'


@pytest.mark.parametrize(
    "attributes",
    [{"href": "https://example.com/"}, {"src": "x.png"}, {"onclick": "x()"}, {"style": "color:red"}, {"srcset": "a"}],
)
def test_what_would_load_or_run_something_is_refused(attributes: dict[str, str]) -> None:
    """A page is self-contained; a reference into the page itself is allowed."""
    with pytest.raises(ValueError, match="self-contained"):
        element("a", "x", **attributes)
    assert element("a", "x", href="#top") == '<a href="#top">x</a>'


@pytest.mark.parametrize("style", ["</style><script>", "a{background:url(x)}", "@import 'x';"])
def test_a_style_that_would_load_something_is_refused(style: str) -> None:
    """Nor can it end its element."""
    with pytest.raises(ValueError, match="style"):
        page("x", style=style)


def test_a_page() -> None:
    """It has one heading, a policy that forbids to load anything, and no script."""
    read = Reader(
        page(
            "<Title>",
            element("div", tile("critical", 1, "critical"), tile("ok", 0, "fine"), class_="tiles"),
            card("warning", badge("warning", "<warning>"), facts([("name", "<value>")]), is_open=False),
            table(["<a>"], [["<b>"]]),
            style=".x { color: var(--ok); }",
        )
    )
    assert read.tags.count("h1") == 1
    assert not {"script", "link", "img", "iframe", "a"} & set(read.tags)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in read.attributes
    assert {"<Title>", "<warning>", "<value>", "<a>", "<b>"} <= {
        f"<{t.partition('>')[0]}>" for t in read.text.split("<")
    }
    assert ("class", "tile none") in read.attributes

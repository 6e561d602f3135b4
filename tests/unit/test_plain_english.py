"""Words that make the text read as translated do not come back.

It looks at code, docstrings, comments and messages below `src/`, and at the documentation. Write the sentence with a
subject, a verb and the field's own noun: `invalid pin 'x': …`, not `'x' is no pin`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
WORDS = re.compile(
    r"\b(?:whoever|whomever|whom|whatever|nobody|somebody|anew|besides)\b"
    # "x is no pin", but "there is no pin" and "is no longer" are usual.
    r"|(?<!\bthere )\b(?:is|are|was|were) no\b(?! longer)"
    r"|\bholds? no\b",
    re.IGNORECASE,
)

# A file and the words that it may use, with the reason.
EXCEPTIONS: dict[tuple[str, str], str] = {}

# TO BE EMPTIED: files and folders that are still to be rewritten. Remove an entry with the last of its words.
TO_BE_REWRITTEN: dict[str, str] = {
    "README.md": "is replaced by a shorter one",
    "docs/": "becomes the documentation site",
    "src/pinned_requests/html_page.py": "is new",
    "src/pinned_requests/policy_store.py": "changes with the refresher",
    "src/pinned_requests/publishing/": "is taken out of cli/",
    "src/pinned_requests/reporting/http.py": "changes with the store",
    "src/pinned_requests/sources/": "changes with the refresher",
    "src/pinned_requests/testing/": "is split into pki, server, intercept and lab",
    "src/pinned_requests/tls/": "changes with the sockets",
    "src/pytest_pinned_requests.py": "changes with testing/",
}


class Found(NamedTuple):
    """A word, and where it is."""

    path: str
    line: int
    words: str


def texts() -> Iterator[Path]:
    """Yield the files to look at."""
    yield ROOT / "README.md"
    yield ROOT / "CHANGELOG.md"
    for folder in ("src", "docs"):
        yield from sorted(each for each in (ROOT / folder).rglob("*") if each.suffix in (".json", ".md", ".py"))


def words_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines and words that are to be avoided. A line break counts as a space."""
    plain = re.sub(r"\n[ #>]*", lambda gap: " " * len(gap[0]), text)
    for found in WORDS.finditer(re.sub(r"\s", " ", plain)):
        yield text.count("\n", 0, found.start()) + 1, found[0].lower()


FOUND = [
    Found(path.relative_to(ROOT).as_posix(), *each) for path in texts() for each in words_in(path.read_text("utf-8"))
]


@pytest.mark.skipif(not (ROOT / "src").exists(), reason="the source is installed, not here")
def test_plain_english() -> None:
    """No file uses these words, but those listed above."""
    rest = [
        each
        for each in FOUND
        if not each.path.startswith(tuple(TO_BE_REWRITTEN)) and (each.path, each.words) not in EXCEPTIONS
    ]
    assert rest == []


def test_no_exception_is_left_over() -> None:
    """An exception that is not needed is removed."""
    assert EXCEPTIONS.keys() <= {(each.path, each.words) for each in FOUND}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Whoever is told", ["whoever"]),
        ("'x' is no\n    # pin", ["is no"]),
        ("the chain holds no pin, and hold no lock", ["holds no", "hold no"]),
        ("there is no pin, and it is no longer anewed", []),
        ("beside it, and _start_anew()", []),
    ],
)
def test_the_words(text: str, words: list[str]) -> None:
    """The search finds them in any case and across lines, and leaves usual sentences alone."""
    assert [found for _, found in words_in(text)] == words

"""Limits on the text that a reader accepts: its size and its encoding. Every reader starts here."""

from __future__ import annotations

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape

# The largest app configuration known to us has about a hundred hosts in 50 kB. 2 MB hold a zone file of 20,000
# records, and keep a conversion far below 200 MB of memory.
MAX_TEXT = 2 << 20  # characters
MAX_MARKS = 100_000  # XML tags, XML attributes, or lines: each may become an object of some 200 bytes
MAX_LINE = 1 << 16  # characters of a one-line format: servers and browsers accept headers of 8 to 16 kB


def bounded(text: str | bytes) -> str:
    """Return `text` as a string, without a byte order mark.

    Args:
        text: bytes are UTF-8.

    Raises:
        PolicyError: it is neither `str` nor bytes, too long, or not UTF-8.
    """
    if not isinstance(text, (str, bytes)):
        raise PolicyError(f"expected text, got {escape(type(text).__name__)}; give a str, or bytes in UTF-8")
    if len(text) > MAX_TEXT:
        raise PolicyError(f"the text is too long: {len(text)} characters, at most {MAX_TEXT} are read; split it")
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text.encode("utf-8").decode("utf-8")
    except UnicodeError as e:
        raise PolicyError(
            f"the text is not UTF-8: {escape(str(e))}; convert it (a binary property list: to XML)"
        ) from None
    return plain.removeprefix("\ufeff")  # Windows editors write one


def one_line(text: str | bytes) -> str:
    """Return the text of a one-line format without its final line feed. Line feeds inside are not removed.

    Raises:
        PolicyError: as `bounded()`, or it is too long for one line.
    """
    line = bounded(text).removesuffix("\n").removesuffix("\r")
    if len(line) > MAX_LINE:
        raise PolicyError(f"the line is too long: {len(line)} characters, at most {MAX_LINE} are read")
    return line


def bounded_xml(text: str | bytes) -> str:
    """Return the text of an XML document.

    Raises:
        PolicyError: as `bounded()`, or it has too many elements or attributes.
    """
    return _with_few(bounded(text), ("<", "tags"), ("=", "attributes"))


def bounded_lines(text: str | bytes) -> str:
    """Return a text of several lines.

    Raises:
        PolicyError: as `bounded()`, or it has too many lines.
    """
    return _with_few(bounded(text), ("\n", "lines"))


def _with_few(text: str, *marks: tuple[str, str]) -> str:
    for mark, what in marks:
        if (count := text.count(mark)) > MAX_MARKS:
            raise PolicyError(f"the text has up to {count} {what}, at most {MAX_MARKS} are read; split it")
    return text

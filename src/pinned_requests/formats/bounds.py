"""What a reader takes: how much, and in which encoding. Every reader begins with one of these."""

from __future__ import annotations

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape

# The largest configuration of an app known to us has some hundred hosts, in 50 kB. This is a zone file of 20,000
# records, and keeps a conversion far below 200 MB of memory.
MAX_TEXT = 2 << 20  # characters
MAX_MARKS = 100_000  # tags, and attributes, of XML, or lines: each may become an object of some 200 bytes
MAX_LINE = 1 << 16  # characters of a text that is one line: servers and browsers take 8 to 16 kB of a header


def bounded(text: str | bytes) -> str:
    """Return `text` as a string, if it is not too long and can be encoded.

    Raises:
        PolicyError: it is.
    """
    if not isinstance(text, (str, bytes)):
        raise PolicyError(f"a value of type {escape(type(text).__name__)} is no text; give a str, or bytes in UTF-8")
    if len(text) > MAX_TEXT:
        raise PolicyError(f"the text has {len(text)} characters, and {MAX_TEXT} are read; split it")
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text.encode("utf-8").decode("utf-8")
    except UnicodeError as e:
        raise PolicyError(
            f"the text is not UTF-8: {escape(str(e))}; convert it (a binary property list: to XML)"
        ) from None
    return plain.removeprefix("\ufeff")  # the byte order mark that editors of one system put first


def one_line(text: str | bytes) -> str:
    """Return `text` without the line feed at its end, if it is not too long for a line. Others may be within.

    Raises:
        PolicyError: it is.
    """
    line = bounded(text).removesuffix("\n").removesuffix("\r")
    if len(line) > MAX_LINE:
        raise PolicyError(f"the line has {len(line)} characters, and {MAX_LINE} are read")
    return line


def bounded_xml(text: str | bytes) -> str:
    """Return `text`, if it is not too long and has not too many elements and attributes.

    Raises:
        PolicyError: it has.
    """
    return _with_few(bounded(text), ("<", "tags"), ("=", "attributes"))


def bounded_lines(text: str | bytes) -> str:
    """Return `text`, if it is not too long and has not too many lines.

    Raises:
        PolicyError: it has.
    """
    return _with_few(bounded(text), ("\n", "lines"))


def _with_few(text: str, *marks: tuple[str, str]) -> str:
    for mark, what in marks:
        if (count := text.count(mark)) > MAX_MARKS:
            raise PolicyError(f"the text has up to {count} {what}, and {MAX_MARKS} are read; split it")
    return text

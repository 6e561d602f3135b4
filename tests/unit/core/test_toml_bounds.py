"""The cost of a TOML text: no text takes a parser longer than 10 s, and most are refused at once.

The texts here are small, and still show a parser that takes quadratic time. `python -m benchmarks.toml_bounds` measures
them as large as they can be.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from pinned_requests import PolicyError
from pinned_requests.core import policy_text

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

SMALL = 1 << 18  # bytes
ALLOWED = 10.0  # s, for the largest
PIN = f"sha256/{'A' * 43}="


def fill(unit: str, before: str = "", after: str = "") -> Callable[[int], str]:
    """A text that repeats `unit`."""
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def count(line: str, before: str = "", after: str = "") -> Callable[[int], str]:
    """A text of `line` again and again, with a number in it."""

    def make(size: int) -> str:
        numbers = range((size - len(before) - len(after)) // (len(line) + 7))
        return before + "".join(line.replace("#", str(n)) for n in numbers) + after

    return make


TEXTS: dict[str, Callable[[int], str]] = {
    # Strings
    "escaped quotes, no end": fill('\\"', 'x = "'),
    "escaped quotes": fill('\\"', 'x = "', '"'),
    "escaped characters": fill("\\u00e9", 'x = "', '"'),
    "quotes": fill('"'),
    "single quotes": fill("'"),
    "no end": fill("a", 'x = "'),
    "no end of a literal": fill("a", "x = '"),
    "no end of many": fill('x = "a\n'),
    "backslashes": fill("\\"),
    "escaped line feeds": fill("\\\n", 'x = "', '"'),
    "over several lines": fill("a\n", 'x = """', '"""'),
    "over several lines, no end": fill('""a\n', "x = '''"),
    "many strings": fill('"",', "x = [", "]"),
    "not ASCII": fill("é", 'x = "', '"'),
    # Keys and tables
    "keys": count("#=1\n"),
    "quoted keys": count('"\\u0061#"=1\n'),
    "the same key at last": count("a#=1\n", "a = 1\n", "a = 1\n"),
    "long key": fill("a", "", " = 1"),
    "dotted key": fill("a.", "", "a = 1"),
    "dotted quoted key": fill('"a".', "", "a = 1"),
    "dots behind a quoted name": fill("a.", "'=\"'.", "a = 1"),
    "dots behind an escaped quote": fill("a.", '"\\"".', '"\\"" = 1'),
    "dots with spaces": fill("a . ", "", "a = 1"),
    "dots alone": fill("."),
    "dots in an inline table": fill("a.", "x = {", "a = 1}"),
    "dots between long strings": fill("a.", 'x = {a = """\n""", ', 'a = ""}'),
    "dots behind a long string": fill("a.", 'x = {a = """\n\' """, ', "a = ''}"),
    "dots behind a comment": fill("a.", "# it's \"\n", "a = 1"),
    "dots behind another line end": fill("a.", "x = 1 # \u2028\x0b\x85\n", "a = 1"),
    "dots behind a carriage return": fill("a.", "x = 1\r", "a = 1"),
    "dotted table": fill("a.", "[", "a]"),
    "dotted keys": count(f"a#.{'b.' * 20}c = 1\n"),
    "long dotted keys": count(f"a#.{'b.' * 98}c = 1\n"),
    "dotted keys of one table": count(f"{'b.' * 98}c# = 1\n"),
    "tables": count("[#]\n"),
    "tables of one table": count("[a.t#]\n"),
    "dotted tables": count(f"[{'b.' * 98}c#]\n"),
    "indented tables": count(" [#]\n"),
    "arrays of tables": fill("[[a]]\n"),
    "tables in an array of tables": count("[a.b#]\n", "[[a]]\n"),
    "arrays of tables in each other": fill("[[a]]\n[[a.b]]\n[[a.b.c]]\n"),
    "dotted arrays of tables": fill(f"[[{'a.' * 98}a]]\n"),
    "inline tables": fill("{},", "x = [", "]"),
    "inline tables with a key": fill("{a=1},", "x = [", "]"),
    "keys of an inline table": count("a#=1,", "x = {", "z=1}"),
    "dotted keys of an inline table": count("a.b.c#=1,", "x = {", "z=1}"),
    "tables with a key": count("[#]\na=1\n"),
    # Depth
    "deep arrays": fill("[", "x = "),
    "deep inline tables": fill("{a=", "x = "),
    "deep and shallow": fill("[" * 80 + "]" * 80 + ",", "x = [", "]"),
    "arrays": fill("[],", "x = [", "]"),
    # Numbers and dates
    "long integer": fill("1", "x = "),
    "long integer with underscores": fill("1_", "x = ", "1"),
    "long hexadecimal": fill("f", "x = 0x"),
    "long fraction": fill("1", "x = 1."),
    "long exponent": fill("9", "x = 1e"),
    "long second": fill("0", "x = 2027-03-01T00:00:00."),
    "integers": fill("1,", "x = [", "]"),
    "long fractions": fill(f"1.{'1' * 249_000},\n", "x = [\n", "]"),
    "long exponents": count(f"a# = 1e{'9' * 249_000}\n"),
    "long keys": count(f"{'a' * 249_000}# = 1\n"),
    "lengthy integers": fill("1" * 999 + ",", "x = [", "]"),
    "lengthy hexadecimals": fill("0x" + "f" * 990 + ",", "x = [", "]"),
    "floats": fill("1e1,", "x = [", "]"),
    "dates": fill("2027-03-01T00:00:00Z,", "x = [", "]"),
    "dates with offsets": count("2027-03-01T00:00:00+01:00,", "x = [", "]"),
    "times": fill("00:00:00,", "x = [", "]"),
    "booleans": fill("true,", "x = [", "]"),
    # Nothing
    "comments": fill("#\n"),
    "long comment": fill("a", "#"),
    "quotes in comments": fill("#\"'\n"),
    "comments in an array": fill("#\n", "x = [\n", "]"),
    "line feeds": fill("\n"),
    "Windows line ends": fill("\r\n"),
    "carriage returns": fill("\r"),
    "spaces": fill(" "),
    "lines of spaces in an array": fill(" \n", "x = [", "]"),
    # Policies
    "hosts": count(f'[hosts."h#.example.com"]\npins = ["{PIN}",{{pin = "{PIN}", note = "a.b, c = [d]"}}]\n'),
    "hosts on one line": count(f'"h#.example.com" = ["{PIN}"], ', "hosts = {", '"a.example" = []}'),
    "hosts with dotted keys": count(f'hosts."h#.example.com".pins = ["{PIN}"]\n'),
}


@pytest.fixture(params=["rtoml", "tomllib"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both TOML parsers."""
    if request.param == "tomllib":
        monkeypatch.setitem(sys.modules, "rtoml", None)


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize("name", TEXTS)
def test_no_text_takes_long(name: str) -> None:
    """A table, or our error; quadratic time would take minutes even for these."""
    text = TEXTS[name](SMALL)
    begin = time.process_time()
    try:
        result: object = policy_text.load_toml(text)
    except PolicyError as e:
        result = str(e)
    assert time.process_time() - begin < ALLOWED / 4
    assert isinstance(result, (dict, str))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("keys", "values"),
        ("inline tables", "values"),
        ("escaped quotes", "values"),
        ("comments", "lines"),
        ("dotted keys", "dots"),
        ("dotted key", "dots"),
        ("dots behind an escaped quote", "dots"),
        ("dots behind a comment", "dots"),
        ("long integer", "line of more"),
        ("quotes", "multi-line"),
    ],
)
def test_what_is_refused_before_it_is_parsed(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of anything than a policy needs; the parser does not see it."""
    monkeypatch.setattr(policy_text, "_parse_toml", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(PolicyError, match=says):
        policy_text.load_toml(TEXTS[name](20 << 20))

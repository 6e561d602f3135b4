"""What the strict reader of DER says of what it refuses. `test_keys.py` shows what it accepts and refuses."""

from __future__ import annotations

import pytest

from pinned_requests.core.der import ANY, INTEGER, NOTHING, OID, SEQUENCE, SET, Element, elements, fields
from pinned_requests.core.errors import PinFormatError

ONE = b"\x02\x01\x01"


def test_the_shape() -> None:
    """An optional field may be missing at any place; `ANY` is every tag."""
    missing, *present = fields(ONE + b"\x06\x01*", [SET], INTEGER, OID)
    assert missing is NOTHING
    one = (INTEGER, b"\x01", ONE)
    assert _parts(present) == [one, (OID, b"*", b"\x06\x01*")]
    assert _parts(fields(ONE, ANY)) == [one]
    assert fields(b"", [ANY]) == [NOTHING]
    assert _parts(elements(ONE + ONE, INTEGER)) == [one, one]
    assert elements(b"") == []


def _parts(found: list[Element]) -> list[tuple[int, bytes, bytes]]:
    return [(each.tag, each.content, each.whole) for each in found]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it ends in the middle of a field"),
        (b"\x30", "it ends in the middle of a field"),
        (ONE, "it has tag 0x02 where tag 0x30 is required"),
        (b"\x1f\x00", "it has tag 0x1f, which certificates and keys do not use"),
        (b"\x30\x80", "it has a length that is not in its shortest form"),
        (b"\x30\x81\x7f", "it has a length that is not in its shortest form"),
        (b"\x30\x82\x00\xff", "it has a length that is not in its shortest form"),
        (b"\x30\x82\x01\x00", "it has a field that is longer than the rest of the data"),
        (b"\x30\xff" + b"\xff" * 200, "it has a field that is longer than the rest of the data"),
        (b"\x30\x00" + ONE, "it has bytes after its end"),
        (b"\x30\x00\x1f\x00", "it has bytes after its end"),  # which are not read
    ],
)
def test_what_is_refused(data: bytes, said: str) -> None:
    """The sentence names the first fault."""
    with pytest.raises(PinFormatError, match=f"^{said}$"):
        fields(data, SEQUENCE)


def test_one_tag_for_all() -> None:
    """As of a SET OF."""
    with pytest.raises(PinFormatError, match="tag 0x30 where tag 0x02 is required"):
        elements(ONE + b"\x30\x00", INTEGER)

"""A strict reader of DER (ITU-T X.690 §10) and of PEM (RFC 7468).

Rules for the next maintainer:

- Accept only definite, minimal lengths, and check every bound. Refuse what is not understood; never skip it.
- For any input, return a value or raise a `PinFormatError`, in time linear in its length.
- An error completes the sentence "… cannot be read: it …". Its caller names the input.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.text import escape, show

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

INTEGER, BIT_STRING, OCTET_STRING, OID, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x06, 0x30, 0x31
HIGH_TAG = 0x1F  # X.690 §8.1.2.4: the tag number follows in further octets

# A certificate on the web has 1 to 5 kB, and OpenSSL accepts chains of 100 kB: this is ample.
MAX_SIZE = 1 << 20  # bytes

_PEM_BEGIN = rb"(?m)^-----BEGIN ([A-Z0-9 ]{1,64})-----[ \t]*\r?\n"  # compiled where PEM is read
_PEM_END = rb"(?m)^-----END ([A-Z0-9 ]{1,64})-----"


class Element:
    """One DER element: its tag, its content octets, and all of its octets."""

    __slots__ = ("content", "tag", "whole")

    def __init__(self, tag: int, content: bytes, whole: bytes) -> None:
        self.tag = tag
        self.content = content
        self.whole = whole


class Reader:
    """A strict cursor over the DER bytes of one constructed value."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def peek(self) -> int | None:
        """Return the tag of the next element, or None at the end."""
        return self._data[self._at] if self else None

    def take(self, *tags: int) -> Element:
        """Return the next element and move past it.

        Args:
            tags: the accepted tags; without any, every tag of one octet is accepted.

        Raises:
            PinFormatError: there is none, it has another tag, or its length is not valid DER.
        """
        data, start = self._data, self._at
        if start + 2 > len(data):
            raise PinFormatError("it ends in the middle of a field")
        tag, length, at = data[start], data[start + 1], start + 2
        if tags and tag not in tags:
            raise PinFormatError(f"it has tag 0x{tag:02x} where tag 0x{tags[0]:02x} is required")
        if tag & HIGH_TAG == HIGH_TAG:
            raise PinFormatError(f"it has tag 0x{tag:02x}, which certificates and keys do not use")
        if length >= 0x80:  # noqa: PLR2004  X.690 §8.1.3.5: the long form; 0x80 is the indefinite form, which DER forbids
            octets = length & 0x7F
            if not 1 <= octets <= 4 or at + octets > len(data):  # noqa: PLR2004  MAX_SIZE needs no more than 3 octets
                raise PinFormatError("it has a length that DER does not allow")
            length = int.from_bytes(data[at : at + octets], "big")
            if length < 0x80 or length >> (8 * (octets - 1)) == 0:  # noqa: PLR2004  X.690 §10.1: the shortest form
                raise PinFormatError("it has a length that is not in its shortest form")
            at += octets
        end = at + length
        if end > len(data):
            raise PinFormatError("it has a field that is longer than the rest of the data")
        self._at = end
        return Element(tag, data[at:end], data[start:end])

    def rest(self) -> bytes:
        """Return the bytes that have not been read."""
        return self._data[self._at :]

    def end(self) -> None:
        """Raise a `PinFormatError` if bytes are left."""
        if self:
            raise PinFormatError("it has bytes after its end")

    def take_all(self, tag: int) -> list[Element]:
        """Return all that follows, by `take()`."""
        found = []
        while self:
            found.append(self.take(tag))
        return found


def inside(der: bytes) -> Reader:
    """Return a reader of the content of `der`.

    Raises:
        PinFormatError: `der` is not exactly one SEQUENCE.
    """
    outer = Reader(der)
    content = outer.take(SEQUENCE).content
    outer.end()
    return Reader(content)


def sequence(content: bytes) -> bytes:
    """Return the DER encoding of a SEQUENCE with this content."""
    length = len(content)
    if length < 0x80:  # noqa: PLR2004  X.690 §8.1.3.4: the short form
        return bytes((SEQUENCE, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((SEQUENCE, 0x80 | len(octets))) + octets + content


def bounded(data: bytes) -> bytes:
    """Return `data` unchanged.

    Raises:
        PinFormatError: it is not bytes, or more than `MAX_SIZE` bytes.
    """
    if not isinstance(data, bytes):
        raise PinFormatError(f"{show(data)} is not bytes")
    if len(data) > MAX_SIZE:
        raise PinFormatError(f"{len(data)} bytes is too large for a certificate or key; at most {MAX_SIZE} are read")
    return data


def is_whole_element(data: bytes) -> bool:
    """Return whether `data` is exactly one DER SEQUENCE, and so not a text with PEM in it."""
    try:
        inside(data)
    except PinFormatError:
        return False
    return True


def pem_blocks(data: bytes, labels: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield label and DER bytes of each PEM block (RFC 7468 §2) with one of `labels`. Other blocks are skipped.

    Raises:
        PinFormatError: a block has no end, is encrypted, or its body is not base64.
    """
    find_end = re.compile(_PEM_END).search
    for begin in re.finditer(_PEM_BEGIN, bounded(data)):
        label = begin[1].decode("ascii")
        if label not in labels:
            continue
        end = find_end(data, begin.end())
        if end is None or end[1] != begin[1]:  # the end of another block does not end this one
            raise PinFormatError(f"the PEM block {show(label)} has no end; copy it with its '-----END' line")
        body = data[begin.end() : end.start()]
        if b":" in body:  # RFC 1421 §4.6: the headers of an encrypted key in a traditional format
            raise PinFormatError(f"the PEM block {show(label)} is encrypted; use its certificate, CSR or public key")
        try:
            der = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error as e:
            raise PinFormatError(f"the PEM block {show(label)} is not valid base64: {escape(str(e))}") from None
        yield label, der

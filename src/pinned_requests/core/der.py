"""A strict reader of DER (ITU-T X.690 §10), and of the public key (SPKI) of a certificate in it.

Rules for the next maintainer:

- A parser that disagrees with the TLS library would hash a key that the peer does not have. Accept only definite,
  minimal lengths, and check every bound and tag. Refuse what is not understood; never skip it.
- Copy the bytes of a key; do not parse and serialize them: `cryptography` re-encodes RSA-PSS keys and EC keys with
  explicit parameters, and cannot load keys of unknown types.
- For any input, return a value or raise a `PinFormatError`, in time linear in its length.
- An error completes the sentence "… cannot be read: it …". Its caller names the input.
- Signatures, dates and extensions are *not* checked: the TLS library does that, before this code runs.
"""

from __future__ import annotations

from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.text import show

INTEGER, BIT_STRING, OCTET_STRING, OID, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x06, 0x30, 0x31
ANY = -1
VERSION = 0xA0  # [0] EXPLICIT
ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID, EXTENSIONS = 0x81, 0x82, 0xA3  # [1], [2] IMPLICIT BIT STRING, [3] EXPLICIT
HIGH_TAG = 0x1F  # X.690 §8.1.2.4: the tag number follows in further octets

# A certificate on the web has 1 to 5 kB, and OpenSSL accepts chains of 100 kB: this is ample.
MAX_SIZE = 1 << 20  # bytes


class Element:
    """One DER element: its tag, its content octets, and all of its octets."""

    __slots__ = ("content", "tag", "whole")

    def __init__(self, tag: int, content: bytes, whole: bytes) -> None:
        self.tag = tag
        self.content = content
        self.whole = whole


NOTHING = Element(ANY, b"", b"")


def elements(data: bytes, tag: int = ANY, most: int = MAX_SIZE) -> list[Element]:
    """Return the elements that `data`, the content of a constructed value, consists of.

    Args:
        data: DER.
        tag: the accepted tag; `ANY`: every tag of one octet.
        most: how many elements there may be. What follows them is not read.

    Raises:
        PinFormatError: there are more, or an element has another tag, or its length is not valid DER.
    """
    found: list[Element] = []
    at = 0
    while at < len(data):
        if len(found) == most:
            raise PinFormatError("it has bytes after its end")
        start, at = at, at + 2
        if at > len(data):
            raise PinFormatError("it ends in the middle of a field")
        found_tag, length = data[start], data[start + 1]
        if tag not in (ANY, found_tag):
            raise _wrong_tag(found_tag, tag)
        if found_tag & HIGH_TAG == HIGH_TAG:
            raise PinFormatError(f"it has tag 0x{found_tag:02x}, which certificates and keys do not use")
        if length >= 0x80:  # noqa: PLR2004  X.690 §8.1.3.5: the long form; 0x80 is the indefinite form, which DER forbids
            octets = length & 0x7F
            length = int.from_bytes(data[at : at + octets], "big")
            if length < 0x80 or length >> (8 * (octets - 1)) == 0:  # noqa: PLR2004  X.690 §10.1: the shortest form
                raise PinFormatError("it has a length that is not in its shortest form")
            at += octets
        content, at = at, at + length
        if at > len(data):
            raise PinFormatError("it has a field that is longer than the rest of the data")
        found.append(Element(found_tag, data[content:at], data[start:at]))
    return found


def fields(data: bytes, *shape: int | list[int]) -> list[Element]:
    """Return the elements that `data` consists of, one for each tag of `shape`, in this order, and no others.

    A tag in a list of its own is that of an optional field, as in `fields(data, OID, [ANY])`; `NOTHING` stands for one
    that is missing.

    Raises:
        PinFormatError: `data` has another shape, or is not valid DER.
    """
    left, found = elements(data, most=len(shape)), []
    left.reverse()
    for each in shape:
        tag = each if isinstance(each, int) else each[0]
        if left and tag in (ANY, left[-1].tag):
            found.append(left.pop())
        elif not isinstance(each, int):
            found.append(NOTHING)
        elif left:
            raise _wrong_tag(left[-1].tag, tag)
        else:
            raise PinFormatError("it ends in the middle of a field")
    if left:
        raise PinFormatError("it has bytes after its end")
    return found


def _wrong_tag(found: int, wanted: int) -> PinFormatError:
    return PinFormatError(f"it has tag 0x{found:02x} where tag 0x{wanted:02x} is required")


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


def parts_of_certificate(der: bytes) -> tuple[bytes, bytes, bytes]:
    """Return issuer, subject and SPKI of an X.509 certificate in DER (RFC 5280 §4.1), with their tags and lengths.

    Raises:
        PinFormatError: `der` is not one certificate in strict DER.
    """
    (certificate,) = fields(bounded(der), SEQUENCE)
    tbs, _algorithm, _signature = fields(certificate.content, SEQUENCE, SEQUENCE, BIT_STRING)
    version, _serial, _algorithm, issuer, _validity, subject, spki, *_ = fields(
        tbs.content,
        *([VERSION], INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE),
        *([ISSUER_UNIQUE_ID], [SUBJECT_UNIQUE_ID], [EXTENSIONS]),
    )
    if version is not NOTHING:
        fields(version.content, INTEGER)
    return issuer.whole, subject.whole, checked_spki(spki)


def spki_of_certificate(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo bytes of a DER certificate, tag and length included.

    Raises:
        PinFormatError: `der` is not one certificate in strict DER.
    """
    _issuer, _subject, spki = parts_of_certificate(der)
    return spki


def checked_spki(element: Element) -> bytes:
    """Return the bytes of SubjectPublicKeyInfo ::= SEQUENCE { SEQUENCE { OID, ANY OPTIONAL }, BIT STRING }, checked."""
    algorithm, _key = fields(element.content, SEQUENCE, BIT_STRING)
    fields(algorithm.content, OID, [ANY])
    return element.whole

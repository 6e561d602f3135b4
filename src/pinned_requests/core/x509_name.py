"""An X.501 Name, such as the subject of a certificate, as one line of text."""

from __future__ import annotations

import codecs
from functools import lru_cache

from pinned_requests.core.der import ANY, OID, SEQUENCE, SET, Element, elements, fields
from pinned_requests.core.errors import PinFormatError
from pinned_requests.core.text import escape

_NAME_TYPES = {  # RFC 4514 §3, and others that certificates on the web have
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_ESCAPES = {ord(special): f"\\{special}" for special in ',+"\\<>;='}  # RFC 4514 §2.4
# UTF8String, UniversalString, BMPString. Not by name, which may have to import a codec: a refusal needs no file.
_DECODERS = {0x0C: codecs.utf_8_decode, 0x1C: codecs.utf_32_be_decode, 0x1E: codecs.utf_16_be_decode}


def name_as_text(der: bytes) -> str:
    """Return an X.501 Name in DER as one line in the style of RFC 4514, for people.

    The text is escaped and truncated: do not compare it. `cryptography` is not used, because it warns about unusual
    names, and a warning can only be suppressed by filters that hold for the whole process.
    """
    try:
        (name,) = fields(der, SEQUENCE)
        rdns = elements(name.content, SET)
        texts = ["+".join(map(_attribute_as_text, elements(rdn.content, SEQUENCE))) for rdn in reversed(rdns)]
    except PinFormatError:
        return "(a name that cannot be read)"
    return escape(",".join(texts)) or "(no name)"


def _attribute_as_text(attribute: Element) -> str:
    kind, value = fields(attribute.content, OID, ANY)
    oid = _dotted(kind.content)
    decode = _DECODERS.get(value.tag)
    text = value.content.decode("latin-1") if decode is None else decode(value.content, "replace", True)[0]  # noqa: FBT003  the end
    # Without escapes the common name "x,O=Bank" would look like two attributes.
    return f"{_NAME_TYPES.get(oid, oid)}={text.translate(_ESCAPES)}"


@lru_cache(maxsize=64)  # names have a dozen of them; bounded because peers choose them
def _dotted(oid: bytes) -> str:
    """Return an OBJECT IDENTIFIER in dotted form (X.690 §8.19)."""
    if not oid or oid[-1] & 0x80 or len(oid) > 32:  # noqa: PLR2004  octets; the longest in use has some 20
        raise PinFormatError("it has an object identifier that ends in the middle of a number")
    numbers, number = [], 0
    for octet in oid:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))

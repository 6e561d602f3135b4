"""What is wrong with a text that is not a pin, and what was probably meant: for error texts, never used as a pin."""

from __future__ import annotations

import base64
import re

_LENGTH = 44  # characters of 32 bytes in base64, padding included
_HEX = re.compile(r"(?:0x)?[0-9a-f:]+", re.IGNORECASE | re.ASCII)
_FINGERPRINT_SIZE = 95  # characters: 32 bytes in hexadecimal, with colons between
# The prefixes and quotes of other tools, around the base64 of 32 bytes in either alphabet (RFC 4648 §4, §5).
_MEANT = re.compile(
    r'(cert-)?(?:(?:pin-)?sha-?256[ ]?[/:=_-]{1,2})?["\']?([a-z0-9+/_-]{43})=?["\']?[;,]?', re.IGNORECASE | re.ASCII
)
_URL_SAFE = str.maketrans("-_", "+/")
_PREFIXES = ("sha256/", 'pin-sha256="', "cert-sha256/")


def fault_of(text: str, encoded: str) -> str:  # noqa: PLR0911  one return a fault
    """Return what is wrong with `text`, as half a sentence; `encoded` is what follows its prefix, if that is known."""
    if not text.isascii():
        return "it has characters outside ASCII"
    if any(c.isspace() for c in text):
        return "it has white space inside"
    if text.lower().startswith(("sha1", "pin-sha1")):
        return "SHA-1 is broken, and RFC 7469 has SHA-256 only"
    if text.lower().startswith(("sha384", "sha512", "pin-sha384", "pin-sha512")):
        return "RFC 7469 has SHA-256 only"
    if _HEX.fullmatch(encoded):
        if ":" in encoded:
            return f"a SHA-256 fingerprint has {_FINGERPRINT_SIZE} characters, and this has {len(encoded)}"
        return "hexadecimal does not say whether it is the hash of a key or of a certificate"
    if re.match(r"(?:cert-|pin-)?sha-?256", text, re.IGNORECASE) and not text.startswith(_PREFIXES):
        return "it has a wrong prefix"
    return _fault_of_base64(encoded)


def _fault_of_base64(encoded: str) -> str:
    if re.search("[-_]", encoded) and re.fullmatch(r"[\w-]+=*", encoded, re.ASCII):
        return "it is in the URL-safe alphabet, with '-' and '_' for '+' and '/'"
    if len(encoded) == _LENGTH - 1 and not encoded.endswith("="):
        return "it lacks the '=' at its end"
    if len(encoded) != _LENGTH:
        size = "short" if len(encoded) < _LENGTH else "long"
        return f"it is too {size}: the base64 of a SHA-256 has {_LENGTH} characters, and this has {len(encoded)}"
    return "it is not the canonical base64 of 32 bytes"


def meant_by(text: str) -> str | None:
    """Return the accepted spelling that `text` is close to, or None."""
    if not (parts := _MEANT.fullmatch(text)):
        return None
    encoded = parts[2].translate(_URL_SAFE) + "="
    if base64.b64encode(base64.b64decode(encoded)).decode("ascii") != encoded:
        return None
    return f"{'cert-' if parts[1] else ''}sha256/{encoded}"

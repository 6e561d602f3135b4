"""Masks secrets in what a client sent, or said, so that a report may be shown around.

Rules for the next maintainer:

- What is not known to be harmless is masked: only some header fields and plain paths stay, and no body or query.
- The input is already on one line and escaped (`excerpt`, `escape`). It may be cut off anywhere.
"""

from __future__ import annotations

import re

MASK = "•••"

_END_OF_LINE = "\\r\\n"  # as `ascii()` writes it
_REQUEST_LINE = re.compile(r"([A-Z]{1,20}) (/\S*) (HTTP/\d\.\d)", re.ASCII)
# Such as "things", "list_all.json", "v2": an identifier or a token is longer, or mixes in digits.
_HARMLESS_SEGMENT = re.compile(r"([A-Za-z][a-z]{0,15}([_.-][a-z]{1,15}){0,3}|v\d{1,3})?", re.ASCII)
_HARMLESS_FIELDS = frozenset(
    ("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding")
)
_USERINFO = re.compile(r"://[^/@\s]*@")
_URL = re.compile(r"(https?://[^/\s?#'\"<>]*|\burl: )(/[^\s'\"<>)]*)")
_QUERY = re.compile(r"\?[^\s'\"<>)]+")
_CREDENTIALS = re.compile(
    r"\b(authorization|bearer|basic|token|api[-_]?key|password|secret|cookie)\b(['\"]?\s*[:= ]\s*)"
    r"(?:(?:bearer|basic)\s+)?[^\s,;]+",
    re.IGNORECASE,
)


def masked_request(received: str) -> list[str]:
    """Return the lines of an HTTP/1 request without what may be secret.

    Args:
        received: its beginning, as `AuditResult.received` has it: in quotes, of which a cut may have taken the last.
    """
    quote = received[:1]
    text = received[1:].removesuffix(quote) if quote in {"'", '"'} else received
    if not text:
        return []
    head, blank, body = text.partition(_END_OF_LINE * 2)
    request_line, *fields = head.split(_END_OF_LINE)
    parts = _REQUEST_LINE.fullmatch(request_line)
    if parts is None:
        return [MASK]
    lines = [f"{parts[1]} {_target(parts[2])} {parts[3]}", *map(_field, filter(None, fields))]
    return [*lines, "", MASK] if blank and body else lines


def masked_error(error: str) -> str:
    """Return an error text without what may be secret in URLs, and behind names of credentials; the rest stays."""
    text = _USERINFO.sub(f"://{MASK}@", error)
    text = _URL.sub(lambda found: found[1] + _target(found[2]), text)
    return _CREDENTIALS.sub(rf"\1\2{MASK}", _QUERY.sub(f"?{MASK}", text))


def _target(target: str) -> str:
    path, question_mark, _query = target.partition("?")
    segments = [each if _HARMLESS_SEGMENT.fullmatch(each) else MASK for each in path.split("/")]
    return "/".join(segments) + (f"?{MASK}" if question_mark else "")


def _field(line: str) -> str:
    name, colon, value = line.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9-]{1,60}", name):
        return MASK
    return f"{name}:{value}" if name.lower() in _HARMLESS_FIELDS else f"{name}: {MASK}"

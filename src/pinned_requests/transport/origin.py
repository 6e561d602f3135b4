"""Which host a URL is for, as each of the parsers reads it that may connect."""

from __future__ import annotations

from urllib.parse import urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from pinned_requests.core.host import DEFAULT_PORTS

Origin = tuple[str, str, int | None]

_NOWHERE: Origin = ("", "", None)  # "" is not a host: no policy admits it


def origins_of(url: object) -> tuple[Origin, ...]:
    """Return scheme, host and port of a URL, as the standard library (and so requests) and urllib3 read it.

    It is one origin where both agree. A URL that one of them cannot read has an origin that every policy refuses.
    """
    text = url if isinstance(url, str) else ""
    return tuple(dict.fromkeys((_by_urllib(text), origin_by_urllib3(text))))


def _by_urllib(url: str) -> Origin:
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return _NOWHERE
    return _origin(scheme, host, port)


def origin_by_urllib3(url: str) -> Origin:
    """Return scheme, host and port of a URL as urllib3 reads it."""
    try:
        parts = parse_url(url)
    except LocationParseError:
        return _NOWHERE
    return _origin(parts.scheme, parts.host, parts.port)


def _origin(scheme: str | None, host: str | None, port: int | None) -> Origin:
    name = scheme or "http"  # as urllib3
    return name, (host or "").strip("[]").lower(), port or DEFAULT_PORTS.get(name)

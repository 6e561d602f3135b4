"""`ReportURI`: the URL that reports are posted to (RFC 7469 §2.1.4).

Rule for the next maintainer: requests parses the URL again, to post. Refuse what it may parse differently from
`urllib.parse` (a backslash, a space, a percent sign in the host).
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import DEFAULT_PORTS, normalize_host
from pinned_requests.core.text import exact, show

MAX_URI = 2048  # characters: servers accept as many, and a policy keeps them
_CHARACTERS = r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+"  # RFC 3986 §2, without the fragment's "#"
_EXAMPLE = "give an absolute URL such as 'https://reports.example.net/pins'"


class ReportURI(NamedTuple):
    """An absolute `https://` or `http://` URL. Its path and query may hold a token and are never shown.

    Attributes:
        text: the URL, unchanged.
        host: its host, normalised.
        port: its port, or the scheme's default.
    """

    text: str
    host: str
    port: int

    @classmethod
    def parse(cls, value: object) -> ReportURI:
        """Parse a report URI. It is not checked whether the host exists.

        Raises:
            PolicyError: it is not an absolute http(s) URL of at most 2048 characters, or it has user information, a
                fragment, or an invalid host or port.
        """
        text = exact(value) if isinstance(value, str) else ""
        shown = "text" if isinstance(value, str) else show(value)  # its path, query or user may hold a secret
        if not re.fullmatch(_CHARACTERS, text, re.ASCII) or len(text) > MAX_URI:
            raise PolicyError(f"'report_uri' is {shown}, not a URL to report to; {_EXAMPLE}")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise PolicyError(f"'report_uri' is {shown}, which cannot be parsed; {_EXAMPLE}") from None
        # "[v1.a]" is a future address format (RFC 3986 §3.2.2), which has no canonical form to compare.
        if parts.scheme not in DEFAULT_PORTS or not host or port == 0 or ("[" in parts.netloc and ":" not in host):
            raise PolicyError(f"'report_uri' is {shown}, not an http(s) URL with a host; {_EXAMPLE}")
        if "@" in parts.netloc:
            raise PolicyError(f"'report_uri' has user information for {show(host)}; remove it")
        return cls(text, normalize_host(host), port or DEFAULT_PORTS[parts.scheme])

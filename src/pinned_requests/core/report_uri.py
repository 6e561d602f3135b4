"""`ReportURI`: where reports are posted to (RFC 7469 §2.1.4), as a value.

Rule for the next maintainer: what `urllib.parse` reads here, requests reads again when it posts. Whatever the two might
read in two ways (a backslash, a space, a percent sign in a host) is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import DEFAULT_PORTS, normalize_host
from pinned_requests.core.text import exact, show

if TYPE_CHECKING:
    from pinned_requests.core.policy import PinPolicy

MAX_URI = 2048  # characters: what servers accept; it is kept for the life of a policy
_CHARACTERS = r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+"  # RFC 3986 §2, without the fragment's "#"
_EXAMPLE = "give an absolute one such as 'https://reports.example.net/pins'"


class ReportURI(NamedTuple):
    """An absolute `https://` or `http://` URL. Its path and query may hold a token: they are shown to nobody.

    Attributes:
        text: as it was given.
        host: in its canonical form.
        port: of the server.
    """

    text: str
    host: str
    port: int

    @classmethod
    def parse(cls, value: object) -> ReportURI:
        """Read a report URI.

        Raises:
            PolicyError: it is no absolute http(s) URL, has user information or a fragment, or no proper host or port.
        """
        text = exact(value) if isinstance(value, str) else ""
        shown = "text" if isinstance(value, str) else show(value)  # its path, query or user may hold a secret
        if not re.fullmatch(_CHARACTERS, text, re.ASCII) or len(text) > MAX_URI:
            raise PolicyError(f"'report_uri' is {shown}, which is no URL to report to; {_EXAMPLE}")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise PolicyError(f"'report_uri' is {shown}, which cannot be read; {_EXAMPLE}") from None
        # "[v1.a]" is an address to come (RFC 3986 §3.2.2), of which nobody knows what it will be compared with.
        if parts.scheme not in DEFAULT_PORTS or not host or port == 0 or ("[" in parts.netloc and ":" not in host):
            raise PolicyError(f"'report_uri' is {shown}, which is no http(s) URL with a host; {_EXAMPLE}")
        if "@" in parts.netloc:
            raise PolicyError(f"'report_uri' holds user information for {show(host)}; leave it out")
        return cls(text, normalize_host(host), port or DEFAULT_PORTS[parts.scheme])

    def demand_unpinned(self, policy: PinPolicy) -> None:
        """See that `policy` does not pin the host: reports about it could not be delivered, or not safely.

        Raises:
            PolicyError: it does.
        """
        entry = policy.find(self.host, self.port)
        if entry is not None and not entry.pins.is_exempt:
            raise PolicyError(
                f"'report_uri' is on {self.host}, which {entry.pattern} pins: a wrong pin could not be reported; "
                "report to another host, or exempt that one"
            )

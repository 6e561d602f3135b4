"""Live servers held against a policy: the library behind `pinned-requests check`, `pin` and `init`.

`fetch_chain()` makes one TLS handshake with a server and returns its verified chain. Nothing here prints, ends the
process or sends a byte of HTTP.

Code that connects to servers in order to look at their certificates belongs here, and so do findings and what is
learned of a server over time. Arguments and terminals do not: they belong to `cli/`. Requests do not: `transport/`
makes those.
"""

from pinned_requests.monitoring.errors import InvalidCertificateError, RouteError, ServerError, UnreachableError
from pinned_requests.monitoring.fetch import fetch_chain

__all__ = ["InvalidCertificateError", "RouteError", "ServerError", "UnreachableError", "fetch_chain"]

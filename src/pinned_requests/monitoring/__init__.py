"""Live servers held against a policy: the library behind `pinned-requests check`, `pin` and `init`.

Code that connects to servers to look at their certificates belongs here, as do findings and what is learned of a server
over time. Nothing here prints, ends the process (`cli/` does) or sends a byte of HTTP (`transport/` does).
"""

from pinned_requests.monitoring.fetch import fetch_chain
from pinned_requests.monitoring.target import InvalidCertificateError, RouteError, ServerError, UnreachableError

__all__ = ["InvalidCertificateError", "RouteError", "ServerError", "UnreachableError", "fetch_chain"]

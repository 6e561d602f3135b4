"""The attack lab: certificates and servers to test a client against, on loopback alone.

`Authority` makes certificates, honest and forged; `TLSServer` presents them, and counts what a client let it have.

    root = Authority.create()
    with TLSServer(root.issue("localhost")) as server:
        requests.get(server.url(), verify=...)
        server.settle()
        assert server.application_bytes > 0
"""

from pinned_requests.testing.authority import Authority, Credential, PrivateKey, generate_key
from pinned_requests.testing.servers import Handler, Request, Response, TLSServer

__all__ = [
    "Authority",
    "Credential",
    "Handler",
    "PrivateKey",
    "Request",
    "Response",
    "TLSServer",
    "generate_key",
]

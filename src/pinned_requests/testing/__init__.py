"""The attack lab: prove in your own tests that your client refuses a man in the middle.

    def test_sdk_rejects_mitm(mitm_lab):
        with mitm_lab.impersonate("api.example.com") as attack:
            with pytest.raises(requests.exceptions.SSLError):
                MyClient().list_things()
        attack.assert_rejected()

`mitm_lab` is a pytest fixture; without pytest it is ``with MITMLab() as mitm_lab``. Two classes can be used alone:
`Authority` makes certificates, honest and forged; `TLSServer` presents them on loopback and counts the bytes that it
receives.

`pki` makes certificates, `server` presents them, `intercept` sends this process's connections there, `lab` puts all of
it together, and `serve` opens it to other processes. Helpers of this project's own tests do not belong here.
"""

from pinned_requests.testing.lab.attack import Attack
from pinned_requests.testing.lab.attackers import ATTACKERS
from pinned_requests.testing.lab.audit import Audit, AuditResult
from pinned_requests.testing.lab.mitm_lab import MITMLab
from pinned_requests.testing.lab.takeover import HonestServer
from pinned_requests.testing.pki.authority import Authority, Credential
from pinned_requests.testing.pki.certificate_builder import PrivateKey, generate_key
from pinned_requests.testing.server.http_exchange import Handler, Request, Response
from pinned_requests.testing.server.tls_server import TLSServer

__all__ = [
    "ATTACKERS",
    "Attack",
    "Audit",
    "AuditResult",
    "Authority",
    "Credential",
    "Handler",
    "HonestServer",
    "MITMLab",
    "PrivateKey",
    "Request",
    "Response",
    "TLSServer",
    "generate_key",
]

"""What each attacker shows to a client, and what refuses it, in words for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pinned_requests.testing.lab.attackers import AttackerName

__all__ = ["EXPLANATIONS", "Explanation"]


class Explanation(NamedTuple):
    """An attacker, explained."""

    meets: str
    """What the client meets: words that follow "the client meets"."""
    remedy: str
    """What a client does that refuses it: a sentence."""


_PIN = "Pin the host's key (SPKI), and check it before anything is sent."
_VALIDATE = "Validate certificates: leave `verify` and `check_hostname` on, also where pins are checked."
_CHAIN = "Compare pins with the chain that TLS verified, not with the certificates that the server sent."
_HTTPS = "Refuse http:// for this host, also where a redirect leads there."
_NO_FALLBACK = "Do not fall back to http:// where TLS fails."
_BLOCK = "Pin the host's key; or block the keys that were lost, beside a pin of the CA."

EXPLANATIONS: dict[AttackerName, Explanation] = {
    "trusted-ca": Explanation("a valid certificate from a trusted CA, for another key", _PIN),
    "self-signed": Explanation("a certificate that only vouches for itself", _VALIDATE),
    "chain-stuffing": Explanation("that of trusted-ca, with the host's own certificates behind it", _CHAIN),
    "forged-issuer": Explanation(
        "a certificate that names the host's CA as its issuer, and is signed by another key", _VALIDATE
    ),
    "same-name-ca": Explanation(
        "a certificate from a trusted CA with the same name as the host's",
        "Pin keys. Names of issuers prove nothing: every CA may choose them.",
    ),
    "expired": Explanation("that of trusted-ca, valid until yesterday", _VALIDATE),
    "wrong-host": Explanation("a valid certificate for another host", _VALIDATE),
    "downgrade": Explanation("the host itself, which redirects to http://, where the attacker is", _HTTPS),
    "trailing-dot": Explanation(
        "the host itself, which redirects to its name with a dot at the end, where the attacker is",
        "Normalise host names before pins are looked up: example.com. is example.com.",
    ),
    "parser-differential": Explanation(
        "the host itself, which redirects to a URL that parsers read differently",
        "Look up pins for the host that is connected to, not for one that another parser reads from the URL.",
    ),
    "second-connection": Explanation(
        "the host itself at first, the attacker from the second connection on",
        "Check every connection: also those that a pool opens later.",
    ),
    "renegotiation": Explanation(
        "the host itself, which shows another certificate in the middle of the connection (TLS 1.2)",
        "Do not renegotiate: set `ssl.OP_NO_RENEGOTIATION`, or require TLS 1.3.",
    ),
    "connect-proxy": Explanation(
        "that of trusted-ca, behind a proxy that answers CONNECT",
        "Check pins on connections through a proxy, too.",
    ),
    "revoked-key": Explanation("that of trusted-ca, for a key of the host that was lost", _PIN),
    "own-ca-revoked-key": Explanation("a certificate from the host's own CA, for a key that was lost", _BLOCK),
    "own-ca-expired": Explanation("a certificate from the host's own CA, valid until yesterday", _VALIDATE),
    "own-ca-wrong-host": Explanation("a certificate from the host's own CA, for another host", _VALIDATE),
    "leaked-intermediate": Explanation("a certificate from an intermediate CA whose key was stolen", _BLOCK),
    "tls-close": Explanation("a connection that ends in the handshake", _NO_FALLBACK),
    "hang": Explanation("a connection on which no answer ever comes", _NO_FALLBACK),
}

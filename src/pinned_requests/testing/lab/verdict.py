"""The verdict on a client that met an attacker: from the records of the server, and from the client's own TLS object.

Rules for the next maintainer:

- "rejected" says that the client met the attacker's certificate, and decided. A connection that stopped for another
  reason has tested nothing, and passes no test.
- The worst of all connections is the verdict.
- The client's TLS object is asked first: see `intercept.client_tls`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinned_requests.testing.intercept.client_tls import ClientHandshake
    from pinned_requests.testing.server.connection import ConnectionRecord

Verdict = Literal["rejected", "accepted", "untested", "undecided"]

Needs = Literal["accepted-chain", "trusted-ca", "refusal", "hello"]
"""What a client must have done, so that its refusal of an attacker tells something.

``"accepted-chain"``: its TLS has accepted the attacker's chain, which is valid. ``"trusted-ca"``: that, or it has
refused the chain for another reason than an unknown CA. ``"refusal"``: it has accepted or refused the chain.
``"hello"``: it has sent a ClientHello.
"""

Opening = Literal["redirect", "first-connection", "renegotiation"]
"""How an attack begins in which the client first talks to the host's own server."""

_UNKNOWN_CA = "TLSV1_ALERT_UNKNOWN_CA"
_REFUSALS = frozenset(  # alerts (RFC 8446 §6.2) of a client that does not accept a certificate, as OpenSSL names them
    (
        *("SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_REVOKED"),
        *("SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN", _UNKNOWN_CA),
        *("TLSV1_ALERT_DECRYPT_ERROR", "TLSV1_ALERT_ACCESS_DENIED"),
    )
)
_UNKNOWN_CA_CODES = frozenset((2, 18, 19, 20, 21))  # X509_V_ERR: the issuer was not found, or is not trusted
_NO_TLS_1_2 = frozenset(("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"))
_NOT_THE_REASON = re.compile(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$")

_WAIT = "Wait for the client (join its thread, await its task), or close it, inside the block."
_SEE_ERROR = "It stopped for a reason of its own, or is a port probe: see what it raised."
_USE_CA = (
    "It does not trust the lab's CA, so it never came to look at the key: give a client that has a CA bundle of its own"
    " `lab.ca_file` (or `lab.ca_pem`) in its place."
)
_CHECKS_MORE = "The certificate is valid for the host: the client wants another name, or more than that, in this test."
_TLS = "The lab speaks TLS 1.2 and 1.3, with ECDSA and RSA certificates: let the client do so in this test."
_GIVE_PINS = (
    "The attack begins with the host's own server: give the client the `pins` of `lab.honest(host)`, and `lab.ca_file`"
    " if it has a CA bundle of its own."
)
_NO_CONNECTION = (
    "The client must open a new connection inside the with block, in this process, through Python's socket module, and"
    " not through a proxy that it was given explicitly."
)
_PATIENCE = "Give it a time-out of a second or more: it may have given up."
_CALL_AGAIN = "The attacker is there from the second connection on: let the client make another request."


@dataclass(frozen=True)
class Finding:
    """What became of one connection, or of all."""

    verdict: Verdict
    reason: str
    """What follows "the client"."""
    advice: str = ""
    """What to do."""
    is_void: bool = False
    """Whether the connection does not count where there are others."""


def judge(
    seen: Iterable[tuple[ConnectionRecord, ClientHandshake | None]], needs: Needs, opening: Opening | None
) -> Finding:
    """Decide about a client.

    Args:
        seen: each connection, as the server saw it, and as the client's TLS object told it if that was seen.
        needs: what the attacker needs for a refusal to count.
        opening: what is to come before the attacker appears, if anything.
    """
    met: list[Finding] = []
    openings: list[Finding | None] = []
    for record, client in seen:
        if record.is_for_another:
            continue
        if opening == "renegotiation" and record.client_random:
            met.append(_renegotiated(record, client))
        elif record.is_honest:
            openings.append(_opened(record, client))
        else:
            met.append(_met(record, client, needs))
    failed = [each for each in openings if each]
    if met or None in openings:
        # A client that looked at the host's own certificate first, and went away, may still meet the attacker.
        failed = [each for each in failed if each.verdict == "undecided"]
    if None in openings:
        met = [each for each in met if not each.is_void]
    if met or failed or not openings:
        return _worst([*met, *failed])
    if opening == "first-connection":
        return Finding("untested", "made one connection, which was with the host's own server", _CALL_AGAIN)
    return Finding("rejected", "was redirected, and did not come to the attacker")


def _worst(findings: list[Finding]) -> Finding:
    if not findings:
        return Finding("untested", "did not connect", _NO_CONNECTION)
    findings = [each for each in findings if not each.is_void] or findings
    for verdict in ("accepted", "undecided", "untested"):
        for each in findings:
            if each.verdict == verdict:
                return each
    return findings[0]


def _met(record: ConnectionRecord, client: ClientHandshake | None, needs: Needs) -> Finding:
    """Decide about a connection with the attacker."""
    if record.leaked_bytes:
        return Finding("accepted", f"sent {record.leaked_bytes} bytes of HTTP")
    if not record.spoke and record.is_open:
        return Finding("undecided", "had connected, and not sent its ClientHello yet", _WAIT)
    if not record.spoke:
        return Finding("undecided", "connected, and hung up before its ClientHello", _SEE_ERROR, is_void=True)
    is_accepted = record.is_established or (client is not None and client.accepted)
    if needs != "hello" and not is_accepted:
        return _without_handshake(record, client, needs)
    if record.is_undecided:
        return Finding("undecided", "was still connected", _WAIT)
    how = "accepted the certificate in the handshake, sent nothing, and hung up" if is_accepted else "gave up"
    return Finding("rejected", how)


def _without_handshake(record: ConnectionRecord, client: ClientHandshake | None, needs: Needs) -> Finding:
    """Decide about a connection on which the client has not accepted the chain."""
    why = without_code(client.failure if client and client.failure else record.failure)
    code = client.verify_code if client else 0
    if code or record.tls_reason in _REFUSALS:
        reason = f"refused the certificate ({why})"
        is_unknown_ca = code in _UNKNOWN_CA_CODES if code else record.tls_reason == _UNKNOWN_CA
        if needs == "refusal" or (needs == "trusted-ca" and not is_unknown_ca):
            return Finding("rejected", reason)
        return Finding("untested", reason, _USE_CA if is_unknown_ca else _CHECKS_MORE)
    if record.is_open:
        return Finding("undecided", "was in the middle of its handshake", _WAIT)
    if record.tls_reason or (client and client.failure):
        why = without_code(record.failure) if record.tls_reason else why
        return Finding("untested", f"could not make a handshake ({why})", _TLS)
    return Finding("undecided", f"hung up in the middle of its handshake ({why})", _SEE_ERROR)


def without_code(failure: str) -> str:
    """Return an error of `ssl` without its code and the place in Python's source."""
    return _NOT_THE_REASON.sub("", failure)


def _opened(record: ConnectionRecord, client: ClientHandshake | None) -> Finding | None:
    """Decide about a connection with the host's own server; None: the attack has begun as it should."""
    if record.requests:
        return None
    if record.is_established or (client and client.accepted):
        if record.is_undecided:
            return Finding(
                "undecided", "was still connected to the host's own server, and had not sent a request", _WAIT
            )
        return Finding("untested", "refused the host's own key", _GIVE_PINS)
    found = _without_handshake(record, client, "accepted-chain")
    return found if found.verdict == "undecided" else Finding("untested", found.reason, _GIVE_PINS)


def _renegotiated(record: ConnectionRecord, client: ClientHandshake | None) -> Finding:
    """Decide about a connection on which the server wanted to renegotiate."""
    if record.is_renegotiated or record.leaked_bytes:
        return Finding("accepted", "accepted another certificate in the middle of its connection")
    if record.hung_up_later and client:  # no client of Python's `ssl` looks at that certificate before it reads
        return Finding("undecided", "completed a second handshake, and hung up before an answer came", _PATIENCE)
    if record.tls_reason in _NO_TLS_1_2:
        return Finding("rejected", "does not speak TLS 1.2, without which there is no renegotiation")
    if found := _opened(record, client):
        return found
    if record.is_open:
        return Finding("undecided", "was asked to renegotiate, and was still connected", _WAIT)
    return Finding("rejected", "did not go on with another certificate")

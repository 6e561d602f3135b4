"""An audit tells how a client fares against each attacker."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import time
from dataclasses import replace

import pytest
import requests

from pinned_requests.testing import ATTACKERS, Audit, AuditResult, MITMLab

HOST = "api.example.com"
RESULT = AuditResult(HOST, "trusted-ca", "rejected", 2, 1, 0, "''", "SSLError: no", "The client hung up.")


def get() -> None:
    """A client without pins."""
    requests.get(f"https://{HOST}/", timeout=5)


def test_the_order_and_the_choice_of_attackers(mitm_lab: MITMLab) -> None:
    """All of them, or those that are named."""
    audit = mitm_lab.audit(get, HOST, attackers=["expired", "trusted-ca"])
    assert [(each.attacker, each.verdict) for each in audit] == [("expired", "rejected"), ("trusted-ca", "accepted")]
    assert audit["expired"].error.startswith("SSLError: ")
    assert audit["trusted-ca"].error == ""
    assert audit["trusted-ca"].received.startswith("'GET / HTTP/1.1")
    assert mitm_lab.audits == (audit,)
    with pytest.raises(KeyError):
        audit["hang"]


def test_a_client_that_connects_nowhere(mitm_lab: MITMLab) -> None:
    """It has rejected no attacker."""
    audit = mitm_lab.audit(lambda: None, HOST)
    assert {each.verdict for each in audit} == {"untested"}
    assert not audit.rejected
    with pytest.raises(AssertionError):
        audit.assert_rejected()


def test_a_client_without_timeout(mitm_lab: MITMLab) -> None:
    """The attacker that hangs lets it go after two seconds."""
    begin = time.monotonic()
    audit = mitm_lab.audit(lambda: requests.get(f"https://{HOST}/"), HOST, attackers=["hang"])  # noqa: S113 - the point
    assert audit.rejected
    assert 1 < time.monotonic() - begin < 10


def test_what_a_test_costs() -> None:
    """A lab, an attacker, a connection and the verdict take less than 60 ms, at the best of some times."""
    context = ssl.create_default_context()

    def once() -> float:
        begin = time.perf_counter()
        with MITMLab() as lab:
            with (
                lab.impersonate(HOST) as attack,
                socket.create_connection((HOST, 443)) as sock,
                context.wrap_socket(sock, server_hostname=HOST),
            ):
                pass
            attack.assert_rejected()
        return time.perf_counter() - begin

    assert min(once() for _ in range(10)) < 0.06


def test_what_an_audit_costs(mitm_lab: MITMLab) -> None:
    """Ten attackers take less than two seconds, with a client that waits 0.7 seconds for an answer."""
    context = ssl.create_default_context()

    def client() -> None:
        with (
            socket.create_connection((HOST, 443), timeout=0.7) as sock,
            context.wrap_socket(sock, server_hostname=HOST) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            tls.recv(1)

    begin = time.monotonic()
    audit = mitm_lab.audit(client, HOST, attackers=[*ATTACKERS[:9], "hang"])
    assert len(audit.results) == 10
    assert time.monotonic() - begin < 2


def test_the_host_by_default(mitm_lab: MITMLab) -> None:
    """It is the one that the lab knows; with none or several it must be said."""
    with pytest.raises(ValueError, match="none"):
        mitm_lab.audit(get)
    with mitm_lab.honest(HOST):
        assert mitm_lab.audit(get, attackers=["self-signed"])["self-signed"].host == HOST
    with mitm_lab.honest("other.example"), pytest.raises(ValueError, match=r"other\.example"):
        mitm_lab.audit(get)


def test_a_coroutine(mitm_lab: MITMLab) -> None:
    """It would not run: the audit says how to run it."""

    async def client() -> None:
        await asyncio.to_thread(get)

    with pytest.raises(TypeError, match=r"asyncio\.run"):
        mitm_lab.audit(client, HOST)
    audit = mitm_lab.audit(lambda: asyncio.run(client()), HOST, attackers=["trusted-ca"])
    assert audit["trusted-ca"].verdict == "accepted"


def test_a_client_that_exits(mitm_lab: MITMLab) -> None:
    """A command line's way to give up is a result like any other."""

    def main() -> None:
        try:
            get()
        except requests.exceptions.SSLError:
            sys.exit("no connection")

    audit = mitm_lab.audit(main, HOST, attackers=["expired", "wrong-host"])
    assert [each.error for each in audit] == ["SystemExit: no connection"] * 2
    assert audit.rejected


def test_what_is_no_error_of_the_client(mitm_lab: MITMLab) -> None:
    """An interrupt ends the audit, nothing stays open, and what was found before is kept."""
    calls = iter([get])

    def interrupted() -> None:
        next(calls, interrupt)()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mitm_lab.audit(interrupted, HOST)
    assert [[each.attacker for each in audit] for audit in mitm_lab.audits] == [["trusted-ca"]]
    with mitm_lab.honest(HOST):
        get()


def test_the_table() -> None:
    """One line for each attacker, the columns aligned, the errors cut."""
    fooled = replace(RESULT, attacker="hang", verdict="accepted", application_bytes=12345, error="")
    long = replace(RESULT, error="SSLError: " + "x" * 100)
    header, *rows = str(Audit((RESULT, fooled, long))).splitlines()
    assert header.split() == [
        *("attacker", "verdict", "connections", "handshakes", "bytes", "the", "client", "raised", "what", "happened")
    ]
    assert [row.split()[:5] for row in rows[:2]] == [
        ["trusted-ca", "rejected", "2", "1", "0"],
        ["hang", "accepted", "2", "1", "12345"],
    ]
    assert {row.index(word) for row, word in zip(rows, ["SSLError", "nothing", "SSLError"], strict=True)} == {
        header.index("the client")
    }
    assert "x…" in rows[2]
    assert all(row.endswith("  The client hung up.") for row in rows)


def test_an_audit_without_results() -> None:
    """One that was broken off at once has rejected no attacker."""
    assert not Audit(()).rejected
    with pytest.raises(AssertionError, match="proves nothing"):
        Audit(()).assert_rejected()


def test_the_fields() -> None:
    """A result has a name for each field, for JSON."""
    assert RESULT.as_dict()["handshakes"] == 1
    assert len(ATTACKERS) == len(set(ATTACKERS)) == 20

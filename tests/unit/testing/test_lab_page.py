"""The page of audits, without a browser: cells, remedies, and what it must not show."""

from __future__ import annotations

import datetime as dt
import html
import re
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests.testing import ATTACKERS, AuditResult
from pinned_requests.testing.lab.attackers import DETAILS
from pinned_requests.testing.lab.page import MASK, as_page, masked_error, masked_request

if TYPE_CHECKING:
    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.lab.verdict import Verdict

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)


def result(attacker: AttackerName = "trusted-ca", verdict: Verdict = "rejected", **fields: Any) -> AuditResult:
    """A result with the fields that matter."""
    known = {"connections": 1, "handshakes": 1, "application_bytes": 0, "received": "", "error": "", **fields}
    return AuditResult(host="api.example.com", attacker=attacker, verdict=verdict, **known)


def cells(text: str) -> list[str]:
    """The words in the cells of the matrix, row by row."""
    matrix = text.partition('class="matrix"')[2].partition("</table>")[0]
    return re.findall(r'<td>(?:<details><summary>)?<span class="badge [a-z]+">([a-z ]+)</span>', matrix)


def test_each_attacker_is_explained() -> None:
    """In the order of the attackers, with a sentence on what to do."""
    assert tuple(DETAILS) == ATTACKERS
    assert all(each.remedy.endswith(".") for each in DETAILS.values())


def test_the_matrix() -> None:
    """Attackers are rows in their own order, clients are columns; the worst of several results counts."""
    rows = [
        ("plain", result("expired")),
        ("plain", result("trusted-ca")),
        ("plain", result("trusted-ca", "accepted")),
        ("pinned", result("trusted-ca", "untested", advice="Give it `lab.ca_file`.")),
    ]
    text = as_page(rows, time=NOON)
    assert cells(text) == ["accepted", "untested", "rejected", "not run"]
    assert "(worst of 2)" in text
    assert "1 of 2 clients gave an attacker what it wanted. 1 of 2 clients prove nothing in some cells." in text
    assert "2026-11-25 12:00 UTC" in text
    assert "Give it <code>lab.ca_file</code>." in text
    assert DETAILS["trusted-ca"].remedy in html.unescape(text).partition("</table>")[2].partition("The four")[0]


def test_all_is_well() -> None:
    """Nothing is to be done; and a report without audits says so."""
    text = as_page([("pinned", result(each)) for each in ATTACKERS])
    assert cells(text) == ["rejected"] * len(ATTACKERS)
    assert "The client rejected every attacker of the audit." in text
    assert "What to do" not in text
    assert "No audit was made." in as_page([])


def test_what_happened() -> None:
    """A cell tells counts, alerts, the first bytes, what the client raised, and why."""
    found = result(
        "downgrade",
        "accepted",
        connections=31,
        application_bytes=4711,
        received=r"'GET /things HTTP/1.1\r\nHost: api.example.com\r\nX-Api-Key: hunter2\r\n\r\n'",
        reason="The client sent 4711 bytes of HTTP.",
        error="ReadTimeout: too slow",
        failed_handshakes=("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:1006)",) * 2,
    )
    text = as_page([("plain", found)])
    for words in (">31<", ">4711<", "X-Api-Key: " + MASK, "The client sent 4711 bytes", "ReadTimeout: too slow"):
        assert words in text
    assert text.count("<li>tlsv1 alert unknown ca</li>") == text.count("alert unknown") == 1
    assert "hunter2" not in text


@pytest.mark.parametrize("field", ["client", "reason", "error", "received", "advice", "failed_handshakes"])
def test_hostile_texts(field: str) -> None:
    """What a client or an attacker chose is text, on one line, and reads from left to right."""
    hostile = "<script>alert(1)</script>\u202e`<b>"
    client = hostile if field == "client" else "client"
    fields: dict[str, Any] = {} if field == "client" else {field: hostile}
    if field == "failed_handshakes":
        fields = {field: (hostile,)}
    text = as_page([(client, result(verdict="untested", **fields))])
    assert "<script" not in text
    assert "<b>" not in text
    if field != "advice":  # a text of the lab
        assert "\u202e" not in text


REQUEST = (
    r"'POST /v1/things/5f3a9c1e77aa/list?token=hunter2 HTTP/1.1\r\nHost: api.example.com\r\n"
    r"Authorization: Bearer hunter2\r\nCookie: a=hunter2\r\nContent-Type: text/plain\r\n\r\npassword=hunter2'"
)


def test_masked_requests() -> None:
    """Paths keep plain words, and fields their names; bodies and queries are gone."""
    assert masked_request(REQUEST) == [
        f"POST /v1/things/{MASK}/list?{MASK} HTTP/1.1",
        "Host: api.example.com",
        f"Authorization: {MASK}",
        f"Cookie: {MASK}",
        "Content-Type: text/plain",
        "",
        MASK,
    ]
    assert masked_request("''") == masked_request("") == []


@pytest.mark.parametrize("length", range(0, len(REQUEST), 3))
def test_masked_wherever_it_is_cut_off(length: int) -> None:
    """An excerpt ends anywhere."""
    text = "\n".join(masked_request(REQUEST[:length]))
    assert "hunt" not in text
    assert "5f3a" not in text


@pytest.mark.parametrize(
    "received",
    [
        "hunter2",
        r"\x16\x03\x01hunter2",
        "GET hunter2",
        "GET https://u:hunter2@api.example.com/ HTTP/1.1",
        "GET /hunter2 HTTP/1.1",
        r"GET / HTTP/1.1\r\nhunter2\r\n\thunter2",
        r"GET / HTTP/1.1\r\nX-A: b\\r\\nHost: hunter2",
        r"GET / HTTP/1.1\r\nX hunter2: a",
    ],
)
def test_what_is_not_known_is_masked(received: str) -> None:
    """Nothing is shown because it was not understood."""
    assert "hunter2" not in "\n".join(masked_request(received))


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            "Timeout: Pool(host='a.example', port=443): exceeded with url: /t/hunt3r2?k=1 (Caused by x)",
            f"Timeout: Pool(host='a.example', port=443): exceeded with url: /t/{MASK}?{MASK} (Caused by x)",
        ),
        ("no route to https://u:hunter2@a.example/b", f"no route to https://{MASK}@a.example/b"),
        ("Authorization: Bearer hunter2 was refused", f"Authorization: {MASK} was refused"),
        ("api_key=hunter2", f"api_key={MASK}"),
        ("SSLError: certificate verify failed", "SSLError: certificate verify failed"),
    ],
)
def test_masked_errors(error: str, shown: str) -> None:
    """URLs lose what may be secret, and named credentials their values; the rest stays readable."""
    assert masked_error(error) == shown

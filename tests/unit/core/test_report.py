"""`ViolationReport`: the text people read, and the JSON of RFC 7469 §3."""

from __future__ import annotations

import datetime as dt
import errno
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinCheck, PinPolicy, PinSet, ViolationReport
from pinned_requests.core.chain import Chain, SeenCertificate
from pinned_requests.core.verdict import Outcome, Verdict, evaluate
from pinned_requests.testing import Authority
from support.nothing_to_import import NothingToImport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinned_requests.core.pin import PinKind
    from pinned_requests.core.pinset import PinsLike

NOW = dt.datetime(2027, 3, 1, 12, 30, 15, 123456, dt.UTC)


def pin(number: int, kind: PinKind = "spki") -> Pin:
    """A pin of 32 equal bytes."""
    return Pin(kind, bytes([number]) * 32)


def seen(number: int, subject: str, *, root: bool = True) -> SeenCertificate:
    """A certificate with that pin."""
    return SeenCertificate(subject, pin(number), pin(number, "cert"), frozenset((pin(number),)), root, b"DER")


def report(
    pins: PinSet | Mapping[str, PinsLike], chain: Chain, host: str = "api.example.com", **options: Any
) -> ViolationReport:
    """What is reported of this chain for this host at 443, where that pattern is pinned to these pins."""
    policy = PinPolicy({"api.example.com": pins} if isinstance(pins, PinSet) else pins, **options)
    return ViolationReport(evaluate(policy, host, chain, NOW, port=443), NOW)


CHAIN = (seen(1, "CN=api.example.com"), seen(2, "CN=Example CA"))
VERIFIED, UNVERIFIED = Chain(CHAIN, is_verified=True), Chain(CHAIN, is_verified=False)
PINS = PinSet([pin(3)], [pin(4)])
ELSEWHERE = {"elsewhere.example": PINS}
# python -c 'import base64; [print(base64.b64encode(bytes([n]) * 32).decode()) for n in (1, 2, 3, 4)]'
ONE = "sha256/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
TWO = "sha256/AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
THREE = "sha256/AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
FOUR = "sha256/BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ="

MISMATCH = f"""\
api.example.com:443 presented a certificate chain that holds none of its pins.
  Chain (verified):
    {ONE}  CN=api.example.com
    {TWO}  CN=Example CA
  Pinned for api.example.com:
    {THREE}
    {FOUR}  (backup)
  If its owner has changed the key: pinned-requests repin api.example.com"""


def test_a_mismatch_reads_as_the_documentation_prints_it() -> None:
    """The chain and the pins stand in the spelling of the configuration."""
    assert str(report(PINS, VERIFIED)) == MISMATCH


def test_what_is_softened_says_that_the_request_went_on() -> None:
    """A log line that looked like a refusal would alarm for nothing, or hide that nothing was stopped."""
    soft = PinSet([pin(3)], [pin(4)], report_only=True)
    first = "api.example.com:443 presented a certificate chain that holds none of its pins"
    assert str(report(soft, VERIFIED)).splitlines()[0] == f"{first}; the request went on: the pin set is report-only."
    assert str(report(PINS, VERIFIED)).splitlines()[0] == f"{first}."


def test_the_command_that_mends_it() -> None:
    """It names the policy's file where that is known, is quoted for a shell, and is left out where it would be cut."""
    verdict = evaluate(PinPolicy({"api.example.com": PINS}), "api.example.com", VERIFIED, NOW, port=8443)
    last = str(ViolationReport(verdict, NOW, (), "/etc/the shop/pins.toml")).splitlines()[-1]
    command = last.partition(": ")[2]
    assert shlex.split(command) == [
        *("pinned-requests", "repin", "api.example.com:8443", "--policy", "/etc/the shop/pins.toml")
    ]
    for path in ("/" + "a" * 200, "/etc/\x1b[2J"):
        assert "repin" not in str(ViolationReport(verdict, NOW, (), path))


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), ImportError()], ids=["files", "root"])
def test_a_command_that_cannot_be_quoted(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Without file descriptors, or in another root folder, nothing can be imported: the rest is said all the same."""
    whole = str(report(PINS, VERIFIED))
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "shlex")
        patch.setattr(sys, "meta_path", [NothingToImport(error)])
        text = str(report(PINS, VERIFIED))
    assert text == "\n".join(line for line in whole.splitlines() if "repin" not in line) != whole


def test_a_chain_that_ends_below_the_root() -> None:
    """The text says why a pin of the root cannot match."""
    chain = Chain((CHAIN[0], seen(2, "CN=Example CA", root=False)), is_verified=True)
    hint = "  The chain ended at a trusted certificate that is not self-signed: no pin above it can match."
    lines = MISMATCH.splitlines()
    assert "\n".join([*lines[:4], hint, *lines[4:]]) == str(report(PINS, chain))


@pytest.mark.parametrize(("number", "hinted"), [(2, True), (9, False)])
def test_an_unverified_chain(number: int, hinted: bool) -> None:  # noqa: FBT001 - pytest's way
    """The text says that only the leaf counts, and where a pin would have fitted."""
    lines = str(report(PinSet([pin(number), pin(3)]), UNVERIFIED)).splitlines()
    hint = "  A pin matches the certificate at depth 1, which is not verified; pin the leaf."
    assert lines[1] == "  Chain (not verified: only its first certificate counts):"
    assert (hint in lines) is hinted


def test_a_blocked_key() -> None:
    """The text names the key that is blocked, and not the pins."""
    pins = PinSet([pin(1)], [pin(4)], [pin(2)])
    assert f"""\
api.example.com:443 presented a certificate chain with a blocked key.
  Chain (verified):
    {ONE}  CN=api.example.com
    {TWO}  CN=Example CA
  Blocked for api.example.com:
    {TWO}""" == str(report(pins, VERIFIED))


def test_a_key_that_the_policy_blocks_for_every_host() -> None:
    """It is refused for a pinned, an unpinned and an exempt host alike, and the text says who blocks it."""
    for pins in (PINS, PinSet.exempt(), ELSEWHERE):
        violation = report(pins, VERIFIED, unpinned_hosts="allow", blocked_pins=[pin(2).with_note("leaked CA")])
        assert violation.outcome is Outcome.BLOCKED_KEY
        assert str(violation).splitlines()[-2:] == [
            "  Blocked by the policy, for every host:",
            f"    {TWO}  (leaked CA)",
        ]


def test_notes() -> None:
    """The notes of pins are shown, escaped."""
    pins = PinSet([pin(3).with_note("2026 leaf\n")], [pin(4).with_note("safe B")], [pin(2).with_note("stolen")])
    leaf = Chain(CHAIN[:1], is_verified=True)
    assert str(report(pins, leaf)).splitlines()[-3:-1] == [
        rf"    {THREE}  (2026 leaf\n)",
        f"    {FOUR}  (safe B)  (backup)",
    ]
    assert str(report(pins, VERIFIED)).splitlines()[-1] == f"    {TWO}  (stolen)"


@pytest.mark.parametrize(
    ("pins", "chain", "first", "lines"),
    [
        (
            PinSet([pin(3), pin(4)], expires="2027-03-01T12:00:00Z"),
            VERIFIED,
            (
                "The pins of api.example.com:443 expired at 2027-03-01T12:00:00Z; "
                "the request went on: the host falls back to CA validation."
            ),
            4,
        ),
        (
            PinSet([pin(3), pin(4)], expires="2027-03-01T13:00:00+01:00"),
            UNVERIFIED,
            "The pins of api.example.com:443 expired at 2027-03-01T12:00:00Z; update the policy.",
            4,
        ),
        (
            PINS,
            Chain.missing("a forwarding proxy hides it"),
            "api.example.com:443 is pinned, and its certificate chain is not available: a forwarding proxy hides it.",
            4,
        ),
        (
            ELSEWHERE,
            VERIFIED,
            (
                "refused api.example.com:443: it is not pinned, and the policy blocks unpinned hosts "
                '(pin it, exempt it, or set unpinned_hosts="allow").'
            ),
            1,
        ),
        ({"api.example.com": [pin(1), pin(2)]}, VERIFIED, "api.example.com:443: match", 4),
    ],
)
def test_other_outcomes(pins: PinSet | Mapping[str, PinsLike], chain: Chain, first: str, lines: int) -> None:
    """A sentence for each."""
    text = str(report(pins, chain)).splitlines()
    assert first == text[0]
    assert lines >= len(text)


@pytest.mark.parametrize(
    ("host", "port", "peer"),
    [("a.example", 80, "a.example:80"), ("a.example", None, "a.example"), ("2001:db8::1", 80, "[2001:db8::1]:80")],
)
def test_an_insecure_url_and_how_the_peer_is_written(host: str, port: int | None, peer: str) -> None:
    """IPv6 addresses stand in brackets; a port that is not known does not."""
    verdict = Verdict(Outcome.INSECURE_URL, False, host, port, None, None, Chain.missing("none"))  # noqa: FBT003 - a record
    text = f"refused plain http:// to {peer}: the policy blocks unpinned hosts; use https://."
    assert text == str(ViolationReport(verdict, NOW))


@pytest.mark.parametrize(("count", "shown"), [(20, 20), (21, 19), (100, 19)])
def test_long_sequences_are_cut_with_a_count(count: int, shown: int) -> None:
    """At most 20 lines of chain, and of pins."""
    chain = Chain(tuple(seen(number, f"CN={number}") for number in range(count)), is_verified=True)
    lines = str(report(PinSet([pin(100 + number) for number in range(count)]), chain)).splitlines()
    assert shown == sum("  CN=" in line for line in lines)
    more = f"    … and {count - shown} more"
    assert lines.count(more) == (0 if count == shown else 2)
    assert len(lines) == 1 + 1 + 20 + 1 + 20 + 1


HOSTILE = "CN=" + "x\n  Pinned for evil:\n\x1b[2J\u202e\ud800" * 30


def test_names_and_hosts_are_escaped_and_cut() -> None:
    """Any text in a certificate or URL gives printable lines of at most 200 characters."""
    chain = Chain((seen(1, HOSTILE),), is_verified=True)
    for text in (str(report(PINS, chain)), str(report(ELSEWHERE, chain, host="a\n" * 500))):
        for line in text.splitlines():
            assert line.isprintable()
            assert len(line) <= 200
    assert len(str(report(PINS, chain)).splitlines()) - 1 == 6


def test_a_long_host_leaves_room_for_what_is_said() -> None:
    """A redirect to a host of 253 characters does not push the sentence out of its line."""
    text = str(report(ELSEWHERE, VERIFIED, host=".".join(["a" * 62] * 4)))
    assert "…:443: it is not pinned" in text.splitlines()[0]


def test_json_has_the_form_of_rfc_7469() -> None:
    """RFC 7469 §3: its fields, its spelling of dates and pins; whole-certificate pins in ours."""
    leaf = Authority.create().issue("api.example.com")
    chain = Chain.of([leaf.certificate_der], is_verified=True)
    pins = PinSet([pin(3)], [pin(4, "cert")], expires="2027-03-01T12:00:00Z", report_only=True)
    verdict = evaluate(
        PinPolicy({"**.example.com": pins}), "API.example.com", chain, dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    )
    value = json.loads(ViolationReport(verdict, NOW, (leaf.certificate_der, leaf.certificate_der)).to_json())
    pem = leaf.certificate_pem.decode()
    assert {
        "date-time": "2027-03-01T12:30:15Z",
        "hostname": "api.example.com",
        "port": None,
        "effective-expiration-date": "2027-03-01T12:00:00Z",
        "include-subdomains": True,
        "noted-hostname": "example.com",
        "noted-pattern": "**.example.com",
        "served-certificate-chain": [pem, pem],
        "validated-certificate-chain": [pem],
        "known-pins": [
            f'pin-sha256="{THREE.removeprefix("sha256/")}"',
            f'cert-sha256="{FOUR.removeprefix("sha256/")}"',
        ],
        "outcome": "mismatch",
        "report-only": True,
        "allowed": True,
        "spki-pins-seen": [str(chain.certificates[0].spki_pin)],
    } == value


def test_json_without_a_pattern_or_a_verified_chain() -> None:
    """Nothing vouches for an unverified chain: it is not given out as validated."""
    unpinned = json.loads(report(ELSEWHERE, VERIFIED, host="a\n\ud800").to_json())
    assert (
        unpinned["hostname"],
        unpinned["noted-hostname"],
        unpinned["include-subdomains"],
        unpinned["known-pins"],
        unpinned["effective-expiration-date"],
    ) == (r"a\n\ud800", r"a\n\ud800", False, [], None)
    unverified = json.loads(report(PINS, UNVERIFIED).to_json())
    assert (
        unverified["validated-certificate-chain"],
        unverified["report-only"],
        unverified["spki-pins-seen"],
    ) == ([], False, [ONE, TWO])


def test_a_report_holds_nothing_of_the_request() -> None:
    """Verdict, date, served chain and two things of the policy: no place for a path, query, header or body."""
    violation = report(PINS, VERIFIED)
    assert violation._fields() == (violation.verdict, NOW, (), None, None)
    assert Verdict.__slots__ == ("outcome", "is_allowed", "host", "port", "pattern", "pins", "chain", "pin", "depth")


def test_repr() -> None:
    """One line without what the peer chose but its name; `PinCheck` shows its fields."""
    violation = report(PINS, VERIFIED, host="API.example.com")
    assert repr(violation) == "<ViolationReport mismatch of api.example.com, 2027-03-01T12:30:15Z>"
    check = PinCheck("a.example", 443, Outcome.EXEMPT)
    assert repr(check).startswith("PinCheck(host='a.example', port=443, outcome=<Outcome.EXEMPT: 'exempt'>, ")
    assert violation.allowed is False
    assert {check, PinCheck("a.example", 443, Outcome.EXEMPT)} == {check}


def test_properties() -> None:
    """What a callback reads."""
    violation = report(PINS, VERIFIED)
    assert ("api.example.com", 443, "api.example.com", None, False, CHAIN, (pin(3), pin(4))) == (
        violation.host,
        violation.port,
        violation.noted_host,
        violation.effective_expiry,
        violation.report_only,
        violation.chain,
        violation.known_pins,
    )
    unpinned = report(ELSEWHERE, VERIFIED)
    assert (unpinned.effective_expiry, unpinned.report_only, unpinned.known_pins) == (None, False, ())

"""`pinned-requests check`: each finding on a server that has it, and none on one that has not."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import socket
import sys
import threading
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from jsonschema import Draft202012Validator, FormatChecker

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main
from pinned_requests.monitoring import sampling
from pinned_requests.testing import Authority, Credential

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from pinned_requests.core.pinset import PinsLike
    from support.lab import Lab

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
NOBODYS = Pin("spki", bytes(range(32)))
SCHEMA = Draft202012Validator(
    json.loads(resources.files("pinned_requests").joinpath("check.schema.json").read_text("utf-8")),
    format_checker=FormatChecker(),
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pin_of(certified: Credential | Authority) -> Pin:
    """Return the SPKI pin of a credential or an authority."""
    return Pin.from_certificate(certified.certificate)


class Checker:
    """Checks hosts against a policy, with the CA bundle of the lab."""

    def __init__(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        self._lab, self._capsys = lab, capsys

    def __call__(self, hosts: Mapping[str, PinsLike], *arguments: object, **options: Any) -> Any:
        """Return what `check --json` prints for a policy; the exit code says whether there is more than information."""
        Path("pins.json").write_text(PinPolicy(hosts, **options).to_json())
        code = main(["check", "pins.json", "--ca-bundle", self._lab.bundle, "--json", *map(str, arguments)])
        said = json.loads(self._capsys.readouterr().out)
        assert code == (said["severity"] in {"warning", "critical"})
        assert said["findings"] == sum(len(host["findings"]) for host in said["hosts"])
        SCHEMA.validate(said)
        return said

    def kinds(self, hosts: Mapping[str, PinsLike], *arguments: object, **options: Any) -> list[str]:
        """Return the kinds of findings of the one host."""
        [host] = self(hosts, *arguments, **options)["hosts"]
        return [finding["kind"] for finding in host["findings"]]


@pytest.fixture
def check(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Checker:
    """Check hosts."""
    return Checker(lab, capsys)


def test_all_is_well(lab: Lab, check: Checker) -> None:
    """The pin that matches is named, and its depth; nothing is sent."""
    server = lab.serve(lab.honest)
    name = f"localhost:{server.port}"
    [host] = check({name: {"pins": pin_of(lab.honest), "backup_pins": lab.backup}})["hosts"]
    assert (host["outcome"], host["pattern"], host["pin"], host["depth"]) == (
        *("match", name, str(pin_of(lab.honest))),
        0,
    )
    [host] = check({name: [pin_of(lab.root), lab.backup]})["hosts"]
    assert (host["pin"], host["depth"], len(host["chain"])) == (str(pin_of(lab.root)), 2, 3)
    server.settle()
    assert (server.handshakes, server.application_bytes) == (2, 0)


def test_mismatch(lab: Lab, check: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """A man in the middle with a valid certificate is found, also where the policy only reports; he gets nothing."""
    server = lab.serve(lab.attacker)
    pins = {f"localhost:{server.port}": [pin_of(lab.honest), lab.backup]}
    assert check.kinds(pins) == ["mismatch"]
    assert check.kinds({name: {"pins": given, "report_only": True} for name, given in pins.items()}) == ["mismatch"]
    assert main(["check", "pins.json", "--ca-bundle", lab.bundle]) == 1
    assert str(pin_of(lab.attacker)) in capsys.readouterr().out
    server.settle()
    assert server.application_bytes == 0


def test_blocked_key(lab: Lab, check: Checker) -> None:
    """A blocked key is found, whatever else matches."""
    server = lab.serve(lab.honest)
    pins = {"pins": [pin_of(lab.honest), lab.backup], "blocked_pins": pin_of(lab.root)}
    assert check.kinds({f"localhost:{server.port}": pins}) == ["blocked-key"]


def test_notes_are_shown(lab: Lab, check: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """With the pin that matched, that is blocked, or that is served though it is a backup; escaped."""
    name = f"localhost:{lab.serve(lab.honest).port}"
    shown = f"{pin_of(lab.honest)}  (2026\\n leaf)"
    leaf = pin_of(lab.honest).with_note("2026\n leaf")
    [host] = check({name: {"pins": lab.backup, "backup_pins": leaf}})["hosts"]
    assert host["findings"][0]["text"].startswith(f"the backup {shown} is served")
    assert main(["check", "pins.json", "--ca-bundle", lab.bundle]) == 1
    assert f"  {shown}\n" in capsys.readouterr().out
    [host] = check({name: {"pins": [pin_of(lab.honest), lab.backup], "blocked_pins": leaf}})["hosts"]
    assert host["findings"][0]["text"] == f"the chain holds the blocked {shown}"


def test_no_backup_pin(lab: Lab, check: Checker) -> None:
    """Pins of served keys alone are no reserve, however many; one that is not served is."""
    server = lab.serve(lab.honest)
    name = f"localhost:{server.port}"
    served = [pin_of(lab.honest), pin_of(lab.root)]
    with pytest.warns(UserWarning, match="backup"):
        assert check.kinds({name: served[1]}) == ["no-backup-pin", "one-ca-only"]
    assert check.kinds({name: served}) == ["no-backup-pin"]
    assert check.kinds({name: [*served, NOBODYS]}) == []


def test_backup_pin_that_is_served(lab: Lab, check: Checker) -> None:
    """A backup pin must not be in the chain (RFC 7469 §4.3), at any depth."""
    server = lab.serve(lab.honest)
    for depth, served in enumerate(lab.honest.chain):
        pins = {"pins": NOBODYS, "backup_pins": Pin.from_certificate(served)}
        said = check({f"localhost:{server.port}": pins})["hosts"][0]
        assert [finding["kind"] for finding in said["findings"]] == ["backup-pin-served"]
        assert said["depth"] == depth


def test_a_leaf_that_expires_soon(lab: Lab, check: Checker) -> None:
    """A leaf alone that expires within the span is found; with its issuer pinned, or with a shorter span, it is not."""
    soon = lab.root.intermediate().issue("localhost", not_after=NOW + 10 * DAY)
    server = lab.serve(soon)
    name = f"localhost:{server.port}"
    assert check.kinds({name: [pin_of(soon), NOBODYS]}) == ["leaf-expires-soon"]
    assert check.kinds({name: [pin_of(soon), NOBODYS]}, "--within", "9d") == []
    assert check.kinds({name: [pin_of(soon), NOBODYS]}, "--within", "2w") == ["leaf-expires-soon"]
    assert check.kinds({name: [pin_of(soon), pin_of(lab.root), NOBODYS]}) == []


@pytest.mark.parametrize(
    ("days", "within", "kind"), [(10, "30d", "pins-expire-soon"), (10, "9d", None), (-1, "30d", "pins-expired")]
)
@pytest.mark.parametrize("on_expiry", ["unpin", "block"])
def test_pins_that_expire(  # noqa: PLR0913  two of them are fixtures
    lab: Lab, check: Checker, *, days: int, within: str, kind: str | None, on_expiry: str
) -> None:
    """A set that expires within the span, or has expired, is found."""
    server = lab.serve(lab.honest)
    pins = {"pins": [pin_of(lab.honest), NOBODYS], "expires": NOW + days * DAY, "on_expiry": on_expiry}
    name = f"localhost:{server.port}"
    assert check.kinds({name: pins}, "--within", within) == ([kind] if kind else [])
    [host] = check({name: pins})["hosts"]
    assert (host["outcome"], host["depth"]) == ("match" if days > 0 else "expired", 0)  # it would match


@pytest.mark.parametrize("on_expiry", ["unpin", "block"])
def test_expired_pins_that_do_not_match_either(lab: Lab, check: Checker, on_expiry: str) -> None:
    """Who renews expired pins is told that the server has other keys by now, or one that is blocked."""
    server = lab.serve(lab.honest)
    pins: dict[str, Any] = {"pins": [NOBODYS, lab.backup], "expires": NOW - DAY, "on_expiry": on_expiry}
    name = f"localhost:{server.port}"
    assert check.kinds({name: pins}) == ["mismatch", "pins-expired"]
    assert check.kinds({name: pins | {"blocked_pins": [pin_of(lab.honest)]}}) == ["blocked-key", "pins-expired"]


def test_a_policy_of_exempt_hosts_and_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    """It names hosts, and is not told otherwise: none that it names has pins."""
    hosts: dict[str, PinsLike] = {
        "a.example.com": {"exempt": True},
        "*.example.com": {"pins": [NOBODYS, Pin("spki", bytes(32))]},
    }
    Path("pins.json").write_text(PinPolicy(hosts).to_json())
    assert main(["check", "pins.json"]) == 2
    assert "the policy pins no host by its name" in capsys.readouterr().err


def test_unreachable(lab: Lab, check: Checker) -> None:
    """A server that is not there is found."""
    assert check.kinds({"localhost:1": [NOBODYS, lab.backup]}) == ["unreachable"]


def test_an_invalid_certificate(lab: Lab, check: Checker) -> None:
    """It is no outage: ignoring those does not hide it. What was presented is shown, as not verified."""
    credential = Credential.self_signed("localhost")
    server = lab.serve(credential)
    pins = {f"localhost:{server.port}": [NOBODYS, lab.backup]}
    assert check.kinds(pins) == ["invalid-certificate"]
    [host] = check(pins, "--ignore", "unreachable", "--fail-on", "critical")["hosts"]
    assert (host["outcome"], host["severity"]) == ("invalid-certificate", "critical")
    assert [seen["pin"] for seen in host["chain"]] == [str(pin_of(credential))]
    assert [sample["verified"] for sample in host["samples"]] == [False]
    server.settle()
    assert server.application_bytes == 0


def test_a_blocked_key_behind_an_invalid_certificate(lab: Lab, check: Checker) -> None:
    """It is found as well: a client that does not verify would be told of it."""
    credential = Credential.self_signed("localhost")
    name = f"localhost:{lab.serve(credential).port}"
    pins = {name: {"pins": [NOBODYS, lab.backup], "blocked_pins": pin_of(credential)}}
    assert check.kinds(pins) == ["blocked-key", "invalid-certificate"]


def test_insecure(lab: Lab, check: Checker) -> None:
    """A leaf that is pinned without a CA matches with `--insecure`; what was sent beside it does not count."""
    credential = Credential.self_signed("localhost")
    name = f"localhost:{lab.serve(credential).port}"
    pins = {name: {"pins": pin_of(credential), "backup_pins": lab.backup}}
    assert check.kinds(pins) == ["invalid-certificate"]
    [host] = check(pins, "--insecure")["hosts"]
    assert (host["outcome"], host["depth"], host["findings"]) == ("match", 0, [])
    assert [sample["verified"] for sample in host["samples"]] == [False]
    attacker = lab.attacker.with_served(lab.attacker.certificate, *lab.honest.chain[1:])
    name = f"localhost:{lab.serve(attacker).port}"
    assert check.kinds({name: [Pin.from_certificate(lab.honest.chain[1]), NOBODYS]}, "--insecure") == ["mismatch"]
    name = f"localhost:{lab.serve(lab.honest).port}"
    [host] = check({name: [pin_of(lab.honest), Pin.from_certificate(lab.honest.chain[1])]}, "--insecure")["hosts"]
    assert [pin["depth"] for pin in host["pins"]] == [0, None]


def test_connect_to(lab: Lab, check: Checker) -> None:
    """A server is tried before DNS points to it. Each of several addresses is a sample; the worst is the outcome."""
    first = lab.serve(lab.honest, host="127.0.0.2")
    pins = {f"localhost:{first.port}": [pin_of(lab.honest), NOBODYS]}
    assert check.kinds(pins) == ["unreachable"]  # nothing listens where the name points
    way = f"localhost:{first.port}:127.0.0"
    [host] = check(pins, "--connect-to", f"{way}.2")["hosts"]
    assert (host["outcome"], host["samples"][0]["address"]) == ("match", "127.0.0.2")
    [host] = check(pins, "--connect-to", f"{way}.2", "--connect-to", f"{way}.3")["hosts"]
    assert host["outcome"] == "unreachable"
    assert [(s["address"], s["outcome"]) for s in host["samples"]] == [
        ("127.0.0.2", "match"),
        ("127.0.0.3", "unreachable"),
    ]
    assert main(["check", "pins.json", "--connect-to", "localhost:127.0.0.2"]) == 2


def test_the_outcome_is_the_worst(lab: Lab, check: Checker) -> None:
    """Whichever sample came last; each is in the JSON."""
    asked_for: list[str | None] = []
    context = alternating(lab.honest, lab.attacker, lab.honest, asked_for=asked_for)
    name = f"localhost:{lab.serve(lab.honest, context=context).port}"
    way = ("--connect-to", f"{name}:127.0.0.1", "--samples", "3")
    [host] = check({name: [pin_of(lab.honest), NOBODYS]}, *way)["hosts"]
    assert host["outcome"] == "mismatch"
    assert [sample["outcome"] for sample in host["samples"]] == ["match", "mismatch", "match"]
    assert host["chain"][0]["pin"] == str(pin_of(lab.attacker))


def test_severities(lab: Lab, check: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """`--fail-on` says from where on findings make the exit code 1; they are shown all the same."""
    name = f"localhost:{lab.serve(lab.honest).port}"
    issuer = Pin.from_certificate(lab.honest.chain[1])
    with pytest.warns(UserWarning, match="backup"):
        said = check({name: issuer})
    assert [(f["kind"], f["severity"]) for f in said["hosts"][0]["findings"]] == [
        ("no-backup-pin", "warning"),
        ("single-depth", "info"),
    ]
    for fail_on, ignored, code in [
        ("critical", "blocked-key", 0),
        ("warning", "blocked-key", 1),
        ("warning", "no-backup-pin", 0),
        ("info", "no-backup-pin", 1),
    ]:
        arguments = ["--ca-bundle", lab.bundle, "--fail-on", fail_on, "--ignore", ignored]
        assert main(["check", "pins.json", *arguments]) == code
        assert "info: single-depth: " in capsys.readouterr().out


def test_an_issuer_that_expires_soon(lab: Lab, check: Checker) -> None:
    """A pinned issuer that ends within the span is found; one that is not pinned is not."""
    name = f"localhost:{lab.serve(lab.honest).port}"
    issuer = Pin.from_certificate(lab.honest.chain[1])
    ends = lab.honest.chain[1].not_valid_after_utc - NOW
    assert check.kinds({name: [issuer, NOBODYS]}, "--within", f"{ends.days + 1}d") == ["issuer-expires-soon"]
    assert check.kinds({name: [issuer, NOBODYS]}, "--within", f"{ends.days - 1}d") == []
    assert check.kinds({name: [pin_of(lab.honest), NOBODYS]}, "--within", f"{ends.days + 1}d") == ["leaf-expires-soon"]


def test_pins_of_one_authority(lab: Lab, check: Checker) -> None:
    """All pins of one CA, or of one of its intermediates, are information; a key in reserve makes it better."""
    name = f"localhost:{lab.serve(lab.honest).port}"
    issuer, root = (Pin.from_certificate(each) for each in lab.honest.chain[1:])
    assert "one-ca-only" in check.kinds({name: [issuer, root]})
    by_certificate = Pin.fingerprint(lab.honest.chain[1])
    assert "single-depth" in check.kinds({name: [issuer, by_certificate]})
    assert check.kinds({name: [issuer, root, lab.backup]}) == []
    assert check.kinds({name: [pin_of(lab.honest), issuer]}) == ["no-backup-pin"]


def test_a_pinned_authority_that_left_the_store(lab: Lab, check: Checker) -> None:
    """What was a trust anchor at the last check, or what the server itself presents, and is none for the clients."""
    gone = Authority.create("Gone CA")
    both = Path("both.pem")
    both.write_bytes(lab.root.certificate_pem + gone.certificate_pem)
    name = f"localhost:{lab.serve(lab.honest).port}"
    pins = {name: {"pins": pin_of(lab.root), "backup_pins": pin_of(gone)}}
    arguments = ("--state", "state.json", "--ignore", "one-ca-only")
    assert check.kinds(pins, "--ca-bundle", both, *arguments) == []
    assert check.kinds(pins, *arguments) == ["pinned-ca-left-store"]
    assert check.kinds(pins, "--ignore", "one-ca-only") == []  # without a memory it may be a key in reserve
    presented = gone.issue("localhost")
    name = f"localhost:{lab.serve(presented.with_served(*presented.chain)).port}"
    kinds = check.kinds({name: {"pins": pin_of(gone), "backup_pins": lab.backup}})
    assert kinds == ["invalid-certificate", "pinned-ca-left-store"]


def test_an_anchor_that_shortens_the_chain(lab: Lab, check: Checker) -> None:
    """A root's pin is of no use to Python 3.13 and later where the trust store holds the intermediate."""
    name = f"localhost:{lab.serve(lab.honest).port}"
    Path("short.pem").write_bytes(
        lab.root.certificate_pem + lab.honest.chain[1].public_bytes(serialization.Encoding.PEM)
    )
    pins = {name: [pin_of(lab.root), lab.backup]}
    assert check.kinds(pins) == []
    kinds = check.kinds(pins, "--ca-bundle", "short.pem")
    assert kinds[-1] == "anchor-shortened"
    assert kinds[:-1] == (["mismatch"] if sys.version_info >= (3, 13) else [])
    assert check.kinds({name: [pin_of(lab.honest), lab.backup]}, "--ca-bundle", "short.pem") == []
    # Another root of the same name, as after a change of its key, is not above this one.
    other = Authority.create("Lab Root CA")
    Path("roots.pem").write_bytes(lab.root.certificate_pem + other.certificate_pem)
    pins = {name: [pin_of(lab.root), pin_of(other), lab.backup]}
    assert check.kinds(pins, "--ca-bundle", "roots.pem") == []


def test_seen_through_a_proxy(lab: Lab, check: Checker, start_proxy: Callable[..., int]) -> None:
    """It is information: the proxy may show a certificate of its own."""
    name = f"localhost:{lab.serve(lab.honest).port}"
    proxy = f"http://127.0.0.1:{start_proxy()}"
    pins = {name: [pin_of(lab.honest), lab.backup]}
    assert check.kinds(pins, "--proxy", proxy) == ["seen-through-proxy"]
    name = f"localhost:{lab.serve(lab.honest, host='127.0.0.2').port}"
    [host] = check({name: pins.popitem()[1]}, "--proxy", proxy, "--connect-to", f"{name}:127.0.0.2")["hosts"]
    assert (host["outcome"], host["samples"][0]["address"]) == ("match", "127.0.0.2")


def test_blocked_keys_of_hosts_without_pins(lab: Lab, check: Checker) -> None:
    """A key that the whole policy blocks is found at exempt hosts and at those that no pattern matches."""
    name = f"localhost:{lab.serve(lab.honest).port}"
    blocked = {"blocked_pins": pin_of(lab.root)}
    assert check.kinds({name: {"exempt": True}}, **blocked) == ["blocked-key"]
    other = {"other.example.com": {"exempt": True}}
    assert check.kinds(other, name, **blocked) == ["blocked-key", "not-pinned"]
    assert check.kinds(other, name, unpinned_hosts="allow", **blocked) == ["blocked-key", "not-pinned"]
    [host] = check({name: {"exempt": True}}, blocked_pins=NOBODYS)["hosts"]
    assert (host["outcome"], host["findings"]) == ("exempt", [])
    self_signed = Credential.self_signed("localhost")
    name = f"localhost:{lab.serve(self_signed).port}"
    assert check.kinds({name: {"exempt": True}}, blocked_pins=pin_of(self_signed)) == ["blocked-key"]
    assert check.kinds({name: {"exempt": True}}, blocked_pins=NOBODYS) == []


def test_a_server_that_says_nothing(lab: Lab, check: Checker) -> None:
    """It is given up after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}"
        assert check.kinds({name: [NOBODYS, lab.backup]}, "--timeout", "0.2") == ["unreachable"]


def alternating(*credentials: Credential, asked_for: list[str | None]) -> ssl.SSLContext:
    """Return a server's context that presents another credential to each connection, in turns.

    The names that clients ask for are added to `asked_for`.
    """
    contexts = itertools.cycle([credential.server_context() for credential in credentials])
    first = credentials[0].server_context()

    def choose(tls: ssl.SSLObject, name: str | None, _context: object) -> None:
        asked_for.append(name)
        tls.context = next(contexts)

    first.sni_callback = choose
    return first


def test_samples(lab: Lab, check: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many connections are made, in turns to all addresses, and show that another server has another issuer."""
    resolve, names = socket.getaddrinfo, []

    def two_addresses(host: str, *arguments: Any, **options: Any) -> object:
        names.append(host)
        if host != "localhost":
            return resolve(host, *arguments, **options)
        return [entry for each in ("127.0.0.1", "127.0.0.2") for entry in resolve(each, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    other = lab.root.intermediate("Other CA").issue("localhost", key=lab.honest.key)
    asked_for: list[str | None] = []
    context = alternating(lab.honest, other, asked_for=asked_for)
    server = lab.serve(lab.honest, host="0.0.0.0", context=context)  # noqa: S104  both addresses
    name = f"localhost:{server.port}"
    issuer = Pin.from_certificate(lab.honest.chain[1])
    assert check.kinds({name: [pin_of(lab.honest), issuer, NOBODYS]}) == []  # one connection does not
    names.clear()
    assert check.kinds({name: [pin_of(lab.honest), issuer, NOBODYS]}, "--samples", "4") == ["intermediate-differs"]
    server.settle()
    assert server.handshakes == 5
    assert names.count("127.0.0.1") == names.count("127.0.0.2") == 2
    assert check.kinds({name: [pin_of(lab.honest), pin_of(lab.root), NOBODYS]}, "--samples", "4") == []
    # A server among them that does not match is named by its address.
    said = check({name: [issuer, NOBODYS]}, "--samples", "2")["hosts"][0]
    assert [finding["kind"] for finding in said["findings"]] == ["mismatch"]
    assert said["findings"][0]["text"].startswith("at 127.0.0.")
    assert set(asked_for) == {"localhost"}  # and not for an address
    server.settle()
    assert server.application_bytes == 0


def test_which_hosts(lab: Lab, check: Checker) -> None:
    """Without hosts those that the policy names; with hosts those, which its patterns may match."""
    server = lab.serve(lab.honest)
    pins = [pin_of(lab.honest), lab.backup]
    policy: dict[str, PinsLike] = {
        f"localhost:{server.port}": pins,
        "**.localhost": pins,
        "exempt.example": {"exempt": True},
    }
    said = check(policy)
    assert [host["host"] for host in said["hosts"]] == [f"localhost:{server.port}"]
    assert said["not_checked"] == ["**.localhost"]
    [host] = check({"127.0.0.1": pins, "**.localhost": pins}, f"localhost:{server.port}")["hosts"]
    assert (host["host"], host["pattern"], host["outcome"]) == (f"localhost:{server.port}", "**.localhost", "match")
    assert check.kinds(policy, "www.example.com") == ["not-pinned"]
    assert check.kinds(policy, "www.example.com", unpinned_hosts="allow") == ["not-pinned"]
    assert check.kinds(policy, "exempt.example") == []
    assert main(["check", "pins.json", "*.localhost"]) == 2
    Path("pins.json").write_text(PinPolicy({"**.localhost": pins}).to_json())
    assert main(["check", "pins.json"]) == 2


def test_ignored_findings(lab: Lab, check: Checker, capsys: pytest.CaptureFixture[str]) -> None:
    """A kind that is ignored is no finding; one that does not exist is an error, so that no misspelling hides one."""
    server = lab.serve(lab.honest)
    pins = {f"localhost:{server.port}": {"pins": NOBODYS, "backup_pins": pin_of(lab.honest)}}
    assert check.kinds(pins, "--ignore", "backup-pin-served") == []
    assert main(["check", "pins.json", "--ignore", "backup-pin-severed"]) == 2
    assert "backup-pin-served" in capsys.readouterr().err


def test_many_hosts_at_a_time(lab: Lab, check: Checker) -> None:
    """Hosts are asked concurrently, no more than `--jobs` at a time, and shown in the order of the policy."""
    most, asked, lock = [0], [0], threading.Lock()
    servers = [lab.serve(lab.honest) for _ in range(6)]
    policy = {f"localhost:{server.port}": [pin_of(lab.honest), lab.backup] for server in servers}
    handshake = sampling.handshake  # type: ignore[attr-defined]  # imported there

    def counted(*arguments: Any) -> object:
        with lock:
            asked[0] += 1
            most[0] = max(most[0], asked[0])
        try:
            barrier.wait(5)
            return handshake(*arguments)
        finally:
            with lock:
                asked[0] -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "handshake", counted)
        barrier = threading.Barrier(3)
        said = check(policy, "--jobs", "3")
    assert [host["host"] for host in said["hosts"]] == list(policy)
    assert most == [3]

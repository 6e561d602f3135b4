"""`pinned-requests block` and `repin`: a policy changed at once, for a stolen key or an appliance's new one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pinned_requests import Pin, PinFormatError, PolicyError
from pinned_requests.cli.inputs import read_bounded
from pinned_requests.cli.output import CommandError, RefusedError, Row, complain, show_json, show_table, write
from pinned_requests.core.chain import Chain
from pinned_requests.core.der import MAX_SIZE
from pinned_requests.core.pin import find_keys
from pinned_requests.core.text import escape, show
from pinned_requests.editing import changes
from pinned_requests.editing.policy_file import PolicyFile, note_of
from pinned_requests.monitoring.details import details_of_certificate
from pinned_requests.monitoring.fetch import fetch
from pinned_requests.monitoring.serving import refusal_of
from pinned_requests.monitoring.target import InvalidCertificateError, read_target
from pinned_requests.monitoring.trust_store import doubts_about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import Target


def block(what: Sequence[str], policy: Path, route: Route, *, is_agreed: bool, as_json: bool) -> int:
    """Add keys to a policy's `blocked_pins`: pins, the first key in each file, the leaf's key of each `HOST[:PORT]`."""
    now = datetime.now(UTC)
    file = PolicyFile.read(policy, now)
    pins = list(dict.fromkeys(_read_pin(text, route, now) for text in what))
    new = [pin for pin in pins if pin not in file.policy.blocked]
    hosts = file.policy.hosts
    accepted = {pin: names for pin in new if (names := [name for name, each in hosts.items() if pin in each.accepted])}
    for pin, names in accepted.items():
        complain(f"{pin} is accepted for {', '.join(names)}: clients will refuse these hosts wherever they serve it")
    after = changes.blocking(file.policy, new)
    shown = write(file, after, now, is_agreed=is_agreed, as_json=as_json) if new else ""
    if as_json:
        show_json(
            {
                "policy": str(policy),
                "blocked": [str(pin) for pin in new],
                "accepted_for": {str(pin): names for pin, names in accepted.items()},
                "difference": shown,
            }
        )
    elif new:
        print(f"Publish {escape(str(policy))} now.")
    else:
        print(f"Nothing to do: {escape(str(policy))} blocks {', '.join(map(str, pins))} already.")
    return 0


def _read_pin(text: str, route: Route, now: datetime) -> Pin:
    try:
        return Pin.parse(text)
    except PinFormatError as error:
        fault = error
    path = Path(text)
    if "/" in text or path.exists():
        found = next(find_keys(read_bounded(text, MAX_SIZE)), None)
        if found is None:
            raise PolicyError(f"{show(text)} has no certificate, certification request or key")
        return found.pin.with_note(note_of("blocked", path.name, "on", now))
    if "sha256" in text.lower():  # a pin that is misspelt, and not a host
        raise fault
    target = read_target(text)
    leaf = fetch(target, route.without_verification()).certificates[0]
    return leaf.spki_pin.with_note(note_of(f"blocked, seen at {target}", leaf.subject, "on", now))


def repin(host: str, policy: Path, route: Route, expected: str | None, *, as_json: bool) -> int:
    """Pin the key that a server presents in place of those that the policy has for it.

    A person compares the fingerprint and agrees; a script names the pin that it expects. No key is accepted unseen: it
    may be an interceptor's.
    """
    if as_json and expected is None:
        raise CommandError("--json asks no questions; name the pin that the server must present by --expect")
    wanted = None if expected is None else Pin.parse(expected)
    now = datetime.now(UTC)
    target = read_target(host)
    file = PolicyFile.read(policy, now)
    pattern = changes.entry_of(file.policy, target.host, target.port)
    chain, problem = _look(target, route)
    leaf = chain.certificates[0]
    seen = {pin for each in chain.certificates for pin in each.pins}
    if not file.policy.blocked.isdisjoint(seen) or not file.policy.hosts[pattern].blocked.isdisjoint(seen):
        raise RefusedError(f"{target} presents a key that the policy blocks; it is not pinned")
    if refusal_of(file.policy, target.host, target.port, seen) is None:
        why = f"{target} presents {leaf.spki_pin}, which the policy accepts already"
        if as_json:
            show_json({"difference": "", "why": why})
        else:
            print(f"Nothing to do: {why}.")
        return 0
    if wanted is not None and wanted not in leaf.pins:
        raise RefusedError(f"{target} presents {leaf.spki_pin}, and not {wanted}; nothing was written")
    old = file.policy.hosts[pattern]
    doubts = [problem] if problem else list(doubts_about(target, route, chain))
    if not as_json:
        _show(target, chain, doubts, old.pins)
    pin = leaf.spki_pin.with_note(note_of("leaf", leaf.subject, "repinned", now))
    new = changes.repinned(file.policy, pattern, old.pins, [pin])
    shown = write(file, new, now, is_agreed=wanted is not None, as_json=as_json)
    if as_json:
        show_json(
            {
                "policy": str(policy),
                "host": str(target),
                "pattern": pattern,
                "old": [str(each) for each in old.pins],
                "new": details_of_certificate(leaf.der).document(),
                "verified": chain.is_verified,
                "doubts": doubts,
                "difference": shown,
            }
        )
    else:
        print(f"Publish {escape(str(policy))} now: clients with an older one refuse {target}.")
    return 0


def _look(target: Target, route: Route) -> tuple[Chain, str | None]:
    """Return the chain of a server; where no CA vouches for it the leaf alone, and the reason."""
    try:
        return fetch(target, route), None
    except InvalidCertificateError as error:
        chain = fetch(target, route.without_verification())
        return Chain(chain.certificates[:1], chain.is_verified, chain.unavailable), error.reason


def _show(target: Target, chain: Chain, doubts: list[str], old: tuple[Pin, ...]) -> None:
    leaf = chain.certificates[0]
    vouching = chain.certificates[-1].subject if chain.is_verified else "no CA"
    lines = [
        *details_of_certificate(leaf.der).lines(),
        f"vouched for by {vouching}",
        leaf.certificate_pin.spelled("fingerprint"),
        *(f"WARNING  {doubt}" for doubt in doubts),
    ]
    rows = [Row("pinned until now", [pin.describe() for pin in old]), Row("presented now", lines)]
    show_table(str(target), ("key", "of"), rows)
    print("Compare the fingerprint with the one that the server itself shows: this may be an interceptor's key.")

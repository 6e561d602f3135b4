"""`pinned-requests can-serve`: may this key be served, and if not, from when on?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pinned_requests.cli.inputs import read_keys
from pinned_requests.cli.output import CommandError, Row, rfc3339, show_json, show_table
from pinned_requests.core.text import escape
from pinned_requests.editing.policy_file import PolicyFile, clients_of
from pinned_requests.monitoring.serving import KeyFile, Serving, can_serve, published_policy, read_key_file, refusal_of
from pinned_requests.monitoring.target import Target, read_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

    from pinned_requests import PinPolicy


def run(
    path: str,
    host: str | None,
    policies: Sequence[Path],
    remote: str | None,
    root: Path | None,
    name: str,
    max_client_age: timedelta,
    *,
    as_json: bool,
) -> int:
    """Say whether the key in a file may be served on a host, or on each pinned host that its certificate names.

    `policies` are the newest and older ones that clients may still have; `remote`, `root` and `name` are of a published
    one. Returns 0 if it may be served everywhere now, else 1.
    """
    if not policies and remote is None:
        raise CommandError("name the policy that clients have by --policy or --remote")
    now = datetime.now(UTC)
    file = read_key_file(read_keys(path))
    published = None if remote is None or root is None else published_policy(remote, root, name)
    clients = clients_of([PolicyFile.read(each, now) for each in policies], published, now)
    targets = _targets(host, file, clients.versions[-1].policy)
    answers = [
        can_serve(
            file.pins,
            target.host,
            target.port,
            clients.versions,
            now=now,
            max_client_age=max_client_age,
            is_complete=clients.is_complete,
        )
        for target in targets
    ]
    if as_json:
        show_json({"pin": str(file.pins[0][0]), "answers": [_document(each) for each in answers]})
    else:
        show_table(
            f"{escape(path)} ({file.pins[0][0]})",
            ("host", "may it be served?"),
            [_row(each, clients.unpublished, max_client_age) for each in answers],
        )
    return 0 if all(each.is_safe for each in answers) else 1


def _targets(host: str | None, file: KeyFile, policy: PinPolicy) -> list[Target]:
    if host is not None:
        return [read_target(host)]
    pinned = [Target(name) for name in file.hosts if (pins := policy.lookup(name)) and not pins.is_exempt]
    if pinned:
        return pinned
    if len(policy.hosts) == 1 and not file.hosts:
        [name] = policy.hosts
        if "*" not in name:
            return [read_target(name)]
    raise CommandError("name the HOST that the key is for: the file and the policy leave it open")


def _row(answer: Serving, unpublished: PolicyFile | None, max_client_age: timedelta) -> Row:
    since = (
        "" if answer.known_since is None else f", all policies accept it since {answer.known_since:%Y-%m-%d %H:%M} UTC"
    )
    if answer.is_safe:
        return Row(_place(answer), [f"yes{since}"], is_good=True)
    lines = []
    for each in answer.refusals:
        until = "" if each.until is None else f"; clients may have it until {each.until:%Y-%m-%d %H:%M} UTC"
        lines.append(f"{each.name} {each.why}{until}")
    if answer.safe_from is not None:
        return Row(_place(answer), [f"no, not before {answer.safe_from:%Y-%m-%d %H:%M} UTC", *lines], is_good=False)
    if unpublished is not None and not refusal_of(unpublished.policy, answer.host, answer.port, [answer.pin]):
        lines.append(f"publish {escape(str(unpublished.path))} first, which accepts it")
    else:
        lines.append(f"publish a policy that accepts {answer.pin} first, or serve a key that is in it")
    return Row(_place(answer), [f"no, and not before {max_client_age.days} days after that:", *lines], is_good=False)


def _place(answer: Serving) -> str:
    return str(Target(answer.host, answer.port))


def _document(answer: Serving) -> dict[str, Any]:
    return {
        "host": _place(answer),
        "may_be_served": answer.is_safe,
        "known_since": rfc3339(answer.known_since),
        "may_be_served_from": rfc3339(answer.safe_from),
        "refusals": [{"policy": each.name, "why": each.why, "until": rfc3339(each.until)} for each in answer.refusals],
    }

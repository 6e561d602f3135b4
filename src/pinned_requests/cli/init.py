"""`pinned-requests init`: a policy file for live hosts, and a backup key for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinned_requests import PinPolicy, PinSet
from pinned_requests.cli.backup import make_backup_key
from pinned_requests.cli.files import SECRET, NewFile, check_new, create
from pinned_requests.cli.output import CommandError, Row, show_json, show_table
from pinned_requests.core.text import escape, show
from pinned_requests.monitoring.fetch import fetch
from pinned_requests.monitoring.target import read_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pinned_requests.monitoring.route import Route

_PINNED_DEPTHS = ("leaf", "issuer")


def init(  # noqa: PLR0913  each an option of the command
    hosts: Sequence[str], output: Path, backup_key: Path, key_type: str, route: Route, *, as_json: bool
) -> int:
    """Write a policy with the leaf's and the issuer's pin of each host, and a backup key with its request.

    Args:
        hosts: `HOST[:PORT]`, all of which must be reached and verified.
        output: path of the policy.
        backup_key: path of the key; the request has the suffix `.csr`, in place of `.key` or `.pem`.
        key_type: one of `backup.KEY_TYPES`.
        route: how the hosts are reached.
        as_json: whether to print JSON.

    Raises:
        ServerError: a host was not reached, or its certificate is not valid. Nothing has been written then.
        CommandError: a file exists, or the policy has another suffix than `.toml` or `.json`.
        PolicyError: a host is invalid.
        OSError: a file cannot be written.
    """
    write = {".toml": PinPolicy.to_toml, ".json": PinPolicy.to_json}.get(output.suffix.lower())
    if write is None:
        raise CommandError(f"{show(str(output))} is no path of a policy; give that of a .toml or .json file")
    # What follows the dot in `api.example.com` is no suffix. A key called `.csr` is refused below: it is both files.
    stem = backup_key.stem if backup_key.suffix.lower() in (".key", ".pem", ".csr") else backup_key.name
    csr = backup_key.parent / f"{stem}.csr"
    check_new([output, backup_key, csr])
    targets = list(dict.fromkeys(map(read_target, hosts)))
    chains = {target: fetch(target, route).certificates[: len(_PINNED_DEPTHS)] for target in targets}

    backup = make_backup_key(list(dict.fromkeys(target.host for target in targets)), key_type)
    policy = PinPolicy(
        {
            target.pattern: PinSet([seen.spki_pin for seen in chain], backup_pins=backup.pin)
            for target, chain in chains.items()
        }
    )
    create(
        [
            NewFile(backup_key, backup.key_pem, SECRET),
            NewFile(csr, backup.csr_pem),
            NewFile(output, write(policy).encode()),
        ]
    )

    if as_json:
        show_json(
            {
                "policy": str(output),
                "backup_key": str(backup_key),
                "backup_csr": str(csr),
                "backup_pin": str(backup.pin),
                "hosts": {target.pattern: [str(s.spki_pin) for s in chain] for target, chain in chains.items()},
            }
        )
        return 0
    rows = []
    for target, chain in chains.items():
        named = zip(_PINNED_DEPTHS, chain, strict=False)
        lines = [line for name, seen in named for line in (f"{name}: {seen.subject}", str(seen.spki_pin))]
        rows.append(Row(target.pattern, [*lines, f"backup: {escape(str(backup_key))}", str(backup.pin)]))
    show_table(f"{escape(str(output))} (hosts: {len(rows)})", ("host", "pins"), rows)
    print(f"Keep {escape(str(backup_key))} offline, with {escape(str(csr))}, until the key in use must go.")
    return 0

"""What a command is about to write: new keys, and a policy, shown as a difference and written only after a yes."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.cli.output import CommandError, RefusedError, show_difference
from pinned_requests.core.text import escape
from pinned_requests.editing.backup import csr_path, make_backup_key
from pinned_requests.editing.files import SECRET, NewFile
from pinned_requests.editing.policy_file import note_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.editing.policy_file import PolicyFile

_MAX_LINE = 300  # characters: a pin with the longest note


class NewKey(NamedTuple):
    """A new backup key: its pin, with a note, and its files."""

    pin: Pin
    path: Path
    csr: Path
    files: list[NewFile]

    def document(self) -> dict[str, str]:
        """Return the JSON."""
        return {"backup_key": str(self.path), "backup_csr": str(self.csr), "backup_pin": str(self.pin)}


def key_path(host: str, now: datetime) -> Path:
    """Return where a new key goes by default."""
    return Path(f"{host.replace(':', '-')}-{now:%Y%m%d}.key")


def make_key(hosts: Iterable[str], key_type: str, path: Path, now: datetime) -> NewKey:
    """Make a backup key for hosts, and a certification request; nothing is written."""
    made, csr = make_backup_key(list(dict.fromkeys(hosts)), key_type), csr_path(path)
    files = [NewFile(path, made.key_pem, SECRET), NewFile(csr, made.csr_pem)]
    return NewKey(made.pin.with_note(note_of("backup", path.name, "made", now)), path, csr, files)


def write(
    file: PolicyFile,
    new: PinPolicy,
    now: datetime,
    files: Sequence[NewFile] = (),
    *,
    is_agreed: bool,
    as_json: bool,
) -> str:
    """Show what a policy's file is about to become, ask, and write it with further new files.

    With `as_json` the difference goes to stderr, if there is a question.

    Returns:
        The difference, escaped.
    """
    lines = _difference(file, new)
    if not as_json:
        show_difference(lines, sys.stdout)
    elif not is_agreed:
        show_difference(lines, sys.stderr)
    if not is_agreed:
        _ask(f"Write this to {escape(str(file.path))}?")
    file.write(new, now, files)
    return "\n".join(lines)


def _ask(question: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(
            "nothing was written: there is no terminal to ask on; look at the difference, then give --yes"
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RefusedError("nothing was written")


def _difference(file: PolicyFile, new: PinPolicy) -> list[str]:
    old, text = file.data.decode("utf-8-sig"), file.edited(new)
    name = str(file.path)
    lines = difflib.unified_diff(old.splitlines(), text.splitlines(), f"{name} (now)", f"{name} (new)", lineterm="")
    return [escape(line.replace("\t", "    "), _MAX_LINE) for line in lines]

"""What the commands of `pinned-requests repo` are given: roles, numbers, keys, passphrases, repositories."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinned_requests import PolicyError
from pinned_requests.cli.inputs import read_bounded
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from pinned_requests.publishing.keys import KeyRing
    from pinned_requests.publishing.proposal import Proposal

PASSPHRASE = "PINNED_REQUESTS_PASSPHRASE"  # noqa: S105  a variable's name
MAX_DAYS, MAX_KEYS = 36500, 100
_MAX_DIGITS = 9

Folder = Annotated[Path, typer.Argument(help="The repository: the folder that is served.", show_default=False)]
Place = Annotated[str, typer.Argument(metavar="URL|DIR", help="The repository.", show_default=False)]
KeyFolders = Annotated[
    list[Path],
    typer.Option(
        "--keys", metavar="PATH", help="A key folder, of one holder; never publish it. Repeatable.", show_default=False
    ),
]
Days = Annotated[
    list[str] | None,
    typer.Option("--expires", metavar="ROLE=DAYS", help="Days of validity from now on, for a role that this signs."),
]
Plain = Annotated[
    bool, typer.Option("--plain", help=f"Do not encrypt new key files (passphrase: ${PASSPHRASE}, or asked for).")
]
Role = Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.", show_default=False)]
Target = Annotated[str, typer.Option(metavar="TEXT", help="The name of the policy in the repository.")]
Root = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="The root metadata to trust; default: what the key folder remembers (sign), or the repository's first.",
    ),
]
Signers = Annotated[
    list[str] | None,
    typer.Option(
        "--signer",
        metavar="ROLE=PUBLIC.pem=URI",
        help="A key kept elsewhere, such as gcpkms:…, in place of a key file. Repeatable.",
    ),
]
Live = Annotated[
    bool, typer.Option("--live", help="Check that every host is served by a key of the new policy and of the old one.")
]
Force = Annotated[bool, typer.Option("--force", help="Publish although clients would be locked out.")]
Proxy = Annotated[
    str | None, typer.Option(metavar="URL", help="The proxy for --live; default: that of the environment.")
]
CaBundle = Annotated[
    str | None, typer.Option(metavar="PATH", exists=True, help="CA certificates to trust; default: as requests.")
]


@contextmanager
def opened(place: str, ca_bundle: str | None = None, *, must_exist: bool = True) -> Iterator[Callable[[str], bytes]]:
    """Yield a function that reads the files of a repository, in a folder or on the web."""
    from pinned_requests.publishing.state import check_repository, is_url, reading

    if is_url(place):
        with reading(place, ca_bundle) as read:
            yield read
    else:
        if must_exist:
            check_repository(Path(place))
        yield lambda name: (Path(place) / name).read_bytes()


def read_proposal(path: Path) -> "Proposal":
    """Return the proposal in a file."""
    from pinned_requests.publishing.proposal import MAX_BYTES, Proposal

    try:
        return Proposal.from_bytes(read_bounded(str(path), MAX_BYTES))
    except PolicyError as e:
        raise PolicyError(f"{show(str(path))}: {e}") from None


def key_ring(keys: list[Path], *, must_exist: bool = False) -> "KeyRing":
    """Return the keys of some folders."""
    from pinned_requests.publishing.keys import KeyFolder, KeyRing

    for path in keys:
        if must_exist and not path.is_dir():
            raise PolicyError(f"--keys {path}: the folder does not exist")
    return KeyRing([KeyFolder(path) for path in keys], _passphrase)


def check_apart(folder: Path, keys: list[Path]) -> None:
    """Refuse key folders that would be published."""
    for path in keys:
        if path.resolve().is_relative_to(folder.resolve()):
            raise PolicyError(f"--keys {path} lies in {folder}, which is published; keep keys elsewhere")


def new_passphrase(*, is_plain: bool) -> str | None:
    """Return the passphrase for new key files, or None if they are to be plain."""
    if is_plain:
        return None
    if PASSPHRASE in os.environ or not sys.stdin.isatty():
        passphrase = _passphrase("passphrase of the new keys", "; or give --plain, which leaves them unencrypted")
    else:
        passphrase = str(
            typer.prompt("A passphrase for the new keys", hide_input=True, confirmation_prompt=True, err=True)
        )
    if not passphrase:
        raise PolicyError(f"the passphrase is empty; set {PASSPHRASE}, or give --plain")
    return passphrase


def _passphrase(what: str, otherwise: str = "") -> str:
    from pinned_requests.publishing.keys import SigningError

    if PASSPHRASE in os.environ:
        return os.environ[PASSPHRASE]
    if not sys.stdin.isatty():
        raise SigningError(f"the {what} is needed; set {PASSPHRASE}{otherwise}")
    return str(typer.prompt(f"The {what}", hide_input=True, err=True))


def by_role(values: list[str] | None, form: str) -> dict[str, str]:
    """Return role → what is behind the equals sign; each role once."""
    found = several_by_role(values, form)
    for role, each in found.items():
        if len(each) > 1:
            raise PolicyError(f"{role} is given {len(each)} times; give ROLE={form} once")
    return {role: each[0] for role, each in found.items()}


def several_by_role(values: list[str] | None, form: str) -> dict[str, list[str]]:
    """Return role → what is behind the equals sign, each time that the role is given."""
    found: dict[str, list[str]] = {}
    for value in values or ():
        role, equals, rest = value.partition("=")
        check_role(role)
        if not equals or not rest:
            raise PolicyError(f"{value!r} is not of the form ROLE={form}")
        found.setdefault(role, []).append(rest)
    return found


def check_role(role: str) -> None:
    """Refuse what is not a role."""
    from pinned_requests.publishing.state import ROLES

    if role not in ROLES:
        raise PolicyError(f"{role!r} is not a role; the roles are {', '.join(ROLES)}")


def read_days(values: list[str] | None) -> dict[str, int]:
    """Return role → days."""
    return {role: _number(value, MAX_DAYS, "days") for role, value in by_role(values, "DAYS").items()}


def read_count(value: str) -> tuple[int, int]:
    """Return M and N of `M/N`: the threshold and the number of keys."""
    threshold, slash, number = value.partition("/")
    if not slash:
        raise PolicyError(f"{value!r} is not of the form M/N: M signatures, by any of N keys")
    n = _number(number, MAX_KEYS, "keys")
    return _number(threshold, n, "signatures"), n


def read_signer(text: str) -> tuple[Path, str]:
    """Return the path of the public half and the signer URI of `PUBLIC.pem=URI`."""
    path, equals, uri = text.partition("=")
    if not equals or ":" not in uri:
        raise PolicyError(f"{text!r} is not of the form PUBLIC.pem=URI, such as targets.pem=gcpkms:projects/…")
    return Path(path), uri


def _number(text: str, most: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and 0 < int(text) <= most):
        raise PolicyError(f"{text!r} is not a number of {what} from 1 to {most}")
    return int(text)

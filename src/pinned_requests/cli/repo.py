"""`pinned-requests repo`: makes and maintains a repository of signed policies, for `PolicyStore.from_tuf`.

Exit codes: 0 if all is well; 1 if it could not be done, or a role is about to expire; 2 where the command line or the
policy is wrong.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinned_requests.cli.output import complain, sentence_of
from pinned_requests.core.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securesystemslib.signer import Key

    from pinned_requests.cli.signing import KeyRing

PASSPHRASE = "PINNED_REQUESTS_PASSPHRASE"  # noqa: S105  a variable's name
FAILED, BAD_INPUT = 1, 2

app = typer.Typer(
    name="repo",
    help="Make and maintain a repository of signed policies.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Folder = Annotated[Path, typer.Argument(help="The repository: a folder to publish as it is.", show_default=False)]
Keys = Annotated[
    list[Path],
    typer.Option("--keys", help="A folder of keys. Once for each holder; never publish it.", show_default=False),
]
Days = Annotated[
    list[str] | None,
    typer.Option("--expires", metavar="ROLE=DAYS", help="How long what is signed for a role is valid, from now on."),
]
Encrypt = Annotated[
    bool, typer.Option("--encrypt", help=f"Encrypt new key files (passphrase: ${PASSPHRASE}, or asked for).")
]
Role = Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.", show_default=False)]


@app.command()
def init(  # noqa: PLR0913  the options of the command line
    folder: Folder,
    *,
    keys: Keys,
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE=M/N", help="N keys for a role, of which M must sign. Default: 1/1."),
    ] = None,
    signers: Annotated[
        list[str] | None,
        typer.Option(
            "--signer",
            metavar="ROLE=PUBLIC.pem=URI",
            help="A key kept elsewhere, such as gcpkms:…, in place of a key file.",
        ),
    ] = None,
    expires: Days = None,
    encrypt: Encrypt = False,
) -> int:
    """Make keys and an empty repository. Prints the root metadata to ship with the application."""
    with _reported():
        from pinned_requests.cli.repository import ROLES, Repository, RoleKeys  # noqa: PLC0415  of the extra `remote`

        days = _days(expires)
        counts = {role: _count(value) for role, value in _by_role(roles, "M/N").items()}
        external = _by_role(signers, "PUBLIC.pem=URI", several=True)
        _check_apart(folder, keys)
        ring = _ring(keys)
        repository = Repository(folder, ring)
        elsewhere = {}
        for role in ROLES:
            threshold, number = counts.setdefault(role, (1, 1))
            signers_of_role = [_signer(text) for text in external.get(role, "").splitlines()]
            _check_dealt(role, threshold, number, len(signers_of_role), len(keys))
            elsewhere[role] = [ring.try_out(at, *each) for at, each in enumerate(signers_of_role)]
        passphrase = _new_passphrase() if encrypt else None
        repository.prepare()  # from here on there are keys
        made = {}
        for role, (threshold, number) in counts.items():
            held = [ring.folder(at).add(*each) for at, each in enumerate(elsewhere[role])]
            generated = (ring.folder(at).generate(role, passphrase) for at in range(len(held), number))
            made[role] = RoleKeys((*held, *generated), threshold)
        root = repository.create(made, days)
        print(f"Ship {root} with the application, as root= of PolicyStore.from_tuf().")
        print(f"Keep the keys in {', '.join(str(each) for each in keys)} apart from it; root and targets offline.")
    return 0


@app.command()
def publish(
    folder: Folder,
    policy: Annotated[Path, typer.Argument(help="A policy in TOML or JSON.", show_default=False)],
    keys: Keys,
    target: Annotated[str, typer.Option(help="Its name in the repository.")] = "pins.json",
    expires: Days = None,
) -> int:
    """Publish a policy, in place of the one before."""
    with _reported():
        from pinned_requests import PinPolicy  # noqa: PLC0415  not for --help
        from pinned_requests.cli.repository import Repository  # noqa: PLC0415  of the extra `remote`

        if Path(target).suffix != ".json" or Path(target).name != target or not target.isascii():
            raise PolicyError(f"--target {target}: give a name without folders that ends in .json")
        try:
            content = PinPolicy.from_file(policy)
        except OSError as e:
            raise PolicyError(sentence_of(e)) from None
        version = Repository(folder, _ring(keys, must_exist=True)).publish(target, content, _days(expires))
        print(f"Published {policy} as {target}, version {version} of the targets.")
    return 0


@app.command("rotate-key")
def rotate_key(  # noqa: PLR0913  as for init
    folder: Folder,
    role: Role,
    *,
    keys: Keys,
    old: Annotated[str | None, typer.Option(help="The beginning of the id of the key that is to go.")] = None,
    signer: Annotated[
        str | None,
        typer.Option(metavar="PUBLIC.pem=URI", help="The new key, where it is kept elsewhere, such as gcpkms:…."),
    ] = None,
    expires: Days = None,
    encrypt: Encrypt = False,
) -> int:
    """Put a new key in the place of one. Root keys must be at hand; the old key should be, where it is not lost."""
    with _reported():
        from pinned_requests.cli.repository import Repository  # noqa: PLC0415  of the extra `remote`

        _check_role(role)
        days = _days(expires)
        _check_apart(folder, keys)
        ring = _ring(keys, must_exist=True)
        kept_elsewhere = ring.try_out(0, *_signer(signer)) if signer else None
        passphrase = _new_passphrase() if encrypt else None

        def make() -> Key:
            into = ring.folder(0)
            return into.add(*kept_elsewhere) if kept_elsewhere else into.generate(role, passphrase)

        gone, new = Repository(folder, ring).rotate_key(role, make, old, days)
        print(f"The key {role}-{new[:12]} is in the place of {role}-{gone[:12]}, which signs no more.")
    return 0


@app.command()
def refresh(
    folder: Folder,
    keys: Keys,
    also: Annotated[list[str] | None, typer.Option(metavar="ROLE", help="A further role to sign anew.")] = None,
    expires: Days = None,
) -> int:
    """Sign the timestamp anew, and the snapshot where it is time. For cron. 1 if a role is about to expire."""
    with _reported():
        from pinned_requests.cli.repository import Repository  # noqa: PLC0415  of the extra `remote`

        for role in also or ():
            _check_role(role)
        repository = Repository(folder, _ring(keys, must_exist=True))
        signed = repository.refresh(also or (), _days(expires))
        print(f"Signed anew: {', '.join(signed)}.")
        pending = repository.needs_attention()
        for role, moment in pending.items():
            complain(f"{role} expires on {moment:%Y-%m-%d}: run 'pinned-requests repo refresh --also {role}'")
    return FAILED if pending else 0


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what goes wrong into a sentence and an exit code."""
    try:
        from filelock import Timeout  # noqa: PLC0415  of the extra `remote`
        from tuf.api.exceptions import RepositoryError  # noqa: PLC0415  as above

        from pinned_requests.cli.signing import SigningError  # noqa: PLC0415  as above
    except ImportError as e:
        complain(f"repositories need the extra 'remote' ({e}); run: pip install 'pinned-requests[cli,remote]'")
        raise typer.Exit(BAD_INPUT) from None
    try:
        yield
    except PolicyError as e:
        complain(str(e))
        raise typer.Exit(BAD_INPUT) from None
    except Timeout:
        complain("another process is at work on the repository")
    except RepositoryError as e:
        complain(f"the repository does not verify: {e}")
    except SigningError as e:
        complain(str(e))
    except OSError as e:
        complain(sentence_of(e))
    else:
        return
    raise typer.Exit(FAILED)


def _check_apart(folder: Path, keys: list[Path]) -> None:
    """Refuse key folders that would be published."""
    for path in keys:
        if path.resolve().is_relative_to(folder.resolve()):
            raise PolicyError(f"--keys {path} lies in {folder}, which is published; keep keys elsewhere")


def _check_dealt(role: str, threshold: int, number: int, signers: int, holders: int) -> None:
    """Refuse more signers than there are keys, and a threshold that one of several holders meets alone."""
    if signers > number:
        raise PolicyError(f"{role} has {signers} signers but N is {number}; give --role {role}=M/{signers}")
    most = -(-number // holders)  # keys are dealt in turn
    if holders > 1 and 1 < threshold <= most:
        raise PolicyError(
            f"--role {role}={threshold}/{number}: one of {holders} key folders would get {most} keys, and could sign "
            f"alone; give more --keys, or fewer keys"
        )


def _ring(keys: list[Path], *, must_exist: bool = False) -> KeyRing:
    from pinned_requests.cli.signing import KeyFolder, KeyRing  # noqa: PLC0415  of the extra `remote`

    for path in keys:
        if must_exist and not path.is_dir():
            raise PolicyError(f"--keys {path}: there is no such folder")
    return KeyRing([KeyFolder(path) for path in keys], _passphrase)


def _passphrase(what: str) -> str:
    from pinned_requests.cli.signing import SigningError  # noqa: PLC0415  of the extra `remote`

    if PASSPHRASE in os.environ:
        return os.environ[PASSPHRASE]
    if not sys.stdin.isatty():
        raise SigningError(f"the {what} is needed; set {PASSPHRASE}")
    return str(typer.prompt(f"The {what}", hide_input=True, err=True))


def _new_passphrase() -> str:
    if PASSPHRASE in os.environ or not sys.stdin.isatty():
        passphrase = _passphrase("passphrase of the new keys")
    else:
        passphrase = str(
            typer.prompt("A passphrase for the new keys", hide_input=True, confirmation_prompt=True, err=True)
        )
    if not passphrase:
        raise PolicyError(f"the passphrase is empty; set {PASSPHRASE}, or leave out --encrypt")
    return passphrase


def _by_role(values: list[str] | None, form: str, *, several: bool = False) -> dict[str, str]:
    """Return role → what stands behind the equals sign; lines of it, where a role may stand there several times."""
    found: dict[str, str] = {}
    for value in values or ():
        role, equals, rest = value.partition("=")
        _check_role(role)
        if not equals or not rest or (role in found and not several):
            raise PolicyError(f"{value!r} is not of the form ROLE={form}, or the role was given before")
        found[role] = f"{found[role]}\n{rest}" if role in found else rest
    return found


def _check_role(role: str) -> None:
    from pinned_requests.cli.repository import ROLES  # noqa: PLC0415  of the extra `remote`

    if role not in ROLES:
        raise PolicyError(f"{role!r} is no role; there are {', '.join(ROLES)}")


def _days(values: list[str] | None) -> dict[str, int]:
    return {role: _number(value, 36500, "days") for role, value in _by_role(values, "DAYS").items()}


def _count(value: str) -> tuple[int, int]:
    threshold, slash, number = value.partition("/")
    if not slash:
        raise PolicyError(f"{value!r} is not of the form M/N: M signatures, by any of N keys")
    n = _number(number, 100, "keys")
    return _number(threshold, n, "signatures"), n


def _number(text: str, most: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= most):  # noqa: PLR2004  digits
        raise PolicyError(f"{text!r} is no number of {what} from 1 to {most}")
    return int(text)


def _signer(text: str) -> tuple[Path, str]:
    path, equals, uri = text.partition("=")
    if not equals or ":" not in uri:
        raise PolicyError(f"{text!r} is not of the form PUBLIC.pem=URI, such as targets.pem=gcpkms:projects/…")
    return Path(path), uri

"""`pinned-requests repo`: makes, maintains and watches a repository of signed policies, for `PolicyStore.from_tuf`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pinned_requests import PinPolicy, PolicyError
from pinned_requests.cli import repo_people
from pinned_requests.cli.errors import ExitCode
from pinned_requests.cli.inputs import Json, Timeout
from pinned_requests.cli.output import complain, show_json
from pinned_requests.cli.repo_inputs import (
    CaBundle,
    Days,
    Folder,
    Force,
    KeyFolders,
    Live,
    Plain,
    Proxy,
    Role,
    Root,
    Signers,
    Target,
    by_role,
    check_apart,
    check_role,
    key_ring,
    new_passphrase,
    opened,
    read_count,
    read_days,
    read_signer,
    several_by_role,
)
from pinned_requests.cli.repo_review import is_refused, looking, review, show_review, show_status
from pinned_requests.editing.files import NewFile, check_new, create

app = typer.Typer(
    name="repo",
    help="Make, maintain and watch a repository of signed policies.",
)


@app.command()
def init(
    folder: Folder,
    *,
    keys: KeyFolders,
    online: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="A key folder for snapshot and timestamp, of the machine that runs 'repo refresh'."
        ),
    ] = None,
    holders: Annotated[
        list[Path] | None,
        typer.Option(
            "--holder", metavar="PUBLIC.json", help="The public keys of a holder, by 'repo keys'. Repeatable."
        ),
    ] = None,
    proposal: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="With --holder: where to write the proposal that the holders sign."),
    ] = None,
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE=M/N", help="N keys for a role, of which M must sign. Default: 1/1."),
    ] = None,
    signers: Signers = None,
    expires: Days = None,
    plain: Plain = False,
) -> int:
    """Make keys and an empty repository. Prints the root metadata to ship with the application.

    Example: pinned-requests repo init repository --keys keys
    """
    from pinned_requests.publishing.keys import Ceremony, KeyFolder, Keys, read_public
    from pinned_requests.publishing.proposal import first
    from pinned_requests.publishing.repository import Repository, new_root

    if bool(holders) != (proposal is not None):
        raise PolicyError("--holder and --proposal belong together: the holders sign the proposal")
    if proposal is not None:
        check_new([proposal])
    days = read_days(expires)
    counts = {role: read_count(value) for role, value in by_role(roles, "M/N").items()}
    elsewhere = {role: [*map(read_signer, texts)] for role, texts in several_by_role(signers, "PUBLIC.pem=URI").items()}
    folders = [*keys, *([] if online is None else [online])]
    check_apart(folder, folders)
    ring = key_ring(folders)
    handed_in = [read_public(path) for path in holders or ()]
    parts = Keys(
        [KeyFolder(path) for path in keys], None if online is None else KeyFolder(online), handed_in, elsewhere
    )
    ceremony = Ceremony(parts, counts)
    ceremony.try_out(ring)
    passphrase = new_passphrase(is_plain=plain)
    repository = Repository(folder, ring)
    repository.prepare()  # from here on there are keys
    made = ceremony.make(passphrase)
    if proposal is None:
        root = repository.create(made, days)
        print(f"Ship {root} with the application, as root= of PolicyStore.from_tuf().")
    else:
        create([NewFile(proposal, first(new_root(made), days).to_bytes())])
        print(f"Let the holders sign {proposal} with 'pinned-requests repo sign', then merge it.")
    print(f"Keep the keys in {', '.join(map(str, folders))} apart from it; root and targets offline.")
    return 0


@app.command()
def publish(
    folder: Folder,
    policy: Annotated[Path, typer.Argument(help="A policy in TOML or JSON.", show_default=False)],
    *,
    keys: KeyFolders,
    target: Target = "pins.json",
    live: Live = False,
    force: Force = False,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    timeout: Timeout = 10.0,
    expires: Days = None,
    json: Json = False,
) -> int:
    """Publish a policy, in place of the one before. Refuses one that would lock clients out.

    Example: pinned-requests repo publish repository pins.toml --keys keys
    """
    from pinned_requests.publishing.repository import Repository
    from pinned_requests.publishing.state import check_target_name

    check_target_name(target)
    days = read_days(expires)
    content = PinPolicy.from_file(policy)
    repository = Repository(folder, key_ring(keys, must_exist=True))
    state = repository.load()
    look_up = looking(timeout, proxy, ca_bundle) if live else None
    reviewed = review(content, state, target, repository.read, look_up)
    if not json:
        show_review(reviewed)
    refused = is_refused(reviewed, is_forced=force)
    version = None
    if not refused:
        version = repository.publish(target, content, days, after=state.targets.signed.version)
    if json:
        show_json({"published": not refused, "target": target, "version": version, **reviewed.document()})
    elif not refused:
        print(f"Published {policy} as {target}, version {version} of the targets.")
    return ExitCode.FINDING if refused else 0


@app.command("rotate-key")
def rotate_key(
    folder: Folder,
    role: Role,
    *,
    keys: KeyFolders,
    old: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The beginning of the id of the key to replace.")
    ] = None,
    signer: Annotated[
        str | None,
        typer.Option(metavar="PUBLIC.pem=URI", help="The new key, if it is kept elsewhere, such as gcpkms:…."),
    ] = None,
    expires: Days = None,
    plain: Plain = False,
) -> int:
    """Replace a key. Root keys must be at hand, and the old key should be, unless it is lost.

    Example: pinned-requests repo rotate-key repository targets --keys keys
    """
    from pinned_requests.publishing.keys import KeyFolder
    from pinned_requests.publishing.repository import Repository

    check_role(role)
    days = read_days(expires)
    check_apart(folder, keys)
    ring = key_ring(keys, must_exist=True)
    into = KeyFolder(keys[0])
    kept_elsewhere = ring.try_out(into, *read_signer(signer)) if signer else None
    passphrase = None if kept_elsewhere else new_passphrase(is_plain=plain)
    gone, new = Repository(folder, ring).rotate_key(
        role,
        lambda: into.add(role, *kept_elsewhere) if kept_elsewhere else into.generate(role, passphrase),
        old,
        days,
    )
    print(f"The key {role}-{new[:12]} replaces {role}-{gone[:12]}, which signs no more.")
    return 0


@app.command()
def refresh(
    folder: Folder,
    *,
    keys: KeyFolders,
    also: Annotated[list[str] | None, typer.Option(metavar="ROLE", help="A further role to sign again.")] = None,
    expires: Days = None,
) -> int:
    """Sign the timestamp again, and the snapshot when it is time. For cron. 1 if a role is about to expire.

    Example: pinned-requests repo refresh repository --keys keys
    """
    from pinned_requests.publishing.repository import Repository

    for role in also or ():
        check_role(role)
    repository = Repository(folder, key_ring(keys, must_exist=True))
    signed = repository.refresh(also or (), read_days(expires))
    print(f"Signed again: {', '.join(signed)}.")
    pending = repository.needs_attention()
    for role, moment in pending.items():
        complain(f"{role} expires on {moment:%Y-%m-%d}: run 'pinned-requests repo refresh --also {role}'")
    return ExitCode.FINDING if pending else 0


@app.command()
def status(
    place: Annotated[str, typer.Argument(metavar="URL|DIR", help="The repository.")] = ".",
    *,
    root: Root = None,
    ca_bundle: CaBundle = None,
    json: Json = False,
) -> int:
    """Show roles, versions, expiry, holders and the policy, without a key. 1 if something expires soon.

    Example: pinned-requests repo status https://pins.example.com/ --root 1.root.json
    """
    with opened(place, ca_bundle) as read:
        from pinned_requests.publishing import status as library

        found = library.status(read, datetime.now(UTC), None if root is None else root.read_bytes())
        show_status(found, as_json=json)
    return ExitCode.FINDING if found.findings else 0


@app.command()
def sync(
    folder: Folder,
    destination: Annotated[
        Path | None, typer.Argument(metavar="DEST", help="A folder, such as that of a web server.")
    ] = None,
    *,
    order: Annotated[
        bool, typer.Option("--order", help="Copy nothing; print the paths of the files in the order to copy them.")
    ] = False,
) -> int:
    """Copy a repository, in the order that keeps it sound for clients at every moment.

    Example: pinned-requests repo sync repository /var/www/pins
    """
    from pinned_requests.publishing.sync import copy, in_order

    if order:
        names = [file.name for file in in_order(folder, destination)]
    elif destination is None:
        raise PolicyError("no destination; give a folder, or --order to copy the files with another program")
    else:
        names = copy(folder, destination)
    for name in names:
        print(name)
    return 0


for _command in (repo_people.keys, repo_people.propose, repo_people.sign, repo_people.merge):
    app.command()(_command)

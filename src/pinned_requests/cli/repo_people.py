"""`pinned-requests repo` for people who are not in one room: make keys, propose a change, sign it, merge it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinned_requests import PinPolicy, PolicyError
from pinned_requests.cli.errors import ExitCode
from pinned_requests.cli.inputs import Json, Timeout
from pinned_requests.cli.output import Row, show_json, show_table
from pinned_requests.cli.repo_inputs import (
    CaBundle,
    Days,
    Folder,
    Force,
    KeyFolders,
    Live,
    Place,
    Plain,
    Proxy,
    Root,
    Signers,
    Target,
    check_apart,
    check_role,
    key_ring,
    new_passphrase,
    opened,
    read_days,
    read_proposal,
    read_signer,
    several_by_role,
)
from pinned_requests.cli.repo_review import is_refused, looking, review, show_review
from pinned_requests.editing.files import NewFile, check_new, create

if TYPE_CHECKING:
    from pinned_requests.cli.repo_review import Reviewed
    from pinned_requests.publishing.proposal import Proposal
    from pinned_requests.publishing.review import LookUp
    from pinned_requests.publishing.state import State

ProposalFile = Annotated[Path, typer.Argument(help="The proposal: a JSON file.", show_default=False)]


def keys(
    folder: Annotated[Path, typer.Argument(help="A new key folder. Its name is published as the name of the holder.")],
    *,
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="A role to make a key for; default: root and targets. Repeatable."),
    ] = None,
    signers: Signers = None,
    plain: Plain = False,
) -> int:
    """Make keys on the machine of their holder. Prints the file with the public keys to hand in.

    Example: pinned-requests repo keys alice
    """
    from pinned_requests.publishing.keys import PUBLIC, KeyFolder
    from pinned_requests.publishing.proposal import PROPOSED

    elsewhere = several_by_role(signers, "PUBLIC.pem=URI")
    if not roles and not elsewhere:
        roles = list(PROPOSED)
    for role in roles or ():
        check_role(role)
    ring, into = key_ring([folder]), KeyFolder(folder)
    tried = [(role, ring.try_out(into, *read_signer(text))) for role, texts in elsewhere.items() for text in texts]
    passphrase = new_passphrase(is_plain=plain) if roles else None
    made = [(role, into.add(role, *found)) for role, found in tried]
    made += [(role, into.generate(role, passphrase)) for role in roles or ()]
    for role, key in made:
        print(f"{role} {key.keyid}")
    print(f"Hand in {folder / PUBLIC}; it has the public keys only. Keep the rest of {folder} to yourself.")
    return 0


def propose(
    place: Place,
    proposal: Annotated[Path, typer.Argument(help="The proposal to write: a new JSON file.", show_default=False)],
    *,
    policy: Annotated[Path | None, typer.Option(metavar="PATH", help="The policy to publish, in TOML or JSON.")] = None,
    target: Target = "pins.json",
    renew: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="Sign root or targets again before they expire.")
    ] = None,
    exchange: Annotated[
        str | None,
        typer.Option(metavar="KEYID=PUBLIC.json", help="Replace the key whose id begins so by that of another holder."),
    ] = None,
    live: Live = False,
    force: Force = False,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    timeout: Timeout = 10.0,
    expires: Days = None,
    root: Root = None,
    json: Json = False,
) -> int:
    """Write a change for its signers: a policy, a renewal, an exchange of keys. Needs no key.

    Example: pinned-requests repo propose repository proposal.json --policy pins.toml
    """
    with opened(place, ca_bundle) as read:
        from pinned_requests.publishing import proposal as library
        from pinned_requests.publishing.state import check_target_name, load

        check_target_name(target)
        check_new([proposal])
        for role in renew or ():
            if role not in library.PROPOSED:
                raise PolicyError(
                    f"--renew {role}: give {' or '.join(library.PROPOSED)}; 'repo refresh' signs the rest"
                )
        state = load(read, None if root is None else root.read_bytes())
        made = library.propose(
            state,
            read_days(expires),
            policy=None if policy is None else (target, PinPolicy.from_file(policy)),
            renewed=renew or (),
            exchanged=None if exchange is None else library.exchange(state, *_exchange(exchange)),
        )
        reviewed = _review(made, state, read, looking(timeout, proxy, ca_bundle) if live and policy else None)
        if not json:
            _show(made, state, reviewed)
        refused = is_refused(reviewed, is_forced=force)
        if not refused:
            create([NewFile(proposal, made.to_bytes())])
        if json:
            show_json({"proposed": not refused, **({} if reviewed is None else reviewed.document())})
        elif not refused:
            print(f"Let the holders of {' and '.join(made.metadata())} keys sign {proposal}.")
    return ExitCode.FINDING if refused else 0


def sign(
    place: Place,
    proposal: ProposalFile,
    *,
    keys: KeyFolders,
    root: Root = None,
    ca_bundle: CaBundle = None,
) -> int:
    """Show what a proposal changes, and sign it. The signature is added to the file.

    Example: pinned-requests repo sign repository proposal.json --keys alice
    """
    from pinned_requests.publishing import signatures
    from pinned_requests.publishing.proposal import apply
    from pinned_requests.publishing.sync import write

    found = read_proposal(proposal)
    ring = key_ring(keys, must_exist=True)
    now = datetime.now(UTC)
    with opened(place, ca_bundle, must_exist=not found.is_first) as read:
        state = _state(found, read, keys, root)
        apply(found, state, now)  # what is shown is what is signed
        reviewed = _review(found, state, read, None)
        _show(found, state, reviewed)
        is_refused(reviewed, is_forced=True)  # it is for the signer to decide
    for label in signatures.sign(found, state, ring, now):
        print(f"Signed by {label}.")
    write(proposal, found.to_bytes())
    if state is not None:
        signatures.remember(state, keys)
    _show_signatures(found, state)
    return 0


def merge(
    folder: Folder,
    proposals: Annotated[list[Path], typer.Argument(metavar="PROPOSAL", help="The signed proposal, or copies of it.")],
    *,
    keys: Annotated[
        list[Path],
        typer.Option("--keys", metavar="PATH", help="The key folder for snapshot and timestamp.", show_default=False),
    ],
    live: Live = False,
    force: Force = False,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    timeout: Timeout = 10.0,
    expires: Days = None,
    json: Json = False,
) -> int:
    """Publish a proposal that enough holders have signed, each on the same file or on a copy of it.

    Example: pinned-requests repo merge repository proposal.json --keys online
    """
    from pinned_requests.publishing import signatures
    from pinned_requests.publishing.repository import Repository

    check_apart(folder, keys)
    repository = Repository(folder, key_ring(keys, must_exist=True))
    copies = [read_proposal(path) for path in proposals]
    state = None if copies[0].is_first else repository.load()
    joined = signatures.join(copies, state, datetime.now(UTC))
    reviewed = _review(joined, state, repository.read, looking(timeout, proxy, ca_bundle) if live else None)
    if not json:
        _show(joined, state, reviewed)
        _show_signatures(joined, state)
    refused = is_refused(reviewed, is_forced=force)
    if not refused:
        merged = repository.merge(joined, read_days(expires))
        versions = {role: metadata.signed.version for role, metadata in merged.by_role()}
    if json:
        document = {} if reviewed is None else reviewed.document()
        show_json({"published": not refused, "versions": None if refused else versions, **document})
    elif not refused:
        print(f"Published: {', '.join(f'{role} {version}' for role, version in versions.items())}.")
        if joined.is_first:
            print(f"Ship {folder / 'metadata' / '1.root.json'} with the application.")
    return ExitCode.FINDING if refused else 0


def _state(proposal: "Proposal", read: Callable[[str], bytes], keys: list[Path], root: Path | None) -> "State | None":
    """Return the present state, or None for a first proposal and a repository that does not exist yet."""
    from pinned_requests.publishing.signatures import load_for_signing
    from pinned_requests.publishing.state import FIRST_ROOT

    if not proposal.is_first:
        return load_for_signing(read, keys, None if root is None else root.read_bytes())
    try:
        read(FIRST_ROOT)
    except FileNotFoundError:
        return None
    raise PolicyError("the proposal is for a new repository, and this one exists")


def _review(
    proposal: "Proposal", state: "State | None", read: Callable[[str], bytes], look_up: "LookUp | None"
) -> "Reviewed | None":
    content = proposal.new_policy()
    if content is None or proposal.name is None:
        return None
    return review(content, state, proposal.name, read, look_up)


def _show(proposal: "Proposal", state: "State | None", reviewed: "Reviewed | None") -> None:
    from pinned_requests.publishing.proposal import changes_of_keys

    rows = [
        Row(role, [f"version {metadata.signed.version}, valid until {metadata.signed.expires:%Y-%m-%d %H:%M} UTC"])
        for role, metadata in proposal.metadata().items()
    ]
    if lines := changes_of_keys(proposal, state):
        rows.append(Row("keys", lines))
    show_table("The proposal:", ("role", "change"), rows)
    if reviewed is not None:
        print(f"Policy {proposal.name}:")
        show_review(reviewed)


def _show_signatures(proposal: "Proposal", state: "State | None") -> None:
    from pinned_requests.publishing.signatures import signatures

    rows = []
    for each in signatures(proposal, state, datetime.now(UTC)):
        lines = [f"{len(each.signed)} of the {each.needed} signatures that it needs"]
        lines += [f"signed by {label}" for label in each.signed] + [f"not signed by {label}" for label in each.missing]
        rows.append(Row(each.role, lines, is_good=each.is_met))
    show_table("Signatures:", ("role", "signatures"), rows)


def _exchange(text: str) -> tuple[str, Path]:
    keyid, equals, path = text.partition("=")
    if not keyid or not equals or not path:
        raise PolicyError(f"{text!r} is not of the form KEYID=PUBLIC.json")
    return keyid, Path(path)

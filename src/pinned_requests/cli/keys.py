"""The commands of a key's life, and their options: `rotate`, `can-serve`, `block`, `repin`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinned_requests.cli.inputs import (
    CaBundle,
    ConnectTo,
    Insecure,
    Json,
    KeyType,
    MaxClientAge,
    Policy,
    PolicyOption,
    Proxy,
    Timeout,
    Yes,
    misused,
    read_span,
)

if TYPE_CHECKING:
    from pinned_requests.cli.rotate import Place

HOST = "HOST[:PORT]"
Host = Annotated[str, typer.Argument(metavar=HOST, help="The server.", show_default=False)]

rotate_app = typer.Typer(
    name="rotate",
    help="Change the key of a host without locking a client out, step by step.",
)


@rotate_app.command("status")
def rotate_status(
    policy: Policy,
    host: Host,
    *,
    max_client_age: MaxClientAge = "90d",
    connect_to: ConnectTo = None,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    insecure: Insecure = False,
    timeout: Timeout = 10.0,
    json: Json = False,
) -> int:
    """Show where a rotation stands: what is served, what is in reserve, what is next, and what must wait.

    Every address of the host is asked. Exit code 1: clients are refused now, or no server answers.

    Example: pinned-requests rotate status pins.toml api.example.com
    """
    from pinned_requests.cli.rotate import status

    return status(
        _place(policy, host, max_client_age, connect_to, timeout, proxy, ca_bundle, insecure=insecure), as_json=json
    )


@rotate_app.command("next")
def rotate_next(
    policy: Policy,
    host: Host,
    *,
    backup_key: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The new key; default: HOST-DATE.key. Its CSR ends in .csr.")
    ] = None,
    key_type: KeyType = "ecdsa-p256",
    max_client_age: MaxClientAge = "90d",
    connect_to: ConnectTo = None,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    insecure: Insecure = False,
    timeout: Timeout = 10.0,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Make the next backup key and its CSR, and write its pin into the policy.

    A backup key that is served becomes a pin. Nothing is overwritten, and comments stay.

    Example: pinned-requests rotate next pins.toml api.example.com
    """
    from pinned_requests.cli.rotate import prepare

    place = _place(policy, host, max_client_age, connect_to, timeout, proxy, ca_bundle, insecure=insecure)
    return prepare(place, backup_key, key_type, is_agreed=yes, as_json=json)


@rotate_app.command("finish")
def rotate_finish(
    policy: Policy,
    host: Host,
    *,
    pin: Annotated[
        list[str] | None, typer.Option(metavar="PIN", help="The pin to drop; default: that which no server presents.")
    ] = None,
    stolen: Annotated[bool, typer.Option("--stolen", help="Block the old key, for every host.")] = False,
    max_client_age: MaxClientAge = "90d",
    connect_to: ConnectTo = None,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    insecure: Insecure = False,
    timeout: Timeout = 10.0,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Drop the old pin, once no server presents it.

    Refused with exit code 1 while a server presents it or does not answer.

    Example: pinned-requests rotate finish pins.toml api.example.com --stolen
    """
    from pinned_requests.cli.rotate import finish

    place = _place(policy, host, max_client_age, connect_to, timeout, proxy, ca_bundle, insecure=insecure)
    return finish(place, pin or [], is_stolen=stolen, is_agreed=yes, as_json=json)


@rotate_app.command("record")
def rotate_record(policy: Policy, *, json: Json = False) -> int:
    """Record a policy that was edited by hand in its history, with the date of its file.

    The other commands record what they write. Until an edit by hand is recorded, it counts from the date of the file,
    which a fresh checkout changes.

    Example: pinned-requests rotate record pins.toml
    """
    from pinned_requests.cli.rotate import record

    return record(policy, as_json=json)


def can_serve(
    file: Annotated[
        str,
        typer.Argument(
            metavar="CERT|KEY|CSR", help="The file, in PEM or DER; - is standard input.", show_default=False
        ),
    ],
    host: Annotated[
        str | None, typer.Argument(metavar=HOST, help="The server; default: the names in the certificate.")
    ] = None,
    *,
    policy: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="The policy, then older ones that clients may have, newest first; repeatable."
        ),
    ] = None,
    remote: Annotated[
        str | None, typer.Option(metavar="URL", help="A repository of signed policies that clients follow.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The root metadata that clients ship, for --remote.")
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="The policy in the repository, for --remote.")
    ] = "pins.json",
    max_client_age: MaxClientAge = "90d",
    json: Json = False,
) -> int:
    """Say whether a key may be served now, and if not, from when on.

    Every policy that a client may still have must accept it. Exit code 0: it may; 1: not yet. No connection to the
    server is made.

    Example: pinned-requests can-serve fullchain.pem api.example.com --policy pins.toml
    """
    if (remote is None) != (root is None):
        raise misused("can-serve", "--remote and --root belong together")

    from pinned_requests.cli.can_serve import run

    return run(file, host, policy or [], remote, root, target, read_span(max_client_age), as_json=json)


def block(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="PIN|FILE|HOST[:PORT]", help="A pin, a certificate or key, or a server.", show_default=False
        ),
    ],
    *,
    policy: PolicyOption = Path("pins.toml"),
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    timeout: Timeout = 10.0,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Block compromised keys: no client of the policy talks to any host that presents one.

    Of a file the first certificate counts, of a server the leaf, valid or not.

    Example: pinned-requests block stolen.pem --policy pins.toml
    """
    from pinned_requests.cli.block_repin import block as command
    from pinned_requests.monitoring.route import Route

    route = Route(timeout, proxy, ca_bundle).check()
    return command(what, policy, route, is_agreed=yes, as_json=json)


def repin(
    host: Host,
    *,
    policy: PolicyOption = Path("pins.toml"),
    expect: Annotated[
        str | None, typer.Option(metavar="PIN", help="Write without asking, if the server presents this key.")
    ] = None,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    timeout: Timeout = 10.0,
    json: Json = False,
) -> int:
    """Pin the new key of an appliance in place of the old one, after a look at it.

    Old and new are shown, with who vouches for the new one. There is no --yes: a script names the key that it expects.

    Example: pinned-requests repin printer.example.com --policy pins.toml
    """
    from pinned_requests.cli.block_repin import repin as command
    from pinned_requests.monitoring.route import Route

    return command(host, policy, Route(timeout, proxy, ca_bundle).check(), expect, as_json=json)


def _place(
    policy: Path,
    host: str,
    max_client_age: str,
    connect_to: list[str] | None,
    timeout: float,
    proxy: str | None,
    ca_bundle: str | None,
    *,
    insecure: bool,
) -> "Place":
    from pinned_requests.cli.rotate import Place
    from pinned_requests.monitoring.route import Route, read_connect_to

    connections = read_connect_to(connect_to or ())
    route = Route(timeout, proxy, ca_bundle, is_insecure=insecure, connect_to=connections).check()
    return Place(policy, host, route, read_span(max_client_age))

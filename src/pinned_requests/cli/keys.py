"""The commands of a key's life, and their options: `rotate`, `can-serve`, `block`, `repin`. See `app.py`.

This file has no `from __future__ import annotations`: typer reads the types of the arguments.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinned_requests.cli.inputs import read_span
from pinned_requests.cli.options import (
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
)

if TYPE_CHECKING:
    from pinned_requests.cli.rotation_text import Place

Action = Callable[[], int]
HOST = "HOST[:PORT]"
Host = Annotated[str, typer.Argument(metavar=HOST, help="The server.", show_default=False)]

rotate_app = typer.Typer(
    name="rotate",
    help="Change the key of a host without locking a client out, step by step.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
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
) -> Action:
    """Show where a rotation stands: what is served, what is in reserve, what is next, and what must wait.

    Every address of the host is asked. Exit code 1: clients are refused now, or no server answers.

    Example: pinned-requests rotate status pins.toml api.example.com
    """

    def run() -> int:
        from pinned_requests.cli.rotate import status

        return status(
            _place(policy, host, max_client_age, connect_to, (timeout, proxy, ca_bundle, insecure)), as_json=json
        )

    return run


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
) -> Action:
    """Make the next backup key and its CSR, and write its pin into the policy.

    A backup key that is served becomes a pin. Nothing is overwritten, and comments stay.

    Example: pinned-requests rotate next pins.toml api.example.com
    """

    def run() -> int:
        from pinned_requests.cli.rotate import prepare

        place = _place(policy, host, max_client_age, connect_to, (timeout, proxy, ca_bundle, insecure))
        return prepare(place, backup_key, key_type, is_agreed=yes, as_json=json)

    return run


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
) -> Action:
    """Drop the old pin, once no server presents it.

    Refused with exit code 1 while a server presents it or does not answer.

    Example: pinned-requests rotate finish pins.toml api.example.com --stolen
    """

    def run() -> int:
        from pinned_requests.cli.rotate import finish

        place = _place(policy, host, max_client_age, connect_to, (timeout, proxy, ca_bundle, insecure))
        return finish(place, pin or [], is_stolen=stolen, is_agreed=yes, as_json=json)

    return run


@rotate_app.command("record")
def rotate_record(policy: Policy, *, json: Json = False) -> Action:
    """Record a policy that was edited by hand in its history, with the date of its file.

    The other commands record what they write. Until an edit by hand is recorded, it counts from the date of the file,
    which a fresh checkout changes.

    Example: pinned-requests rotate record pins.toml
    """

    def run() -> int:
        from pinned_requests.cli.rotate import record

        return record(policy, as_json=json)

    return run


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
) -> Action:
    """Say whether a key may be served now, and if not, from when on.

    Every policy that a client may still have must accept it. Exit code 0: it may; 1: not yet. No connection to the
    server is made.

    Example: pinned-requests can-serve fullchain.pem api.example.com --policy pins.toml
    """
    if (remote is None) != (root is None):
        raise typer.BadParameter("--remote and --root belong together")

    def run() -> int:
        from pinned_requests.cli.can_serve import Remote
        from pinned_requests.cli.can_serve import run as command

        repository = None if remote is None or root is None else Remote(remote, root, target)
        return command(file, host, policy or [], repository, read_span(max_client_age), as_json=json)

    return run


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
) -> Action:
    """Block compromised keys: no client of the policy talks to any host that presents one.

    Of a file the first certificate counts, of a server the leaf, valid or not.

    Example: pinned-requests block stolen.pem --policy pins.toml
    """

    def run() -> int:
        from pinned_requests.cli.block import block as command
        from pinned_requests.monitoring.route import Route

        route = Route(timeout, proxy, ca_bundle).check()
        return command(what, policy, route, is_agreed=yes, as_json=json)

    return run


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
) -> Action:
    """Pin the new key of an appliance in place of the old one, after a look at it.

    Old and new are shown, with who vouches for the new one. There is no --yes: a script names the key that it expects.

    Example: pinned-requests repin printer.example.com --policy pins.toml
    """

    def run() -> int:
        from pinned_requests.cli.repin import repin as command
        from pinned_requests.monitoring.route import Route

        return command(host, policy, Route(timeout, proxy, ca_bundle).check(), expect, as_json=json)

    return run


def _place(
    policy: Path,
    host: str,
    max_client_age: str,
    connect_to: list[str] | None,
    way: tuple[float, str | None, str | None, bool],
) -> "Place":
    from pinned_requests.cli.rotation_text import Place
    from pinned_requests.monitoring.route import Route, read_connect_to

    timeout, proxy, ca_bundle, insecure = way
    route = Route(timeout, proxy, ca_bundle, is_insecure=insecure, connect_to=read_connect_to(connect_to or ())).check()
    return Place(policy, host, route, read_span(max_client_age))

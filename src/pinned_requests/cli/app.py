"""The commands and their options. Each gives back what is to be done, and does nothing yet; see `run.py`.

This file has no `from __future__ import annotations`: typer reads the types of the arguments.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from pinned_requests import PinPolicy
from pinned_requests.cli import repo

Action = Callable[[], int]
Format = Literal["text", "json", "jsonl", "nagios", "prometheus", "html"]

app = typer.Typer(
    help="Public key pinning for requests: get pins, keep a policy, and know that it is right.",
    epilog="Exit codes: 0 all is well, 1 a finding, 2 the command line or an input is wrong.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they show local variables
)
app.add_typer(repo.app)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[
    float, typer.Option(min=0.1, max=600, metavar="SECONDS", help="For a connection and its handshake.")
]
Proxy = Annotated[str | None, typer.Option(metavar="URL", help="The proxy; default: that of the environment.")]
CaBundle = Annotated[str | None, typer.Option(metavar="PATH", help="CA certificates to trust; default: as requests.")]
Within = Annotated[str, typer.Option(metavar="SPAN", help="What is soon: hours, days or weeks, such as 12h, 30d, 4w.")]
Ignore = Annotated[list[str] | None, typer.Option(metavar="KIND", help="Finding to ignore (repeatable).")]
Policy = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy file, .toml or .json.")]


@app.command()
def pin(  # noqa: PLR0913  one argument an option
    sources: Annotated[list[str], typer.Argument(metavar="FILE|HOST[:PORT]")],
    *,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Show chains that nothing vouches for.")] = False,
    timeout: Timeout = 10.0,
    json: Json = False,
) -> Action:
    """Show the pins of files and of live servers.

    A file holds certificates, CSRs or keys, in PEM or DER. What exists or has a slash in it is a file, all else a host.
    """
    from pinned_requests.cli.pin import pin as run  # noqa: PLC0415  a command imports what it needs
    from pinned_requests.monitoring.route import Route  # noqa: PLC0415

    return lambda: run(sources, Route(timeout, proxy, ca_bundle, is_insecure=insecure).check(), as_json=json)


@app.command()
def init(  # noqa: PLR0913  one argument an option
    hosts: Annotated[list[str], typer.Argument(metavar="HOST[:PORT]")],
    *,
    output: Annotated[Path, typer.Option(metavar="PATH", help="The policy, .toml or .json.")] = Path("pins.toml"),
    backup_key: Annotated[Path, typer.Option(metavar="PATH", help="The new key; its CSR gets the suffix .csr.")] = Path(
        "backup.key"
    ),
    key_type: Annotated[str, typer.Option(help="ecdsa-p256, ecdsa-p384 or rsa-3072.")] = "ecdsa-p256",
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    timeout: Timeout = 10.0,
    json: Json = False,
) -> Action:
    """Write a policy for live hosts, and a backup key.

    It has the pins of leaf and issuer, and that of the new key. Nothing is overwritten.
    """
    from pinned_requests.cli.init import init as run  # noqa: PLC0415  a command imports what it needs
    from pinned_requests.monitoring.route import Route  # noqa: PLC0415

    return lambda: run(hosts, output, backup_key, key_type, Route(timeout, proxy, ca_bundle).check(), as_json=json)


@app.command()
def check(  # noqa: PLR0913  one argument an option
    policy: Policy,
    hosts: Annotated[list[str] | None, typer.Argument(metavar="HOST[:PORT]")] = None,
    *,
    form: Annotated[Format, typer.Option("--format", help="What to write; see docs/check.md.")] = "text",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to a file, whole or not at all; default: stdout.")
    ] = None,
    fail_on: Annotated[
        Literal["critical", "warning", "info"],
        typer.Option("--fail-on", help="The severity from which on findings make the exit code 1."),
    ] = "warning",
    ignore: Ignore = None,
    within: Within = "30d",
    samples: Annotated[
        int, typer.Option(min=1, max=1000, help="Connections to a host, to its addresses in turns.")
    ] = 1,
    all_addresses: Annotated[
        bool, typer.Option("--all-addresses", help="Ask each address of a host at least once.")
    ] = False,
    connect_to: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT:ADDRESS", help="Ask this address, not those of the name; repeatable."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remember what was seen, and learn from it.")
    ] = None,
    max_client_age: Annotated[
        str, typer.Option(metavar="SPAN", help="How long a policy takes to reach the last client; with --state.")
    ] = "90d",
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Hosts asked at a time.")] = 8,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Check hosts whose leaf is pinned without a CA: only the leaf counts.")
    ] = False,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    timeout: Timeout = 10.0,
    json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
) -> Action:
    """Check a policy against live hosts.

    Those that it names; or those given, which its patterns may match.
    """
    from pinned_requests.cli.check import check as run  # noqa: PLC0415  a command imports what it needs
    from pinned_requests.cli.inputs import read_span  # noqa: PLC0415
    from pinned_requests.monitoring.check import Options  # noqa: PLC0415
    from pinned_requests.monitoring.findings import KINDS, Severity  # noqa: PLC0415
    from pinned_requests.monitoring.route import Route, read_connect_to  # noqa: PLC0415

    def options() -> Options:
        connections = read_connect_to(connect_to or ())
        return Options(
            Route(timeout, proxy, ca_bundle, is_insecure=insecure, connect_to=connections).check(),
            within=read_span(within),
            samples=samples,
            all_addresses=all_addresses,
            ignored=ignored,
            max_client_age=read_span(max_client_age),
            jobs=jobs,
        )

    ignored = _kinds(ignore, KINDS)
    return partial(
        run,
        policy,
        hosts or [],
        options,
        form="json" if json else form,
        output=output,
        state=state,
        fail_on=Severity[fail_on.upper()],
    )


@app.command()
def convert(  # noqa: PLR0913  one argument an option
    path: Annotated[str, typer.Argument(metavar="FILE", help="The configuration; - is standard input.")] = "-",
    *,
    target: Annotated[str, typer.Option("--to", metavar="FORMAT", help="The format to write.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="The format to read; default: by the suffix.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="The host of the pins, for curl and rfc7469; or the one to convert.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A loss is a finding.")] = False,
    json: Json = False,
) -> Action:
    """Convert between formats of pin configuration.

    What gets lost goes to stderr. Formats: toml, json, curl, rfc7469, android, apple, trustkit, tlsa; and to write only
    okhttp-kotlin, okhttp-java.
    """
    from pinned_requests.cli.convert import convert as run  # noqa: PLC0415  a command imports what it needs

    return partial(run, path, source, target, host, is_strict=strict, as_json=json)


@app.command()
def lint(policy: Policy, *, within: Within = "30d", ignore: Ignore = None, json: Json = False) -> Action:
    """Say what is doubtful of a policy, without a network."""
    from pinned_requests.cli import lint as command  # noqa: PLC0415  a command imports what it needs
    from pinned_requests.cli.inputs import read_span  # noqa: PLC0415

    return lambda: command.lint(
        PinPolicy.from_file(policy), read_span(within), _kinds(ignore, command.KINDS), as_json=json
    )


@app.command()
def demo() -> Action:
    """Show a man in the middle who fools requests."""
    from pinned_requests.cli.demo import demo as run  # noqa: PLC0415  a command imports what it needs

    return run


def _kinds(given: list[str] | None, known: Iterable[str]) -> frozenset[str]:
    for kind in given or ():
        if kind not in known:
            raise typer.BadParameter(f"{kind!r} is not a kind of finding; there are {', '.join(known)}")
    return frozenset(given or ())

"""The commands and their options."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from pinned_requests.cli import keys, lab, repo
from pinned_requests.cli.inputs import (
    CaBundle,
    ConnectTo,
    Json,
    KeyType,
    Policy,
    Proxy,
    Timeout,
    Yes,
    misused,
    read_span,
)
from pinned_requests.cli.output import CommandError

PinFormat = Literal["spki", "openssl", "curl", "rfc7469", "fingerprint", "toml"]
Format = Literal["text", "json", "jsonl", "nagios", "prometheus", "html"]

app = typer.Typer(
    epilog="Exit codes: 0 all is well, 1 a finding, 2 the command line or an input is wrong.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they show local variables
)
app.add_typer(repo.app)
app.add_typer(keys.rotate_app)
app.add_typer(lab.app)


def _print_version(asked: bool) -> None:  # noqa: FBT001  a callback of typer
    if asked:
        try:
            from pinned_requests import __version__
        except ImportError:
            raise CommandError("the version is unknown: the package runs from its sources, not installed") from None
        print(f"pinned-requests {__version__}")
        raise typer.Exit


@app.callback()
def main(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """Public key pinning for requests: get pins, keep a policy, and know that it is right."""


Within = Annotated[str, typer.Option(metavar="SPAN", help="What is soon: hours, days or weeks, such as 12h, 30d, 4w.")]
Ignore = Annotated[list[str] | None, typer.Option(metavar="KIND", help="Finding to ignore (repeatable).")]


@app.command()
def pin(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|HOST[:PORT]|URL", help="A file, or a server; of a URL its host.", show_default=False
        ),
    ],
    *,
    form: Annotated[
        PinFormat | None,
        typer.Option(
            "--format", metavar="FORMAT", help=f"One line and nothing else: {', '.join(get_args(PinFormat))}."
        ),
    ] = None,
    depth: Annotated[
        int, typer.Option(min=0, max=100, metavar="N", help="Which certificate, for --format; 0 is the leaf.")
    ] = 0,
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Show chains that no CA vouches for.")] = False,
    timeout: Timeout = 10.0,
    json: Json = False,
) -> int:
    """Show the pins of files and of live servers.

    A file holds certificates, CSRs or keys, in PEM or DER. What exists or has a slash in it is a file, all else a host.

    Example: curl --pinnedpubkey "$(pinned-requests pin api.example.com --format curl)" https://api.example.com/
    """
    from pinned_requests.cli.pin import pin as run
    from pinned_requests.monitoring.route import Route

    if json and form is not None:
        raise misused("pin", "--json and --format exclude each other")
    route = Route(timeout, proxy, ca_bundle, is_insecure=insecure).check()
    return run(sources, route, form=form, depth=depth, as_json=json)


@app.command()
def init(
    hosts: Annotated[list[str], typer.Argument(metavar="HOST[:PORT]", help="The servers.", show_default=False)],
    *,
    add: Annotated[
        Path | None, typer.Option(metavar="POLICY", help="Add the hosts to this policy; its comments stay.")
    ] = None,
    output: Annotated[Path, typer.Option(metavar="PATH", help="The new policy, .toml or .json.")] = Path("pins.toml"),
    backup_key: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The new key; default: backup.key, with --add HOST-DATE.key. Its CSR gets the suffix .csr.",
        ),
    ] = None,
    key_type: KeyType = "ecdsa-p256",
    proxy: Proxy = None,
    ca_bundle: CaBundle = None,
    timeout: Timeout = 10.0,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Write a policy for live hosts, and a backup key.

    It has the pins of leaf and issuer, and that of the new key, each with a note. Nothing is overwritten. With --add
    the difference is shown, and written after a yes.

    Example: pinned-requests init api.example.com www.example.com
    """
    from pinned_requests.cli import init as command
    from pinned_requests.monitoring.route import Route

    route = Route(timeout, proxy, ca_bundle).check()
    if add is None:
        return command.init(hosts, output, backup_key or Path("backup.key"), key_type, route, as_json=json)
    return command.add(hosts, add, backup_key, key_type, route, is_agreed=yes, as_json=json)


@app.command()
def check(
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
    connect_to: ConnectTo = None,
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
) -> int:
    """Check a policy against live hosts.

    Those that it names; or those given, which its patterns may match.

    Findings (docs/check.md explains them): blocked-key, mismatch,
    invalid-certificate, pins-expired, unreachable, not-pinned,
    pins-expire-soon, leaf-expires-soon, issuer-expires-soon, no-backup-pin,
    backup-pin-served, intermediate-differs, pinned-ca-left-store,
    anchor-shortened, key-changes-each-renewal, validity-short, issuer-rotates,
    one-ca-only, single-depth, seen-through-proxy.

    Example: pinned-requests check pins.toml
    """
    from pinned_requests.cli.check import check as run
    from pinned_requests.monitoring.check import Options
    from pinned_requests.monitoring.findings import KINDS, Severity
    from pinned_requests.monitoring.route import Route, read_connect_to

    def options() -> Options:
        connections = read_connect_to(connect_to or ())
        return Options(
            Route(timeout, proxy, ca_bundle, is_insecure=insecure, connect_to=connections),
            within=read_span(within),
            samples=samples,
            all_addresses=all_addresses,
            ignored=ignored,
            max_client_age=read_span(max_client_age),
            jobs=jobs,
        )

    ignored = _kinds("check", ignore, KINDS)
    return run(
        policy,
        hosts or [],
        options,
        form="json" if json else form,
        output=output,
        state=state,
        fail_on=Severity[fail_on.upper()],
    )


@app.command()
def convert(
    path: Annotated[str, typer.Argument(metavar="FILE", help="The configuration; - is standard input.")] = "-",
    *,
    target: Annotated[str, typer.Option("--to", metavar="FORMAT", help="The format to write.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="The format to read; default: by the suffix.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The host of the pins, for curl and rfc7469; or the one to convert."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A loss is a finding.")] = False,
    json: Json = False,
) -> int:
    """Convert between formats of pin configuration.

    What gets lost goes to stderr. Formats: toml, json, curl, rfc7469, android, apple, trustkit, tlsa; and to write only
    okhttp-kotlin, okhttp-java.

    Example: pinned-requests convert pins.toml --to android
    """
    from pinned_requests.cli.convert import convert as run

    return run(path, source, target, host, is_strict=strict, as_json=json)


@app.command()
def lint(
    policies: Annotated[
        list[Path], typer.Argument(metavar="POLICY", help="A policy file, .toml or .json.", show_default=False)
    ],
    *,
    within: Within = "30d",
    strict: Annotated[bool, typer.Option("--strict", help="Find sets that hang on a single CA, too.")] = False,
    ignore: Ignore = None,
    json: Json = False,
) -> int:
    """Check policy files offline, without a network.

    Findings: no-backup-pin, backup-pin-in-use, blocked-pin-accepted,
    certificate-pin, pins-expired, pins-expire-soon, report-only,
    unpinned-hosts-allowed, wide-pattern, tld-wide-pattern; with --strict
    single-ca.

    Example: pinned-requests lint pins.toml --strict
    """
    from pinned_requests.cli.lint import lint as run
    from pinned_requests.editing.doubts import KINDS

    return run(policies, read_span(within), _kinds("lint", ignore, KINDS), is_strict=strict, as_json=json)


@app.command()
def demo() -> int:
    """Show a man in the middle who fools requests.

    Example: pinned-requests demo
    """
    from pinned_requests.cli.demo import demo as run

    return run()


for command in (keys.can_serve, keys.block, keys.repin):
    app.command()(command)


def _kinds(command: str, given: list[str] | None, known: Iterable[str]) -> frozenset[str]:
    for kind in given or ():
        if kind not in known:
            raise misused(command, f"{kind!r} is not a kind of finding; there are {', '.join(known)}")
    return frozenset(given or ())

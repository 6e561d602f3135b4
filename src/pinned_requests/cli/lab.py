"""The commands of the attack lab for clients in any language, and their options: `lab serve`, `lab audit`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pinned_requests.cli.inputs import Json

Attackers = Annotated[
    list[str] | None, typer.Option("--attacker", metavar="NAME", help="An attacker (repeatable); default: all.")
]

app = typer.Typer(
    name="lab",
    help="Try a client in any language against men in the middle, on loopback.",
)


@app.command()
def serve(
    *,
    host: Annotated[str, typer.Option(metavar="HOST", help="The host that the client talks to.", show_default=False)],
    attackers: Attackers = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the addresses, the CA and the pins to a file, as JSON.")
    ] = None,
    max_tls: Annotated[
        Literal["1.2", "1.3"],
        typer.Option(
            "--max-tls", metavar="VERSION", help="1.2 or 1.3: with 1.2 a server sees of each client whether it refused."
        ),
    ] = "1.3",
    json: Annotated[bool, typer.Option("--json", help="Print them as one line of JSON, when all is ready.")] = False,
) -> int:
    """Run the lab until the end of its standard input, SIGTERM or Ctrl-C.

    It prints where the host is, a proxy that leads there, the CA, the pins, and the URL of the control endpoint: POST
    to /attackers/NAME there puts an attacker in the host's place, GET /verdict says what the client did. With
    --attacker it begins with the first one, else with the host's own server. See docs/lab.md.

    Example: pinned-requests lab serve --host api.example.com --output lab.json
    """
    from pinned_requests.cli.lab_runs import serve as run

    return run(host, attackers or [], output, max_tls, as_json=json)


@app.command()
def audit(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="The client: a program and its arguments, after --.")
    ],
    *,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="The host it talks to; default: that of its first https:// URL.")
    ] = None,
    attackers: Attackers = None,
    way: Annotated[
        Literal["arguments", "proxy", "namespace"] | None,
        typer.Option(
            metavar="WAY",
            help="How it gets to the lab: arguments, proxy or namespace; default: arguments if it has a placeholder"
            " {port} or {proxy}, else proxy.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600, metavar="SECONDS", help="After which a run of it is ended.")
    ] = 10.0,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="A web page of the audit.")] = None,
    json: Json = False,
) -> int:
    """Run a command against each attacker, and say whether it was fooled.

    Placeholders in the command: {host} {address} {port} {url} {proxy} {ca} {pin} {pins} {pins_base64} {curl_pins}
    {json}. First it must send a request to the host's own server: else its refusals prove nothing. See docs/lab.md.

    Example: pinned-requests lab audit -- curl --pinnedpubkey {curl_pins} https://api.example.com/
    """
    from pinned_requests.cli.lab_runs import audit as run

    return run(command, host, attackers or [], way, timeout, html, as_json=json)

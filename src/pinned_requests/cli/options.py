"""Options that several commands share.

This file has no `from __future__ import annotations`: typer reads the types.
"""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")]
Timeout = Annotated[
    float, typer.Option(min=0.1, max=600, metavar="SECONDS", help="For a connection and its handshake.")
]
Proxy = Annotated[str | None, typer.Option(metavar="URL", help="The proxy; default: that of the environment.")]
CaBundle = Annotated[str | None, typer.Option(metavar="PATH", help="CA certificates to trust; default: as requests.")]
ConnectTo = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST:PORT:ADDRESS", help="Ask this address, not those of the name; repeatable."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Accept certificates that no CA vouches for.")]
Policy = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy file, .toml or .json.", show_default=False)]
PolicyOption = Annotated[Path, typer.Option("--policy", metavar="PATH", help="The policy file, .toml or .json.")]
KeyType = Annotated[str, typer.Option(metavar="TYPE", help="ecdsa-p256, ecdsa-p384 or rsa-3072.")]
MaxClientAge = Annotated[
    str,
    typer.Option(
        metavar="SPAN",
        help="From the writing of a policy to the last client's taking it: hours, days or weeks, such as 12h, 90d.",
    ),
]

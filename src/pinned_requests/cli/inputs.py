"""What several commands are given: options, files of bounded size, spans of time."""

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pinned_requests import PolicyError
from pinned_requests.cli.output import CommandError
from pinned_requests.core.der import MAX_SIZE
from pinned_requests.core.pin import FoundKey, find_keys
from pinned_requests.core.text import show

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

_SPAN = re.compile(r"([0-9]{1,5})([hdw])", re.ASCII)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def misused(command: str, fault: str) -> CommandError:
    """Return the error for options that are wrong together, in typer's words for one that is wrong alone."""
    return CommandError(f"Invalid value: {fault}; see 'pinned-requests {command} --help'")


def read_span(text: str) -> timedelta:
    """Return the time that a text such as `12h`, `30d` or `4w` says."""
    if not (parts := _SPAN.fullmatch(text)):
        raise CommandError(f"{show(text)} is not a span of time; give hours, days or weeks, such as 12h, 30d or 4w")
    return timedelta(**{_UNITS[parts[2]]: int(parts[1])})


def read_bounded(path: str, limit: int) -> bytes:
    """Return the bytes of a file, or of standard input for `-`, which may be endless: more than `limit` is an error."""
    if path == "-":
        if sys.stdin is None:
            raise CommandError("standard input is closed; name a file")
        data = sys.stdin.buffer.read(limit + 1)
    else:
        try:
            with Path(path).open("rb") as file:
                data = file.read(limit + 1)
        except ValueError:  # a null byte
            raise CommandError(f"{show(path)} is not a path") from None
    if len(data) > limit:
        raise CommandError(f"{show(path)} holds more than {limit} bytes, and that many are read")
    return data


def read_keys(path: str) -> tuple[FoundKey, ...]:
    """Return the certificates, CSRs and keys in a file or on standard input; none is an error."""
    data = read_bounded(path, MAX_SIZE)
    try:
        found = tuple(find_keys(data))
    except PolicyError as error:
        raise PolicyError(f"{show(path)}: {error}") from None
    if not found:
        raise CommandError(
            f"{show(path)} has no certificate, certification request, public key or unencrypted private key"
        )
    return found

"""The attack lab for clients in any language: `lab serve`, `lab audit`."""

import contextlib
import os
import re
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from pinned_requests.cli.inputs import Json
from pinned_requests.cli.output import CommandError, show_json
from pinned_requests.core.text import escape, show
from pinned_requests.monitoring.whole_file import write_whole

if TYPE_CHECKING:
    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.serve.command import CommandAudit

_URL = re.compile(r"https://(\[[0-9a-fA-F:.]+\]|[^/:?#\s\"'{}@]+)")
_READ = 4096  # bytes
_PAUSE = 0.5  # seconds

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
    from pinned_requests.testing.serve.served_lab import Control, ServedLab

    names = _attackers(attackers or [])
    end = threading.Event()
    with _handled(lambda _number, _frame: end.set()), ServedLab(host, max_tls=max_tls) as lab:
        control = Control(lab, names)
        with control.server:
            if attackers:
                with _missing_library():
                    lab.show(names[0])
            document = {
                **lab.document(),
                "attackers": list(names),
                "control": f"http://127.0.0.1:{control.server.port}/",
                "shown": lab.shown,
            }
            if output is not None:
                write_whole(output, f"{dumps(document, indent=2)}\n".encode("ascii"))
            print(dumps(document) if json else _text_of(document), flush=True)
            _watch_stdin(end)
            while not end.wait(_PAUSE):  # without end, a signal that comes just before would be missed
                pass
    return 0


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
    from pinned_requests.testing.lab.page import as_page
    from pinned_requests.testing.serve.command import audit_command, way_of
    from pinned_requests.testing.serve.namespace import NamespaceError, enter, trust
    from pinned_requests.testing.serve.served_lab import ServedLab

    names = _attackers(attackers or [])
    host = host or _host_of(command)
    way = way or way_of(command)
    with contextlib.ExitStack() as at_the_end:
        at_the_end.enter_context(_handled(signal.default_int_handler))  # the command that runs ends with this process
        lab = ServedLab(host, ports=(443, 80) if way == "namespace" else (0,))
        if way == "namespace":
            folder = at_the_end.enter_context(tempfile.TemporaryDirectory(prefix="mitm-lab-"))
            try:
                enter(lab.host, Path(folder))
                trust(lab.lab.ca_pem)
            except NamespaceError as error:
                raise CommandError(f"{error}: use --way proxy, or --way arguments with {{address}}:{{port}}") from None
        at_the_end.enter_context(lab)
        with _missing_library():
            result = audit_command(lab, command, way, names, timeout)
    if html is not None:
        write_whole(html, as_page((Path(command[0]).name, each) for each in result.audit).encode("utf-8"))
    if json:
        show_json(result.as_dict())
    else:
        _show_table(result)
    return 0 if result.rejected else 1


def _show_table(result: "CommandAudit") -> None:
    how = f" ({result.control})" if result.control else ""
    if result.has_control:
        print(f"The host's own server got a request from the client{how}.\n")
    else:
        print(
            f"The host's own server got no request from the client{how}.\n"
            "So its refusals prove nothing. Let it come to the lab ({address} and {port}, {proxy}, or --way),\n"
            "trust the lab's CA ({ca}), and pin the lab's keys ({pin}) in place of those of the real host.\n"
        )
    print(result.audit)
    fooled = [each.attacker for each in result.audit if each.verdict == "accepted"]
    open_ = [each.attacker for each in result.audit if each.verdict in {"untested", "undecided"}]
    print()
    if fooled:
        print(f"Fooled by {', '.join(fooled)}.")
    if open_:
        print(f"Not known for {', '.join(open_)}.")
    for advice in dict.fromkeys(each.advice for each in result.audit if each.advice and result.has_control):
        print(advice)
    if result.rejected:
        print("The client rejected every attacker.")


def _text_of(document: dict[str, Any]) -> str:
    rows = {
        "host": document["host"],
        "address": f"{document['address']}:{document['port']}",
        "proxy": document["proxy"],
        "CA file": document["ca_file"],
        "pins": " ".join(document["pins"]),
        "backup pins": " ".join(document["backup_pins"]),
        "blocked pins": " ".join(document["blocked_pins"]),
        "control": document["control"],
        "shown": document["shown"],
    }
    return "\n".join([*(f"{name:13}{escape(value)}" for name, value in rows.items()), "ready"])


def _attackers(given: Sequence[str]) -> "tuple[AttackerName, ...]":
    from pinned_requests.testing.lab.attackers import ATTACKERS

    for name in given:
        if name not in ATTACKERS:
            raise CommandError(f"there is no attacker {show(name)}; there are {', '.join(ATTACKERS)}")
    return cast("tuple[AttackerName, ...]", tuple(dict.fromkeys(given))) or ATTACKERS


@contextlib.contextmanager
def _missing_library() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise CommandError(str(error)) from None


def _host_of(command: Sequence[str]) -> str:
    for word in command:
        if found := _URL.search(word):
            return found[1]
    raise CommandError("name the host that the client talks to by --host: its command has no https:// URL")


def _watch_stdin(end: threading.Event) -> None:
    """Set an event at the end of standard input, if that is a pipe, a socket or a terminal.

    /dev/null is none of them: it is what a shell gives to a command in the background.
    """

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(descriptor, _READ):
                pass
        end.set()

    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError, AttributeError):  # closed, or not a file
        return
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor):
        threading.Thread(target=read, name="lab:stdin", daemon=True).start()


@contextlib.contextmanager
def _handled(handler: Any) -> Iterator[None]:
    """Handle the signals that end a process, but for Ctrl-C, within the block."""
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, each in before.items():
            signal.signal(number, each)

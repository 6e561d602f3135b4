"""`pinned-requests lab serve` and `lab audit`: what they do and print."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pinned_requests.cli.output import CommandError, show_json
from pinned_requests.core.text import escape, show
from pinned_requests.monitoring.whole_file import write_whole
from pinned_requests.testing.lab.attackers import ATTACKERS
from pinned_requests.testing.lab.page import as_page
from pinned_requests.testing.serve.command import CommandAudit, audit_command, way_of
from pinned_requests.testing.serve.control import Control
from pinned_requests.testing.serve.namespace import NamespaceError, enter, trust
from pinned_requests.testing.serve.served_lab import ServedLab

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.serve.command import Way

_URL = re.compile(r"https://(\[[0-9a-fA-F:.]+\]|[^/:?#\s\"'{}@]+)")
_READ = 4096  # bytes
_PAUSE = 0.5  # seconds


def serve(
    host: str, attackers: Sequence[str], output: Path | None, max_tls: Literal["1.2", "1.3"], *, as_json: bool
) -> int:
    """Run the lab until standard input ends (a pipe's, a terminal's), or a signal comes."""
    names = _attackers(attackers)
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
                write_whole(output, f"{json.dumps(document, indent=2)}\n".encode("ascii"))
            print(json.dumps(document) if as_json else _text_of(document), flush=True)
            _watch_stdin(end)
            while not end.wait(_PAUSE):  # without end, a signal that comes just before would be missed
                pass
    return 0


def audit(
    command: Sequence[str],
    host: str | None,
    attackers: Sequence[str],
    way: Way | None,
    timeout: float,
    html: Path | None,
    *,
    as_json: bool,
) -> int:
    """Run a command against each attacker. Returns 0 if it reached its own server and rejected all of them, else 1."""
    names = _attackers(attackers)
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
    if as_json:
        show_json(result.as_dict())
    else:
        _show_table(result)
    return 0 if result.rejected else 1


def _show_table(result: CommandAudit) -> None:
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


def _attackers(given: Sequence[str]) -> tuple[AttackerName, ...]:
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

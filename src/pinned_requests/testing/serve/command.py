"""Run a command once against the host's own server, and once against each attacker.

Placeholders in its command line tell it where the host is, or the variables that name a proxy; or it runs in a network
namespace where the host's name leads to the lab (see `namespace.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pinned_requests.core.text import escape
from pinned_requests.testing.lab.audit import Audit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.serve.served_lab import ServedLab

Way = Literal["arguments", "proxy", "namespace"]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PLACES = frozenset(("port", "proxy"))  # a command with one of them says itself where the host is
_PATIENCE = 2.0  # seconds until a hanging connection is let go: the command may have no time-out
_OUTPUT = 4096  # bytes: of the end of what a command wrote to stderr
_PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "HTTP_PROXY")
_CA_FILES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO")
# OpenSSL, Go and Ruby; curl; requests; Node.js; git.


class CommandFailedError(Exception):
    """A command failed: its exit code, and what it wrote to stderr, in one line."""


@dataclass(frozen=True)
class CommandAudit:
    """How a command fared against each attacker."""

    host: str
    command: tuple[str, ...]
    way: Way
    has_control: bool
    """Whether it sent a request to the host's own server."""
    control: str
    """How it failed there, in one line; empty if it did not."""
    audit: Audit

    @property
    def rejected(self) -> bool:
        """Whether it talked to the host's own server, and rejected every attacker."""
        return self.has_control and self.audit.rejected

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by their names, fit for JSON."""
        return {
            "host": self.host,
            "command": list(self.command),
            "way": self.way,
            "control": {"answered": self.has_control, "error": self.control},
            "rejected": self.rejected,
            "results": [each.as_dict() for each in self.audit],
        }


def way_of(command: Sequence[str]) -> Way:
    """Return how a command is told where the host is."""
    found = {name for word in command for name in _PLACEHOLDER.findall(word)}
    return "arguments" if found & _PLACES else "proxy"


def fill(command: Sequence[str], values: dict[str, str]) -> list[str]:
    """Return a command with values in place of its placeholders; other braces stay."""
    return [_PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), word) for word in command]


def audit_command(
    lab: ServedLab, command: Sequence[str], way: Way, attackers: Iterable[AttackerName], timeout: float
) -> CommandAudit:
    """Run a command as the module says.

    Args:
        lab: which has begun, and shows the host's own server.
        command: the program and its arguments, with `ServedLab.placeholders`; ``{json}`` is the path of a file with
            `ServedLab.document`.
        way: how it is told where the host is.
        attackers: their names.
        timeout: seconds until a run is ended.

    Raises:
        OSError: the command cannot be started.
        ImportError: an attacker needs a library that is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="mitm-lab-") as folder:
        document = Path(folder, "lab.json")
        document.write_text(json.dumps(lab.document()), "ascii")
        words = fill(command, {**lab.placeholders(), "json": str(document)})
        environment = _environment(lab, way, str(document))

        def call() -> None:
            try:
                _run(words, environment, timeout)
            finally:
                lab.settle()

        control = ""
        try:
            call()
        except CommandFailedError as failed:
            control = escape(str(failed))
        has_control = lab.has_control
        results = [lab.run(call, name, _PATIENCE) for name in attackers]
    prefix = f"{CommandFailedError.__name__}: "
    plain = tuple(dataclasses.replace(each, error=each.error.removeprefix(prefix)) for each in results)
    return CommandAudit(lab.host, tuple(command), way, has_control, control, Audit(plain))


def _environment(lab: ServedLab, way: Way, document: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _PROXIES}
    environment |= dict.fromkeys(_CA_FILES, lab.lab.ca_file)
    environment["MITM_LAB"] = document
    if way == "proxy":
        proxy = lab.placeholders()["proxy"]
        # Not HTTP_PROXY: in a CGI program it is a header of the client (httpoxy), and many clients ignore it.
        environment |= dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), proxy)
    return environment


def _run(words: Sequence[str], environment: dict[str, str], timeout: float) -> None:
    """Run a command in a process group of its own, which ends with it.

    Raises:
        CommandFailedError: its exit code is not 0, or it did not end in time.
    """
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(  # noqa: S603 - the command of the caller
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _OUTPUT))
        lines = [line.strip() for line in stderr.read().decode("utf-8", "replace").splitlines() if line.strip()]
    if code is None:
        raise CommandFailedError(f"ended after {timeout:g} seconds")
    if code:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        own = [line for line in lines if line.startswith(f"{Path(words[0]).name}:")]
        raise CommandFailedError(": ".join([how, *(own[:1] or lines[-1:])]))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command, and what it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:  # Windows
        process.kill()
    process.wait()

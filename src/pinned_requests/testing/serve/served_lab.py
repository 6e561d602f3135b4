"""One host's lab with fixed addresses, where its own server and the attackers take turns; and its control endpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
from typing import TYPE_CHECKING, Any, Literal, cast

from pinned_requests.testing.lab.attackers import ATTACKERS
from pinned_requests.testing.lab.audit import result_of, run
from pinned_requests.testing.lab.mitm_lab import MITMLab
from pinned_requests.testing.serve.gateway import Gateway
from pinned_requests.testing.server.http_exchange import Response
from pinned_requests.testing.server.tls_server import TLSServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from pinned_requests.testing.lab.attack import Attack
    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.lab.audit import AuditResult
    from pinned_requests.testing.lab.takeover import Takeover
    from pinned_requests.testing.server.http_exchange import Request

HONEST = "honest"
"""The name of the host's own server among those that take turns."""

_ADDRESS = "127.0.0.1"
_BACKLOG = 128  # connections
_SETTLE = 0.5  # seconds for connections of an ended client to be handed over

_SWITCH = "/attackers/"

_NO_CONTROL = "But it has sent no request to the host's own server, so its refusal tells nothing."
_COME = "The client must make a new connection, to the lab's address or proxy."
_ASK_HONEST = (
    "Let the client send a request to the host's own server first: it must come to the lab's address or proxy, trust"
    " the lab's CA, and pin the lab's keys in place of those of the real host."
)


class ServedLab:
    """The lab of one host on loopback, for the time of a ``with`` block. It begins with the host's own server.

    Args:
        host: a DNS name or an IP address, in any spelling, without port.
        ports: where to listen as the host; 0 is any free one.
        max_tls: the highest version that the attackers of `show` offer.

    Attributes:
        lab: has the CA, pins and keys.
        host: the host, in lower case and A-labels.
        port: where the host is.
        proxy_port: where the explicit proxy is.
        has_control: whether a client has sent a request to the host's own server, since the start or `forget`.

    Raises:
        ValueError: *host* is not a host.
    """

    def __init__(self, host: str, ports: Sequence[int] = (0,), *, max_tls: Literal["1.2", "1.3"] = "1.3") -> None:
        self._max_tls = max_tls
        self.lab = MITMLab()
        self._honest = self.lab.honest(host, self._answer)
        self.host = self._honest.host
        self._ports = ports
        self._attack: Attack | None = None
        self._verdicts: dict[str, AuditResult] = {}
        self._lock = threading.RLock()
        self._at_the_end = contextlib.ExitStack()
        self.has_control = False

    def __enter__(self) -> Self:
        """Begin to listen.

        Raises:
            OSError: a port is taken.
        """
        with contextlib.ExitStack() as started:
            started.callback(self.lab.close)
            started.enter_context(self._honest)
            direct = [started.enter_context(_listener(port)) for port in self._ports]
            proxy = started.enter_context(_listener(0))
            self.gateway = Gateway(self.host, direct, proxy, self._honest._server)  # noqa: SLF001 - of the same package
            started.callback(self.gateway.stop)
            self.port = direct[0].getsockname()[1]
            self.proxy_port = proxy.getsockname()[1]
            self._at_the_end = started.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._at_the_end.close()

    @property
    def shown(self) -> str:
        """Who is shown: `HONEST`, or the name of an attacker."""
        return self._attack.attacker if self._attack else HONEST

    def settle(self) -> None:
        """Wait until everything from ended clients is read."""
        self.gateway.settle(_SETTLE)
        _ = self._honest.requests  # it waits for the server

    def forget(self) -> None:
        """Begin with another client: show the host's own server, and forget all verdicts."""
        with self._lock:
            self.show(HONEST)
            self._point_at(self._honest)
            self._verdicts.clear()
            self.has_control = False

    def show(self, name: str) -> None:
        """Show an attacker, or `HONEST`. Open connections are cut, and the verdict until then is kept.

        Raises:
            ValueError: there is no such attacker.
            ImportError: it needs a library that is not installed.
        """
        with self._lock:
            attack = None if name == HONEST else self.attack(name)
            self._leave()
            if attack:
                if self._max_tls == "1.2":
                    attack.limit_to_tls_1_2()
                attack.__enter__()
                self._attack = attack
                self._point_at(attack)

    def attack(self, name: str, patience: float | None = None) -> Attack:
        """Return an attacker that has not begun; errors are those of `run`."""
        attack = self.lab._attack(self.host, cast("AttackerName", name), None, patience)  # noqa: SLF001 - of the same package
        if self.has_control:
            attack.count_any_refusal()
        return attack

    def run(self, call: Callable[[], object], name: AttackerName, patience: float) -> AuditResult:
        """Run a client against an attacker; before and after, the host's own server is shown.

        A client that is undecided is run once more, over TLS 1.2: see `Attack.limit_to_tls_1_2`.

        Args:
            call: makes a request to the host. What it raises is a result.
            name: of the attacker.
            patience: seconds until a hanging connection is closed.

        Raises:
            ValueError: there is no such attacker.
            ImportError: it needs a library that is not installed.
        """
        result = self._run_once(call, self.attack(name, patience))
        if result.verdict == "undecided":
            attack = self.attack(name, patience)
            attack.limit_to_tls_1_2()
            again = self._run_once(call, attack)
            result = dataclasses.replace(again, reason=f"{again.reason} This was over TLS 1.2.")
        return controlled(result, has_control=self.has_control)

    def _run_once(self, call: Callable[[], object], attack: Attack) -> AuditResult:
        def shown() -> object:
            self._point_at(attack)
            return call()

        try:
            return run(shown, attack)
        finally:
            self._point_at(self._honest)

    def _point_at(self, server: Takeover) -> None:
        self.gateway.show(server._server, is_proxy=server.is_proxy)  # noqa: SLF001 - of the same package

    def _leave(self) -> None:
        attack, self._attack = self._attack, None
        if attack is not None:
            attack.close()
            self._point_at(self._honest)
            self._verdicts[attack.attacker] = result_of(attack)

    def verdicts(self) -> list[AuditResult]:
        """Return the newest verdict on the client for each attacker that it has met."""
        with self._lock:
            found = {each.attacker: each for each in self._verdicts.values()}
            if self._attack:
                found[self._attack.attacker] = result_of(self._attack)
            return [controlled(each, has_control=self.has_control) for each in found.values()]

    def placeholders(self) -> dict[str, str]:
        """Return what a client must be told, by the names of the placeholders in a command."""
        pins = list(map(str, self._honest.pins))
        return {
            "host": self.host,
            "address": _ADDRESS,
            "port": str(self.port),
            "url": f"https://[{self.host}]/" if ":" in self.host else f"https://{self.host}/",
            "proxy": f"http://{_ADDRESS}:{self.proxy_port}",
            "ca": self.lab.ca_file,
            "pin": pins[0],
            "pins": ",".join(pins),
            "pins_base64": ",".join(pin.removeprefix("sha256/") for pin in pins),
            "curl_pins": ";".join(pin.replace("/", "//", 1) for pin in pins),
        }

    def document(self) -> dict[str, Any]:
        """Return what a client and its driver must know, fit for JSON."""
        return {
            "host": self.host,
            "address": _ADDRESS,
            "port": self.port,
            "proxy": self.placeholders()["proxy"],
            "ca_file": self.lab.ca_file,
            "ca_pem": self.lab.ca_pem,
            "pins": list(map(str, self._honest.pins)),
            "backup_pins": list(map(str, self._honest.backup_pins)),
            "ca_pins": list(map(str, self._honest.ca_pins)),
            "fingerprints": list(map(str, self._honest.fingerprints)),
            "blocked_pins": list(map(str, self.lab.blocked_pins)),
            "attackers": list(ATTACKERS),
        }

    def _answer(self, _environ: object, start_response: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
        """Answer as the host's own server: a WSGI application."""
        self.has_control = True
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]


class Control:
    """The control endpoint of a lab that has begun: HTTP on loopback, with answers in JSON.

    GET  /                    addresses, CA and pins
    POST /attackers/NAME      put an attacker in the host's place; `honest` is the host's own server
    POST /next                put the next one in its place, for devices that are tapped by hand
    POST /forget              begin with another client
    GET  /verdict             who is shown, and the verdict on the client so far
    GET  /verdicts            the verdicts on the client for all attackers that it has met
    """

    def __init__(self, lab: ServedLab, attackers: Sequence[AttackerName] = ATTACKERS) -> None:
        self._lab = lab
        self._turns = (HONEST, *attackers)
        self.server = TLSServer(None, handler=self._answer)
        """The server, not yet started."""

    def _answer(self, request: Request) -> Response:
        # A web page in a browser of this machine must not switch anything: `Host` tells of DNS rebinding.
        if request.header("Host") != f"127.0.0.1:{self.server.port}" or request.header("Origin") is not None:
            return _json(403, {"error": "ask for 127.0.0.1, and not from a web page"})
        if request.method == "POST" and request.path.startswith(_SWITCH):
            return self._show(request.path.removeprefix(_SWITCH))
        answers: dict[tuple[str, str], Callable[[], Response]] = {
            ("GET", "/"): lambda: _json(200, self._lab.document()),
            ("GET", "/verdict"): self._verdict,
            ("GET", "/verdicts"): self._verdicts,
            ("POST", "/next"): self._next,
            ("POST", "/forget"): self._forget,
        }
        answer = answers.get((request.method, request.path))
        if answer is None:
            return _json(404, {"error": f"there are GET /, /verdict, /verdicts and POST {_SWITCH}NAME, /next, /forget"})
        return answer()

    def _next(self) -> Response:
        shown = self._lab.shown
        at = self._turns.index(shown) if shown in self._turns else 0
        return self._show(self._turns[(at + 1) % len(self._turns)])

    def _show(self, name: str) -> Response:
        try:
            self._lab.show(name)
        except (ValueError, ImportError) as error:
            return _json(400, {"error": str(error)})
        return self._verdict()

    def _verdicts(self) -> Response:
        found = [each.as_dict() for each in self._lab.verdicts()]
        return _json(200, {"host": self._lab.host, "control_passed": self._lab.has_control, "results": found})

    def _forget(self) -> Response:
        self._lab.forget()
        return self._verdict()

    def _verdict(self) -> Response:
        shown = self._lab.shown
        result = next((each for each in self._lab.verdicts() if each.attacker == shown), None)
        document = {
            "shown": shown,
            "control_passed": self._lab.has_control,
            "verdict": result and result.verdict,
            "result": result and result.as_dict(),
        }
        return _json(200, document)


def controlled(result: AuditResult, *, has_control: bool) -> AuditResult:
    """Return a result; where the client has never talked to the host's own server, its refusals are ``untested``.

    GnuTLS, for example, checks the CA after the handshake, and a server does not see why a client hung up then. The
    control shows that it accepts the lab's CA, and has all else that it wants.
    """
    if result.verdict == "accepted":
        return result
    if has_control:
        return result if result.connections else dataclasses.replace(result, advice=_COME)
    if result.verdict == "rejected":
        result = dataclasses.replace(result, verdict="untested", reason=f"{result.reason} {_NO_CONTROL}")
    return dataclasses.replace(result, advice=_ASK_HONEST)


def _listener(port: int) -> socket.socket:
    return socket.create_server((_ADDRESS, port), backlog=_BACKLOG)


def _json(status: int, value: object) -> Response:
    return Response(status, (("Content-Type", "application/json"),), f"{json.dumps(value)}\n".encode("ascii"))

"""The control endpoint of a served lab: HTTP on loopback, with answers in JSON.

GET  /                    addresses, CA and pins
POST /attackers/NAME      put an attacker in the host's place; `honest` is the host's own server
POST /next                put the next one in its place, for devices that are tapped by hand
POST /forget              begin with another client
GET  /verdict             who is shown, and the verdict on the client so far
GET  /verdicts            the verdicts on the client for all attackers that it has met
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pinned_requests.testing.lab.attackers import ATTACKERS
from pinned_requests.testing.serve.served_lab import HONEST
from pinned_requests.testing.server.http_exchange import Response
from pinned_requests.testing.server.tls_server import TLSServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.serve.served_lab import ServedLab
    from pinned_requests.testing.server.http_exchange import Request

_SWITCH = "/attackers/"


class Control:
    """The control endpoint of a lab that has begun; `attackers` take turns."""

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
            ("GET", "/verdict"): lambda: _json(200, self._verdict()),
            ("GET", "/verdicts"): lambda: _json(200, self._verdicts()),
            ("POST", "/next"): lambda: self._show(self._next()),
            ("POST", "/forget"): self._forget,
        }
        answer = answers.get((request.method, request.path))
        if answer is None:
            return _json(404, {"error": f"there are GET /, /verdict, /verdicts and POST {_SWITCH}NAME, /next, /forget"})
        return answer()

    def _next(self) -> str:
        shown = self._lab.shown
        at = self._turns.index(shown) if shown in self._turns else 0
        return self._turns[(at + 1) % len(self._turns)]

    def _show(self, name: str) -> Response:
        try:
            self._lab.show(name)
        except (ValueError, ImportError) as error:
            return _json(400, {"error": str(error)})
        return _json(200, self._verdict())

    def _forget(self) -> Response:
        self._lab.forget()
        return _json(200, self._verdict())

    def _verdicts(self) -> dict[str, Any]:
        found = [each.as_dict() for each in self._lab.verdicts()]
        return {"host": self._lab.host, "control_passed": self._lab.has_control, "results": found}

    def _verdict(self) -> dict[str, Any]:
        shown = self._lab.shown
        result = next((each for each in self._lab.verdicts() if each.attacker == shown), None)
        return {
            "shown": shown,
            "control_passed": self._lab.has_control,
            "verdict": result and result.verdict,
            "result": result and result.as_dict(),
        }


def _json(status: int, value: object) -> Response:
    return Response(status, (("Content-Type", "application/json"),), f"{json.dumps(value)}\n".encode("ascii"))

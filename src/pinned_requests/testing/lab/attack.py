"""One attacker, what it got from a client, and the assertion that this was nothing."""

from __future__ import annotations

import dataclasses
import gc
import ssl
from typing import TYPE_CHECKING

from pinned_requests.core.text import escape
from pinned_requests.testing.intercept.client_tls import find_handshake
from pinned_requests.testing.intercept.redirection import canonical
from pinned_requests.testing.lab.attackers import appearance_of
from pinned_requests.testing.lab.takeover import Takeover, context_of
from pinned_requests.testing.lab.verdict import Finding, judge
from pinned_requests.testing.server.connection import Face
from pinned_requests.testing.server.http_exchange import Response, respond
from pinned_requests.testing.server.tls_server import TLSServer

if TYPE_CHECKING:
    from pinned_requests.testing.lab.attackers import Appearance, AttackerName
    from pinned_requests.testing.lab.takeover import HostIdentity
    from pinned_requests.testing.lab.verdict import Verdict
    from pinned_requests.testing.server.http_exchange import Handler, Request

_SHOWN = 200  # bytes of what leaked: a request line and some headers


class Attack(Takeover):
    """An attacker in a host's place, for the time of a ``with`` block. Made by `MITMLab.impersonate`.

    Attributes:
        host: the host.
        attacker: its name, one of `ATTACKERS`.
    """

    def __init__(
        self, identity: HostIdentity, attacker: AttackerName, handler: Handler | None, patience: float | None = None
    ) -> None:
        self._appearance = appearance_of(attacker, identity)
        self._faces = _Faces(self._appearance, identity, handler)
        server = TLSServer(
            None,
            cleartext=True,
            tunnels_to=self._is_host if self._appearance.tunnels else None,
            patience=patience,
            face=self._faces,
        )
        super().__init__(identity, server, is_proxy=self._appearance.tunnels)
        self.attacker = attacker
        self._finding: Finding | None = None  # when the block has ended

    @property
    def proxy_url(self) -> str:
        """The URL of ``connect-proxy`` as a proxy, for a client that is given one explicitly.

        Raises:
            RuntimeError: the block has not begun.
        """
        return f"http://127.0.0.1:{self._server.port}"

    def count_any_refusal(self) -> None:
        """Take any refusal of the certificate in the handshake for a decision.

        For clients that have accepted the host's own server, whose certificate is from the same root.
        """
        if self._appearance.needs != "hello":
            self._appearance = dataclasses.replace(self._appearance, needs="refusal")

    def limit_to_tls_1_2(self) -> None:
        """Speak no TLS 1.3 on new connections.

        In TLS 1.3 a client's Finished comes last, and some clients (Node.js, for example) refuse a certificate without
        sending it: the server sees nothing. In TLS 1.2 it comes before the server's (RFC 5246 §7.3).
        """
        self._faces.limit_to_tls_1_2()

    @property
    def application_bytes(self) -> int:
        """How many bytes of HTTP the attacker got, over TLS or in the clear, whether or not they became a request.

        What the host's own server got over TLS, with which some attacks begin (``downgrade``, for example), does not
        count.
        """
        return self._settled().leaked_bytes

    @property
    def received(self) -> bytes:
        """The first 4096 of these bytes."""
        return self._settled().leaked

    @property
    def verdict(self) -> Verdict:
        """What the client did.

        - ``"accepted"``: the attacker got HTTP from it, or took over its connection.
        - ``"rejected"``: it met the attacker's certificate, decided against it, and is gone.
        - ``"untested"``: it did not come so far: it never connected, does not trust the lab's CA, or has no cipher in
          common with the server.
        - ``"undecided"``: whether it would have gone on is not known: it was still connected when the block ended, or
          hung up before its handshake.
        """
        return self._found().verdict

    @property
    def reason(self) -> str:
        """What happened, in one sentence: for example the alert that the client sent."""
        return f"The client {self._found().reason}."

    @property
    def advice(self) -> str:
        """What to do about a verdict of ``"untested"`` or ``"undecided"``; empty for the others."""
        return self._found().advice

    def assert_rejected(self) -> None:
        """Demand that a client met the attacker's certificate, decided against it, and gave the attacker nothing.

        Raises:
            AssertionError: the attacker got something, whose first 200 bytes are shown; or nothing was tested, or a
                client had not decided: the message says what to do.
        """
        __tracebackhide__ = True  # pytest shows the line of the caller
        found = self._found()
        where = f"the attacker {self.attacker!r} in the place of {self.host}"
        if found.verdict == "accepted":
            shown = f" They begin with:\n  {excerpt(self.received)}" if self.application_bytes else f" {self.reason}"
            raise AssertionError(
                f"{where[0].upper()}{where[1:]} got {self.application_bytes} bytes"
                f" ({self.connections} connections, {self.handshakes} handshakes).{shown}"
            )
        if not self.connections:
            raise AssertionError(
                f"No client connected to {self.host} while the attacker {self.attacker!r} stood in for it, so this test"
                f" proves nothing. {found.advice}"
            )
        if found.verdict != "rejected":
            consequence = "this test proves nothing" if found.verdict == "untested" else "it may still accept it"
            raise AssertionError(
                f"{found.verdict}: with {where}, the client {found.reason}: {consequence}. {found.advice}"
            )

    @property
    def needs_another_call(self) -> bool:
        """Whether the attacker is there from the next connection on."""
        return self._appearance.opening == "first-connection" and self.connections == 1

    def _found(self) -> Finding:
        if self._finding is not None:
            return self._finding
        if self._was_interrupted:
            return Finding("undecided", "was interrupted", "Run the test again.")
        if self._settled().undecided(timeout=0):
            gc.collect()  # a client that dropped a refused connection without closing it, in a cycle, is gone by then
            self._server.undecided()  # waits for those that are about to hang up
        seen = [
            (each, find_handshake(self._handshakes, each.peer[1], each.client_random)) for each in self._server.records
        ]
        return judge(seen, self._appearance.needs, self._appearance.opening)

    def _conclude(self) -> None:
        self._finding = self._found()

    def _is_host(self, target: str) -> bool:
        return canonical(target.rpartition(":")[0]) == self.host

    def __repr__(self) -> str:
        return f"<Attack {self.attacker} on {self.host}>"


class _Faces:
    """What an attacker's server shows on each connection: the host's own face, or the attacker's."""

    def __init__(self, appearance: Appearance, identity: HostIdentity, handler: Handler | None) -> None:
        self._opening = appearance.opening
        self._location = appearance.location
        self._handler = handler
        self._has_redirected = False
        self._attacker = Face(context_of(appearance.credentials), self._answer, appearance.on_hello)
        self._honest: Face | None = None
        if self._opening == "renegotiation":
            from pinned_requests.testing.server.renegotiation import (  # noqa: PLC0415 - needs pyOpenSSL
                renegotiating,
            )

            engine = renegotiating(identity.credentials, appearance.credentials)
            self._honest = Face(None, self._answer, is_honest=True, engine=engine)
        elif self._opening:
            answer = self._redirect if self._opening == "redirect" else self._answer_once
            self._honest = Face(context_of(identity.credentials), answer, is_honest=True)

    def __call__(self, number: int) -> Face:
        """Return the face for a connection: see `TLSServer`."""
        if self._honest is None:
            return self._attacker
        if self._opening == "first-connection":
            return self._honest if number == 1 else self._attacker
        return self._attacker if self._has_redirected else self._honest

    def limit_to_tls_1_2(self) -> None:
        for face in (self._attacker, self._honest):
            if face and face.context:
                face.context.maximum_version = ssl.TLSVersion.TLSv1_2

    def _answer(self, request: Request) -> Response:
        return respond(self._handler, request)

    def _answer_once(self, request: Request) -> Response:
        """Answer, and close the connection, so that the client has to make another one."""
        answer = self._answer(request)
        headers = tuple((name, value) for name, value in answer.headers if name.lower() != "connection")
        return Response(answer.status, (*headers, ("Connection", "close")), answer.body)

    def _redirect(self, request: Request) -> Response:
        if request.scheme == "http":
            return self._answer(request)
        host = (request.header("Host") or "").rpartition("@")[2]
        address, bracket, rest = host.rpartition("]")
        name, colon, port = rest.partition(":")
        if self._has_redirected and not self._location.startswith("http:"):
            return self._answer(request)  # a client to which the new URL is the old one
        self._has_redirected = True
        path = request.path if request.path.startswith("/") else "/"
        location = self._location.format(name=address + bracket + name.rstrip("."), port=colon + port, path=path)
        # To some clients the new URL leads to the host again: they must not go on over this connection.
        return Response(307, (("Location", location), ("Connection", "close")))


def excerpt(data: bytes) -> str:
    """Return the first 200 bytes as text on one line, escaped."""
    return escape(ascii(data[:_SHOWN])[1:], 4 * _SHOWN + 2)

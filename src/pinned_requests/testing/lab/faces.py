"""What an attacker's server shows on each connection: the host's own face, or the attacker's."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from pinned_requests.testing.server.connection import Face
from pinned_requests.testing.server.messages import Response, respond
from pinned_requests.testing.server.renegotiation import renegotiating

if TYPE_CHECKING:
    from pinned_requests.testing.lab.attackers import Appearance
    from pinned_requests.testing.lab.host_identity import Credentials, HostIdentity
    from pinned_requests.testing.server.messages import Handler, Request

__all__ = ["Faces", "context_of"]


def context_of(credentials: Credentials, *, num_tickets: int = 0) -> ssl.SSLContext:
    """Return a server's context that presents a certificate for each kind of key."""
    first, *others = credentials
    return first.server_context(beside=others, num_tickets=num_tickets)


class Faces:
    """The faces of one attacker.

    Args:
        appearance: the attacker's.
        identity: the host's.
        handler: what answers the requests.
    """

    def __init__(self, appearance: Appearance, identity: HostIdentity, handler: Handler | None) -> None:
        self._opening = appearance.opening
        self._location = appearance.location
        self._handler = handler
        self._has_redirected = False
        self._attacker = Face(context_of(appearance.credentials), self._answer, appearance.on_hello)
        self._honest: Face | None = None
        if self._opening == "renegotiation":
            engine = renegotiating(identity.credentials, appearance.credentials)
            self._honest = Face(None, self._answer, is_honest=True, engine=engine)
        elif self._opening == "first-connection":
            self._honest = Face(context_of(identity.credentials), self._answer_once, is_honest=True)
        elif self._opening == "redirect":
            self._honest = Face(context_of(identity.credentials), self._redirect, is_honest=True)

    def __call__(self, number: int) -> Face:
        """Return the face for a connection.

        Args:
            number: of the connection among those on which the client said anything, from 1.
        """
        if self._honest is None:
            return self._attacker
        if self._opening == "first-connection":
            return self._honest if number == 1 else self._attacker
        return self._attacker if self._has_redirected else self._honest

    def limit_to_tls_1_2(self) -> None:
        """Speak no TLS 1.3 on connections that come from now on."""
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
        name, colon, port = (
            (host[: host.index("]") + 1], *host[host.index("]") + 1 :].partition(":")[1:])
            if host.startswith("[") and "]" in host
            else host.partition(":")
        )
        if self._has_redirected and not self._location.startswith("http:"):
            return self._answer(request)  # a client to which the new URL is the old one
        self._has_redirected = True
        path = request.path if request.path.startswith("/") else "/"
        location = self._location.format(name=name.rstrip("."), port=colon + port, path=path)
        # To some clients the new URL leads to the host again: they must not go on over this connection.
        return Response(307, (("Location", location), ("Connection", "close")))

"""One attacker, what it got from a client, and the assertion that this was nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pinned_requests.core.text import escape
from pinned_requests.testing.lab.attackers import appearance_of
from pinned_requests.testing.lab.takeover import Takeover
from pinned_requests.testing.server.tls_server import TLSServer

if TYPE_CHECKING:
    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.lab.host_identity import HostIdentity
    from pinned_requests.testing.server.messages import Handler

__all__ = ["Attack", "Verdict", "excerpt"]

_SHOWN = 200  # bytes of what leaked: a request line and some headers

Verdict = Literal["rejected", "fooled", "unreached", "undecided"]


class Attack(Takeover):
    """An attacker in a host's place, for the time of a ``with`` block. Made by `MITMLab.impersonate`.

    Attributes:
        host: the host.
        attacker: its name, one of `ATTACKERS`.
    """

    def __init__(
        self, identity: HostIdentity, attacker: AttackerName, handler: Handler | None, patience: float | None = None
    ) -> None:
        appearance = appearance_of(attacker, identity)
        server = TLSServer(
            appearance.credential,
            handler=appearance.handler(handler),
            cleartext=True,
            on_hello=appearance.on_hello,
            patience=patience,
        )
        super().__init__(identity, server)
        self.attacker = attacker
        self._only_in_the_clear = appearance.redirects

    @property
    def application_bytes(self) -> int:
        """How many bytes of HTTP the attacker got, over TLS or in the clear, whether or not they became a request.

        For ``downgrade`` only those in the clear: the TLS server that redirects there is the host's own.
        """
        self._rest()
        return self._server.cleartext_bytes if self._only_in_the_clear else self._server.application_bytes

    @property
    def received(self) -> bytes:
        """The first 4096 of these bytes."""
        self._rest()
        return self._server.cleartext if self._only_in_the_clear else self._server.received

    @property
    def verdict(self) -> Verdict:
        """Whether the client was ``"fooled"``, ``"rejected"`` the attacker, or never met it (``"unreached"``).

        One that has accepted the handshake, and has neither sent anything nor hung up by now, or by the end of the
        block, is ``"undecided"``.

        It meets ``downgrade`` once it has been redirected, which takes a request to the host's own server.
        """
        if self.application_bytes:
            return "fooled"
        met = any(each.scheme == "https" for each in self.requests) if self._only_in_the_clear else self.connections
        if not met:
            return "unreached"
        return "undecided" if self.undecided else "rejected"

    def assert_rejected(self) -> None:
        """Demand that a client connected, and that the attacker got no byte of HTTP from it.

        It does not ask *why* the client hung up: a client that does not trust the attacker's CA, or that cannot speak
        TLS at all, passes too. `handshakes` and `failed_handshakes` tell, and so does the same test with
        `MITMLab.honest`.

        Raises:
            AssertionError: the attacker got something, and the first 200 bytes of it are shown; or no client connected,
                or none was redirected by ``downgrade``, so that nothing was tested; or a client has not decided yet.
        """
        __tracebackhide__ = True  # pytest shows the line of the caller
        verdict = self.verdict
        if verdict == "unreached":
            if self.connections:
                raise AssertionError(
                    f"The attacker {self.attacker!r} in the place of {self.host} proves nothing: the client refused the"
                    " host's own key, so it was never redirected; give it `honest(…).pins`."
                )
            raise AssertionError(
                f"No client connected to {self.host} while the attacker {self.attacker!r} stood in for it, so this test"
                " proves nothing. The client must open a new connection inside the with block, in this process, through"
                " Python's socket module, and not through a proxy that it was given explicitly."
            )
        if verdict == "undecided":
            raise AssertionError(
                f"{self.undecided} connections were still open after an accepted handshake with the attacker"
                f" {self.attacker!r} in the place of {self.host}: wait for the client, or close it, inside the block."
            )
        if verdict == "fooled":
            count = self.application_bytes
            raise AssertionError(
                f"The attacker {self.attacker!r} in the place of {self.host} got {count} bytes"
                f" ({self.connections} connections, {self.handshakes} handshakes). They begin with:\n"
                f"  {excerpt(self.received)}"
            )

    def __repr__(self) -> str:
        return f"<Attack {self.attacker} on {self.host}>"


def excerpt(data: bytes) -> str:
    """Return the first 200 bytes as text on one line, all that does not print escaped."""
    return escape(ascii(data[:_SHOWN])[1:], 4 * _SHOWN + 2)

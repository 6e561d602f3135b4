"""The lab: attackers and honest servers in the place of real hosts, for tests of an unchanged client."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostError, normalize_host
from pinned_requests.core.pin import Pin
from pinned_requests.core.text import show
from pinned_requests.testing.lab.attack import Attack
from pinned_requests.testing.lab.attackers import ATTACKERS, AttackerName
from pinned_requests.testing.lab.audit import Audit, run
from pinned_requests.testing.lab.takeover import HonestServer, HostIdentity, LabAuthorities
from pinned_requests.testing.server.http_exchange import App, as_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from pinned_requests.testing.lab.audit import AuditResult
    from pinned_requests.testing.lab.takeover import Takeover
    from pinned_requests.testing.pki.authority import Authority

_AUDIT_PATIENCE = 2.0  # seconds until an audit lets a hanging connection go: its client may have no time-out


class MITMLab:
    """Puts attackers and honest servers in the place of hosts, for the clients in this process.

    Use it in a ``with`` block, which closes everything at its end. With pytest, use the fixture `mitm_lab`: the example
    is in `pinned_requests.testing`.

    Within a block, new TCP connections of this process to the host, on any port, come to a server on loopback, where
    every client trusts the lab's CA that trusts certifi's CAs, the system's, or those of REQUESTS_CA_BUNDLE or
    SSL_CERT_FILE. Other hosts are left alone. A client that verifies nothing, or trusts a CA file of its own, does so
    here as well.

    Caught is what goes through Python's `socket` and `ssl`: requests, urllib3, httpx, aiohttp, `http.client`, asyncio.
    Not caught are other processes, libraries with sockets of their own (pycurl, curl_cffi, uvloop, aiodns, asyncio's
    proactor loop on Windows), UDP (HTTP/3), proxies that a client was given explicitly, and connections that were open
    before: then `Attack.assert_rejected` fails. pyOpenSSL is caught, but does not trust the lab's CA.

    Attributes:
        root: the lab's CA, which clients are made to trust.
    """

    def __init__(self) -> None:
        self._authorities = LabAuthorities()
        self.root: Authority = self._authorities.root
        self._identities: dict[str, HostIdentity] = {}
        self._takeovers: list[Takeover] = []
        self._audits: list[Audit] = []
        self._ca_file: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End all blocks that are still open, the newest first, and remove `ca_file`.

        Raises:
            TimeoutError: see `Takeover.close`.
        """
        with contextlib.ExitStack() as at_the_end:
            if self._ca_file is not None:
                at_the_end.callback(self._ca_file.unlink, missing_ok=True)
                self._ca_file = None
            for takeover in self._takeovers:
                at_the_end.callback(takeover.close)

    def impersonate(self, host: str, *, as_: AttackerName = "trusted-ca", handler: App | None = None) -> Attack:
        """Return an attacker in a host's place, to be used in a ``with`` block, once.

        Args:
            host: a DNS name or an IP address, in any spelling, without port.
            as_: which attacker, one of `ATTACKERS`. By default one with a valid certificate from a trusted CA.
            handler: what it answers, a WSGI application or a mapping of paths; by default ``{}``, as JSON.

        Raises:
            ValueError: *host* is not a host, or there is no such attacker.
            ImportError: the attacker needs a library that is not installed.
        """
        return self._attack(host, as_, handler)

    def honest(self, host: str, handler: App | None = None) -> HonestServer:
        """Return a legitimate server in a host's place, to be used in a ``with`` block, once; it has pins before that.

        Args:
            host: as for `impersonate`.
            handler: as for `impersonate`.

        Raises:
            ValueError: *host* is not a host.
        """
        server = HonestServer(self._identity(host), handler)
        self._takeovers.append(server)
        return server

    @property
    def ca_pem(self) -> str:
        """The lab's CA, as PEM: for ``ssl.create_default_context(cadata=lab.ca_pem)``."""
        return self.root.certificate_pem.decode("ascii")

    @property
    def ca_file(self) -> str:
        """The path of a file with the lab's CA, as in ``verify=lab.ca_file``. It is removed when the lab is closed."""
        if self._ca_file is None:
            with tempfile.NamedTemporaryFile(prefix="mitm-lab-", suffix=".pem", delete=False) as file:
                file.write(self.root.certificate_pem)
            self._ca_file = Path(file.name)
        return str(self._ca_file)

    @property
    def revoked_pin(self) -> Pin:
        """The first of `revoked_pins`: that of the ECDSA key, which most clients meet."""
        return self.revoked_pins[0]

    @property
    def revoked_pins(self) -> tuple[Pin, ...]:
        """The pins of the two keys of ``revoked-key`` and ``own-ca-revoked-key``, for a client to block."""
        return tuple(Pin.from_private_key(key) for key in self._authorities.revoked_keys)

    @property
    def leaked_pin(self) -> Pin:
        """The pin of the intermediate CA of ``leaked-intermediate``, for a client to block."""
        return Pin.from_certificate(self._authorities.leaked.certificate)

    @property
    def blocked_pins(self) -> tuple[Pin, ...]:
        """All pins for a client to block: `revoked_pins` and `leaked_pin`."""
        return (*self.revoked_pins, self.leaked_pin)

    @property
    def audits(self) -> tuple[Audit, ...]:
        """The audits that were made, in order; one that was interrupted holds the results until then."""
        return tuple(self._audits)

    def audit(
        self,
        call: Callable[[], object],
        host: str | None = None,
        *,
        attackers: AttackerName | Iterable[AttackerName] = ATTACKERS,
    ) -> Audit:
        """Run a client against one attacker after another. Nothing is asserted: see `Audit.assert_rejected`.

        Args:
            call: makes a request to the host, once for each attacker, twice for ``second-connection``. What it raises
                is a result.
            host: the host; by default the only one that this lab knows, from `honest` or `impersonate`.
            attackers: their names, or one name; by default all.

        Raises:
            ValueError: *host* is missing and cannot be told, or is not a host; the attacker is unknown, or missing.
            TypeError: *call* returned a coroutine.
            ImportError: an attacker needs a library that is not installed.
        """
        names: tuple[AttackerName, ...] = (attackers,) if isinstance(attackers, str) else tuple(attackers)
        if not names:
            raise ValueError(f"an audit needs an attacker, or it proves nothing; choose from {', '.join(ATTACKERS)}")
        if host is None:
            if len(self._identities) != 1:
                known = ", ".join(self._identities) or "none"
                raise ValueError(f"say which host the client talks to, audit(call, host): this lab knows {known}")
            (host,) = self._identities
        results: list[AuditResult] = []
        try:
            for name in names:
                results.append(run(call, self._attack(host, name, None, _AUDIT_PATIENCE)))  # noqa: PERF401 - those before an error are kept
        finally:
            if results:
                self._audits.append(Audit(tuple(results)))
        return Audit(tuple(results))

    def _attack(self, host: str, name: AttackerName, app: App | None, patience: float | None = None) -> Attack:
        attack = Attack(self._identity(host), name, as_handler(app), patience)
        self._takeovers.append(attack)
        return attack

    def _identity(self, host: str) -> HostIdentity:
        try:
            name = normalize_host(host)
        except HostError:
            raise PolicyError(
                f"invalid host {show(host)}: write it as 'api.example.com', without scheme or port"
            ) from None
        if name not in self._identities:
            self._identities[name] = HostIdentity(name, self._authorities)
        return self._identities[name]

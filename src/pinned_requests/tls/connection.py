"""`CheckedTLS`: the check of one connection. It stands between `ssl`'s Python classes and its C object.

`SSLSocket` and `SSLObject` move every byte by a method of their `_sslobj`, the C object. Here `_sslobj` is a
`CheckedTLS`, so sockets, BIO objects and what clients build on them meet the same check.

Rules for the next maintainer:

- OpenSSL makes the handshake inside the first read or write. So every method that moves bytes calls `_begin()` first:
  the handshake alone, then the check.
- What is not listed here is not reachable: a method that a later Python adds to the C object must be looked at first.
- Keep the report of a refusal, not the error: an error that is kept here is a cycle by way of its traceback, and the
  file descriptor stays open until the garbage collector runs.
"""

from __future__ import annotations

import _socket
import contextlib
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pinned_requests.core.chain import Chain
from pinned_requests.core.report import ViolationReport
from pinned_requests.core.verdict import REFUSED, Outcome, Verdict
from pinned_requests.enforcement.notification import logger
from pinned_requests.enforcement.refusal import Refusal
from pinned_requests.tls.chain import served_chain, verified_chain
from pinned_requests.tls.errors import tls_error

if TYPE_CHECKING:
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.enforcement.guard import Admission, Guard

_UNNAMED = Chain.missing("the client gave no server_hostname; give it one, or the context an assumed_host")
_UNCHECKED = Chain.missing("its check has failed, or is not complete")

_NEVER = object()  # not None, which `store.steady` can be

# Attributes of the C object that move no byte and change nothing.
_READABLE = frozenset(
    (
        *("context", "session", "server_side", "server_hostname", "session_reused", "getpeercert"),
        *("get_verified_chain", "get_unverified_chain", "cipher", "shared_ciphers", "compression", "version"),
        *("pending", "get_channel_binding", "selected_alpn_protocol", "group", "client_sigalg"),
        *("server_sigalg"),
    )
)


class CheckedTLS:
    """The C object of an `ssl` connection, behind the check of its pins.

    Args:
        tls: the C object, before its handshake.
        guard: decides and enforces.
        port: of the connection, or None if it is not known: then every entry of the host must be satisfied.
        is_verified: whether OpenSSL was asked to verify the chain and the host name when `tls` was made.
    """

    __slots__ = (  # this is made for each connection
        *(
            "_accepted_by",
            "_admissions",
            "_chain",
            "_guard",
            "_is_busy",
            "_is_open",
            "_is_verified",
            "_lock",
            "_port",
            "_refused",
        ),
        *("_reported", "_steady", "_store", "_tls", "_write"),
    )

    def __init__(self, tls: Any, guard: Guard, port: int | None, *, is_verified: bool) -> None:
        self._tls = tls
        self._write = tls.write
        self._guard = guard
        self._store = guard.store
        self._port = port
        self._is_verified = is_verified
        self._lock = threading.RLock()  # two threads make one check
        self._admissions: tuple[PinPolicy | None, tuple[Admission, ...]] = (None, ())
        self._chain: Chain | None = None
        self._is_busy = False
        self._is_open = False  # whether the handshake is complete and the chain was accepted
        self._accepted_by: PinPolicy | None = None  # the policy that accepts this chain at any time
        self._steady: object = _NEVER  # what `store.steady` was then, if that alone tells of a change
        self._refused: Any = None  # the report, as soon as it is refused
        self._reported: set[tuple[int | None, Outcome]] = set()  # allowed violations are reported once a connection

    def __getattr__(self, name: str) -> Any:
        if name not in _READABLE:
            raise AttributeError(f"{name!r} of a TLS connection is not available under a PinnedSSLContext")
        return getattr(self._tls, name)

    def do_handshake(self) -> None:
        """Make the handshake, and check the chain."""
        self._begin()

    def read(self, *args: Any) -> Any:
        """Read, as the C object does."""
        if not self._is_open:
            self._begin()
        return self._tls.read(*args)

    def write(self, data: Any) -> int:
        """Write, as the C object does, if the policy in force accepts the chain."""
        if self._steady is not self._store.steady:
            self._begin()
        return self._write(data)  # type: ignore[no-any-return]  # of an untyped object

    def shutdown(self) -> Any:
        """Send and await close_notify, as the C object does."""
        if not self._is_open:
            self._begin()
        return self._tls.shutdown()

    def uses_ktls_for_send(self) -> bool:
        """Let `SSLSocket.sendfile()` (CPython 3.15) send by `write()`."""
        return False

    def _begin(self) -> None:
        """Complete the handshake if it is not, and check the chain by the policy in force.

        Raises:
            PinningError: refused, now or before; it is an `ssl.SSLCertVerificationError`.
            OSError: as `SSLSocket.do_handshake()`: `ssl.SSLWantReadError` and others.
        """
        with self._lock:
            if self._is_busy:  # a sink uses the connection that it is told of
                raise tls_error(self._failure(_UNCHECKED))
            self._is_busy = True
            try:
                if self._refused is None:
                    self._check()
                    return
            except Refusal as refusal:
                self._refuse(refusal.report)
            except Exception as error:
                if self._chain is None and isinstance(error, (OSError, ValueError)):  # of the handshake
                    raise
                logger.exception("the check of a TLS connection failed, which is refused")
                self._refuse(self._failure(_UNCHECKED))
            finally:
                self._is_busy = False
        raise tls_error(self._refused)

    def _check(self) -> None:
        guard, steady = self._guard, self._store.steady
        policy = guard.policy
        if self._accepted_by is policy:
            return
        self._admit(policy)
        if self._chain is None:
            self._tls.do_handshake()
            self._chain = verified_chain(self._tls, is_verified=self._is_verified)
        is_final = True
        for admission in self._admissions[1]:
            verdict = guard.judge(admission, self._chain)
            if not verdict.is_allowed and guard.is_reconsidered(verdict, may_wait=self._may_wait()):
                verdict = guard.judge(admission, self._chain)
            # Policies and chains are immutable: only the passing of time changes the verdict of one on the other.
            is_timeless = verdict.pins is None or verdict.pins.expires is None
            is_final &= is_timeless and verdict.is_allowed and not verdict.is_violation
            key = verdict.port, verdict.outcome
            if not verdict.is_allowed or (verdict.is_violation and key not in self._reported):
                self._reported.add(key)
                guard.enforce(verdict, lambda: served_chain(self._tls))
        is_final &= guard.policy is policy
        self._accepted_by = policy if is_final else None
        self._steady = steady if is_final and steady is not None else _NEVER
        self._is_open = True

    def _admit(self, policy: PinPolicy) -> None:
        """Refuse what can be refused before the handshake, and note what there is to judge after it."""
        if self._admissions[0] is policy:
            return
        host = self._tls.server_hostname
        if not host:
            raise Refusal(self._failure(_UNNAMED))
        ports = policy.ports_of(host) if self._port is None else (self._port,)
        self._admissions = (
            policy,
            tuple(self._guard.admit("https", host, port, may_wait=self._may_wait()) for port in ports),
        )

    def _may_wait(self) -> bool:
        """Whether this is a socket that blocks: what `wrap_bio()` makes belongs to a loop with other connections."""
        owner = self._tls.owner
        return isinstance(owner, _socket.socket) and owner.gettimeout() != 0

    def _refuse(self, report: ViolationReport) -> None:
        self._refused, self._is_open, self._accepted_by, self._steady = report, False, None, _NEVER
        owner = self._tls.owner
        if isinstance(owner, _socket.socket):
            # Not `close()`: the descriptor is the client's. Not `SSLSocket.shutdown()`, which drops the TLS object.
            with contextlib.suppress(OSError):
                _socket.socket.shutdown(owner, _socket.SHUT_RDWR)

    def _failure(self, chain: Chain) -> ViolationReport:
        host = self._tls.server_hostname or ""
        verdict = Verdict(Outcome.CHAIN_UNAVAILABLE, REFUSED, host, self._port, None, None, chain)
        return ViolationReport(verdict, datetime.now(UTC))

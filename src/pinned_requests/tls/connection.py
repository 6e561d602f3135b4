"""`CheckedTLS`: the check of one connection, between `ssl`'s Python classes and its C object.

Rules for the next maintainer:

- `SSLSocket` and `SSLObject` move every byte by a method of their `_sslobj`, which is a `CheckedTLS` here.
- OpenSSL makes the handshake inside the first read or write. So what moves bytes calls `do_handshake()` first.
- What is not listed here is not reachable: a method that a later Python adds to the C object must be looked at first.
- Keep the report of a refusal, not the error: its traceback would be a cycle, and keep the file descriptor open.
"""

from __future__ import annotations

import _socket
import contextlib
import threading
from datetime import UTC, datetime
from math import inf
from operator import attrgetter
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from pinned_requests.core.chain import Chain
from pinned_requests.core.report import ViolationReport
from pinned_requests.core.verdict import REFUSED, Outcome, Verdict
from pinned_requests.enforcement.guard import Refusal
from pinned_requests.enforcement.notification import logger
from pinned_requests.policy_store import SETTLED
from pinned_requests.ssl_chain import served_chain, verified_chain
from pinned_requests.tls.errors import tls_error

if TYPE_CHECKING:
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.enforcement.guard import Admission, Guard

MAX_POLICIES = 100  # in a check: a store of others may make one at each look
_NOT_ALLOWED: tuple[object, float | None] = (False, None)  # not None, which `store.in_force` can be


class CheckedTLS:
    """The C object of an `ssl` connection, behind the check of its pins."""

    def __init__(self, tls: Any, guard: Guard, port: int | None, *, is_verified: bool) -> None:
        self._tls = tls
        self._guard = guard
        self._store = guard.store
        self._port = port  # None if it is not known: then every entry of the host must be satisfied
        self._is_verified = is_verified  # whether OpenSSL was asked to verify chain and host name when `tls` was made
        self._lock = threading.RLock()  # two threads make one check
        self._is_busy = False  # in the check, where a sink may use the connection that it is told of
        self._admitted: tuple[PinPolicy | None, tuple[Admission, ...]] = (None, ())
        self._chain: Chain | None = None
        self._is_open = False  # whether the handshake is complete and the chain was accepted
        self._allowed = _NOT_ALLOWED  # by which policy, and until when (monotonic), in one: another thread reads it
        self._refused: ViolationReport | None = None
        self._reported: set[tuple[int | None, Outcome]] = set()  # allowed violations are reported once a connection

    def read(self, *args: Any) -> Any:
        """Read, as the C object does."""
        if not self._is_open:
            self.do_handshake()
        return self._tls.read(*args)

    def write(self, data: Any) -> Any:
        """Write, as the C object does, if the policy in force accepts the chain."""
        policy, end = self._allowed
        if policy is not self._store.in_force or (end is not None and monotonic() >= end):
            self.do_handshake()
        return self._tls.write(data)

    def shutdown(self) -> Any:
        """Send and await close_notify, as the C object does."""
        if not self._is_open:
            self.do_handshake()
        return self._tls.shutdown()

    def uses_ktls_for_send(self) -> bool:
        """Let `SSLSocket.sendfile()` (CPython 3.15) send by `write()`."""
        return False

    def do_handshake(self) -> None:
        """Complete the handshake if it is not, and check the chain by the policy in force.

        Raises:
            PinningError: refused, now or before; it is an `ssl.SSLCertVerificationError`.
            OSError: as `SSLSocket.do_handshake()`: `ssl.SSLWantReadError` and others.
        """
        with self._lock:
            if self._is_busy:
                raise tls_error(self._unavailable())
            self._is_busy = True
            try:
                if self._refused is None:
                    self._check()
            except Refusal as refusal:
                self._refuse(refusal.report)
            except Exception as error:
                if self._chain is None and isinstance(error, (OSError, ValueError)):  # of the handshake
                    raise
                logger.exception("the check of a TLS connection failed, which is refused")
                self._refuse(self._unavailable())
            finally:
                self._is_busy = False
        if self._refused is not None:
            raise tls_error(self._refused)

    def _check(self) -> None:
        if self._chain is None:
            self._admit(self._guard.policy)
            self._tls.do_handshake()
            self._chain = verified_chain(self._tls, is_verified=self._is_verified)
        self._allowed, may_reconsider = _NOT_ALLOWED, True
        for _ in range(MAX_POLICIES):
            if (policy := self._guard.policy) is self._allowed[0]:  # else a sink may have put another one in force
                self._is_open = True
                return
            may_reconsider &= self._judge(policy, self._chain, may_reconsider=may_reconsider)
        raise RuntimeError("the policy in force is another one at each look")

    def _admit(self, policy: PinPolicy) -> tuple[Admission, ...]:
        """Refuse what can be refused without a chain, and return what there is to judge by it."""
        if self._admitted[0] is not policy:
            host = self._tls.server_hostname
            if not host:
                reason = "the client gave no server_hostname; give it one, or the context an assumed_host"
                self._guard.enforce(self._unavailable(reason).verdict)
            ports = policy.ports_of(host) if self._port is None else (self._port,)
            admissions = (self._guard.admit("https", host, port, may_wait=self._may_wait) for port in ports)
            self._admitted = policy, tuple(admissions)
        return self._admitted[1]

    def _judge(self, policy: PinPolicy, chain: Chain, *, may_reconsider: bool) -> bool:
        """Refuse or report what the policy says of the chain.

        False: nothing was said, because a newer policy came before a refusal. With `may_reconsider` one is waited for.
        """
        begin, now, lasts = monotonic(), time(), self._store.settled_for()
        for admission in self._admit(policy):
            verdict = self._guard.judge(admission, chain, policy)
            if verdict.outcome is not Outcome.MATCH:
                is_doubtful = may_reconsider and self._guard.is_reconsidered(verdict, may_wait=self._may_wait)
                if is_doubtful and self._guard.policy is not policy:
                    return False
                key = verdict.port, verdict.outcome
                if not verdict.is_allowed or (verdict.is_violation and key not in self._reported):
                    self._reported.add(key)
                    self._guard.enforce(verdict, lambda: served_chain(self._tls))
            # Policies and chains are immutable: only time changes the verdict of one on the other.
            if verdict.pins is not None and verdict.pins.expires is not None:
                left = verdict.pins.expires.timestamp() - now
                lasts = min(lasts, left if 0 < left < SETTLED else SETTLED)
        self._allowed = policy, None if lasts == inf else begin + lasts
        return True

    def _may_wait(self) -> bool:
        """Whether this is a socket that blocks: what `wrap_bio()` makes belongs to a loop with other connections."""
        owner = self._tls.owner
        return isinstance(owner, _socket.socket) and owner.gettimeout() != 0

    def _refuse(self, report: ViolationReport) -> None:
        self._refused, self._is_open, self._allowed = report, False, _NOT_ALLOWED
        owner = self._tls.owner
        if isinstance(owner, _socket.socket):
            # Not `close()`: the descriptor is the client's. Not `SSLSocket.shutdown()`, which drops the TLS object.
            with contextlib.suppress(OSError):
                _socket.socket.shutdown(owner, _socket.SHUT_RDWR)

    def _unavailable(self, reason: str = "its check has failed, or is not complete") -> ViolationReport:
        host, chain = self._tls.server_hostname or "", Chain.missing(reason)
        verdict = Verdict(Outcome.CHAIN_UNAVAILABLE, REFUSED, host, self._port, None, None, chain)
        return ViolationReport(verdict, datetime.now(UTC))


# What moves no byte, read only. Properties, since `__getattr__` would make all other attributes slow.
for _name in (
    *("context", "session", "session_reused", "server_side", "server_hostname", "getpeercert", "get_verified_chain"),
    *("get_unverified_chain", "get_channel_binding", "selected_alpn_protocol", "cipher", "shared_ciphers", "version"),
    *("compression", "pending", "group", "client_sigalg", "server_sigalg"),
):
    setattr(CheckedTLS, _name, property(attrgetter(f"_tls.{_name}")))

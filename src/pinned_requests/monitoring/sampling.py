"""`Contact`: one connection to a host. `Sample`: what the policy says of it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.chain import RawChain
from pinned_requests.core.verdict import Outcome, Verdict, evaluate
from pinned_requests.monitoring.errors import InvalidCertificateError, ServerError
from pinned_requests.monitoring.fetch import NO_CHAIN, addresses, handshake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinned_requests.core.chain import Chain
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import Target

UNREACHABLE, INVALID_CERTIFICATE = "unreachable", "invalid-certificate"
NOT_PINNED = "not-pinned"

_EVER_BEFORE = datetime.min.replace(tzinfo=UTC)  # nothing has expired


class Sample(NamedTuple):
    """One connection.

    Attributes:
        address: the address that was connected to; None where the system or a proxy chose it.
        outcome: the value of an `Outcome`, or `UNREACHABLE`, `INVALID_CERTIFICATE` or `NOT_PINNED`. Pins that have
            expired and do not match either are a mismatch.
        chain: what was seen. Of an invalid certificate: what the server presents to those who do not verify it.
        verdict: of the policy, as if pins never expired; None where the chain may not be judged.
        reason: why no valid chain was had, escaped; else None.
    """

    address: str | None
    outcome: str
    chain: Chain
    verdict: Verdict | None = None
    reason: str | None = None

    @property
    def where(self) -> str:
        """The address, as the beginning of a sentence about this sample."""
        return "" if self.address is None else f"at {self.address}: "


class Contact(NamedTuple):
    """What one connection to a host gave. Nothing has been read in it yet.

    Attributes:
        address: the address that was connected to; None where the system or a proxy chose it.
        chain: what was seen.
        error: why that is not a valid chain, or None.
    """

    address: str | None
    chain: RawChain
    error: ServerError | None = None


def contacts(target: Target, route: Route, number: int, *, all_addresses: bool) -> Iterator[Contact]:
    """Make connections to a host, one after the other, and yield what each gave.

    Args:
        target: the host.
        route: how it is reached. Each address that it has for the host gets one connection at least.
        number: of connections; with more than one they go to its addresses in turns.
        all_addresses: whether each address of the host gets one connection at least.

    Raises:
        RouteError: the proxy or the CA bundle is wrong.
    """
    try:
        places = list(_places(target, route, number, all_addresses=all_addresses))
    except ServerError as error:  # the name has no addresses
        yield Contact(None, _nothing(error), error)
        return
    for place in places:
        yield _contact(target, route, place)


def _places(target: Target, route: Route, number: int, *, all_addresses: bool) -> Iterator[str | None]:
    """Return the addresses to connect to; None leaves the choice to the system or to the proxy."""
    is_given = target in route.connect_to
    if not is_given and ((number <= 1 and not all_addresses) or route.has_proxy(target)):
        return iter([None] * number)
    found = addresses(target, route)
    return islice(cycle(found), max(number, len(found) if all_addresses or is_given else 0))


def _contact(target: Target, route: Route, address: str | None) -> Contact:
    try:
        return Contact(address, handshake(target, route, address))
    except InvalidCertificateError as error:
        presented = _nothing(error)
        with suppress(ServerError):  # it was there a moment ago
            presented = handshake(target, route.without_verification(), address)
        return Contact(address, presented, error)
    except ServerError as error:
        return Contact(address, _nothing(error), error)


def _nothing(error: ServerError) -> RawChain:
    return RawChain((), unavailable=error.reason)


def sample(policy: PinPolicy, target: Target, contact: Contact, now: datetime) -> Sample:
    """Return what a policy says of a contact with a host at the time `now`, aware."""
    address, chain, error = contact.address, contact.chain.read(), contact.error
    if error is not None:
        outcome = INVALID_CERTIFICATE if isinstance(error, InvalidCertificateError) else UNREACHABLE
        return Sample(address, outcome, chain, reason=error.reason)
    if not chain.certificates:
        return Sample(address, UNREACHABLE, chain, reason=NO_CHAIN)
    verdict = evaluate(policy, target.host, chain, now, port=target.port)
    outcome = verdict.outcome
    if outcome is Outcome.EXPIRED:  # to renew the pins, their owner has to know whether they still match
        verdict = evaluate(policy, target.host, chain, _EVER_BEFORE, port=target.port)
        outcome = outcome if verdict.outcome is Outcome.MATCH else verdict.outcome
    return Sample(address, NOT_PINNED if verdict.pins is None else outcome.value, chain, verdict)

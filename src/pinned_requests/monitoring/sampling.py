"""`Sample`: one connection to a host, and what the policy says of it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import Outcome, Verdict, evaluate
from pinned_requests.monitoring.errors import InvalidCertificateError, ServerError
from pinned_requests.monitoring.fetch import addresses, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def samples(  # noqa: PLR0913  each is an input of the samples
    policy: PinPolicy, target: Target, route: Route, number: int, now: datetime, *, all_addresses: bool
) -> Iterator[Sample]:
    """Make connections to a host, one after the other, and yield what each found.

    Args:
        policy: the policy.
        target: the host.
        route: how it is reached. Each address that it has for the host gets one connection at least.
        number: of connections; with more than one they go to its addresses in turns.
        now: aware.
        all_addresses: whether each address of the host gets one connection at least.

    Raises:
        RouteError: the proxy or the CA bundle is wrong.
    """
    try:
        places = list(_places(target, route, number, all_addresses=all_addresses))
    except ServerError as error:  # the name has no addresses
        yield Sample(None, UNREACHABLE, Chain.missing(error.reason), reason=error.reason)
        return
    for place in places:
        yield sample(policy, target, route, place, now)


def _places(target: Target, route: Route, number: int, *, all_addresses: bool) -> Iterator[str | None]:
    """Return the addresses to connect to; None leaves the choice to the system or to the proxy."""
    is_given = target in route.connect_to
    if not is_given and ((number <= 1 and not all_addresses) or route.has_proxy(target)):
        return iter([None] * number)
    found = addresses(target, route)
    return islice(cycle(found), max(number, len(found) if all_addresses or is_given else 0))


def sample(policy: PinPolicy, target: Target, route: Route, address: str | None, now: datetime) -> Sample:
    """Make one connection, and return what it found.

    Raises:
        RouteError: as `samples()`.
    """
    try:
        chain = fetch(target, route, address)
    except InvalidCertificateError as error:
        presented = Chain.missing(error.reason)
        with suppress(ServerError):  # it was there a moment ago
            presented = fetch(target, route._replace(is_insecure=True), address)
        return Sample(address, INVALID_CERTIFICATE, presented, reason=error.reason)
    except ServerError as error:
        return Sample(address, UNREACHABLE, Chain.missing(error.reason), reason=error.reason)
    verdict = evaluate(policy, target.host, chain, now, port=target.port)
    outcome = verdict.outcome
    if outcome is Outcome.EXPIRED:  # to renew the pins, their owner has to know whether they still match
        verdict = evaluate(policy, target.host, chain, _EVER_BEFORE, port=target.port)
        outcome = outcome if verdict.outcome is Outcome.MATCH else verdict.outcome
    return Sample(address, NOT_PINNED if verdict.pins is None else outcome.value, chain, verdict)

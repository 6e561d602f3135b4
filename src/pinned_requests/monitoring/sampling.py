"""`Contact`: one connection to a host, made by `survey()` for many hosts. `Sample`: what the policy says of it."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.core.chain import RawChain
from pinned_requests.core.verdict import Outcome, Verdict, evaluate
from pinned_requests.monitoring.fetch import NO_CHAIN, addresses, handshake
from pinned_requests.monitoring.target import InvalidCertificateError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pinned_requests.core.chain import Chain
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import Target

UNREACHABLE, INVALID_CERTIFICATE = "unreachable", "invalid-certificate"
NOT_PINNED = "not-pinned"

_MAX_JOBS = 64  # threads: each holds a connection
_LOOK = 0.1  # seconds: on Windows an interrupt does not end a wait
_EVER_BEFORE = datetime.min.replace(tzinfo=UTC)  # nothing has expired


class Sample(NamedTuple):
    """What the policy says of one connection.

    The outcome is that of an `Outcome`, or `UNREACHABLE`, `INVALID_CERTIFICATE` or `NOT_PINNED`. Pins that have expired
    and do not match either are a mismatch.
    """

    address: str | None  # that was connected to; None where the system or a proxy chose it
    outcome: str
    chain: Chain  # of an invalid certificate: what the server presents to those who do not verify it
    verdict: Verdict | None = None  # as if pins never expired; None where the chain may not be judged
    reason: str | None = None  # why there is no valid chain, escaped

    @property
    def where(self) -> str:
        """The address, as the beginning of a sentence."""
        return "" if self.address is None else f"at {self.address}: "


class Contact(NamedTuple):
    """What one connection to a host gave. Nothing has been read in it yet."""

    address: str | None  # as of a `Sample`
    chain: RawChain
    error: ServerError | None = None  # why that is not a valid chain


class Asked(NamedTuple):
    """The contacts with a host so far, and whether these are all."""

    contacts: tuple[Contact, ...]
    is_complete: bool


def _contacts(target: Target, route: Route, number: int, *, all_addresses: bool) -> Iterator[Contact]:
    """Make connections to a host, one after the other."""
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


def survey(  # noqa: PLR0913  each an input of the contacts
    targets: Sequence[Target],
    route: Route,
    *,
    number: int,
    all_addresses: bool,
    jobs: int,
    on_progress: Callable[[int], object],
) -> list[Asked]:
    """Ask hosts, several at a time, and return what is known of each, in their order.

    After an interrupt (`KeyboardInterrupt`) of this thread some are not complete; connections that are under way then
    are left to end with the process.

    Args:
        targets: the hosts.
        route: how they are reached. Each address that it has for a host gets one connection at least.
        number: as `Options.samples`.
        all_addresses: as in `Options`.
        jobs: as in `Options`; more than 64 are taken as 64.
        on_progress: called in this thread, now and then, with the number of hosts that are done.

    Raises:
        RouteError: the proxy or the CA bundle is wrong.
    """
    found: list[list[Contact]] = [[] for _ in targets]
    is_complete = [False] * len(targets)
    errors: list[BaseException] = []
    is_over = threading.Event()
    waiting = queue.SimpleQueue[int]()
    for at in range(len(targets)):
        waiting.put(at)

    def work() -> None:
        try:
            while not is_over.is_set():
                at = waiting.get_nowait()
                # One after the other, as they come: an interrupt keeps those that are there.
                found[at].extend(_contacts(targets[at], route, number, all_addresses=all_addresses))
                is_complete[at] = True
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001  raised in the thread that waits
            errors.append(error)

    # Not an executor: the end of the process would wait for its threads, for as long as their time-outs are.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, _MAX_JOBS, len(targets)))]
    try:
        for thread in threads:
            thread.start()
        # Not woken for each host: threads that wake wait for others.
        while not errors and (alive := [thread for thread in threads if thread.is_alive()]):
            alive[0].join(_LOOK)
            on_progress(sum(is_complete))
    except KeyboardInterrupt:
        pass
    finally:
        is_over.set()
    if errors:
        raise errors[0]
    return [Asked(tuple(each), is_all) for each, is_all in zip(found, is_complete, strict=True)]


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

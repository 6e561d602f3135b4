"""Every server behind one name: which key each of them serves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from pinned_requests.monitoring.errors import ServerError
from pinned_requests.monitoring.fetch import addresses, fetch

if TYPE_CHECKING:
    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin
    from pinned_requests.monitoring.route import Route
    from pinned_requests.monitoring.target import Target

_JOBS = 8  # threads: each holds a connection


class Served(NamedTuple):
    """What one server behind the name presents."""

    place: str  # its address, or the host where the address is not known
    chain: tuple[SeenCertificate, ...]  # leaf first; unverified, the leaf alone; empty where there is none
    problem: str | None = None  # why there is none: half a sentence, escaped

    @property
    def key(self) -> Pin | None:
        """The pin of the key that it serves."""
        return self.chain[0].spki_pin if self.chain else None

    @property
    def pins(self) -> set[Pin]:
        """The pins of all certificates that it presents."""
        return {pin for seen in self.chain for pin in seen.pins}


def look_at_all(target: Target, route: Route) -> tuple[Served, ...]:
    """Return what is served at each address that the route has for a server, or else that its name resolves to now.

    Through a proxy it is one connection.

    Raises:
        RouteError: the proxy or the CA bundle is wrong.
    """
    places: list[str | None] = [None]
    if target in route.connect_to or not route.has_proxy(target):
        try:
            places = list(addresses(target, route))
        except ServerError as error:
            return (Served(str(target), (), error.reason),)
    with ThreadPoolExecutor(max_workers=_JOBS) as executor:
        return tuple(executor.map(lambda place: _look(target, route, place), places))


def _look(target: Target, route: Route, place: str | None) -> Served:
    name = place or str(target)
    try:
        chain = fetch(target, route, place)
    except ServerError as error:
        return Served(name, (), error.reason)
    return Served(name, chain.certificates if chain.is_verified else chain.certificates[:1])

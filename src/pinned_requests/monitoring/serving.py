"""May a key be served? It may when every policy that a client may still have accepts it.

A client takes a policy up to `max_client_age` late: it has one of the versions that were the newest within that time.
So a version that refuses the key stands in the way until `max_client_age` after it was replaced. Pure, apart from
`published_policy()`.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.chain import see_certificate
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import normalize_host

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence

    from pinned_requests.core.pin import FoundKey, Pin
    from pinned_requests.core.policy import PinPolicy

MAX_CLIENT_AGE = timedelta(days=90)  # from a policy's writing to the last client's taking it: release and update
_FOREVER = datetime.max.replace(tzinfo=UTC)


class Version(NamedTuple):
    """A policy, and since when it is the newest."""

    policy: PinPolicy
    since: datetime | None  # aware UTC; None: not known, and a client may have the version before it for ever
    name: str = ""  # where it is from, for people, such as the path of its file; escaped


class Refusal(NamedTuple):
    """A policy that a client may have, and that refuses the key."""

    name: str  # of the version, or "an earlier policy that is not known"
    why: str  # half a sentence
    until: datetime | None  # until when a client may have it; None: it is the newest, or the date is unknown


class Serving(NamedTuple):
    """Whether a key may be served on a host."""

    host: str  # in canonical form
    port: int
    pin: Pin  # of the key
    known_since: datetime | None  # all policies accept it since then; None: the newest does not, or it is unknown
    safe_from: datetime | None  # None: the newest policy refuses it, or an age is unknown
    refusals: tuple[Refusal, ...]  # the policies that a client may have now and that refuse it, oldest first

    @property
    def is_safe(self) -> bool:
        """Whether no client refuses it now."""
        return not self.refusals


def can_serve(  # noqa: PLR0913  the key, the place, and what is known of the clients
    chain: Sequence[Collection[Pin]],
    host: str,
    port: int,
    versions: Sequence[Version],
    *,
    now: datetime,
    max_client_age: timedelta = MAX_CLIENT_AGE,
    is_complete: bool,
) -> Serving:
    """Say whether a key may be served on a host, and from when.

    Args:
        chain: the pins of each certificate that will be served, leaf first; of a key or CSR its pin alone.
        host: in canonical form.
        port: the port.
        versions: the policies, oldest first.
        now: aware UTC.
        max_client_age: how long after a policy was replaced a client may still have it.
        is_complete: whether no policy was before the first. Otherwise an unknown one is taken to refuse the key.

    Raises:
        PolicyError: there is no version.

    Not checked: that each certificate has signed the one before it and is valid, and that clients have no other policy.
    """
    if not versions:
        raise PolicyError("no policy is given")
    pins = frozenset().union(*chain)
    key = next(iter(sorted(chain[0], key=lambda pin: pin.kind != "spki")))
    everyone = [] if is_complete else [Refusal("an earlier policy that is not known", "may not accept it", None)]
    ends = [] if is_complete else [versions[0].since]
    everyone += [Refusal(each.name, refusal_of(each.policy, host, port, pins) or "", None) for each in versions]
    ends += [each.since for each in versions[1:]]
    *earlier, newest = everyone
    refusing = [
        each._replace(until=end and _later(end, max_client_age))
        for each, end in zip(earlier, ends, strict=True)
        if each.why
    ]
    held = [each for each in refusing if each.until is None or each.until > now]
    if newest.why:
        return Serving(host, port, key, None, None, (*held, newest))
    since = versions[0].since
    for each, end in zip(earlier, ends, strict=True):
        since = end if each.why else since
    dates = [each.until for each in refusing]
    safe = None if None in dates else max([each for each in dates if each], default=since)
    return Serving(host, port, key, since, safe, tuple(held))


def refusal_of(policy: PinPolicy, host: str, port: int, pins: Collection[Pin]) -> str | None:
    """Return why a policy refuses a chain of these pins, as half a sentence; None where it accepts it.

    Report-only and expired sets must match, too: they may enforce again tomorrow.
    """
    if not policy.blocked.isdisjoint(pins):
        return "blocks it, for every host"
    entry = policy.find(host, port)
    if entry is None:
        return None if policy.unpinned_hosts == "allow" else "has no entry for the host"
    _pattern, own = entry
    if not own.blocked.isdisjoint(pins):
        return "blocks it"
    if not own.is_exempt and own.accepted.isdisjoint(pins):
        return "does not accept it"
    return None


def _later(moment: datetime, span: timedelta) -> datetime:
    try:
        return moment + span
    except OverflowError:
        return _FOREVER


class KeyFile(NamedTuple):
    """What would be served of a file."""

    pins: tuple[tuple[Pin, ...], ...]  # of each certificate, leaf first; of a CSR or key its pin alone
    hosts: tuple[str, ...]  # the names in the certificate or CSR, in canonical form, without patterns


def read_key_file(found: Sequence[FoundKey]) -> KeyFile:
    """Return what would be served of what a file holds, which is at least one certificate, CSR or key.

    A chain is the certificates from the first on, as far as each has signed the one before it. Without a certificate
    the first item counts. Dates and trust are not checked.
    """
    certificates = [each for each in found if each.kind == "certificate"]
    if not certificates:
        return KeyFile(((found[0].pin,),), _hosts(found[0]))
    chain = certificates[:1]
    for below, above in pairwise(certificates):
        if not _has_signed(above.der, below.der):
            break
        chain.append(above)
    seen = [see_certificate(each.der) for each in chain]
    return KeyFile(tuple((each.spki_pin, each.certificate_pin) for each in seen), _hosts(certificates[0]))


def _has_signed(above: bytes, below: bytes) -> bool:
    from cryptography import x509  # noqa: PLC0415  heavy

    try:
        issuer, certificate = x509.load_der_x509_certificate(above), x509.load_der_x509_certificate(below)
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001  it refuses certificates that OpenSSL takes; then no pin above the leaf counts
        return False
    return True


def _hosts(found: FoundKey) -> tuple[str, ...]:
    from cryptography import x509  # noqa: PLC0415  heavy

    names: list[Any] = []
    with suppress(Exception):  # as above; without a name the host has to be given
        load: Any = x509.load_der_x509_certificate if found.kind == "certificate" else x509.load_der_x509_csr
        extension = load(found.der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*extension.get_values_for_type(x509.DNSName), *extension.get_values_for_type(x509.IPAddress)]
    hosts = []
    for name in names:
        with suppress(PolicyError):  # a pattern, or a name that no client can ask for
            hosts.append(normalize_host(str(name)))
    return tuple(dict.fromkeys(hosts))


def published_policy(url: str, root: str | os.PathLike[str], target: str = "pins.json") -> PinPolicy:
    """Return the policy that a repository serves now, as its clients verify it.

    Whether older clients have taken it is not checked.

    Args:
        url: of the folder that holds `metadata/` and `targets/`.
        root: path of the root metadata that clients ship.
        target: the name of the policy in the repository.

    Raises:
        RemotePolicyError: the repository cannot be reached, or does not verify.
        PolicyError: the URL, the root or the name is wrong.
        OSError: `root` cannot be read.
        ImportError: the extra `remote` is not installed.
    """
    from pinned_requests.sources.tuf.client import SignedPolicy  # noqa: PLC0415  of the extra `remote`

    base = url.rstrip("/")
    with tempfile.TemporaryDirectory(prefix="pinned-requests-") as folder:
        signed = SignedPolicy(
            f"{base}/metadata/", f"{base}/targets/", root=root, target=target, cache_dir=folder, shipped=None
        )
        return signed.load()

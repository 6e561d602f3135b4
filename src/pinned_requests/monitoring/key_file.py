"""A certificate, CSR or key that is about to be served → its pins, and the hosts that it is for."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests.core.chain import see_certificate
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import normalize_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.core.pin import FoundKey, Pin


class KeyFile(NamedTuple):
    """What would be served."""

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

"""Which certificates may speak for a host: the chain that was verified, and nothing that was merely sent.

Every test runs over TLS 1.2 and TLS 1.3, whose handshakes differ in who knows first that they succeeded.
"""

from __future__ import annotations

import datetime as dt
import ssl
import sys
from typing import TYPE_CHECKING

import pytest
import requests

from pinned_requests import BlockedKeyError, Pin, PinMismatchError, PinningError
from pinned_requests.testing import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.x509 import Certificate

    from pinned_requests import PinnedSession
    from support.scene import Scene

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

MAX_LINES = 20  # of a sequence in an error, so that whoever is refused does not choose its length


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS1.2", "TLS1.3"])
def scene(request: pytest.FixtureRequest, scene: Scene) -> Scene:
    """Set the scene for one TLS version."""
    scene.tls = request.param
    return scene


def test_root_that_the_server_does_not_send(scene: Scene) -> None:
    """The root's pin is matched though no server sends its root."""
    assert scene.root.certificate not in scene.honest.served
    server = scene.serve(scene.honest)
    assert scene.pinned(Pin.from_certificate(scene.root.certificate)).get(server.url()).status_code == 200
    assert scene.toll(server).handshakes == 1


def test_leaf_of_another_trusted_root(scene: Scene) -> None:
    """A CA that the client trusts as well issues a certificate for the pinned host."""
    other = Authority.create("Another Trusted Root CA")
    session: PinnedSession = scene.pinned(Pin.from_certificate(scene.root.certificate))
    session.verify = scene.bundle_of(scene.root, other)
    mitm, server = scene.serve(other.issue("localhost")), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).status_code == 200


@pytest.mark.parametrize("pin_of", [Pin.from_certificate, Pin.fingerprint], ids=["key", "certificate"])
@pytest.mark.parametrize("depth", [0, 1], ids=["leaf", "intermediate"])
def test_trusted_certificate_of_another_key(scene: Scene, pin_of: Callable[[Certificate], Pin], depth: int) -> None:
    """The attacker has a certificate from another CA below the same root, which the pin is not of."""
    session: PinnedSession = scene.pinned(pin_of(scene.honest.chain[depth]))
    server, mitm = scene.serve(scene.honest), scene.serve(scene.attacker)
    assert session.get(server.url()).status_code == 200
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)


def test_renewed_certificate_with_the_same_key(scene: Scene) -> None:
    """A renewal keeps the key: its SPKI pin holds, the pin of the old certificate does not."""
    server = scene.serve(scene.honest)
    by_key: PinnedSession = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    by_certificate: PinnedSession = scene.pinned(Pin.fingerprint(scene.honest.certificate))
    assert by_key.get(server.url()).status_code == 200
    assert by_certificate.get(server.url()).status_code == 200

    renewed = scene.serve(scene.honest.renew())
    with pytest.raises(PinMismatchError):
        by_certificate.get(renewed.url())
    assert scene.toll(renewed) == (1, 1, 0)
    assert by_key.get(renewed.url()).status_code == 200


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "unverified"])
@pytest.mark.parametrize("pin_of", [Pin.from_certificate, Pin.fingerprint], ids=["key", "certificate"])
@pytest.mark.parametrize("depth", [0, 1], ids=["leaf", "intermediate"])
def test_pinned_certificate_appended_to_a_trusted_chain(
    scene: Scene, *, depth: int, pin_of: Callable[[Certificate], Pin], verified: bool
) -> None:
    """The attacker serves its own trusted chain, and behind it the pinned certificate, of which it has no key."""
    session: PinnedSession = scene.pinned(pin_of(scene.honest.chain[depth]))
    session.verify = session.verify if verified else False
    mitm = scene.serve(scene.attacker.with_served(*scene.attacker.served, scene.honest.chain[depth]))
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)

    server = scene.serve(scene.honest)
    if verified or depth == 0:  # without verification only the leaf counts
        assert session.get(server.url()).status_code == 200


def test_pinned_root_appended_to_a_trusted_chain(scene: Scene) -> None:
    """The attacker's chain leads to another trusted root; it sends the pinned root along."""
    other = Authority.create("Another Trusted Root CA")
    trusted = other.issue("localhost")
    session: PinnedSession = scene.pinned(Pin.from_certificate(scene.root.certificate))
    session.verify = scene.bundle_of(scene.root, other)
    mitm, server = scene.serve(trusted.with_served(*trusted.served, scene.root.certificate)), scene.serve(scene.honest)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)
    assert session.get(server.url()).status_code == 200


@pytest.mark.parametrize("level", ["intermediate", "root"])
def test_forged_leaf_that_names_the_pinned_authority(scene: Scene, level: str) -> None:
    """Without verification OpenSSL takes the genuine CA for the issuer of a leaf that an impostor of it signed."""
    genuine = getattr(scene, level)
    pin = Pin.from_certificate(genuine.certificate)
    session: PinnedSession = scene.pinned(pin)
    session.verify = False
    forged = Authority.forge(genuine).issue("localhost")
    mitm = scene.serve(forged.with_served(forged.certificate, *genuine.chain))

    with pytest.raises(PinMismatchError) as caught:
        session.get(mitm.url())
    assert pin in [seen.spki_pin for seen in caught.value.chain]  # so it would have matched
    assert scene.toll(mitm) == (1, 1, 0)

    by_leaf: PinnedSession = scene.pinned(Pin.from_certificate(forged.certificate))
    by_leaf.verify = False
    assert by_leaf.get(mitm.url()).status_code == 200  # whoever pins that very leaf means it


def test_pinned_authority_of_an_unverified_honest_server(scene: Scene) -> None:
    """The pin of a CA cannot hold where nothing is verified, not even for the honest server; the error says so."""
    server = scene.serve(scene.honest)
    session: PinnedSession = scene.pinned(Pin.from_certificate(scene.intermediate.certificate))
    with pytest.raises(PinMismatchError, match="which is not verified; pin the leaf"):
        session.get(server.url(), verify=False)
    assert scene.toll(server) == (1, 1, 0)
    assert session.get(server.url()).status_code == 200


@pytest.mark.parametrize("pin_of", [Pin.from_certificate, Pin.fingerprint], ids=["key", "certificate"])
def test_impostor_of_a_self_signed_server(scene: Scene, pin_of: Callable[[Certificate], Pin]) -> None:
    """A self-signed appliance is safe by the pin of its leaf; another one of the same name is refused."""
    appliance = Credential.self_signed("localhost")
    session: PinnedSession = scene.pinned(pin_of(appliance.certificate))
    session.verify = False
    server, mitm = scene.serve(appliance), scene.serve(Credential.self_signed("localhost"))
    assert session.get(server.url()).status_code == 200
    with pytest.raises(PinMismatchError):
        session.get(mitm.url())
    assert scene.toll(mitm) == (1, 1, 0)


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "unverified"])
@pytest.mark.parametrize("report_only", [False, True], ids=["enforced", "report-only"])
@pytest.mark.parametrize("depth", [0, 1, 2], ids=["leaf", "intermediate", "root"])
def test_blocked_key_in_the_chain(scene: Scene, *, depth: int, report_only: bool, verified: bool) -> None:
    """A compromised key is refused at any depth, though the leaf is pinned, and though violations are only reported."""
    blocked = Pin.from_certificate(scene.honest.chain[depth])
    session: PinnedSession = scene.pinned(
        Pin.from_certificate(scene.honest.certificate), blocked_pins=[blocked], report_only=report_only
    )
    session.verify = session.verify if verified else False
    # With the root, which an unverified chain does not hold else.
    served = scene.serve(scene.honest.with_served(*scene.honest.served, scene.root.certificate))
    with pytest.raises(BlockedKeyError):
        session.get(served.url())
    assert scene.toll(served) == (1, 1, 0)

    twin: PinnedSession = scene.pinned(Pin.from_certificate(scene.honest.certificate), report_only=report_only)
    assert twin.get(served.url()).status_code == 200


def test_blocked_certificate_beside_the_path(scene: Scene) -> None:
    """A certificate that is sent along, and leads nowhere, condemns nobody: it is not on the verified path."""
    server = scene.serve(scene.honest.with_served(*scene.honest.served, scene.attacker.certificate))
    blocked = Pin.from_certificate(scene.attacker.certificate)
    session: PinnedSession = scene.pinned(Pin.from_certificate(scene.honest.certificate), blocked_pins=[blocked])
    assert session.get(server.url()).status_code == 200


def test_server_certificate_used_as_issuer(scene: Scene) -> None:
    """The key of the pinned server's certificate, which is no CA's, signs a certificate for another key."""
    rogue = Authority.from_credential(scene.honest).issue("localhost")
    session: PinnedSession = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    mitm, server = scene.serve(rogue), scene.serve(scene.honest)
    with pytest.raises(requests.exceptions.SSLError) as caught:
        session.get(mitm.url())
    assert not isinstance(caught.value, PinningError)  # CA validation refused it, as in requests
    assert scene.toll(mitm) == (1, 0, 0)
    with pytest.raises(PinMismatchError):
        session.get(mitm.url(), verify=False)
    assert scene.toll(mitm) == (2, 1, 0)
    assert session.get(server.url()).status_code == 200


def test_expired_leaf_with_a_pinned_key(scene: Scene) -> None:
    """A pin does not replace validation: the expired certificate of a pinned key fails as it does in requests."""
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    expired = scene.intermediate.issue("localhost", key=scene.honest.key, not_after=yesterday)
    server = scene.serve(expired)
    session: PinnedSession = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    with pytest.raises(requests.exceptions.SSLError) as caught:
        session.get(server.url())
    with pytest.raises(requests.exceptions.SSLError) as plain:
        requests.get(server.url(), verify=scene.bundle, timeout=10)
    assert type(caught.value) is type(plain.value)
    assert scene.toll(server) == (2, 0, 0)
    server.credential = scene.honest
    assert session.get(server.url()).status_code == 200


def test_wrong_host_name_with_a_pinned_authority(scene: Scene) -> None:
    """The pinned CA's certificate for somebody else's host fails as it does in requests."""
    server = scene.serve(scene.intermediate.issue("somebody-else.example.com"))
    session: PinnedSession = scene.pinned(Pin.from_certificate(scene.intermediate.certificate))
    with pytest.raises(requests.exceptions.SSLError) as caught:
        session.get(server.url())
    with pytest.raises(requests.exceptions.SSLError) as plain:
        requests.get(server.url(), verify=scene.bundle, timeout=10)
    assert type(caught.value) is type(plain.value)
    assert scene.toll(server) == (2, 0, 0)
    server.credential = scene.honest
    assert session.get(server.url()).status_code == 200


@pytest.mark.parametrize("length", [20, 25])
def test_chain_of_many_certificates(scene: Scene, length: int) -> None:
    """A long chain is looked at whole, and does not flood the log: from 21 certificates on the error cuts it."""
    top = authority = Authority.create("Long Root CA")
    for number in range(length - 2):
        authority = authority.intermediate(f"CA {number}")
    credential = authority.issue("localhost")
    assert len(credential.chain) == length
    server = scene.serve(credential)
    bundle = scene.bundle_of(top)

    session: PinnedSession = scene.pinned(Pin.from_certificate(scene.honest.certificate))
    session.verify = bundle
    with pytest.raises(PinMismatchError) as caught:
        session.get(server.url())
    assert scene.toll(server) == (1, 1, 0)
    assert len(caught.value.chain) == length
    lines = str(caught.value).splitlines()
    listed = lines[lines.index("  Chain (verified):") + 1 : lines.index("  Pinned for localhost:")]
    assert len(listed) == MAX_LINES
    assert ("more" in listed[-1]) is (length > MAX_LINES)
    if length > MAX_LINES:
        assert str(length - MAX_LINES + 1) in listed[-1]

    twin: PinnedSession = scene.pinned(Pin.from_certificate(top.certificate))
    twin.verify = bundle
    assert twin.get(server.url()).status_code == 200


def test_cross_signed_root(scene: Scene) -> None:
    """A new root is certified by an old one: clients that trust either see one key, in two certificates."""
    old, new = Authority.create("Old Root CA"), Authority.create("New Root CA")
    issuer = new.intermediate("New Intermediate CA")
    leaf = issuer.issue("localhost")
    server = scene.serve(leaf.with_served(leaf.certificate, issuer.certificate, old.cross_sign(new)))
    by_key: PinnedSession = scene.pinned(Pin.from_certificate(new.certificate))
    by_certificate: PinnedSession = scene.pinned(Pin.fingerprint(new.certificate))

    by_key.verify = by_certificate.verify = scene.bundle_of(new)
    assert by_key.get(server.url()).status_code == 200
    assert by_certificate.get(server.url()).status_code == 200

    by_key.verify = by_certificate.verify = scene.bundle_of(old)
    assert by_key.get(server.url()).status_code == 200
    before = scene.toll(server)
    with pytest.raises(PinMismatchError):
        by_certificate.get(server.url())
    after = scene.toll(server)
    assert (after.handshakes - before.handshakes, after.application_bytes - before.application_bytes) == (1, 0)


def test_intermediate_in_the_bundle(scene: Scene) -> None:
    """From Python 3.13 on the chain ends at the first trusted certificate: a root above it cannot match."""
    server = scene.serve(scene.honest)
    by_root: PinnedSession = scene.pinned(Pin.from_certificate(scene.root.certificate))
    by_intermediate: PinnedSession = scene.pinned(Pin.from_certificate(scene.intermediate.certificate))
    by_root.verify = by_intermediate.verify = scene.bundle_of(scene.root, scene.intermediate)
    if sys.version_info >= (3, 13):
        with pytest.raises(PinMismatchError, match="ended at a trusted certificate that is not self-signed") as caught:
            by_root.get(server.url())
        assert [seen.subject for seen in caught.value.chain] == ["CN=localhost", "CN=Lab Intermediate CA"]
        assert scene.toll(server) == (1, 1, 0)
    else:
        assert by_root.get(server.url()).status_code == 200
    assert by_intermediate.get(server.url()).status_code == 200

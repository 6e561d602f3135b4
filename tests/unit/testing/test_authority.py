"""The lab's certificates are good, but for what a test asks to be wrong.

Handshakes are made in memory, by OpenSSL on both sides: no socket.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import sys
from typing import TYPE_CHECKING, Literal, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pinned_requests.testing import Authority, Credential, generate_key

if TYPE_CHECKING:
    from pathlib import Path

HOST = "api.example.com"
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)

# OpenSSL's x509_vfy.h, X509_V_ERR_…
CERT_NOT_YET_VALID = 9
CERT_HAS_EXPIRED = 10
SELF_SIGNED_LEAF = 18
UNABLE_TO_GET_ISSUER = 20
PATH_LENGTH_EXCEEDED = 25
HOSTNAME_MISMATCH = 62
INVALID_CA = 79


def strict(*roots: x509.Certificate) -> ssl.SSLContext:
    """A client's context that trusts these, and is as strict on every Python as it is by default on 3.13."""
    context = ssl.create_default_context(cadata=b"".join(der(root) for root in roots))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str = HOST) -> ssl.SSLObject:
    """Make a handshake in memory, and return the client's side of it."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname=host)
    pending = [client_side, server_side]
    while pending:
        side = pending.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pending.append(side)
    return client_side


def verify_code(credential: Credential, client: ssl.SSLContext, host: str = HOST) -> int:
    """The code of the error with which the client refuses the credential."""
    with pytest.raises(ssl.SSLCertVerificationError) as refusal:
        handshake(credential.server_context(), client, host)
    return refusal.value.verify_code


def chain_seen(client_side: ssl.SSLObject) -> list[bytes]:
    """The chain that OpenSSL built, as DER; under CERT_NONE it is not verified."""
    if sys.version_info >= (3, 13):
        return client_side.get_verified_chain()
    import _ssl  # noqa: PLC0415 - private: only where there is no public method

    return [link.public_bytes(_ssl.ENCODING_DER) for link in client_side._sslobj.get_verified_chain()]  # type: ignore[attr-defined,unused-ignore]  # private


def der(certificate: x509.Certificate) -> bytes:
    """The certificate as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="module")
def root() -> Authority:
    """A root."""
    return Authority.create()


@pytest.mark.parametrize("kind", ["ecdsa-p256", "rsa-2048", "ed25519"])
def test_a_strict_client_accepts_every_kind_of_key(kind: Literal["ecdsa-p256", "rsa-2048", "ed25519"]) -> None:
    """Root, two intermediates and leaf pass a strict client, which sees them all."""
    key = generate_key(kind)
    root = Authority.create(key=key)
    issuer = root.intermediate(key=generate_key(kind)).intermediate("Lab Issuing CA", key=generate_key(kind))
    credential = issuer.issue(HOST, key=generate_key(kind))

    client_side = handshake(credential.server_context(), strict(root.certificate))

    assert [der(link) for link in credential.chain] == chain_seen(client_side)
    assert (credential.certificate, *issuer.chain) == credential.chain
    assert root.certificate == credential.chain[-1]


def test_an_unknown_kind_of_key_is_refused() -> None:
    """The kinds are few."""
    with pytest.raises(ValueError, match="dsa-1024"):
        generate_key(cast("Literal['ed25519']", "dsa-1024"))


def test_the_default_client_trusts_the_root_alone(root: Authority) -> None:
    """`client_context` accepts what the root stands for, and no other root."""
    issuer = root.intermediate()
    assert handshake(issuer.issue(HOST).server_context(), issuer.client_context()).version()
    assert verify_code(Authority.create().issue(HOST), root.client_context()) == UNABLE_TO_GET_ISSUER


def test_the_root_is_not_served(root: Authority) -> None:
    """By default the server sends its certificate and the intermediates."""
    intermediate = root.intermediate()
    credential = intermediate.issue(HOST)
    assert (credential.certificate, intermediate.certificate) == credential.served
    assert list(credential.served) == x509.load_pem_x509_certificates(credential.served_pem)


def test_the_forms_of_a_certificate_and_its_key(root: Authority) -> None:
    """DER and PEM hold the certificate and the key."""
    assert root.certificate == x509.load_der_x509_certificate(root.certificate_der)
    assert root.certificate == x509.load_pem_x509_certificate(root.certificate_pem)
    key = serialization.load_pem_private_key(root.key_pem, None)
    assert root.certificate.public_key() == key.public_key()
    assert "key" not in repr(root).partition("Certificate")[0]


@pytest.mark.parametrize("host", ["api.example.com", "127.0.0.1", "::1"])
def test_names_and_addresses(root: Authority, host: str) -> None:
    """A certificate is for each of its hosts."""
    credential = root.issue("*.example.com", "127.0.0.1", ipaddress.ip_address("::1"))
    assert handshake(credential.server_context(), strict(root.certificate), host).version()


def test_another_host_is_refused(root: Authority) -> None:
    """A certificate is for no other host, whatever its common name says."""
    credential = root.issue("other.example.com", common_name=HOST)
    assert verify_code(credential, strict(root.certificate)) == HOSTNAME_MISMATCH


def test_the_subject(root: Authority) -> None:
    """It is the first host that fits, the common name, or what the caller says."""
    long_host = "a" * 60 + ".example.com"
    assert root.issue(HOST).certificate.subject.rfc4514_string() == f"CN={HOST}"
    assert root.issue(long_host).certificate.subject.rfc4514_string() == "CN=Lab Server"
    assert root.issue(HOST, common_name="Name").certificate.subject.rfc4514_string() == "CN=Name"
    nameless = root.issue(HOST, subject=x509.Name([]))
    assert nameless.certificate.subject.rfc4514_string() == ""
    assert handshake(nameless.server_context(), strict(root.certificate)).version()


def test_dates(root: Authority) -> None:
    """Expired and not yet valid certificates are refused for just that."""
    client = strict(root.certificate)
    assert verify_code(root.issue(HOST, not_after=NOW - 30 * DAY), client) == CERT_HAS_EXPIRED
    assert verify_code(root.issue(HOST, not_before=NOW + 300 * DAY), client) == CERT_NOT_YET_VALID
    with pytest.raises(ValueError, match="naive"):
        root.issue(HOST, not_after=NOW.replace(tzinfo=None))


def test_a_self_signed_server() -> None:
    """Nobody vouches for it but itself."""
    appliance = Credential.self_signed(HOST)
    assert (appliance.certificate,) == appliance.chain == appliance.served
    assert handshake(appliance.server_context(), strict(appliance.certificate)).version()
    assert verify_code(appliance, strict(Authority.create().certificate)) == SELF_SIGNED_LEAF


def test_a_path_that_is_too_long(root: Authority) -> None:
    """An authority below one with path length 0 is refused; its sibling above is not."""
    last = root.intermediate(path_length=0)
    assert handshake(last.issue(HOST).server_context(), strict(root.certificate)).version()
    assert verify_code(last.intermediate("Too Deep").issue(HOST), strict(root.certificate)) == PATH_LENGTH_EXCEEDED


def test_a_leaf_that_signs(root: Authority) -> None:
    """What a server's certificate signs is refused, unless that certificate is an authority's."""
    client = strict(root.certificate)
    assert verify_code(Authority.from_credential(root.issue("evil.example")).issue(HOST), client) == INVALID_CA
    entitled = Authority.from_credential(root.issue("good.example", ca=True))
    assert handshake(entitled.issue(HOST).server_context(), client).version()


def test_a_forged_authority_is_refused_where_signatures_are_checked(root: Authority) -> None:
    """It has the name, not the key."""
    forged = Authority.forge(root)
    attacker = forged.issue(HOST)
    attacker = attacker.with_served(attacker.certificate, root.certificate)
    assert root.certificate.subject == forged.certificate.subject
    assert root.certificate.public_key() != forged.certificate.public_key()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(attacker.server_context(), strict(root.certificate))


@pytest.mark.parametrize("genuine", [Authority.create(), Authority.create().intermediate()], ids=["root", "issuer"])
def test_a_forged_authority_links_to_the_genuine_where_they_are_not(genuine: Authority) -> None:
    """Under CERT_NONE OpenSSL's chain holds the genuine authority above a leaf that it never signed."""
    attacker = Authority.forge(genuine).issue(HOST)
    attacker = attacker.with_served(attacker.certificate, *genuine.chain)
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    seen = chain_seen(handshake(attacker.server_context(), client))
    assert [attacker.certificate_der, genuine.certificate_der] == seen[:2]


def test_a_cross_signed_root(root: Authority) -> None:
    """A client that only knows the other root accepts the path over the cross certificate, with the same key."""
    new_root = Authority.create("New Root CA")
    cross = root.cross_sign(new_root)
    credential = new_root.issue(HOST)

    assert new_root.certificate.public_key() == cross.public_key()
    assert verify_code(credential, strict(root.certificate)) == UNABLE_TO_GET_ISSUER
    crossed = credential.with_served(*credential.served, cross)
    client_side = handshake(crossed.server_context(), strict(root.certificate))
    assert [credential.certificate_der, der(cross), root.certificate_der] == chain_seen(client_side)


def test_a_stuffed_chain_is_sent_but_not_verified(root: Authority) -> None:
    """The server sends what it is told to; the verified chain holds none of it."""
    victim = Authority.create("Victim CA").issue(HOST)
    attacker = root.issue(HOST)
    stuffed = attacker.with_served(attacker.certificate, *victim.chain)
    client_side = handshake(stuffed.server_context(), strict(root.certificate))
    assert (attacker.certificate, *victim.chain) == stuffed.served
    assert [attacker.certificate_der, root.certificate_der] == chain_seen(client_side)


def test_a_server_sends_its_own_certificate_first(root: Authority) -> None:
    """A first certificate of another key, or none, is refused at once."""
    credential = root.issue(HOST)
    for certificates in ((), (root.certificate, credential.certificate)):
        with pytest.raises(ValueError, match="its own key"):
            credential.with_served(*certificates)


@pytest.mark.parametrize("self_signed", [False, True])
def test_a_renewal_keeps_the_key(root: Authority, self_signed: bool) -> None:  # noqa: FBT001 - pytest's way
    """Another certificate: same key, subject and names; served in the old one's place."""
    old = Credential.self_signed(HOST) if self_signed else root.intermediate().issue(HOST)
    old = old.with_served(*old.served, root.certificate)
    new = old.renew(not_after=NOW + 5 * DAY)
    assert old.certificate_der != new.certificate_der
    assert old.certificate.public_key() == new.certificate.public_key()
    assert old.certificate.subject == new.certificate.subject
    assert (new.certificate, *old.served[1:]) == new.served
    assert (new.certificate, *old.chain[1:]) == new.chain
    assert handshake(new.server_context(), strict(new.chain[-1])).version()


def test_the_key_does_not_stay_on_disk(root: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that OpenSSL reads is gone afterwards, also when OpenSSL refuses it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root.issue(HOST).server_context()
    mismatch = Credential(generate_key(), root.chain, root.chain, root)
    with pytest.raises(ssl.SSLError):
        mismatch.server_context()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions(root: Authority, version: ssl.TLSVersion) -> None:
    """The server speaks the version that it is told to."""
    server = root.issue(HOST).server_context(minimum_version=version, maximum_version=version)
    assert handshake(server, strict(root.certificate)).version() == version.name.replace("_", ".")

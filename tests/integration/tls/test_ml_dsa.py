"""ML-DSA certificates (FIPS 204, RFC 9881) over real TLS: the same pins, the same refusals.

`openssl` makes the keys and certificates, because the oldest `cryptography` that is supported knows no ML-DSA. Both it
and the OpenSSL below `ssl` must be 3.5 or later.
"""

from __future__ import annotations

import base64
import re
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest
import requests

from pinned_requests import Pin, PinMismatchError, PinnedSession

if TYPE_CHECKING:
    from pathlib import Path

    from support.lab import Lab

SINCE = (3, 5)  # OpenSSL's version with ML-DSA
ALGORITHMS = ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"]
CREDENTIALS = ("user", "password")

CONFIGURATION = """
[req]
distinguished_name = name
prompt = no
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectAltName = DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def openssl(*arguments: str | Path, given: bytes = b"") -> bytes:
    """Run openssl and return what it prints."""
    return subprocess.run(["openssl", *map(str, arguments)], input=given, capture_output=True, check=True).stdout


def missing() -> str | None:
    """Why there can be no ML-DSA on this machine, or None."""
    if ssl.OPENSSL_VERSION_INFO < SINCE:
        return f"Python's ssl uses {ssl.OPENSSL_VERSION}; ML-DSA takes OpenSSL >= 3.5"
    if shutil.which("openssl") is None:
        return "there is no openssl on PATH"
    version = openssl("version").decode()
    found = re.match(r"OpenSSL (\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < SINCE:
        return f"the openssl on PATH is {version.strip()}; ML-DSA takes OpenSSL >= 3.5"
    return None


REASON = missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


class Party(NamedTuple):
    """The files of a key and its certificate, in PEM."""

    key: Path
    certificate: Path

    @property
    def pin(self) -> Pin:
        """The pin that the documented pipeline of openssl commands prints."""
        public_key = openssl("x509", "-in", self.certificate, "-pubkey", "-noout")
        der = openssl("pkey", "-pubin", "-outform", "der", given=public_key)
        digest = openssl("dgst", "-sha256", "-binary", given=der)
        return Pin.parse(openssl("enc", "-base64", given=digest).decode().strip())

    def context(self) -> ssl.SSLContext:
        """Return a server's context that presents it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.num_tickets = 0  # as the servers of the other tests: an unread ticket makes the client's close a reset
        return context


class World(NamedTuple):
    """A root that the client trusts, the honest server, and one with a key of its own from the same root."""

    algorithm: str
    root: Party
    honest: Party
    attacker: Party

    def pinning(self, pin: Pin, backup: Pin, *, verify: bool = True) -> PinnedSession:
        """Return a session that trusts the root."""
        session = PinnedSession({"localhost": [pin, backup]})
        session.verify = str(self.root.certificate) if verify else False
        session.auth = CREDENTIALS
        return session


@pytest.fixture(scope="module", params=ALGORITHMS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """All keys are of one algorithm, the root's included."""
    algorithm: str = request.param
    folder = tmp_path_factory.mktemp(algorithm)
    configuration = folder / "openssl.cnf"
    configuration.write_text(CONFIGURATION)

    def make(name: str, subject: str, extensions: str, *issuer: str | Path) -> Party:
        party = Party(folder / f"{name}.key", folder / f"{name}.pem")
        openssl("genpkey", "-algorithm", algorithm, "-out", party.key)
        options = ("-config", configuration, "-extensions", extensions, "-subj", subject, "-days", "1")
        openssl("req", "-x509", "-new", "-key", party.key, "-out", party.certificate, *options, *issuer)
        return party

    root = make("root", "/CN=Lab ML-DSA Root", "root")
    issuer = ("-CA", root.certificate, "-CAkey", root.key)
    honest, attacker = (make(name, "/CN=localhost", "leaf", *issuer) for name in ("honest", "attacker"))
    return World(algorithm, root, honest, attacker)


def test_the_certificates_are_of_that_algorithm(world: World) -> None:
    """Or the tests below would say nothing about ML-DSA: key and signature are."""
    for party in (world.root, world.honest, world.attacker):
        text = openssl("x509", "-in", party.certificate, "-noout", "-text").decode()
        for field in ("Public Key Algorithm", "Signature Algorithm"):
            assert f"{field}: {world.algorithm}" in text


def test_a_pin_is_what_openssl_computes(world: World) -> None:
    """From the certificate, a CSR and the public key, in PEM and DER."""
    for party in (world.root, world.honest):
        pem = party.certificate.read_bytes()
        csr = openssl("req", "-new", "-key", party.key, "-subj", "/CN=localhost")
        public_key = openssl("pkey", "-in", party.key, "-pubout")
        assert {party.pin} == {
            Pin.from_certificate(pem),
            Pin.from_certificate(ssl.PEM_cert_to_DER_cert(pem.decode())),
            Pin.from_csr(csr),
            Pin.from_public_key(public_key),
            Pin.from_public_key(base64.b64decode(b"".join(public_key.splitlines()[1:-1]))),
            Pin.from_file(party.certificate),
        }


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize(("pinned", "verify"), [("honest", True), ("root", True), ("honest", False)])
def test_a_match(lab: Lab, world: World, pinned: str, *, verify: bool) -> None:
    """The leaf and the root can be pinned; without verification, the leaf."""
    server = lab.serve(None, context=world.honest.context())
    party: Party = getattr(world, pinned)
    with world.pinning(party.pin, lab.backup, verify=verify) as session:
        assert session.get(server.url()).text == "ok"
    assert server.handshakes == 1


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("verify", [True, False])
def test_a_mismatch(lab: Lab, world: World, *, verify: bool) -> None:
    """A server with a certificate of the same root and another key gets the handshake, and 0 bytes after it."""
    server = lab.serve(None, context=world.attacker.context())
    answer = requests.get(server.url(), verify=str(world.root.certificate), auth=CREDENTIALS, timeout=30)
    assert answer.text == "ok"  # the certificate is good: it is the pin that refuses it
    server.settle()
    before = server.application_bytes
    assert before > 0
    with (
        world.pinning(world.honest.pin, lab.backup, verify=verify) as session,
        pytest.raises(PinMismatchError) as refusal,
    ):
        session.post(server.url(), data=b"secret")
    server.settle()
    assert (server.handshakes, server.application_bytes - before) == (2, 0)
    assert refusal.value.chain[0].spki_pin == world.attacker.pin

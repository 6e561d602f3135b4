"""A pin is what the documented openssl pipeline gives, for every kind of key that openssl makes.

``openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl enc -base64``
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import certifi
import cryptography
import pytest

from pinned_requests import Pin, PinFormatError

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl on PATH")

RSA = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
PSS = ["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"]
EC = ["genpkey", "-algorithm", "EC", "-pkeyopt"]
LIMITED = ["-pkeyopt", "rsa_pss_keygen_md:sha256", "-pkeyopt", "rsa_pss_keygen_mgf1_md:sha256"]
EXPLICIT = [*EC, "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"]

# The command that makes the key, and those that each make another form of the last.
KINDS: dict[str, list[list[str]]] = {
    "rsa": [RSA],
    "rsa, traditional": [RSA, ["rsa", "-traditional"]],
    "rsa-pss": [PSS],
    "rsa-pss with parameters": [[*PSS, *LIMITED, "-pkeyopt", "rsa_pss_keygen_saltlen:32"]],
    "ec p-256": [[*EC, "ec_paramgen_curve:P-256"]],
    "ec p-521": [[*EC, "ec_paramgen_curve:P-521"]],
    "ec secp256k1": [[*EC, "ec_paramgen_curve:secp256k1"]],
    "ec brainpool": [[*EC, "ec_paramgen_curve:brainpoolP256r1"]],
    "ec sect233k1": [[*EC, "ec_paramgen_curve:sect233k1"]],
    "ec, traditional": [[*EC, "ec_paramgen_curve:P-256"], ["ec"]],
    "ec, no public half": [[*EC, "ec_paramgen_curve:P-256"], ["ec", "-no_public"]],
    "ec compressed, traditional": [[*EC, "ec_paramgen_curve:P-256"], ["ec", "-conv_form", "compressed"]],
    "ec compressed": [
        [*EC, "ec_paramgen_curve:P-384"],
        ["ec", "-conv_form", "compressed"],
        ["pkcs8", "-topk8", "-nocrypt"],
    ],
    "ec hybrid": [[*EC, "ec_paramgen_curve:P-256"], ["ec", "-conv_form", "hybrid"]],
    "ec explicit": [EXPLICIT],
    "ec explicit, traditional": [EXPLICIT, ["ec"]],
    "ec explicit, no public half": [EXPLICIT, ["ec", "-no_public"]],
    "ec explicit, compressed": [EXPLICIT, ["ec", "-conv_form", "compressed"]],
    "ed25519": [["genpkey", "-algorithm", "ED25519"]],
    "ed448": [["genpkey", "-algorithm", "ED448"]],
    "dsa": [["dsaparam", "-genkey", "-noout", "2048"]],
    "dsa, pkcs #8": [["dsaparam", "-genkey", "-noout", "2048"], ["pkcs8", "-topk8", "-nocrypt"]],
}

# The private key cannot be read by `cryptography`, or only openssl knows how it would write the public half.
REFUSED = {"ec explicit, no public half", "ec explicit, compressed"}
# Version 47 dropped the binary curves and began to read explicit parameters.
REFUSED |= (
    {"ec sect233k1"}
    if int(cryptography.__version__.partition(".")[0]) >= 47
    else {"ec explicit", "ec explicit, traditional"}
)


class Made(NamedTuple):
    """The files of one key, in PEM, and the pin that openssl computes of its certificate."""

    key: Path
    public_key: Path
    csr: Path
    certificate: Path
    pin: Pin


def openssl(*arguments: str | Path, given: bytes = b"") -> bytes:
    """Run openssl and return what it prints."""
    return subprocess.run(["openssl", *map(str, arguments)], input=given, capture_output=True, check=True).stdout


def pipeline(public_key: bytes) -> Pin:
    """The pipeline, from the public key in PEM on."""
    digest = openssl("dgst", "-sha256", "-binary", given=openssl("pkey", "-pubin", "-outform", "der", given=public_key))
    return Pin.parse(openssl("enc", "-base64", given=digest).decode().rstrip("\n"))


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Made]:
    """A key of each kind, its certificate and its CSR."""
    folder = tmp_path_factory.mktemp("openssl")
    first, *others = KINDS[request.param]
    pem = openssl(*first)
    for other in others:
        pem = openssl(*other, given=pem)
    key = folder / "key.pem"
    key.write_bytes(pem)
    subject = ["-subj", "/CN=api.example.com"]
    files = {
        "public_key": openssl("pkey", "-in", key, "-pubout"),
        "csr": openssl("req", "-new", "-key", key, *subject),
        "certificate": openssl("req", "-x509", "-new", "-key", key, "-days", "1", *subject),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    pin = pipeline(openssl("x509", "-in", folder / "certificate", "-pubkey", "-noout"))
    return request.param, Made(key, folder / "public_key", folder / "csr", folder / "certificate", pin)


def as_der(path: Path) -> bytes:
    """The last block of a PEM file, decoded; in no other way changed."""
    body = path.read_text().rstrip().rpartition("\n-----END")[0].rpartition("-----\n")[2]
    return base64.b64decode(body)


def test_certificate_csr_and_public_key(made: tuple[str, Made]) -> None:
    """All of them, in PEM, in DER and by `from_file`, give the pin of the pipeline."""
    _, files = made
    for path, maker in (
        (files.certificate, Pin.from_certificate),
        (files.csr, Pin.from_csr),
        (files.public_key, Pin.from_public_key),
    ):
        der = path.with_suffix(".der")
        der.write_bytes(as_der(path))
        assert [files.pin] * 4 == [
            maker(path.read_bytes()),
            maker(der.read_bytes()),
            Pin.from_file(path),
            Pin.from_file(der),
        ]


def test_private_key(made: tuple[str, Made]) -> None:
    """It gives the pin that its certificate will have, or is refused; never another."""
    kind, files = made
    der = files.key.with_suffix(".der")
    der.write_bytes(as_der(files.key))
    for read in (
        lambda: Pin.from_private_key(files.key.read_bytes()),
        lambda: Pin.from_private_key(der.read_bytes()),
        lambda: Pin.from_file(files.key),
        lambda: Pin.from_file(der),
    ):
        if kind in REFUSED:
            with pytest.raises(PinFormatError):
                read()
        else:
            assert files.pin == read()


def test_the_whole_certificate(made: tuple[str, Made]) -> None:
    """The fingerprint that openssl prints parses to the pin of the certificate."""
    _, files = made
    printed = openssl("x509", "-in", files.certificate, "-noout", "-fingerprint", "-sha256").decode().strip()
    assert Pin.parse(printed) == Pin.fingerprint(files.certificate.read_bytes())


@pytest.mark.slow
def test_the_bundle_of_certifi() -> None:
    """Every certificate of it, one openssl for all: the keys in the order in which they stand."""
    bundle = Path(certifi.where()).read_bytes()
    pems = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", bundle, re.DOTALL)
    assert len(pems) > 50
    for pem in pems:
        # Without the second step of the pipeline, which costs a process more: PEM holds the same DER.
        public_key = openssl("x509", "-pubkey", "-noout", given=pem).decode()
        der = base64.b64decode("".join(public_key.splitlines()[1:-1]))
        assert Pin("spki", hashlib.sha256(der).digest()) == Pin.from_certificate(pem)

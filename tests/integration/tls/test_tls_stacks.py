"""Other TLS libraries below urllib3, and the caller's own contexts: pinned correctly, or refused; never unpinned.

Injections change urllib3 or `ssl` for the whole process, so each has a process of its own: this file, run as a program,
is the client there. The servers stay here and count.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pinned_requests import Pin, PinMismatchError, PinnedPoolManager, PinnedSession
from pinned_requests.testing import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pinned_requests.testing import TLSServer
    from support.lab import Lab

WAIT = 30.0  # seconds
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

PYOPENSSL = "import urllib3.contrib.pyopenssl as stack; stack.inject_into_urllib3()"
TRUSTSTORE = "import truststore; truststore.inject_into_ssl()"
HTTP2 = "import urllib3.http2; urllib3.http2.inject_into_urllib3()"


class Case(NamedTuple):
    """One request of the client in the other process, and what should come of it."""

    url: str
    pins: tuple[str, ...]
    expected: str  # the text of the answer, or the name of the exception
    verify: str | bool
    context: bool = False  # whether to give the session an ssl_context


def outcome_of(case: Case) -> str:
    """Make the request of a case, on a session of its own; return the answer or the name of the exception."""
    context = ssl.create_default_context(cafile=str(case.verify)) if case.context else None
    with PinnedSession({"localhost": case.pins}, ssl_context=context) as session:
        session.trust_env = False
        try:
            verify = True if case.context else case.verify
            answer = session.get(case.url, verify=verify, timeout=WAIT, auth=("user", "password"), stream=True)
            return str(answer.raw.data.decode())  # requests cannot read urllib3's answers of HTTP/2 by itself
        except requests.exceptions.RequestException as e:
            return type(e).__name__


def client() -> None:
    """Read cases from standard input, and write the outcome of each."""
    warnings.simplefilter("ignore")  # urllib3's of unverified requests
    print(json.dumps([outcome_of(Case(*case)) for case in json.load(sys.stdin)]))  # noqa: T201  to the parent


if __name__ == "__main__":
    client()
    sys.exit()


def run(program: str, cases: Sequence[Case]) -> list[str]:
    """Run a few lines and then the client, in a process of its own; return the outcomes."""
    bundle = next(case.verify for case in cases if case.verify)
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import runpy; runpy.run_path({__file__!r}, run_name='__main__')"],
        env={**os.environ, "SSL_CERT_FILE": str(bundle)},  # what truststore loads for every connection
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT,
    )
    assert done.returncode == 0, done.stderr
    outcomes: list[str] = json.loads(done.stdout)
    return outcomes


def in_order(injection: str, order: str) -> str:
    """Return the lines that inject before, or after, pinned_requests is imported."""
    return injection if order == "before" else f"import pinned_requests; {injection}"


@pytest.fixture(params=["before", "after"])
def order(request: pytest.FixtureRequest) -> str:
    """Whether the stack is injected before or after pinned_requests is imported."""
    return str(request.param)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    """The only version that the servers speak."""
    return ssl.TLSVersion(request.param)


class Street:
    """An honest server and all who would be taken for it, and what is asked of them."""

    def __init__(self, lab: Lab, version: ssl.TLSVersion, alpn: str = "http/1.1") -> None:
        self._lab, self._version, self._alpn = lab, version, alpn
        leaf, intermediate, root = (Pin.from_certificate(each) for each in lab.honest.chain)
        self.pins = {"leaf": leaf, "intermediate": intermediate, "root": root}
        self.honest = self.serve(lab.honest)
        self.mitm = self.serve(lab.attacker)
        self.impostors = [self.mitm]

    def serve(self, credential: Credential) -> TLSServer:
        """Start a server of this version."""
        context = credential.server_context(minimum_version=self._version, maximum_version=self._version)
        context.set_alpn_protocols([self._alpn])
        return self._lab.serve(credential, context=context)

    def impostor(self, credential: Credential) -> str:
        """Start a server that must not get a byte, and return its URL."""
        self.impostors.append(self.serve(credential))
        return str(self.impostors[-1].url())

    def case(self, url: str, pin: str | Pin, expected: str, *, verify: bool = True, **fields: Any) -> Case:
        """Return a case with one of the pins and a backup pin; verified, unless told otherwise."""
        pins = (str(self.pins[pin] if isinstance(pin, str) else pin), str(self._lab.backup))
        return Case(url, pins, expected, self._lab.bundle if verify else False, **fields)

    def cases(self) -> list[Case]:
        """Return what should hold on every stack."""
        lab = self._lab
        honest, mitm = self.honest.url(), self.mitm.url()
        intermediate, root = lab.honest.chain[1:]
        stuffed = self.impostor(lab.attacker.with_served(*lab.attacker.served, intermediate, root))
        assert lab.honest.issuer is not None
        forger = Authority.forge(lab.honest.issuer).issue("localhost")
        forged = self.impostor(forger.with_served(forger.certificate, intermediate, root))
        stranger = self.impostor(Credential.self_signed("localhost"))
        misnamed = self.impostor(lab.honest.issuer.issue("other.example.com"))
        appliance = Credential.self_signed("localhost")
        unverified = [
            *(self.case(honest, pin, "ok" if pin == "leaf" else "PinMismatchError", verify=False) for pin in self.pins),
            self.case(self.serve(appliance).url(), Pin.from_certificate(appliance.certificate), "ok", verify=False),
            *(
                self.case(url, pin, "PinMismatchError", verify=False)
                for url in (stuffed, forged, stranger, mitm)
                for pin in ("leaf", "intermediate")
            ),
        ]
        return [
            *(self.case(honest, pin, "ok") for pin in self.pins),
            *(self.case(mitm, pin, "PinMismatchError") for pin in ("leaf", "intermediate")),
            *(self.case(stuffed, pin, "PinMismatchError") for pin in ("leaf", "intermediate")),
            self.case(stranger, "leaf", "SSLError"),
            self.case(forged, "intermediate", "SSLError"),
            self.case(misnamed, "intermediate", "SSLError"),
            *unverified,
            *(self.case(honest, pin, "ok", context=True) for pin in self.pins),
            self.case(mitm, "leaf", "PinMismatchError", context=True),
        ]

    def assert_nothing_leaked(self) -> None:
        """Assert that nobody who was refused got a byte after the handshake."""
        for impostor in self.impostors:
            impostor.settle()
            assert impostor.connections > 0
            assert (impostor.application_bytes, impostor.open_connections) == (0, 0)


@pytest.mark.parametrize("injection", [PYOPENSSL, TRUSTSTORE, "pass"], ids=["pyopenssl", "truststore", "ssl"])
def test_an_injected_stack(lab: Lab, injection: str, order: str) -> None:
    """Each depth can be pinned where the chain is verified, and the leaf alone where it is not; in either version."""
    streets = [Street(lab, version) for version in VERSIONS]
    cases = [case for street in streets for case in street.cases()]
    outcomes = run(in_order(injection, order), cases)
    assert [(case, outcome) for case, outcome in zip(cases, outcomes, strict=True) if outcome != case.expected] == []
    for street in streets:
        street.assert_nothing_leaked()
        street.honest.settle()
        answered = [case for case in cases if case.expected == "ok" and case.url == street.honest.url()]
        assert len(street.honest.requests) == len(answered) > 0


# What truststore does on macOS and Windows, where the system verifies and not OpenSSL, in its own words; here the
# system's part is played by a look at who signed the leaf.
TRUSTSTORE_OF_ANOTHER_SYSTEM = """
import contextlib, ssl, sys
import truststore, truststore._api as api
from cryptography import x509

@contextlib.contextmanager
def configure(context):
    hostname, mode = context.check_hostname, context.verify_mode
    context.check_hostname = False
    api._original_super_SSLContext.verify_mode.__set__(context, ssl.CERT_NONE)
    try:
        yield
    finally:
        api._original_super_SSLContext.verify_mode.__set__(context, mode)
        context.check_hostname = hostname

def verify(sock, server_hostname):
    leaf = x509.load_der_x509_certificate(sock.getpeercert(True))
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(open({issuer!r}, "rb").read()))

api._configure_context, api._verify_peercerts = configure, verify
truststore.inject_into_ssl()
"""


def test_truststore_where_the_system_verifies(lab: Lab, tmp_path: Path) -> None:
    """There OpenSSL's chain is linked by names alone, and the system's never seen: no pin but the leaf's counts.

    The man in the middle has a certificate of a CA that the system trusts. With it he sends one that he made himself,
    of that CA's name, which says that the pinned CA issued it, and the pinned CA's own.
    """
    careless = lab.attacker.issuer
    pinned = lab.honest.issuer
    assert careless is not None
    assert pinned is not None
    bridge = _impostor_below(careless, pinned)
    mitm = lab.serve(lab.attacker.with_served(lab.attacker.certificate, bridge, *pinned.chain))
    server = lab.serve(lab.honest)
    results = {}
    for name, signer, url in (("mitm", careless, mitm.url()), ("server", pinned, server.url())):
        issuer = tmp_path / f"{name}.pem"
        issuer.write_bytes(signer.certificate_pem)
        pins = [Pin.from_certificate(lab.honest.chain[depth]) for depth in (0, 1)]
        cases = [Case(url, (str(pin), str(lab.backup)), "", verify=lab.bundle) for pin in pins]
        results[name] = run(f"exec({TRUSTSTORE_OF_ANOTHER_SYSTEM.format(issuer=str(issuer))!r})", cases)
    mitm.settle()
    assert mitm.application_bytes == 0
    assert results == {"mitm": ["PinMismatchError"] * 2, "server": ["ok", "PinMismatchError"]}


def _impostor_below(like: Authority, above: Authority) -> x509.Certificate:
    """Return a certificate with the name and identifier of `like` and another key, said to be issued by `above`."""
    forger = Authority.forge(like)
    old = forger.certificate
    identifier = above.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder(extensions=list(old.extensions))
        .subject_name(old.subject)
        .issuer_name(above.certificate.subject)
        .public_key(forger.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(forger.key, hashes.SHA256())


SERVER = """
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate server.chain.pem;
    ssl_certificate_key server.key.pem;
    ssl_protocols {protocols};
    location / {{ return 200 "$server_protocol"; }}
  }}
"""


@pytest.fixture
def nginx(lab: Lab, version: ssl.TLSVersion, tmp_path: Path) -> Iterator[str]:
    """Start a real nginx that speaks HTTP/2, with the honest certificate; its URL."""
    from support.nginx import Nginx, write_certificate  # noqa: PLC0415  this file, run as a program, cannot import it

    write_certificate(tmp_path, lab.honest)
    protocols = version.name.replace("_", ".")
    with Nginx(tmp_path, lambda port: SERVER.format(port=port, protocols=protocols)) as nginx:
        yield nginx.url


@pytest.mark.parametrize(("order", "version"), [("before", VERSIONS[0]), ("after", VERSIONS[1])], indirect=True)
def test_http2_of_a_real_server(lab: Lab, nginx: str, order: str, version: ssl.TLSVersion) -> None:
    """HTTP/2 goes on working, and at each depth can be pinned."""
    street = Street(lab, version)
    cases = [
        *(street.case(nginx, pin, "HTTP/2.0") for pin in street.pins),
        street.case(nginx, "leaf", "HTTP/2.0", verify=False),
        street.case(nginx, "intermediate", "PinMismatchError", verify=False),
        street.case(nginx, lab.backup, "PinMismatchError"),
        street.case(nginx, "root", "HTTP/2.0", context=True),
    ]
    assert run(in_order(HTTP2, order), cases) == [case.expected for case in cases]


def test_http2_of_an_attacker(lab: Lab, order: str) -> None:
    """He gets no byte: not the preface, which is written as soon as there is a connection, and no goodbye."""
    streets = [Street(lab, version, alpn="h2") for version in VERSIONS]
    cases = []
    for street in streets:
        url = street.mitm.url()
        cases += [street.case(url, pin, "PinMismatchError") for pin in ("leaf", "intermediate")]
        cases += [street.case(url, "leaf", "PinMismatchError", verify=False)]
        cases += [street.case(url, "leaf", "PinMismatchError", context=True)]
    outcomes = run(in_order(HTTP2, order), cases)
    for street in streets:
        street.assert_nothing_leaked()
        assert street.mitm.handshakes == len(cases) / 2
    assert outcomes == [case.expected for case in cases]


@pytest.mark.parametrize(
    "extraction",
    [
        f"{HTTP2}; import pinned_requests; urllib3.http2.extract_from_urllib3()",
        f"{PYOPENSSL}; import pinned_requests; stack.extract_from_urllib3()",
        f"{TRUSTSTORE}; import pinned_requests; truststore.extract_from_ssl()",
        f"{PYOPENSSL}; {TRUSTSTORE}",
    ],
    ids=["http2", "pyopenssl", "truststore", "pyopenssl-and-truststore"],
)
def test_a_stack_that_comes_and_goes(lab: Lab, extraction: str) -> None:
    """What was injected when pinned_requests was imported is not there any more: pinned, by whatever there is."""
    street = Street(lab, ssl.TLSVersion.TLSv1_3)
    cases = [
        *(street.case(street.honest.url(), pin, "ok") for pin in street.pins),
        street.case(street.mitm.url(), "leaf", "PinMismatchError"),
        street.case(street.honest.url(), "intermediate", "PinMismatchError", verify=False),
    ]
    outcomes = run(extraction, cases)
    street.assert_nothing_leaked()
    assert outcomes == [case.expected for case in cases]


def test_urllib3_future_is_refused_at_import() -> None:
    """It stands in urllib3's place, with other connections inside; the error says why, and what to do."""
    program = (
        "import urllib3; urllib3.ResponsePromise = object\n"  # by which it is known
        "try:\n    import pinned_requests\nexcept ImportError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=WAIT)
    assert "urllib3-future" in done.stdout
    assert "niquests" in done.stdout
    assert "\n" not in done.stdout.strip()


def attributes(context: ssl.SSLContext) -> dict[str, object]:
    """Return what of a context urllib3 and requests are known to write, and what else can be read."""
    names = ("verify_mode", "check_hostname", "options", "verify_flags", "minimum_version", "maximum_version")
    values: dict[str, object] = {name: getattr(context, name) for name in names}
    return values | {"store": context.cert_store_stats(), "keylog": context.keylog_filename}


def make_context(lab: Lab, *, check_hostname: bool, verify_mode: ssl.VerifyMode) -> ssl.SSLContext:
    """Make a context of the caller's."""
    context = ssl.create_default_context(cafile=lab.bundle)
    context.check_hostname = check_hostname
    context.verify_mode = verify_mode
    return context


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize(
    ("check_hostname", "verify_mode", "counted"),
    [
        (True, ssl.CERT_REQUIRED, {"leaf", "intermediate", "root"}),
        (False, ssl.CERT_REQUIRED, {"leaf", "intermediate", "root"}),  # urllib3 looks at the name in ssl's place
        (False, ssl.CERT_OPTIONAL, {"leaf"}),
        (False, ssl.CERT_NONE, {"leaf"}),
    ],
)
def test_a_context_of_the_callers(
    lab: Lab, version: ssl.TLSVersion, verify_mode: ssl.VerifyMode, counted: set[str], *, check_hostname: bool
) -> None:
    """It is used as it is, and is afterwards as it was; without verification the leaf alone counts."""
    street = Street(lab, version)
    context = make_context(lab, check_hostname=check_hostname, verify_mode=verify_mode)
    before = attributes(context)
    for pin, value in street.pins.items():
        pins = {"localhost": [value, lab.backup]}
        refused = contextlib.nullcontext() if pin in counted else pytest.raises(PinMismatchError)
        with PinnedSession(pins, ssl_context=context) as session, refused:
            assert session.get(street.honest.url()).text == "ok"
        assert attributes(context) == before
        if pin == "root":
            continue
        with PinnedSession(pins, ssl_context=context) as session, pytest.raises(PinMismatchError):
            session.get(street.mitm.url())
        assert attributes(context) == before
    street.assert_nothing_leaked()


def test_a_context_of_the_callers_for_a_pool_manager(lab: Lab) -> None:
    """The same at urllib3's level."""
    street = Street(lab, ssl.TLSVersion.TLSv1_3)
    context = make_context(lab, check_hostname=True, verify_mode=ssl.CERT_REQUIRED)
    before = attributes(context)
    manager = PinnedPoolManager(lab.pins, ssl_context=context)
    assert manager.request("GET", street.honest.url()).data == b"ok"
    with pytest.raises(PinMismatchError):
        manager.request("GET", street.mitm.url())
    manager.clear()
    assert attributes(context) == before
    street.assert_nothing_leaked()


def test_a_context_of_truststore(lab: Lab) -> None:
    """Given by the caller, without any injection."""
    truststore = pytest.importorskip("truststore")
    street = Street(lab, ssl.TLSVersion.TLSv1_3)
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(lab.bundle)
    for value in street.pins.values():
        with PinnedSession({"localhost": [value, lab.backup]}, ssl_context=context) as session:
            assert session.get(street.honest.url()).text == "ok"
    with PinnedSession(lab.pins, ssl_context=context) as session, pytest.raises(PinMismatchError):
        session.get(street.mitm.url())
    street.assert_nothing_leaked()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)

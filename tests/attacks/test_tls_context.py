"""A `PinnedSSLContext` that is written to, shared, patched or used in another way than it was meant for."""

from __future__ import annotations

import _ssl
import contextlib
import select
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import (
    ChainUnavailableError,
    Pin,
    PinMismatchError,
    PinnedSSLContext,
    PinningError,
    PinSet,
    PolicyError,
    UnpinnedHostError,
)
from pinned_requests.testing import Credential
from support.fork import needs_fork

if TYPE_CHECKING:
    from pinned_requests.testing import Authority
    from support.scene import Scene

SECRET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def pins_of(scene: Scene, credential: Credential | Authority, **fields: Any) -> PinSet:
    """Pin a credential's or an authority's key."""
    return PinSet([Pin.from_certificate(credential.certificate)], [scene.backup], **fields)


def context_for(scene: Scene, **options: Any) -> PinnedSSLContext:
    """Make a context with the honest server's pin, which trusts the root."""
    pins = options.pop("pins", {"localhost": pins_of(scene, scene.honest)})
    return PinnedSSLContext(pins, **{"cafile": scene.bundle, **options})


def forged_for(scene: Scene) -> Credential:
    """Make a self-signed certificate, with the pinned root behind it."""
    forged = Credential.self_signed("localhost")
    return forged.with_served(forged.certificate, scene.root.certificate)


def send(context: ssl.SSLContext, port: int, host: str | None = "localhost", **options: Any) -> None:
    """Connect, make the handshake, and send a secret."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    with sock, context.wrap_socket(sock, server_hostname=host, **options) as tls:
        tls.sendall(SECRET)


def refused(
    scene: Scene,
    context: ssl.SSLContext,
    error: type[Exception] | tuple[type[Exception], ...] = PinMismatchError,
    **options: Any,
) -> Exception:
    """Check that a server with another key gets nothing, and return the error."""
    mitm = scene.serve(options.pop("credential", scene.attacker), cleartext=True)
    with pytest.raises(error) as caught:
        send(context, mitm.port, **options)
    assert scene.toll(mitm).application_bytes == mitm.cleartext_bytes == 0
    return caught.value


def accepted(scene: Scene, context: ssl.SSLContext, **options: Any) -> None:
    """Check that the server with the key gets the secret."""
    server = scene.serve(options.pop("credential", scene.honest))
    send(context, server.port, **options)
    assert scene.toll(server).application_bytes == len(SECRET)


@pytest.mark.parametrize("name", ["sslsocket_class", "sslobject_class"])
@pytest.mark.parametrize("owner", ["instance", "class"])
def test_no_other_class_makes_connections(scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str, owner: str) -> None:
    """As pymongo assigns a class of its own to its context. Such a socket is refused, wherever it was assigned."""
    context = context_for(scene)
    other = getattr(ssl, {"sslsocket_class": "SSLSocket", "sslobject_class": "SSLObject"}[name])
    if owner == "instance":
        with pytest.raises(AttributeError):
            setattr(context, name, other)
        refused(scene, context)
        return
    monkeypatch.setattr(PinnedSSLContext, name, other)
    if name == "sslsocket_class":
        refused(scene, context, PolicyError)
    else:
        with pytest.raises(PolicyError):
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")


@pytest.mark.parametrize(("name", "value"), [("check_hostname", False), ("verify_mode", ssl.CERT_NONE)])
def test_verification_is_frozen_by_the_first_connection(scene: Scene, name: str, value: Any) -> None:
    """Another holder of the context would change what vouches for the chain of the next connection."""
    context = context_for(scene, pins={"localhost": pins_of(scene, scene.root)})
    accepted(scene, context)
    with pytest.raises(PolicyError):
        setattr(context, name, value)
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED  # urllib3 writes it for each connection
    accepted(scene, context)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_a_write_waits_while_a_connection_is_made(scene: Scene) -> None:
    """Two threads that were past the check of the freeze could else switch verification off and on around it."""
    context = context_for(scene)
    uses = [
        lambda: setattr(context, "check_hostname", True),
        lambda: context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost"),
    ]
    threads = [threading.Thread(target=use) for use in uses]
    with context._changing:
        for thread in threads:
            thread.start()
            thread.join(0.05)
            assert thread.is_alive()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("mode", [ssl.CERT_NONE, ssl.CERT_OPTIONAL])
def test_without_verification_the_leaf_alone_counts(scene: Scene, mode: ssl.VerifyMode) -> None:
    """The peer may put the pinned root behind any leaf: nothing connects the two."""
    context = context_for(scene, pins={"localhost": pins_of(scene, scene.root)})
    context.check_hostname = False
    context.verify_mode = mode
    forged = forged_for(scene)
    refused(scene, context, (PinMismatchError, ssl.SSLError), credential=forged)
    refused(scene, context, PinMismatchError, credential=scene.honest)

    of_leaf = context_for(scene)
    of_leaf.check_hostname = False
    of_leaf.verify_mode = mode
    accepted(scene, of_leaf)


def test_optional_verification_with_a_host_name_check(scene: Scene) -> None:
    """As the contract has it: without `CERT_REQUIRED` the leaf alone counts."""
    context = context_for(scene, pins={"localhost": pins_of(scene, scene.root)})
    context.verify_mode = ssl.CERT_OPTIONAL
    refused(scene, context, PinMismatchError, credential=scene.honest)


def test_without_a_host_name_check_the_leaf_alone_counts(scene: Scene) -> None:
    """Any server of that CA could stand behind the name."""
    context = context_for(scene, pins={"localhost": pins_of(scene, scene.root)})
    context.check_hostname = False
    refused(scene, context, PinMismatchError, credential=scene.honest)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_write_by_the_class_of_c_is_noticed(scene: Scene, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Such a write goes around the property. It is seen, and the rest of the chain does not count."""
    context = context_for(scene, pins={"localhost": pins_of(scene, scene.root)})
    accepted(scene, context)
    original = _ssl._SSLContext._wrap_socket  # type: ignore[attr-defined]  # of the C class

    def wrap(self: object, *args: Any, **kwargs: Any) -> Any:
        if self is not context:  # the server's
            return original(self, *args, **kwargs)
        tls = original(self, *args, **kwargs) if moment == "after" else None
        _ssl._SSLContext.check_hostname.__set__(self, 0)  # type: ignore[attr-defined]  # of the C class
        return tls or original(self, *args, **kwargs)

    monkeypatch.setattr(type(context).__mro__[1], "_wrap_socket", wrap, raising=False)
    refused(scene, context, PinMismatchError, credential=scene.honest)


def test_a_write_that_comes_too_late_is_noticed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection was made without verification, whatever the context says when `ssl` has made it."""
    context = context_for(scene, pins={"localhost": pins_of(scene, scene.root)})
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    original = _ssl._SSLContext._wrap_socket  # type: ignore[attr-defined]  # of the C class

    def wrap(self: object, *args: Any, **kwargs: Any) -> Any:
        tls = original(self, *args, **kwargs)
        if self is context:
            _ssl._SSLContext.check_hostname.__set__(self, 1)  # type: ignore[attr-defined]  # of the C class
        return tls

    monkeypatch.setattr(type(context).__mro__[1], "_wrap_socket", wrap, raising=False)
    refused(scene, context, PinMismatchError, credential=scene.honest)  # whose chain nobody has verified


def test_a_write_after_the_handshake_changes_nothing(scene: Scene) -> None:
    """OpenSSL has copied the mode: what is read after the handshake does not count, in either direction."""
    context = context_for(scene, pins={"localhost": pins_of(scene, scene.root)})
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    forged = forged_for(scene)
    mitm = scene.serve(forged)
    sock = socket.create_connection(("127.0.0.1", mitm.port), 10)
    with context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=False) as tls:
        _ssl._SSLContext.verify_mode.__set__(context, ssl.CERT_REQUIRED)  # type: ignore[attr-defined]  # of the C class
        _ssl._SSLContext.check_hostname.__set__(context, 1)  # type: ignore[attr-defined]  # of the C class
        with pytest.raises(PinMismatchError):
            tls.sendall(SECRET)
    assert scene.toll(mitm).application_bytes == 0


def tickets(scene: Scene) -> ssl.SSLContext:
    """Make a server's context whose sessions can be resumed."""
    server: ssl.SSLContext = scene.honest.server_context(num_tickets=2)
    return server


def test_a_session_to_resume_is_refused(scene: Scene) -> None:
    """A resumed connection shows no certificate."""
    server = scene.serve(scene.honest, context=tickets(scene))
    context = context_for(scene)
    sock = socket.create_connection(("127.0.0.1", server.port), 10)
    with sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
        tls.sendall(SECRET)
        tls.recv(100)
        session = tls.session
    assert session.has_ticket
    refused(scene, context, PolicyError, session=session)
    with pytest.raises(PolicyError):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost", session=session)
    unconnected = context.wrap_socket(socket.socket(), server_hostname="localhost")
    with unconnected:
        unconnected.session = session
        with pytest.raises(PolicyError):
            unconnected.connect(("127.0.0.1", server.port))
    assert scene.toll(server).handshakes == 1


@pytest.mark.parametrize("allow", [False, True])
def test_a_session_that_is_resumed_all_the_same_has_no_chain(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    allow: bool,  # noqa: FBT001  a parameter
) -> None:
    """By the C class, which no check of arguments sees: without a chain there is no match."""
    server = scene.serve(scene.honest, context=tickets(scene))
    context = context_for(scene, unpinned_hosts="allow" if allow else "block")
    sock = socket.create_connection(("127.0.0.1", server.port), 10)
    with sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
        tls.sendall(SECRET)
        tls.recv(100)
        session = tls.session
    original = _ssl._SSLContext._wrap_socket  # type: ignore[attr-defined]  # of the C class
    wrapped: list[Any] = []

    def wrap(self: object, *args: Any, **kwargs: Any) -> Any:
        if self is not context:  # the server's
            return original(self, *args, **kwargs)
        wrapped.append(original(self, *args, **{**kwargs, "session": session}))
        return wrapped[0]

    monkeypatch.setattr(type(context).__mro__[1], "_wrap_socket", wrap, raising=False)
    before = scene.toll(server).application_bytes
    with pytest.raises(ChainUnavailableError, match="resumed"):
        send(context, server.port)
    assert wrapped[0].session_reused
    assert scene.toll(server).application_bytes == before


@pytest.mark.skipif(sys.version_info < (3, 13), reason="ssl has pre-shared keys since 3.13")
def test_a_pre_shared_key_has_no_chain(scene: Scene) -> None:
    """Whoever has the key is not whoever has the pin."""
    context = context_for(scene)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("PSK")
    context.set_psk_client_callback(lambda _hint: ("client", b"key"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("PSK")
    server.set_psk_server_callback(lambda _identity: b"key")  # type: ignore[attr-defined, unused-ignore]  # since 3.13
    mitm = scene.serve(scene.attacker, context=server)
    with pytest.raises(ChainUnavailableError):
        send(context, mitm.port)
    assert scene.toll(mitm)[1:] == (1, 0)


def test_anonymous_ciphers_have_no_chain(scene: Scene) -> None:
    """They need no certificate at all."""
    context = context_for(scene)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for each in (context, server):
        each.maximum_version = ssl.TLSVersion.TLSv1_2
        each.set_ciphers("aNULL:@SECLEVEL=0")
    mitm = scene.serve(scene.attacker, context=server)
    with pytest.raises(ChainUnavailableError):
        send(context, mitm.port)
    assert scene.toll(mitm)[1:] == (1, 0)


def test_renegotiation_stays_off(scene: Scene) -> None:
    """A TLS 1.2 server could present another certificate after the check. Clients that set options leave it so."""
    context = context_for(scene)
    assert ssl.OP_NO_RENEGOTIATION in context.options
    context.options = ssl.OP_ALL
    assert ssl.OP_NO_RENEGOTIATION in context.options
    context.options &= ~ssl.OP_NO_RENEGOTIATION
    assert ssl.OP_NO_RENEGOTIATION in context.options


def test_no_use_for_a_server(scene: Scene) -> None:
    """It would ask clients for their pins."""
    context = context_for(scene)
    client, server = socket.socketpair()
    with client, server, pytest.raises((ValueError, ssl.SSLError)):
        context.wrap_socket(server, server_side=True)
    context.check_hostname = False
    with pytest.raises((ValueError, ssl.SSLError)):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


@pytest.mark.parametrize("kind", ["socket", "object"])
def test_without_a_host_name_the_connection_is_refused(scene: Scene, kind: str) -> None:
    """There is nothing to look the pins up by, under "allow" neither. Nothing is sent, not even a ClientHello."""
    context = context_for(scene, unpinned_hosts="allow")
    context.check_hostname = False
    if kind == "object":
        outgoing = ssl.MemoryBIO()
        tls = context.wrap_bio(ssl.MemoryBIO(), outgoing)
        with pytest.raises(ChainUnavailableError, match="assumed_host"):
            tls.do_handshake()
        assert outgoing.pending == 0
        return
    error = refused(scene, context, ChainUnavailableError, credential=scene.honest, host=None)
    assert "assumed_host" in str(error)


def test_the_assumed_host(scene: Scene) -> None:
    """It is sent, matched with the certificate, and pinned; a name that the client gives comes before it."""
    context = context_for(scene, assumed_host="localhost")
    accepted(scene, context, host=None)
    refused(scene, context, host=None)
    elsewhere = scene.intermediate.issue("elsewhere.example.com", key=scene.honest.key)
    refused(scene, context, ssl.SSLCertVerificationError, credential=elsewhere, host=None)
    refused(scene, context, UnpinnedHostError, credential=scene.honest, host="other.example.com")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    assert context.wrap_bio(incoming, outgoing).server_hostname == "localhost"
    spelt = context_for(scene, assumed_host="Bücher.Example.")
    assert spelt.wrap_bio(incoming, outgoing).server_hostname == spelt.assumed_host == "xn--bcher-kva.example"
    with pytest.raises(PolicyError):
        context_for(scene, assumed_host="two hosts")


@pytest.mark.parametrize("spelling", ["127.0.0.1", "::1", "[::1]"])
def test_addresses(scene: Scene, spelling: str) -> None:
    """Pins of an address hold where the client gives the address."""
    name = spelling.strip("[]")
    pattern = f"[{name}]" if ":" in name else name
    context = context_for(scene, pins={pattern: pins_of(scene, scene.honest)})
    accepted(scene, context, host=name)
    refused(scene, context, host=name)


def test_another_sni_name(scene: Scene) -> None:
    """A client that is told to send another name is refused under "block"; under "allow" it is not pinned."""
    refused(scene, context_for(scene), UnpinnedHostError, host="other.example.com")
    allowing = context_for(scene, unpinned_hosts="allow")
    accepted(scene, allowing, credential=scene.attacker, host="other.example.com")
    refused(scene, allowing)


def test_unpinned_hosts_get_no_handshake(scene: Scene) -> None:
    """The policy alone decides."""
    mitm = scene.serve(scene.attacker)
    with pytest.raises(UnpinnedHostError):
        send(context_for(scene), mitm.port, "other.example.com")
    assert scene.toll(mitm).handshakes == 0


def test_a_chain_that_one_host_was_accepted_by(scene: Scene) -> None:
    """It is remembered for that host alone, and for that policy, and with the same verification."""
    pins = {"localhost": pins_of(scene, scene.honest), "other.example.com": pins_of(scene, scene.attacker)}
    context = context_for(scene, pins=pins)
    for _ in range(2):
        accepted(scene, context)
        refused(scene, context, credential=scene.honest, host="other.example.com")
    context.store.set({"localhost": pins_of(scene, scene.attacker)})
    refused(scene, context, credential=scene.honest)
    by_root = context_for(scene, pins={"localhost": pins_of(scene, scene.root)})
    accepted(scene, by_root)
    _ssl._SSLContext.check_hostname.__set__(by_root, 0)  # type: ignore[attr-defined]  # of the C class
    refused(scene, by_root, credential=scene.honest)


def test_an_idna_name_is_pinned_as_it_is_matched(scene: Scene) -> None:
    """By IDNA 2003, as `ssl` encodes it."""
    context = context_for(scene, pins={"bücher.example": pins_of(scene, scene.honest)})
    accepted(scene, context, host="bücher.example")
    refused(scene, context, host="bücher.example")


class TestPorts:
    """`ssl` does not know the port."""

    def test_with_a_port_its_pattern_counts(self, scene: Scene) -> None:
        """As the session would find it."""
        pins = {"localhost": pins_of(scene, scene.attacker), "localhost:8443": pins_of(scene, scene.honest)}
        accepted(scene, context_for(scene, pins=pins, port=8443))
        refused(scene, context_for(scene, pins=pins, port=8443))
        refused(scene, context_for(scene, pins=pins, port=443), credential=scene.honest)

    def test_without_a_port_every_entry_must_be_satisfied(self, scene: Scene) -> None:
        """The connection may be to any of them."""
        pins = {"localhost": pins_of(scene, scene.attacker), "localhost:8443": pins_of(scene, scene.honest)}
        refused(scene, context_for(scene, pins=pins))
        refused(scene, context_for(scene, pins=pins), credential=scene.honest)
        refused(scene, context_for(scene, pins={"localhost:8443": pins_of(scene, scene.honest)}))
        accepted(scene, context_for(scene, pins={"localhost:8443": pins_of(scene, scene.honest)}))
        both = pins_of(scene, scene.intermediate)
        accepted(scene, context_for(scene, pins={"localhost": both, "localhost:8443": both}))

    @pytest.mark.parametrize("port", [0, 65536, "443", True, 443.0])
    def test_wrong_ports(self, port: Any) -> None:
        """Each is a mistake in the program."""
        with pytest.raises(PolicyError):
            PinnedSSLContext({"localhost": PinSet.exempt()}, port=port)


def in_another_process(scene: Scene, program: str, python: str = sys.executable) -> None:
    """Run a program that gets the ports of the attacker and of the honest server, and asserts by itself."""
    mitm, server = scene.serve(scene.attacker), scene.serve(scene.honest)
    begin = """
        import os, socket, ssl, sys
        mitm, server, bundle, pin, backup = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
        def check(context, expected=None):
            for port in (mitm, server):
                try:
                    sock = socket.create_connection(("127.0.0.1", port), 10)
                    with sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
                        tls.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
                        assert tls.recv(12) == b"HTTP/1.1 200" and port == server
                except ssl.SSLCertVerificationError as error:
                    assert port == mitm and type(error).__name__ == "PinMismatchError", error
    """
    arguments = (mitm.port, server.port, scene.bundle, Pin.from_certificate(scene.honest.certificate), scene.backup)
    text = textwrap.dedent(begin) + textwrap.dedent(program)
    done = subprocess.run(
        [python, "-c", text, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert scene.toll(mitm).application_bytes == 0
    assert scene.toll(server).application_bytes > 0


MAKE = """
from pinned_requests import PinnedSSLContext
context = PinnedSSLContext({"localhost": [pin, backup]}, cafile=bundle)
"""
WRITE = """
context.options |= ssl.OP_NO_COMPRESSION
context.minimum_version = ssl.TLSVersion.TLSv1_2
context.maximum_version = ssl.TLSVersion.TLSv1_3
context.verify_mode = ssl.CERT_REQUIRED
context.verify_flags |= ssl.VERIFY_X509_TRUSTED_FIRST
check(context)
"""
INJECT = """
import truststore
truststore.inject_into_ssl()
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_truststore_in_the_place_of_ssl(scene: Scene, order: str) -> None:
    """A child of truststore's class would lose its checks; and the setters of ssl's recurse."""
    pytest.importorskip("truststore")
    in_another_process(scene, INJECT + MAKE + WRITE if order == "before" else MAKE + INJECT + WRITE)


@pytest.mark.parametrize("order", ["before", "after"])
def test_gevent(scene: Scene, order: str) -> None:
    """It replaces the classes of ssl. A pinned connection is one of the original ones, and blocks all greenlets."""
    pytest.importorskip("gevent", reason="gevent is not installed")
    patch = "\nfrom gevent import monkey\nmonkey.patch_all()\n"
    if order == "before":
        in_another_process(scene, patch + MAKE + WRITE)
    else:
        late = patch.replace("patch_all()", "patch_all(thread=False)")
        in_another_process(scene, "import warnings\nwarnings.simplefilter('ignore')\n" + MAKE + late + WRITE)


@needs_fork
def test_fork(scene: Scene) -> None:
    """A child uses the context of its parent."""
    child = """
        check(context)
        child = os.fork()
        if not child:
            try:
                check(context)
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        assert os.waitpid(child, 0)[1] == 0
    """
    in_another_process(scene, MAKE + textwrap.dedent(child))


def test_further_cas_never_widen_the_pins(scene: Scene) -> None:
    """As requests loads certifi's into any context."""
    context = context_for(scene, cafile=None, cadata=scene.root.certificate_pem.decode())
    context.load_verify_locations(scene.bundle)
    context.load_default_certs()
    refused(scene, context)
    accepted(scene, context)


def test_the_default_authorities(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument, those of `ssl.create_default_context()`."""
    monkeypatch.setenv("SSL_CERT_FILE", scene.bundle)
    context = PinnedSSLContext({"localhost": pins_of(scene, scene.honest)})
    accepted(scene, context)
    refused(scene, context)
    assert context.verify_flags == ssl.create_default_context().verify_flags


def test_arguments_by_place(scene: Scene) -> None:
    """As anyio gives them."""
    context = context_for(scene, assumed_host="other.example.com")
    assert context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), False, "localhost").server_hostname == "localhost"  # noqa: FBT003  by place
    mitm = scene.serve(scene.attacker)
    sock = socket.create_connection(("127.0.0.1", mitm.port), 10)
    with sock, pytest.raises(PinMismatchError) as caught:
        context.wrap_socket(sock, False, True, True, "localhost")  # noqa: FBT003  by place
    assert caught.value.host == "localhost"


def test_another_socket_class_in_the_place_of_ssls(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known what it does without TLS."""

    class Other(ssl.SSLSocket):
        pass

    monkeypatch.setattr(ssl, "SSLSocket", Other)
    with socket.socket() as sock, pytest.raises(PolicyError):
        context_for(scene).wrap_socket(sock, server_hostname="localhost")


def test_it_is_a_context(scene: Scene) -> None:
    """Clients look."""
    context = context_for(scene)
    assert isinstance(context, ssl.SSLContext)
    assert context.protocol is ssl.PROTOCOL_TLS_CLIENT
    with context.wrap_socket(socket.socket(), server_hostname="localhost") as tls:
        assert isinstance(tls, ssl.SSLSocket)
        assert type(tls) is context.sslsocket_class


def test_tls_in_tls(scene: Scene) -> None:
    """A TLS proxy and an origin with one context, as aiohttp has it: both are checked, each by its own name."""
    pins = {"localhost": pins_of(scene, scene.honest), "api.example.com": pins_of(scene, scene.honest)}
    context = context_for(scene, pins=pins)
    for proxy, origin, fails in (
        (scene.honest, scene.honest, False),
        (scene.attacker, scene.honest, True),
        (scene.honest, scene.attacker, True),
    ):
        ours, theirs = socket.socketpair()
        inner_ours, inner_theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
        server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        outer_server = proxy.server_context().wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
        outer = context.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False)
        for each in (outer, outer_server):
            each.settimeout(0)
        client = context.wrap_bio(inner_ours, inner_theirs, server_hostname="api.example.com")
        server = origin.server_context().wrap_bio(server_in, server_out, server_side=True)
        got = b""
        failed = False
        with outer, outer_server:
            for _ in range(40):
                try:
                    outer.do_handshake()
                    client.do_handshake()
                    client.write(SECRET)
                except ssl.SSLWantReadError:
                    pass
                except PinningError:
                    failed = True
                for step in (
                    outer_server.do_handshake,
                    lambda o=outer, b=inner_theirs: b.pending and o.sendall(b.read()),
                    lambda s=outer_server, b=server_in: b.write(s.recv(65536)),
                    server.do_handshake,
                    lambda s=outer_server, b=server_out: b.pending and s.sendall(b.read()),
                    lambda o=outer, b=inner_ours: b.write(o.recv(65536)),
                ):
                    with contextlib.suppress(OSError):
                        step()
                with contextlib.suppress(OSError):
                    got += server.read(100)
                select.select([], [], [], 0.001)
        assert (failed, SECRET in got) == (fails, not fails)
        if fails:
            assert got == b""

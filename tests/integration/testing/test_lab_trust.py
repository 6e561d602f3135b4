"""Clients trust the lab's CA in the lab if they trust a public store, are left as they are otherwise, and forget it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

import certifi
import pytest
import truststore

from pinned_requests.testing import Authority, MITMLab, TLSServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST = "api.example.com"


def believes(context: ssl.SSLContext, host: str = HOST, port: int = 443) -> bool:
    """Whether a handshake succeeds."""
    with socket.create_connection((host, port), timeout=5) as sock:
        try:
            context.wrap_socket(sock, server_hostname=HOST).close()
        except ssl.SSLCertVerificationError:
            return False
        return True


def believes_over_memory(context: ssl.SSLContext, server_hostname: str | None = HOST) -> bool:
    """The same with asyncio, where TLS has no socket."""

    async def connect() -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, 443, ssl=context, server_hostname=server_hostname)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    return asyncio.run(connect())


def of_certifi() -> ssl.SSLContext:
    """A context as requests and httpx make it."""
    return ssl.create_default_context(cafile=certifi.where())


def of_a_folder() -> ssl.SSLContext:
    """A context without certificates: those of a folder are read when they are needed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(capath="/nowhere")
    return context


@pytest.mark.parametrize("make", [of_certifi, ssl.create_default_context, of_a_folder])
@pytest.mark.parametrize("over", [believes, believes_over_memory])
def test_a_context_that_trusts_a_public_store(
    mitm_lab: MITMLab, make: Callable[[], ssl.SSLContext], over: Callable[[ssl.SSLContext], bool]
) -> None:
    """It trusts the lab's CA in the block, whether it was made before or within; its own trust does not change."""
    early = make()
    held = early.cert_store_stats()
    with mitm_lab.impersonate(HOST):
        assert over(early)
        assert over(make())
    assert early.cert_store_stats() == held


def test_the_trust_ends_with_the_block(mitm_lab: MITMLab) -> None:
    """A server with a certificate of the lab's CA is not believed outside of it, nor at another address within it."""
    context = of_certifi()
    with TLSServer(mitm_lab.root.issue(HOST)) as elsewhere:
        with mitm_lab.impersonate(HOST):
            assert believes(context)
            assert not believes(context, "127.0.0.1", elsewhere.port)
        assert not believes(context, "127.0.0.1", elsewhere.port)


@pytest.mark.parametrize("over", [believes, believes_over_memory])
def test_a_private_ca(mitm_lab: MITMLab, over: Callable[[ssl.SSLContext], bool]) -> None:
    """A client that trusts its own CA alone does so in the lab: it meets no key, and the test says what to do."""
    context = Authority.create("Private CA").client_context()
    with mitm_lab.impersonate(HOST) as attack:
        assert not over(context)
    assert attack.handshakes == 0
    assert len(attack.failed_handshakes) == 1
    with pytest.raises(AssertionError, match=r"lab\.ca_file"):
        attack.assert_rejected()


@pytest.mark.parametrize("count", [1, 10])
def test_some_public_cas(mitm_lab: MITMLab, count: int) -> None:
    """A client that trusts a few chosen CAs of a public store would not trust one more."""
    chosen = of_certifi().get_ca_certs(binary_form=True)[:count]
    with mitm_lab.impersonate(HOST):
        assert not believes(ssl.create_default_context(cadata=b"".join(chosen)))


def test_an_old_bundle(mitm_lab: MITMLab) -> None:
    """A client that brings the public CAs of last year trusts the public CAs."""
    roots = of_certifi().get_ca_certs(binary_form=True)
    with mitm_lab.impersonate(HOST):
        assert believes(ssl.create_default_context(cadata=b"".join(roots[20:])))


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_of_the_environment(
    mitm_lab: MITMLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """A private bundle that the environment names is a store like the others: an attacker may have got into it."""
    private = Authority.create("Private CA")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(private.certificate_pem)
    with mitm_lab.impersonate(HOST):
        assert not believes(private.client_context())
        monkeypatch.setenv(variable, str(bundle))
        assert believes(private.client_context())
        monkeypatch.setenv(variable, str(tmp_path / "nowhere.pem"))
        assert not believes(private.client_context())


def test_a_context_that_verifies_nothing(mitm_lab: MITMLab) -> None:
    """It goes on to believe everybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with mitm_lab.impersonate(HOST, as_="self-signed"):
        assert believes(context)
        assert believes_over_memory(context)


@pytest.mark.parametrize(
    ("attacker", "checks_name"), [("self-signed", True), ("expired", True), ("wrong-host", True), ("wrong-host", False)]
)
@pytest.mark.parametrize("over", [believes, believes_over_memory])
def test_what_the_context_checks_is_checked(
    mitm_lab: MITMLab,
    attacker: str,
    checks_name: bool,  # noqa: FBT001 - a parameter of the test
    over: Callable[[ssl.SSLContext], bool],
) -> None:
    """Validity, name and issuer are checked as the context says."""
    context = of_certifi()
    context.check_hostname = checks_name
    with mitm_lab.impersonate(HOST, as_=attacker):  # type: ignore[arg-type]  # a name of one
        assert over(context) is not checks_name


def test_the_settings_of_the_connection_stay(mitm_lab: MITMLab) -> None:
    """Protocol versions, ALPN, ciphers and what can be read from the connection are those of the client's context."""
    context = of_certifi()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    context.set_alpn_protocols(["http/1.1"])
    with (
        mitm_lab.impersonate(HOST),
        socket.create_connection((HOST, 443)) as sock,
        context.wrap_socket(sock, server_hostname=HOST) as tls,
    ):
        assert (tls.version(), tls.selected_alpn_protocol()) == ("TLSv1.2", "http/1.1")
        assert tls.cipher() == ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2", 256)
        assert tls.context is context


def test_the_context_of_a_connection_over_memory(mitm_lab: MITMLab) -> None:
    """A client reads its own context from the connection, as without the lab."""
    context = of_certifi()
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with mitm_lab.impersonate(HOST):
        tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    assert tls.context is context


def test_a_client_that_names_no_host(mitm_lab: MITMLab) -> None:
    """Without name and socket nothing tells that it is not the lab, so that its CA is trusted beside the others."""
    context = of_certifi()
    context.check_hostname = False
    with mitm_lab.impersonate(HOST):
        assert believes_over_memory(context, server_hostname="")


def test_a_server_of_the_same_process(mitm_lab: MITMLab) -> None:
    """The contexts of servers are left alone, also of one that asks for client certificates."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = mitm_lab.root.issue(HOST).server_context()
    context.verify_mode = ssl.CERT_OPTIONAL
    with mitm_lab.impersonate(HOST):
        assert context.wrap_bio(incoming, outgoing, server_side=True).context is context


def test_truststore(mitm_lab: MITMLab) -> None:
    """A context of truststore is caught, also where that stands in the place of ssl's."""
    with mitm_lab.impersonate(HOST):
        assert believes(truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    truststore.inject_into_ssl()
    try:
        with mitm_lab.impersonate(HOST):
            assert believes(ssl.create_default_context())
    finally:
        truststore.extract_from_ssl()

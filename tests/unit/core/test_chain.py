"""`Chain`: what was seen of a peer, or why nothing was."""

from __future__ import annotations

import copy
import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin
from pinned_requests.core import chain as chain_module
from pinned_requests.core.chain import Chain, SeenCertificate, see_certificate
from pinned_requests.core.der import spki_of_certificate
from pinned_requests.core.host import HostPattern
from pinned_requests.testing import Authority, Credential

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def credential() -> Credential:
    """A leaf below an intermediate below a root."""
    return Authority.create().intermediate().issue("api.example.com")


@pytest.fixture(scope="module")
def ders(credential: Credential) -> list[bytes]:
    """Their DER bytes, leaf first."""
    return [Authority(credential.key, (link,)).certificate_der for link in credential.chain]


class _Bytes(bytes):
    """Bytes that are equal to all others."""

    __slots__ = ()

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_what_is_seen_of_a_certificate(ders: list[bytes]) -> None:
    """Subject, key pin, certificate pin, and whether it is its own issuer."""
    leaf, root = see_certificate(ders[0]), see_certificate(ders[-1])
    spki_pin = Pin("spki", hashlib.sha256(spki_of_certificate(ders[0])).digest())
    certificate_pin = Pin("cert", hashlib.sha256(ders[0]).digest())
    assert (
        SeenCertificate(
            subject="CN=api.example.com",
            spki_pin=spki_pin,
            certificate_pin=certificate_pin,
            pins=frozenset((spki_pin, certificate_pin)),
            is_self_issued=False,
            der=ders[0],
        )
        == leaf
    )
    assert root.is_self_issued
    assert leaf is see_certificate(bytes(bytearray(ders[0])))


@pytest.mark.parametrize("is_verified", [True, False])
def test_a_chain(ders: list[bytes], is_verified: bool) -> None:  # noqa: FBT001 - pytest's way
    """Leaf first, with what vouches for it."""
    chain = Chain.of(iter(ders), is_verified=is_verified)
    assert Chain(tuple(map(see_certificate, ders)), is_verified) == chain
    assert None is chain.unavailable


def test_no_certificate_is_no_chain() -> None:
    """An empty chain is missing, and never verified."""
    chain = Chain.of([], is_verified=True)
    assert (chain.certificates, chain.is_verified) == ((), False)
    assert chain.unavailable


@pytest.mark.parametrize("wrong", [b"", b"\x30\x00", None, "text", bytearray(b"x"), [], 1])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_one_unreadable_certificate_makes_the_chain_unavailable(ders: list[bytes], wrong: Any, at: int) -> None:
    """What cannot be read is not skipped: it could be the blocked one."""
    chain = Chain.of([*ders[:at], wrong, *ders[at:]], is_verified=True)
    assert (chain.certificates, chain.is_verified) == ((), False)
    assert chain.unavailable


def test_bytes_that_claim_to_be_another_certificate(ders: list[bytes]) -> None:
    """A subclass of bytes does not get what the cache has of another certificate."""
    see_certificate(ders[0])
    assert Chain.of([_Bytes(ders[0])], is_verified=True).unavailable


def test_a_missing_chain() -> None:
    """It says why."""
    assert Chain((), is_verified=False, unavailable="the proxy hides it") == Chain.missing("the proxy hides it")


def test_the_cache_is_bounded() -> None:
    """Peers choose what goes into it."""
    assert chain_module._see.cache_info().maxsize == 512


@pytest.mark.parametrize("again", [lambda c: pickle.loads(pickle.dumps(c)), copy.copy, copy.deepcopy])  # noqa: S301 - our own
def test_a_chain_and_a_pattern_are_values(ders: list[bytes], again: Callable[[object], object]) -> None:
    """Equal, hashable, frozen; pickle and copy give an equal one; `repr` shows subjects and pins, not the bytes."""
    chain = Chain.of(ders, is_verified=True)
    pattern = HostPattern("subtree", "example.com", 8443)
    for value in (chain, pattern):
        assert {value} == {value, again(value)}
        for name in value.__slots__:
            with pytest.raises(AttributeError):
                setattr(value, name, getattr(value, name))
    assert chain != Chain(chain.certificates, is_verified=False)
    assert pattern != HostPattern("subtree", "example.com")
    assert "CN=api.example.com" in repr(chain)
    assert str(chain.certificates[0].spki_pin) in repr(chain)
    assert "der=" not in repr(chain)

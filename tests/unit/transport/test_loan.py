"""`Loan`: which contexts vouch for a chain."""

from __future__ import annotations

import gc
import ssl

import pytest

from pinned_requests.transport import context as module
from pinned_requests.transport.context import Loan


def context(mode: ssl.VerifyMode = ssl.CERT_REQUIRED) -> ssl.SSLContext:
    """A context of a caller's."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = mode
    return made


@pytest.mark.parametrize("mode", [ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
@pytest.mark.parametrize("asked", [ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
def test_a_context_of_a_caller(mode: ssl.VerifyMode, asked: ssl.VerifyMode) -> None:
    """It vouches only if it is CERT_REQUIRED before and after the handshake, and the connection asks for that."""
    theirs = context(mode)
    loan = Loan(theirs, asked, is_shared=False)
    theirs.verify_mode = asked  # as urllib3 does
    assert loan.vouches() is (mode == asked == ssl.CERT_REQUIRED)


def test_a_context_that_is_changed_during_the_handshake() -> None:
    """Another thread writes to it."""
    theirs = context()
    loan = Loan(theirs, ssl.CERT_REQUIRED, is_shared=False)
    theirs.verify_mode = ssl.CERT_NONE
    assert not loan.vouches()


def test_a_context_that_was_about_to_be_used_unverified() -> None:
    """Neither a handshake that is under way nor a later one trusts it, whatever it shows; others are not affected."""
    theirs, other = context(), context()
    under_way = Loan(theirs, ssl.CERT_REQUIRED, is_shared=False)
    Loan(theirs, ssl.CERT_NONE, is_shared=False)
    assert not under_way.vouches()
    assert not Loan(theirs, ssl.CERT_REQUIRED, is_shared=False).vouches()
    assert Loan(other, ssl.CERT_REQUIRED, is_shared=False).vouches()


@pytest.mark.parametrize("mode", [ssl.CERT_NONE, ssl.CERT_REQUIRED])
def test_a_shared_context(mode: ssl.VerifyMode) -> None:
    """What it was built for is in its key."""
    assert Loan(context(mode), mode, is_shared=True).vouches() is (mode == ssl.CERT_REQUIRED)


def test_no_context_is_kept_alive() -> None:
    """The record lasts as long as the context."""
    gc.collect()
    before = len(module._used_unverified)
    theirs = context()
    Loan(theirs, ssl.CERT_NONE, is_shared=False)
    assert len(module._used_unverified) == before + 1
    del theirs
    gc.collect()
    assert len(module._used_unverified) == before

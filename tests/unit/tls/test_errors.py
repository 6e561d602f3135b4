"""The refusals of `PinnedSSLContext`, and `pinning_error()`."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import ssl
from typing import TYPE_CHECKING

import pytest
import requests

import pinned_requests
from pinned_requests import Pin, PinMismatchError, PinningError, PinPolicy, ViolationReport, pinning_error
from pinned_requests.core.chain import Chain
from pinned_requests.core.verdict import Outcome, Verdict, evaluate
from pinned_requests.enforcement.guard import ERRORS
from pinned_requests.tls.errors import MAX_SEARCHED, tls_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PIN, BACKUP = (Pin("spki", bytes([number]) * 32) for number in range(2))
NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


def error_of(outcome: Outcome = Outcome.MISMATCH) -> Any:
    """Make the error of a refusal."""
    policy = PinPolicy({"api.example.com": [PIN, BACKUP]})
    _, _, *seen = evaluate(policy, "api.example.com", Chain.missing("of the test"), NOW, port=443)._fields()
    return tls_error(ViolationReport(Verdict(outcome, False, *seen), NOW))  # noqa: FBT003  a field


@pytest.mark.parametrize("outcome", ERRORS)
def test_each_refusal_is_both(outcome: Outcome) -> None:
    """A public error of ours, and what ssl raises for a certificate that is not valid."""
    error = error_of(outcome)
    assert isinstance(error, ERRORS[outcome])
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert isinstance(error, ssl.CertificateError)
    assert isinstance(error, requests.exceptions.SSLError)
    assert (type(error).__module__, type(error).__name__) == ("pinned_requests", ERRORS[outcome].__name__)
    assert getattr(pinned_requests, type(error).__name__) is ERRORS[outcome]


def test_it_has_the_attributes_of_both() -> None:
    """`verify_code` is OpenSSL's for a certificate that the application refuses."""
    error = error_of()
    assert (error.host, error.port, error.expected) == ("api.example.com", 443, (PIN, BACKUP))
    assert (error.verify_code, error.verify_message) == (50, str(error))
    assert (error.errno, error.library, error.reason) == (ssl.SSL_ERROR_SSL, "SSL", "CERTIFICATE_VERIFY_FAILED")
    assert (
        str(error).splitlines()[0] == "api.example.com:443 presented a certificate chain that holds none of its pins."
    )
    assert f"    {PIN}" in str(error).splitlines()


@pytest.mark.parametrize("outcome", ERRORS)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])  # noqa: S301  our own
def test_it_pickles_and_copies(outcome: Outcome, again: Callable[[BaseException], BaseException]) -> None:
    """With all its attributes, to the same class."""
    error = error_of(outcome)
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    names = ("args", "host", "port", "chain", "expected", "verify_code", "verify_message", "reason", "library")
    assert [getattr(other, name) for name in names] == [getattr(error, name) for name in names]


def caused(error: BaseException) -> BaseException:
    """Wrap an error as `raise … from` does."""
    outer = RuntimeError("outer")
    outer.__cause__ = error
    return outer


def in_context(error: BaseException) -> BaseException:
    """Wrap an error as `raise` in an `except` block does."""
    outer = RuntimeError("outer")
    outer.__context__ = error
    return outer


def as_attribute(name: str) -> Callable[[BaseException], BaseException]:
    """Wrap an error as urllib3 and aiohttp do."""

    def wrap(error: BaseException) -> BaseException:
        outer = RuntimeError("outer")
        setattr(outer, name, error)
        return outer

    return wrap


WRAPPINGS = {
    "itself": lambda error: error,
    "cause": caused,
    "context": in_context,
    "argument": lambda error: OSError("a text", error),
    "reason": as_attribute("reason"),
    "certificate_error": as_attribute("certificate_error"),
    "group": lambda error: ExceptionGroup("several", [ValueError(), error]),
}


@pytest.mark.parametrize("inner", WRAPPINGS)
@pytest.mark.parametrize("outer", WRAPPINGS)
def test_the_refusal_is_found(inner: str, outer: str) -> None:
    """However a client has wrapped it, at any depth."""
    error = error_of()
    assert pinning_error(WRAPPINGS[outer](WRAPPINGS[inner](error))) is error


def test_a_public_error_is_found_as_well() -> None:
    """That of a `PinnedSession`."""
    error = PinMismatchError("text")
    assert pinning_error(requests.exceptions.ConnectionError(error)) is error


def test_nothing_is_found_where_nothing_is() -> None:
    """Also in a circle, in a group without end, and in what is not an error."""
    first, second = RuntimeError(), RuntimeError()
    first.__cause__, second.__context__ = second, first
    nested: Exception = ValueError()
    for _ in range(10):
        nested = ExceptionGroup("", [nested, ValueError()])
    many = ExceptionGroup("", [ValueError() for _ in range(2 * MAX_SEARCHED)])
    for error in (first, nested, many, None, "text", ssl.SSLCertVerificationError(1, "other")):
        assert pinning_error(error) is None
    assert issubclass(PinningError, OSError)

"""Refusals of `PinnedSSLContext`: the public errors that are, too, what `ssl` raises for an invalid certificate."""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING, Any

from pinned_requests.enforcement.guard import ERRORS, error_fields
from pinned_requests.exceptions import ChainUnavailableError, PinningError

if TYPE_CHECKING:
    from pinned_requests.core.report import ViolationReport

# What `ssl` says of an invalid certificate; 50 is OpenSSL's code for one that the application refuses.
_AS_SSL = {"library": "SSL", "reason": "CERTIFICATE_VERIFY_FAILED", "verify_code": 50}
MAX_SEARCHED = 1000  # exceptions in `pinning_error()`: a group can hold any number

# Where clients keep the error of `ssl`: urllib3 in `reason`, aiohttp in `certificate_error`, all others in these.
_LINKS = ("__cause__", "__context__", "args", "reason", "certificate_error", "exceptions")


def pinning_error(error: object) -> PinningError | None:
    """Return the refusal in the error of a client, or None if no pin refused the connection.

    Args:
        error: what a client raised. The refusal is looked for at any depth, in the attributes of `_LINKS`.
    """
    left, seen = deque([error]), set[int]()
    while left and len(seen) < MAX_SEARCHED:
        each = left.popleft()
        if isinstance(each, PinningError):
            return each
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            for link in _LINKS:
                value = getattr(each, link, None)
                left.extend(value if isinstance(value, (tuple, list)) else (value,))
    return None


def tls_error(report: ViolationReport) -> PinningError:
    """Return the error to raise from `ssl` for a refusal."""
    error_class: Any = _TLS_ERRORS[ERRORS.get(report.outcome, ChainUnavailableError)]
    error: PinningError = error_class(ssl.SSL_ERROR_SSL, str(report), **error_fields(report))
    vars(error).update(_AS_SSL, report=report, verify_message=str(report))
    return error


def _reduce(error: PinningError) -> tuple[Any, ...]:
    return _restore, (type(error).__mro__[1], error.args), PinningError.__reduce__(error)[2]


def _restore(public: type[PinningError], arguments: tuple[object, ...]) -> PinningError:
    return _TLS_ERRORS[public](*arguments)


# The children of a public error and `ssl.SSLCertVerificationError`, under the name of the public one.
_ATTRIBUTES = {"__module__": "pinned_requests", "__reduce__": _reduce}
_TLS_ERRORS: dict[type[PinningError], type[PinningError]] = {
    public: type(public.__name__, (public, ssl.SSLCertVerificationError), {"__doc__": public.__doc__, **_ATTRIBUTES})
    for public in {*ERRORS.values(), ChainUnavailableError}
}

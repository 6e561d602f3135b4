"""Refusals of `PinnedSSLContext`: the public errors that are, too, what `ssl` raises for an invalid certificate.

Every client drops a connection with such an error. `pinning_error()` finds it in what the client raises.
"""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING, Any

from pinned_requests.enforcement.refusal import ERRORS, error_fields
from pinned_requests.exceptions import ChainUnavailableError, PinningError

if TYPE_CHECKING:
    from pinned_requests.core.report import ViolationReport

X509_V_ERR_APPLICATION_VERIFICATION = 50  # OpenSSL's code for a certificate that the application refuses
MAX_SEARCHED = 1000  # exceptions and arguments in `pinning_error()`: a group can hold any number

# Where clients keep the error of `ssl`: urllib3 in `reason`, aiohttp in `certificate_error`, exception groups in
# `exceptions`, all others as the cause, the context or an argument.
_LINKS = ("__cause__", "__context__", "args", "reason", "certificate_error", "exceptions")


def pinning_error(error: object) -> PinningError | None:
    """Return the refusal in the error of a client, or None if no pin refused the connection.

    Args:
        error: what a client raised. The refusal is looked for at any depth, in the attributes of `_LINKS`.
    """
    left, seen = deque([error]), {id(error)}
    while left and len(seen) < MAX_SEARCHED:
        each = left.popleft()
        if isinstance(each, PinningError):
            return each
        for link in _LINKS if isinstance(each, BaseException) else ():
            value = getattr(each, link, None)
            found = value if isinstance(value, (tuple, list)) else (value,)
            new = [other for other in found if isinstance(other, BaseException) and id(other) not in seen]
            seen.update(map(id, new))
            left.extend(new)
    return None


def tls_error(report: ViolationReport) -> PinningError:
    """Return the error to raise from `ssl` for a refusal."""
    text = str(report)
    error_class = _TLS_ERRORS[ERRORS.get(report.outcome, ChainUnavailableError)]
    error: Any = error_class(ssl.SSL_ERROR_SSL, text, **error_fields(report))
    error.report = report
    error.library, error.reason = "SSL", "CERTIFICATE_VERIFY_FAILED"
    error.verify_code, error.verify_message = X509_V_ERR_APPLICATION_VERIFICATION, text
    return error  # type: ignore[no-any-return]  # of a class made below


def _reduce(error: PinningError) -> tuple[Any, ...]:
    return _restore, (type(error).__mro__[1], error.args), PinningError.__reduce__(error)[2]


def _restore(public: type[PinningError], arguments: tuple[object, ...]) -> PinningError:
    return _TLS_ERRORS[public](*arguments)


def _tls_error_class(public: type[PinningError]) -> type[PinningError]:
    """Return the child of a public error and `ssl.SSLCertVerificationError`, under the name of the public one."""
    attributes = {"__module__": "pinned_requests", "__doc__": public.__doc__, "__reduce__": _reduce}
    return type(public.__name__, (public, ssl.SSLCertVerificationError), attributes)


_TLS_ERRORS = {public: _tls_error_class(public) for public in {*ERRORS.values(), ChainUnavailableError}}

"""`Refusal`: how a refusal travels to the edge of this package, where it becomes a public error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinned_requests import exceptions
from pinned_requests.core.verdict import Outcome

if TYPE_CHECKING:
    from pinned_requests.core.report import ViolationReport

ERRORS: dict[Outcome, type[exceptions.PinningError]] = {
    Outcome.MISMATCH: exceptions.PinMismatchError,
    Outcome.BLOCKED_KEY: exceptions.BlockedKeyError,
    Outcome.EXPIRED: exceptions.PinsExpiredError,
    Outcome.CHAIN_UNAVAILABLE: exceptions.ChainUnavailableError,
    Outcome.UNPINNED_HOST: exceptions.UnpinnedHostError,
    Outcome.INSECURE_URL: exceptions.InsecureURLError,
    Outcome.OUTDATED_POLICY: exceptions.PinsExpiredError,
}


class Refusal(Exception):  # noqa: N818  private: it becomes a PinningError
    """A connection was refused. Never leaves this package. Not an `OSError` or `SSLError`, which urllib3 retries."""

    def __init__(self, report: ViolationReport) -> None:
        super().__init__(report)
        self.report = report

    def as_error(self, request: Any = None) -> exceptions.PinningError:
        """Return the public error, with `request` if it is known."""
        report = self.report
        error_class = ERRORS.get(report.outcome, exceptions.ChainUnavailableError)
        return error_class(str(report), request=request, **error_fields(report))


def error_fields(report: ViolationReport) -> dict[str, Any]:
    """Return the attributes of a `PinningError` about `report`, but its request."""
    return {"host": report.host, "port": report.port, "chain": report.chain, "expected": report.known_pins}

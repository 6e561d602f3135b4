"""One table says how each error ends a command."""

from __future__ import annotations

import pytest

from pinned_requests import PolicyError
from pinned_requests.cli.errors import Failure, failure_of
from pinned_requests.cli.output import CommandError
from pinned_requests.monitoring.errors import InvalidCertificateError, RouteError, UnreachableError
from pinned_requests.monitoring.target import Target

TARGET = Target("api.example.com")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (CommandError("no"), Failure("no", 2)),
        (PolicyError("no"), Failure("no", 2)),
        (RouteError("no"), Failure("no", 2)),
        (UnreachableError(TARGET, "no answer"), Failure("api.example.com:443: no answer", 1)),
        (InvalidCertificateError(TARGET, "expired"), Failure("api.example.com:443: expired", 1)),
        (FileNotFoundError(2, "No such file", "a.toml"), Failure("a.toml: No such file", 2)),
        (MemoryError(), Failure("the input is too large", 2)),
        (RecursionError(), Failure("the input is too large", 2)),
        (KeyboardInterrupt(), Failure(None, 130)),
        (BrokenPipeError(), Failure(None, 141)),
    ],
)
def test_how_an_error_ends_a_command(error: BaseException, failure: Failure) -> None:
    """A sentence and an exit code."""
    assert failure_of(error) == failure


def test_a_bug_is_not_hidden() -> None:
    """Other errors are bugs, and keep their traceback."""
    assert failure_of(KeyError("x")) is None

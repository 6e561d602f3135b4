"""One table says how each error ends a command."""

from __future__ import annotations

import pytest
from filelock import Timeout
from tuf.api.exceptions import RepositoryError

from pinned_requests import PolicyError
from pinned_requests.cli.errors import Failure, failure_of
from pinned_requests.cli.output import CommandError
from pinned_requests.monitoring.target import InvalidCertificateError, RouteError, Target, UnreachableError
from pinned_requests.publishing.keys import SigningError
from pinned_requests.publishing.proposal import ProposalError
from pinned_requests.sources.tuf.errors import RemotePolicyError

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


def test_errors_of_the_extra_remote() -> None:
    """They are known by their names: a command that does without the extra does not import it."""
    assert failure_of(SigningError("no key")) == Failure("no key", 1)
    assert failure_of(ProposalError("signed twice")) == Failure("signed twice", 1)
    assert failure_of(RemotePolicyError("freeze", "it has expired")) == Failure("it has expired", 1)
    assert failure_of(RepositoryError("bad hash")) == Failure("the repository does not verify: bad hash", 1)
    assert failure_of(Timeout("lock")) == Failure("another process is changing the repository", 1)
    missing = failure_of(ModuleNotFoundError("No module named 'tuf'", name="tuf.api"))
    assert missing is not None
    assert (missing.code, "pinned-requests[cli,remote]" in (missing.sentence or "")) == (2, True)
    assert failure_of(ModuleNotFoundError("No module named 'x'", name="x")) is None


def test_a_bug_is_not_hidden() -> None:
    """Other errors are bugs, and keep their traceback."""
    assert failure_of(KeyError("x")) is None

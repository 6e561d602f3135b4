"""`RemotePolicyError`: which check failed when a policy from a TUF repository was refused."""

from __future__ import annotations

from typing import Literal

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape

Check = Literal[
    "signature",  # it is signed by fewer trusted keys than the root demands
    "freeze",  # it has expired: an attacker holds back newer metadata, or the repository was not refreshed
    "rollback",  # it is older than a version seen before
    "mix-and-match",  # it is not the file named in the signed metadata: modified, or of another version
    "format",  # it is not TUF metadata
    "size",  # it is longer than allowed
    "slow",  # it did not arrive in time
    "network",  # it cannot be downloaded
    "target",  # the repository does not have the target
    "policy",  # it is signed, but not a valid policy
    "cache",  # the cache directory cannot be used
]


class RemotePolicyError(PolicyError):
    """A policy from a TUF repository was refused; the one in force stays.

    Args:
        check: the check that failed.
        text: the message.
    """

    def __init__(self, check: Check, text: str) -> None:
        super().__init__(check, text)  # pickle calls the constructor with these
        self.check: Check = check

    def __str__(self) -> str:
        return str(self.args[1])


def explain(error: Exception, name: str) -> RemotePolicyError:
    """Return the `RemotePolicyError` for any error, and the name or URL of what was being read."""
    from tuf.api import exceptions as tuf  # noqa: PLC0415  of the extra

    if isinstance(error, RemotePolicyError):
        return error
    what, why = escape(name) or "the update", escape(str(error)) or type(error).__name__
    texts: dict[type[Exception], tuple[Check, str]] = {  # the first match counts: subclasses first
        tuf.UnsignedMetadataError: (
            "signature",
            f"{what} is not signed by enough trusted keys: {why}. It is forged or unsigned, or of another repository",
        ),
        tuf.ExpiredMetadataError: (
            "freeze",
            f"{why}: newer metadata is held back, or 'pinned-requests repo refresh' was not run, or the clock is wrong",
        ),
        tuf.BadVersionNumberError: (
            "mix-and-match" if name.endswith(".targets.json") else "rollback",
            f"{what} has the wrong version: {why}",
        ),
        tuf.LengthOrHashMismatchError: (
            "mix-and-match",
            f"{what} is not the file named in the signed metadata: modified, or of another version ({why})",
        ),
        tuf.RepositoryError: ("format", f"{what} is not valid metadata: {why}"),
        tuf.DownloadLengthMismatchError: ("size", f"{what} is too long: {why}"),
        tuf.SlowRetrievalError: ("slow", f"{what} did not arrive in time: {why}"),
        tuf.DownloadError: ("network", f"{what} could not be downloaded: {why}"),
        OSError: ("cache", f"the cache directory cannot be used: {why}"),
    }
    for kind, (check, text) in texts.items():
        if isinstance(error, kind):
            return RemotePolicyError(check, text)
    return RemotePolicyError("format", f"{what} cannot be read: {type(error).__name__}: {why}")

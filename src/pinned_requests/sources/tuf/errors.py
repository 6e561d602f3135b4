"""`RemotePolicyError`: why a policy from a TUF repository was not taken, in words that say which check failed."""

from __future__ import annotations

from typing import Literal

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape

Check = Literal[
    "signature",  # too few of the keys that the trusted root names have signed it
    "freeze",  # it has expired: somebody holds back what is newer, or nobody has refreshed the repository
    "rollback",  # it is older than what was seen before
    "mix-and-match",  # it is not the file that the signed metadata names: tampered with, or of another version
    "format",  # it is no TUF metadata
    "size",  # it is longer than allowed
    "slow",  # it did not arrive in time
    "network",  # it cannot be fetched
    "target",  # the repository has no such target
    "policy",  # it is signed, and no policy
    "cache",  # the cache directory cannot be used
]


class RemotePolicyError(PolicyError):
    """A policy from a TUF repository was not taken; the one in force stays.

    Args:
        check: the check that failed.
        text: the sentence for humans.
    """

    def __init__(self, check: Check, text: str) -> None:
        super().__init__(check, text)  # both, so that it pickles
        self.check: Check = check

    def __str__(self) -> str:
        return str(self.args[1])


def explain(error: Exception, name: str) -> RemotePolicyError:
    """Return what python-tuf, a file or a lock raised as an error of ours.

    Args:
        error: what was raised.
        name: the file of the repository that was being looked at, such as `timestamp.json`.
    """
    from tuf.api import exceptions as tuf  # noqa: PLC0415  of the extra

    if isinstance(error, RemotePolicyError):
        return error
    what, why = escape(name) or "the update", escape(str(error)) or type(error).__name__
    texts: dict[type[Exception], tuple[Check, str]] = {  # the first that fits, so subclasses come first
        tuf.UnsignedMetadataError: (
            "signature",
            f"{what} lacks signatures that count: {why}. It is forged or unsigned, or the repository is another one",
        ),
        tuf.ExpiredMetadataError: (
            "freeze",
            f"{why}: newer metadata is held back, or nobody ran 'pinned-requests repo refresh', or this clock is wrong",
        ),
        tuf.BadVersionNumberError: (
            "mix-and-match" if name.endswith(".targets.json") else "rollback",
            f"{what} is not of the version that it must be: {why}",
        ),
        tuf.LengthOrHashMismatchError: (
            "mix-and-match",
            f"{what} is not what the signed metadata names: tampered with, or of another version ({why})",
        ),
        tuf.RepositoryError: ("format", f"{what} is no valid metadata: {why}"),
        tuf.DownloadLengthMismatchError: ("size", f"{what} is longer than it may be: {why}"),
        tuf.SlowRetrievalError: ("slow", f"{what} did not arrive in time: {why}"),
        tuf.DownloadError: ("network", f"{what} cannot be fetched: {why}"),
        OSError: ("cache", f"the cache directory cannot be used: {why}"),
    }
    for kind, (check, text) in texts.items():
        if isinstance(error, kind):
            return RemotePolicyError(check, text)
    return RemotePolicyError("format", f"{what} cannot be read: {type(error).__name__}: {why}")

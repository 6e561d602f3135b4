"""Signed remote policies by The Update Framework (TUF): what is behind `PolicyStore.from_tuf`. Extra: `remote`.

`client.py` updates from the repository, `fetcher.py` downloads, `bundle.py` keeps the last good policy over a restart,
`errors.py` says which check failed. Importing this package imports none of the extra's libraries.
"""

from pinned_requests.sources.tuf.errors import RemotePolicyError

__all__ = ["RemotePolicyError"]

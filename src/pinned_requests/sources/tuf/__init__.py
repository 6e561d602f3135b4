"""Signed remote policies by The Update Framework (TUF), for `PolicyStore.from_tuf`. Extra: `remote`.

The client's side belongs here; signing and publishing do not. Importing this package imports none of the extra's
libraries.
"""

from pinned_requests.sources.tuf.errors import RemotePolicyError

__all__ = ["RemotePolicyError"]

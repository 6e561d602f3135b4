"""Signed policies, made and published: the library behind `pinned-requests repo`. Extra: `remote`.

`repository.py` changes a repository of The Update Framework (TUF); `proposal.py` is a change that several people sign.
The client's side is in `sources.tuf`. Arguments and output do not belong here, nor do connections to live servers: they
come in as a function.

Errors: `PolicyError` for wrong arguments and policies, `SigningError` for keys, `ProposalError` for proposals,
`SyncError` for copies, python-tuf's `RepositoryError` for metadata that does not verify, and `OSError` for files.
"""

"""Signed policies, made and published: the library behind `pinned-requests repo`. Extra: `remote`.

`repository.py` changes a repository of The Update Framework (TUF); `proposal.py` is a change that several people sign.
The client's side is in `sources.tuf`. Arguments and output do not belong here, nor do connections to live servers: they
come in as a function.
"""

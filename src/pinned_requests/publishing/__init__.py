"""Signed policies, made and published: the library behind `pinned-requests repo`. Extra: `remote`.

`repository.py` changes a repository of The Update Framework (TUF), `keys.py` signs, `ceremony.py` plans the first keys.
`proposal.py`, `comparison.py`, `signatures.py` and `trust.py` let people in different places sign a change. `review.py`
finds what would lock clients out, `status.py` reads a repository without keys, `sync.py` copies one.

The client's side is in `sources.tuf`. Arguments and output do not belong here, nor do connections to live servers: they
come in as a function.
"""

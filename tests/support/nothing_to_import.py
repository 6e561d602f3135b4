"""A machine on which nothing can be imported."""

from __future__ import annotations


class NothingToImport:
    """Stands in `sys.meta_path`, and raises `error` for each module."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def find_spec(self, *_arguments: object) -> None:
        """Raise the error."""
        raise self._error

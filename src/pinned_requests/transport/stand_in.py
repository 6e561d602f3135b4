"""Adapters that take the place of another, or that need no pinning."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from requests.adapters import BaseAdapter

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from pinned_requests.exceptions import PinningError


class RefusingAdapter(BaseAdapter):
    """Stands in for an adapter that must not carry a request, and raises the reason when it is asked to."""

    def __init__(self, error: PinningError) -> None:
        super().__init__()
        self._error = error

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:  # noqa: ARG002  none is used
        """Refuse.

        Raises:
            PinningError: always.
        """
        self._error.request = request
        raise self._error

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def is_mock(adapter: object) -> bool:
    """Say whether an adapter is requests-mock's, which answers by itself and never connects."""
    module = sys.modules.get("requests_mock.adapter")
    return module is not None and isinstance(adapter, module.Adapter)

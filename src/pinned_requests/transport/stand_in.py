"""Stand-ins that refuse in the place of an adapter or manager, and mocks, which need no pinning."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from requests.adapters import BaseAdapter

from pinned_requests.core.text import show
from pinned_requests.exceptions import UnpinnableAdapterError

if TYPE_CHECKING:
    from requests import PreparedRequest, Response
    from urllib3 import PoolManager

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


class RefusingManager:
    """Stands in for a manager that follows another policy than the adapter that it is in. It can be closed.

    Args:
        manager: of urllib3's.
    """

    def __init__(self, manager: PoolManager) -> None:
        self.connection_pool_kw = manager.connection_pool_kw  # requests reads it for each request
        self.clear = manager.clear
        self._error = (
            f"{show(manager)} follows another policy than the adapter that it is in; use one PolicyStore for both"
        )

    def __getattr__(self, name: str) -> Any:
        """Refuse all else.

        Raises:
            UnpinnableAdapterError: always.
        """
        raise UnpinnableAdapterError(self._error)


def is_mock(adapter: object) -> bool:
    """Say whether an adapter is requests-mock's, which answers by itself and never connects."""
    module = sys.modules.get("requests_mock.adapter")
    if module is None or not isinstance(adapter, module.Adapter):
        return False
    return type(adapter).send is module.Adapter.send and "send" not in vars(adapter)

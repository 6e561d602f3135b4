"""The client of the API."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import httpx

from pinned_requests import PinnedSSLContext, PinPolicy, PolicyStore, pinning_error

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

API = "https://api.acme.example/v1"
SHIPPED = files("acme_async")
TIMEOUT = 10.0  # seconds


class AsyncThingsClient:
    """Talks to the API. Make one and keep it.

    Args:
        token: of the account. No server without one of the API's keys gets to see it.

    Attributes:
        pins: the policy store. `pins.set(policy)` puts newer pins in force, on open connections, too.
    """

    def __init__(self, token: str) -> None:
        self.pins = PolicyStore(PinPolicy.from_json(SHIPPED.joinpath("pins.json").read_text("utf-8")))
        context = PinnedSSLContext(self.pins, port=443)
        self._client = httpx.AsyncClient(
            verify=context,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
        )

    async def list_things(self) -> list[str]:
        """Return the names of all things.

        Raises:
            PinningError: the server does not have one of the API's keys. Nothing was sent; do not try again.
            httpx.HTTPError: the API cannot be reached, or answers with an error.
        """
        try:
            response = await self._client.get(f"{API}/things")
        except httpx.TransportError as error:
            if (refusal := pinning_error(error)) is not None:
                raise refusal from error
            raise
        response.raise_for_status()
        things: list[str] = response.json()["things"]
        return things

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

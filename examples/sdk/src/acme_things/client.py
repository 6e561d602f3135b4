"""The client of the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acme_things.pins import pin_store
from pinned_requests import PinnedSession

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

API = "https://api.acme.example/v1"
CACHE = Path("~/.cache/acme-things")
TIMEOUT = 10.0  # seconds


class ThingsClient:
    """Talks to the API, and to nobody else. Make one and keep it; it may be used from many threads.

    Args:
        token: of the account. No server without one of the API's keys gets to see it.
        cache_dir: where newer pins are kept.

    Attributes:
        pins: the policy store: `pins.last_error` says why newer pins could not be had, `pins.refresh()` asks for them.
    """

    def __init__(self, token: str, *, cache_dir: Path = CACHE) -> None:
        self.pins = pin_store(cache_dir.expanduser())
        self._session = PinnedSession(self.pins)
        self._session.headers["Authorization"] = f"Bearer {token}"

    def list_things(self) -> list[str]:
        """Return the names of all things.

        Raises:
            requests.exceptions.SSLError: the server is not the API: its certificate or its key is not the right one.
            requests.exceptions.RequestException: the API cannot be reached, or answers with an error.
        """
        response = self._session.get(f"{API}/things", timeout=TIMEOUT)
        response.raise_for_status()
        things: list[str] = response.json()["things"]
        return things

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

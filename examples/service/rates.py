"""A Flask service that asks another one, whose pins it takes from a file: a changed file needs no restart.

One store and one session are made with the application, and shared by all requests and threads of the process. A key
whose pin is taken out of the file is refused from the next request on, also on a connection that is open. Replace the
file as a whole: write another one beside it, and rename it.

To run it: ``flask --app 'rates:create_app("pins.json")' run``. Its tests: ``pytest test_rates.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests
from flask import Flask

from pinned_requests import PinnedSession, PolicyStore

if TYPE_CHECKING:
    import os

UPSTREAM = "https://rates.example.com/v1"
TIMEOUT = 5.0  # seconds


def create_app(pins: str | os.PathLike[str], *, refresh_after: float = 1.0) -> Flask:
    """Make the application.

    Args:
        pins: the path of the policy.
        refresh_after: seconds from one look at it to the next.

    Raises:
        PolicyError: the file holds no policy: without pins the service does not start.
        OSError: it cannot be read.
    """
    app = Flask(__name__)
    store = PolicyStore.from_file(pins, refresh_after=refresh_after)
    session = PinnedSession(store)

    @app.get("/rates/<currency>")
    def rate(currency: str) -> tuple[dict[str, Any], int]:
        """Pass on what the upstream says."""
        try:
            response = session.get(f"{UPSTREAM}/{quote(currency, safe='')}", timeout=TIMEOUT)
            response.raise_for_status()
        except requests.RequestException as error:
            app.logger.warning("The upstream failed: %s", error)  # which keys were seen is not the callers' business
            return {"error": "the upstream cannot be reached"}, 502
        return response.json(), 200

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """Say whether the newest pins are in force.

        The status is 200 in either case: with a wrong file the last good policy stays in force, and the service works.
        A restart, which is what a status of 503 would bring, would fail.
        """
        error = store.last_error
        return {"status": "ok"} if error is None else {"status": "outdated pins", "error": str(error)}

    return app

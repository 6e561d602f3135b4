"""An application whose `requests.Session()` became a `PinnedSession(…)`. All else is as it was, its retries too.

The whole change, beside the pins themselves:

    +from pinned_requests import PinnedSession
    -    session = requests.Session()
    +    session = PinnedSession(PINS)

To run it: ``BILLING_TOKEN=… python application.py``. Its tests: ``pytest test_application.py``.
"""

from __future__ import annotations

import os
import sys

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pinned_requests import PinnedSession

API = "https://billing.example.com/v1"
PINS = {
    "billing.example.com": [
        "sha256/K96RUoen5wSYTWSh/gGWBQg3rU/qFIzCINdEJl5WDY0=",  # the key in use
        "sha256/KdvfGQ1wYkr0baDGLGX/1U6zVZhiVGQv8r9Rz2w1vRI=",  # the backup key, which is kept offline
    ]
}
RETRIES = Retry(3, status_forcelist=[502, 503, 504], backoff_factor=0.1)
TIMEOUT = 10.0  # seconds


def open_session(token: str) -> requests.Session:
    """Return a session for the API."""
    session = PinnedSession(PINS)
    session.headers["Authorization"] = f"Bearer {token}"
    session.mount("https://", HTTPAdapter(max_retries=RETRIES))
    return session


def overdue(session: requests.Session) -> list[str]:
    """Return the numbers of all invoices that are overdue."""
    response = session.get(f"{API}/invoices", params={"state": "overdue"}, timeout=TIMEOUT)
    response.raise_for_status()
    return [invoice["number"] for invoice in response.json()]


def main() -> int:
    """Print the invoices that are overdue, or why that cannot be done."""
    with open_session(os.environ["BILLING_TOKEN"]) as session:
        try:
            print(*overdue(session), sep="\n")
        except requests.RequestException as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""An asynchronous SDK on httpx that ships the pins of its API.

It shows, for authors of an SDK that is not built on requests:

- `pins.json` in the package: the policy of the day of the release;
- `client.py`: a client on `httpx.AsyncClient` with a `PinnedSSLContext`, and how a refusal is told from a failure;
- `tests/`: attackers get nothing, the API is believed, and a new policy holds on open connections.

To run its tests, in this folder: ``pip install '.[test]'`` and ``pytest``.
"""

from acme_async.client import AsyncThingsClient

__all__ = ["AsyncThingsClient"]

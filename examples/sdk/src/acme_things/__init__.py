"""An SDK that ships the pins of its API, and follows those that are published later.

It shows, for whoever writes an SDK on top of pinned_requests,

- `pins.json` and `root.json` in the package: the policy of the day of the release, and the root of trust for later
  ones;
- `pins.py`: the policy store on top of both, and `client.py`: the client, on one session with that store;
- `tests/`: that attackers get nothing, that the API is believed, and that new pins are followed without a release.

To run its tests, in this folder: ``pip install '.[test]'`` and ``pytest``.
"""

from acme_things.client import ThingsClient

__all__ = ["ThingsClient"]

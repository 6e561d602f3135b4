"""A client of a self-signed appliance on the local network, a password-manager hub, which it knows by its key.

Nobody vouches for a self-signed certificate, and for `https://192.168.1.20:8443` nobody could. What can be known is the
key: pin it, and turn off the validation that cannot succeed. `verify=False` without a pin would believe everybody.

Take the pin from the hub itself, at its console, not over the network:

    openssl x509 -in hub.crt -pubkey -noout | openssl pkey -pubin -outform der \
      | openssl dgst -sha256 -binary | openssl enc -base64

To run it: ``HUB_TOKEN=… python appliance.py https://192.168.1.20:8443 PIN``. Its tests: ``pytest test_appliance.py``.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InsecureRequestWarning

from pinned_requests import MissingBackupPinWarning, PinnedSession

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT = 10.0  # seconds


def names(url: str, pin: str, token: str) -> list[str]:
    """Return the names of the passwords that a hub keeps.

    Args:
        url: of the hub, without a path.
        pin: of its key.
        token: which lets whoever knows it read all passwords.
    """
    pins = {urlsplit(url).netloc: pin}
    with PinnedSession(pins) as session:
        # Of the request, not of the session: REQUESTS_CA_BUNDLE would win over `session.verify`.
        response = session.get(
            f"{url}/passwords",
            headers={"Authorization": f"Bearer {token}"},
            verify=False,  # the pin decides
            timeout=TIMEOUT,
        )
    response.raise_for_status()
    found: list[str] = response.json()
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the names of all passwords, or why that cannot be done.

    Args:
        arguments: the URL and the pin.
    """
    # The hub has one key only, and stands within reach: if it gets another one, somebody reads the pin off it again.
    warnings.simplefilter("ignore", MissingBackupPinWarning)
    # urllib3 knows of certificates only, and warns that this one is not validated.
    warnings.simplefilter("ignore", InsecureRequestWarning)
    url, pin = arguments
    try:
        print(*names(url, pin, os.environ["HUB_TOKEN"]), sep="\n")
    except requests.RequestException as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The drill of failsafe.md: what a client does when keys change, and what its operator sees. It uses loopback only.

Run it with a Python that has `pinned_requests` installed. Exit status 0: every event ended as the table says.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from pinned_requests import Pin, PinnedSession, PinningError, PinSet, PolicyStore
from pinned_requests.reporting import HTTPReporter
from pinned_requests.testing import Authority, Credential, TLSServer

WAIT = 10.0  # seconds: far longer than any step takes
HOST = "localhost"


class Drill:
    """A server and its keys, a client, and the collector that the client reports to."""

    def __init__(self, api: TLSServer, collector: TLSServer, bundle: str) -> None:
        self.api = api
        self.collector = collector
        self.reporter = HTTPReporter(collector.url("/pins", host="127.0.0.1"))
        self.store = PolicyStore({"unused.example": PinSet.exempt()})  # until `ship()`, the host is refused
        self.client = PinnedSession(self.store, on_violation=self.reporter)
        self.client.trust_env, self.client.verify = False, bundle
        self.is_as_expected = True
        self._seen = 0

    def ship(self, *pins: Pin, **fields: Any) -> None:
        """Give the client another policy, as an operator would by a file or a vault."""
        self.store.set({HOST: {"pins": pins, **fields}})

    def play(self, event: str, served: Credential, client: str, operator: str) -> None:
        """Send one request while `served` is presented, and compare the result with the expected one.

        Args:
            event: what happens, for the reader.
            served: certificate and key of the server.
            client: `"answered"`, or the name of the error.
            operator: the outcome that is reported, or `"nothing"`.
        """
        self.api.credential = served
        try:
            headers = {"Connection": "close"}  # the next event needs a new handshake
            did = "answered" if self.client.get(self.api.url(), headers=headers, timeout=WAIT).ok else "failed"
        except PinningError as error:
            did = type(error).__name__
        self.reporter.flush(WAIT)
        self.collector.settle(WAIT)
        new = [json.loads(request.body)["outcome"] for request in self.collector.requests[self._seen :]]
        self._seen += len(new)
        saw = ", ".join(new) or "nothing"
        print(f"{event}\n    client:   {did}\n    operator: {saw}")
        if (did, saw) != (client, operator):
            print(f"    THAT IS WRONG: the client should have {client}, the operator seen {operator}")
            self.is_as_expected = False


def main() -> int:
    """Play all events, and return the exit status."""
    os.environ["NO_PROXY"] = "*"  # reports to loopback go through no proxy
    logging.getLogger("pinned_requests").addHandler(logging.NullHandler())  # the drill prints the results itself
    root = Authority.create("Drill CA")
    in_use, backup, third, attacker = (root.issue(HOST) for _ in range(4))
    key, backup_key, third_key = (Pin.from_certificate(each.certificate) for each in (in_use, backup, third))
    next_backup = Pin.from_certificate(root.issue(HOST).certificate)

    with tempfile.TemporaryDirectory() as folder, TLSServer(in_use) as api, TLSServer(None) as collector:
        bundle = Path(folder, "ca.pem")
        bundle.write_bytes(root.certificate_pem)
        drill = Drill(api, collector, str(bundle))
        with drill.client:
            drill.ship(third_key, next_backup, report_only=True)
            drill.play("1. Roll-out with report_only, and the pins are wrong", in_use, "answered", "mismatch")
            drill.ship(key, backup_key)
            drill.play("2. The pins are right, and enforced", in_use, "answered", "nothing")
            drill.play("3. A man in the middle, with a CA's certificate", attacker, "PinMismatchError", "mismatch")
            drill.play("4. Planned rotation: the server presents the backup key", backup, "answered", "nothing")
            drill.play("5. Both keys are lost, the third is unknown: an outage", third, "PinMismatchError", "mismatch")
            drill.ship(third_key, next_backup)
            drill.play("6. The operator ships the third key's pin: the way back", third, "answered", "nothing")
            drill.ship(key, third_key, blocked_pins=[key])
            drill.play("7. The first key was stolen, and is blocked", in_use, "BlockedKeyError", "blocked-key")
            drill.ship(key, backup_key, expires="2020-01-01T00:00:00Z", on_expiry="unpin")
            drill.play('8. The pins expired, on_expiry="unpin"', in_use, "answered", "expired")
            drill.ship(key, backup_key, expires="2020-01-01T00:00:00Z", on_expiry="block")
            drill.play('9. The pins expired, on_expiry="block"', in_use, "PinsExpiredError", "expired")

    print("\nAll was as it should be." if drill.is_as_expected else "\nNot all was as it should be.")
    return 0 if drill.is_as_expected else 1


if __name__ == "__main__":
    raise SystemExit(main())

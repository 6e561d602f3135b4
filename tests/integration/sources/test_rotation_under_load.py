"""Rotations, an emergency and a change of the CA under load: processes, threads, kept-alive connections, real TLS.

No honest request is refused, the attacker gets no byte, and a replaced file is in force within 1.5 seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pinned_requests import Pin, PinPolicy
from pinned_requests.testing import Response, TLSServer

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from pinned_requests.testing import Credential
    from support.lab import Lab

PROCESSES, THREADS = 2, 4
ENFORCED = 1.5  # seconds from the replacement of the file

WORKER = """
import json, sys, threading, time
from pinned_requests import PinMismatchError, PinnedSession, PinningError, PolicyStore

path, honest, attacker, bundle, threads = sys.argv[1:]
changes = []
store = PolicyStore.from_file(path, confirm_refusals=5, on_change=lambda old, new: changes.append(time.time()))
stop = threading.Event()
seen = {"answered": 0, "refused": [], "stopped": 0, "leaked": 0}
lock = threading.Lock()

def count(name):
    with lock:
        seen[name] += 1

def work(number):
    with PinnedSession(store) as session:
        session.verify = bundle
        turn = 0
        while not stop.is_set():
            turn += 1
            if (turn + number) % 20 == 0:
                try:
                    session.post(attacker, data=b"secret", auth=("user", "password"))
                    count("leaked")
                except PinMismatchError:
                    count("stopped")
            if turn % 7 == 0:
                session.close()  # a new connection
            try:
                session.get(honest)
                count("answered")
            except PinningError as e:
                seen["refused"].append(str(e))

workers = [threading.Thread(target=work, args=(number,)) for number in range(int(threads))]
for worker in workers:
    worker.start()
sys.stdin.read()
stop.set()
for worker in workers:
    worker.join()
print(json.dumps({**seen, "changes": changes, "error": str(store.last_error)}))
"""


class Origin:
    """The honest server, whose key and policy change at one moment: a handshake in between waits for the end."""

    def __init__(self, server: TLSServer, path: Path) -> None:
        self.server, self.path = server, path
        self.replaced: list[float] = []
        self._gate = threading.Event()
        self._gate.set()

    def change(self, policy: PinPolicy, credential: Credential | None = None) -> None:
        """Replace the policy, and the key with it if there is another."""
        self._gate.clear()
        new = self.path.with_suffix(".new")
        new.write_text(policy.to_json())
        if credential is not None:
            self.present(credential)
        self.replaced.append(time.time())
        new.replace(self.path)
        self._gate.set()

    def present(self, credential: Credential) -> None:
        """Present another key from now on."""
        context = credential.server_context()
        context.sni_callback = self._wait
        self.server._context = self._context = context

    def _wait(self, tls: ssl.SSLObject, _name: object, _context: object) -> None:
        if not self._gate.is_set():
            self._gate.wait(10)
        tls.context = self._context


@pytest.mark.slow
def test_rotations_under_load(lab: Lab, tmp_path: Path) -> None:
    """As operators do them, one behind the other."""
    old_ca, new_ca = (lab.root.intermediate(name) for name in ("Old CA", "New CA"))
    first, second, third = (old_ca.issue("localhost") for _ in range(3))
    moved = new_ca.issue("localhost")
    certificates = {
        "first": first.certificate,
        "second": second.certificate,
        "third": third.certificate,
        "old_ca": old_ca.certificate,
        "new_ca": new_ca.certificate,
    }
    keys = {name: Pin.from_certificate(certificate) for name, certificate in certificates.items()}

    def policy(*names: str, blocked: str = "") -> PinPolicy:
        pins = [keys[name] for name in names]
        return PinPolicy({"localhost": pins}, blocked_pins=[keys[blocked]] if blocked else ())

    path = tmp_path / "pins.json"
    path.write_text(policy("first", "second").to_json())
    honest = lab.serve(first, handler=lambda _: Response())
    mitm = lab.serve(lab.attacker, handler=lambda _: Response())
    origin = Origin(honest, path)
    origin.present(first)
    command = [sys.executable, "-c", WORKER, str(path), honest.url(), mitm.url(), lab.bundle, str(THREADS)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    try:
        honest.wait_for_connections(PROCESSES * THREADS, 20)
        time.sleep(0.5)
        origin.present(second)  # the backup key, as in a rotation
        time.sleep(0.3)
        steps = [
            (policy("second", "third"), None),  # the old key's pin is taken away
            (policy("first", "second", blocked="third"), first),  # an emergency: all pins change, and a key is blocked
            (policy("old_ca", "new_ca"), None),  # from leaves to CAs
            (policy("old_ca", "new_ca"), moved),
            (policy("new_ca", "third", blocked="old_ca"), None),  # the old CA has leaked
        ]
        for step in steps:
            origin.change(*step)
            time.sleep(ENFORCED + 0.2)
        seen = [json.loads(worker.communicate(timeout=30)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    mitm.settle()
    assert [each["refused"] for each in seen] == [[]] * PROCESSES
    assert [each["error"] for each in seen] == ["None"] * PROCESSES
    assert all(each["answered"] > 100 for each in seen)
    assert all(each["stopped"] > 5 for each in seen)
    assert sum(each["leaked"] for each in seen) == mitm.application_bytes == 0
    assert mitm.handshakes >= sum(each["stopped"] for each in seen)
    changed = [when for index, when in enumerate(origin.replaced) if index != 3]  # there the policy stays the same
    for each in seen:
        assert len(each["changes"]) == len(changed)
        delays = [after - before for before, after in zip(changed, each["changes"], strict=True)]
        assert max(delays) < ENFORCED

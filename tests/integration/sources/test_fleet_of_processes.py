"""A small fleet in real processes and real time comes back evenly. `unit/sources/test_fleet.py` has larger ones."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from pinned_requests.testing import Response, TLSServer

PROCESSES, STORES = 2, 30
INTERVAL = 1.0  # seconds; the even rate is 60 looks a second

CLIENTS = """
import sys, urllib.request
from pinned_requests import PolicyStore

url, count, interval = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

def policy():
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()

stores = [PolicyStore(policy, refresh_after=interval) for _ in range(count)]
print("started", flush=True)
for store in stores:
    store.current
sys.stdin.read()
print(sum(store.last_error is None for store in stores), flush=True)
"""


@pytest.mark.slow
def test_a_vault_that_was_down() -> None:
    """In no second of its recovery is it asked more than twice as often as in good times."""
    looks: Counter[int] = Counter()
    is_down = threading.Event()

    def answer(_request: object) -> Response:
        looks[int(time.monotonic())] += 1
        return Response(503) if is_down.is_set() else Response(body=b'[hosts."a.example"]\nexempt = true\n')

    with TLSServer(None, handler=answer) as server:
        command = [sys.executable, "-c", CLIENTS, server.url(host="127.0.0.1"), str(STORES), str(INTERVAL)]
        clients = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        try:
            for client in clients:
                assert client.stdout is not None
                assert client.stdout.readline() == "started\n"
            time.sleep(2 * INTERVAL)
            is_down.set()
            time.sleep(4 * INTERVAL)
            is_down.clear()
            begin = int(time.monotonic()) + 1
            time.sleep(4 * INTERVAL)
            healthy = [int(client.communicate(timeout=30)[0]) for client in clients]
        finally:
            for client in clients:
                client.kill()
                client.wait()
    assert healthy == [STORES] * PROCESSES
    recovery = [looks[second] for second in range(begin, begin + 3)]
    assert max(recovery) <= 2 * PROCESSES * STORES / INTERVAL
    assert min(recovery) > 0

"""Clocks far in the past and the future, by libfaketime: files, vaults, repositories and refusals work as ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinned_requests import Pin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinned_requests import PinPolicy
    from support.lab import Lab
    from support.publisher import Publisher

LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), *Path("/usr/lib/faketime").glob("libfaketimeMT*")]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LIBRARIES and "CI" not in os.environ, reason="libfaketime is not installed"),
]
CLOCKS = ["@1970-01-02 00:00:00", "@2001-09-09 01:46:40", "@2038-01-19 03:14:07", "@2099-01-01 00:00:00"]

PROGRAM = """
import pickle, sys, threading, time
from pathlib import Path
from pinned_requests import Pin, PinPolicy, PinSet, PolicyStore
from pinned_requests.core.chain import Chain
from pinned_requests.enforcement.guard import Guard, Refusal

def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)  # libfaketime spoils time.sleep()

folder = Path(sys.argv[1])
old, new = (PinPolicy({f"{name}.example": PinSet.exempt()}) for name in ("old", "new"))
year = time.gmtime().tm_year
assert year == int(sys.argv[2]), year

path = folder / "pins.json"
path.write_text(old.to_json())
store = PolicyStore.from_file(path, refresh_after=0.1, max_age=60)
assert store.current == old and store.loaded_at.year == year and 0 <= store.age < 20
(folder / "new.json").write_text(new.to_json())
(folder / "new.json").replace(path)
until(lambda: store.current == new)

answers = [old, new]
vault = PolicyStore(lambda: answers[0], refresh_after=3600, max_age=7200)
assert vault.current == old
answers.pop(0)
vault.refresh()
assert vault.current == new and vault.last_error is None
assert pickle.loads(pickle.dumps(PolicyStore(old))).current == old

pins = [Pin("spki", bytes([n]) * 32) for n in (1, 2)]
guard = Guard(PolicyStore(lambda: {"a.example": pins}, refresh_after=3600, confirm_refusals=1))
try:
    guard.enforce(guard.judge(guard.admit("https", "a.example", 443), Chain.missing("x")))
    raise SystemExit("not refused")
except Refusal as refusal:
    assert str(year) in refusal.report.to_json()
print("done")
"""

REMOTE = """
import sys
from pinned_requests import PinSet, PolicyStore
url, root, cache = sys.argv[1:]
shipped = {"shipped.example.com": PinSet.exempt()}
store = PolicyStore.from_tuf(f"{url}/metadata", f"{url}/targets", root=root, cache_dir=cache, shipped=shipped)
try:
    store.refresh()
except Exception as e:
    print(e.check, list(store.current.hosts)[0])
else:
    print("fresh", list(store.current.hosts)[0])
"""


def run(clock: str | None, program: str, *arguments: object) -> str:
    """Run a program at a time, and return what it prints."""
    environment = dict(os.environ)
    if clock is not None:
        environment |= {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("clock", CLOCKS)
def test_files_and_vaults(tmp_path: Path, clock: str) -> None:
    """They are followed, a store pickles, and a refusal is reported with the date of that clock."""
    assert run(clock, PROGRAM, tmp_path, clock[1:5]) == "done"


def test_a_repository_on_a_clock_of_the_past_and_of_the_future(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], tmp_path: Path
) -> None:
    """In the past it is followed; in the future all has expired, which is said; a cache of either does no harm."""
    publisher = publishing()
    publisher.publish(policies[1])
    root = tmp_path / "root.json"
    root.write_bytes(publisher.root)
    url = publisher.server.url("", host="127.0.0.1")
    caches = [tmp_path / name for name in ("past", "future")]
    assert run("@2001-09-09 01:46:40", REMOTE, url, root, caches[0]) == "fresh old.example.com"
    assert run("@2099-01-01 00:00:00", REMOTE, url, root, caches[1]) == "freeze shipped.example.com"
    publisher.publish(policies[2])
    for cache in caches:  # now on the right clock
        assert run(None, REMOTE, url, root, cache) == "fresh new.example.com"
    assert run("@2099-01-01 00:00:00", REMOTE, url, root, caches[0]) == "freeze new.example.com"
    assert run("@1990-01-01 00:00:00", REMOTE, url, root, caches[0]) == "fresh new.example.com"


def test_a_session(lab: Lab) -> None:
    """The certificate is not valid then, and fails as in requests; with `verify=False` the pin of the leaf decides."""
    program = (
        "import sys, requests\n"
        "from pinned_requests import PinMismatchError, PinnedSession\n"
        "url, pin, backup, bundle = sys.argv[1:]\n"
        "session = PinnedSession({'localhost': [pin, backup]})\n"
        "try:\n"
        "    session.get(url, verify=bundle)\n"
        "except requests.exceptions.SSLError as e:\n"
        "    print(type(e).__name__)\n"
        "try:\n"
        "    print(session.get(url, verify=False).status_code)\n"
        "except PinMismatchError:\n"
        "    print('mismatch')\n"
    )
    honest = lab.serve(lab.honest)
    attacker = lab.serve(lab.attacker)
    pin = Pin.from_certificate(lab.honest.certificate)
    for clock in (CLOCKS[0], CLOCKS[-1]):
        arguments = (pin, lab.backup, lab.bundle)
        assert run(clock, program, honest.url(), *arguments).split() == ["SSLError", "200"]
        assert run(clock, program, attacker.url(), *arguments).split() == ["SSLError", "mismatch"]
    attacker.settle()
    assert attacker.application_bytes == 0

"""A refusal imports nothing: by then the root folder may be another, and the files gone, or of another version."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from pinned_requests import Pin
from pinned_requests.testing import Authority, TLSServer

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = r"""
import os, sys
from pinned_requests import PinnedSession, PinningError
from pinned_requests.core.text import escape
from pinned_requests.core.x509_name import name_as_text

url, bundle, pin, *others = sys.argv[1:]
session = PinnedSession({"localhost": [pin, others[0]]})
wrong = PinnedSession({"localhost": others})
session.verify = wrong.verify = bundle
session.get(url)  # what requests itself imports for a request is imported
sys.meta_path.clear()

for attempt in (
    lambda: wrong.get(url),
    lambda: session.get("https://localhosts/"),  # nearly a host of the policy
    lambda: session.get(url.replace("https://", "http://")),
):
    try:
        print(attempt())
    except PinningError as error:
        print(type(error).__name__)
print(escape("\x1b\u202e"), *map(name_as_text, (
    b"0\x131\x110\x0f\x06\x03U\x04\x03\x1e\x08\x00B\x00a\x00n\x00k",
    b"0\x131\x110\x0f\x06\x03U\x04\x03\x1c\x08\x00\x00\x00B\x00\x00\x00\x1b",
)), flush=True)
os._exit(0)  # the standard library's last words need imports
"""


def test_refusals(tmp_path: Path) -> None:
    """Each is the error that it always is, also for what is escaped, hinted at or in a rare encoding."""
    root = Authority.create()
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(root.certificate_pem)
    leaf = root.issue("localhost")
    with TLSServer(leaf) as server:
        pins = [Pin.from_certificate(leaf.certificate_pem), *(Pin("spki", bytes([n]) * 32) for n in range(2))]
        command = [sys.executable, "-c", PROGRAM, server.url(), str(bundle), *map(str, pins)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert len(server.requests) == 1
    assert (ended.stdout.splitlines(), ended.stderr) == (
        ["PinMismatchError", "UnpinnedHostError", "InsecureURLError", r"\x1b\u202e CN=Bank CN=B\x1b"],
        "",
    )

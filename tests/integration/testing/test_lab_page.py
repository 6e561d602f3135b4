"""``--mitm-report=FILE.html``, as people see it: in Chromium, on a desktop and a phone, light and dark."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageStat

if TYPE_CHECKING:
    from pathlib import Path

    from support.chromium import Chromium

pytestmark = pytest.mark.slow

TESTS = r"""
import pathlib, pytest, requests
from pinned_requests import PinnedSession

HOST, URL = "api.example.com", "https://api.example.com/things?token=hunter2"
HEADERS = {"Authorization": "Bearer hunter2"}
WORDS = ["trusted-ca", "self-signed", "downgrade", "second-connection", "own-ca-revoked-key", "leaked-intermediate"]

def test_plain_requests(mitm_lab):
    mitm_lab.audit(lambda: requests.get(URL, headers=HEADERS, timeout=1), HOST, attackers=WORDS)

def test_without_verification(mitm_lab):
    mitm_lab.audit(lambda: requests.get(URL, headers=HEADERS, timeout=1, verify=False), HOST, attackers=WORDS)

def test_ca_bundle_of_its_own(mitm_lab, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(type(mitm_lab.root).create("Another CA").certificate_pem)
    mitm_lab.audit(lambda: requests.get(URL, timeout=1, verify=str(bundle)), HOST, attackers=WORDS[:4])

def test_pinned(mitm_lab):
    server = mitm_lab.honest(HOST)
    with PinnedSession({HOST: [*server.pins, *server.backup_pins]}) as session:
        mitm_lab.audit(lambda: session.get(URL, headers=HEADERS, timeout=1), HOST, attackers=WORDS).assert_rejected()

def test_hostile_client(mitm_lab):
    def client():
        raise ValueError("<script>alert(1)</script><img src=https://attacker.example/x> \u202e")
    mitm_lab.audit(client, HOST, attackers="trusted-ca")

def test_again(mitm_lab):
    mitm_lab.audit(lambda: requests.get(URL, headers=HEADERS, timeout=1), HOST, attackers="trusted-ca")
    count = pathlib.Path("count")
    count.write_text(count.read_text() + "x" if count.exists() else "x")
    assert count.read_text() == "xx"
"""


@pytest.fixture(scope="module", params=["0", "2"], ids=["one process", "xdist"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the tests above, one of them twice, with a report, and return its page."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "test_clients.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", "-n", request.param]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "--reruns=1", "--mitm-report=reports/out.html"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert "1 rerun" in done.stdout
    return folder / "reports" / "out.html"


def test_what_the_page_says(page: Path) -> None:
    """Each test is a client, once; secrets and markup of clients are not in it."""
    text = page.read_text("utf-8")
    matrix = text.partition('class="matrix"')[2].partition("</table>")[0]
    assert re.findall(r'scope="col">test_clients.py::(\w+)', matrix) == [
        "test_again",
        "test_ca_bundle_of_its_own",
        "test_hostile_client",
        "test_pinned",
        "test_plain_requests",
        "test_without_verification",
    ]
    first = matrix.partition('scope="row">trusted-ca<')[2].partition("</tr>")[0]
    words = re.findall(r'<summary><span class="badge \w+">([a-z]+)</span></summary>', first)
    assert words == ["accepted", "untested", "untested", "rejected", "accepted", "accepted"]
    assert "not run" in matrix
    assert "unknown ca" in matrix
    assert "GET /things?••• HTTP/1.1" in matrix
    for hidden in ("hunter2", "<script", "<img", "\u202e"):
        assert hidden not in text


def test_in_a_browser(page: Path, browser: Chromium) -> None:
    """It is drawn, as wide as the window, in both colour schemes; it asks for nothing, and nothing goes wrong."""
    for size in (browser.DESKTOP, browser.PHONE):
        brightness = []
        for dark in (True, False):
            look = browser.look(page, size, dark=dark)
            assert (look.requested, look.complaints) == ([], [])
            assert look.overflow <= 0
            picture = Image.open(io.BytesIO(look.screenshot)).convert("RGB")
            assert picture.width >= size[0] - 20  # less the bar that scrolls
            assert picture.height > size[1]
            assert len(picture.getcolors(1 << 24) or ()) > 50
            brightness.append(ImageStat.Stat(picture.convert("L")).mean[0])
        assert brightness[0] < 80
        assert brightness[1] > 200

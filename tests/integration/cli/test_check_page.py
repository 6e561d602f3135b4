"""The page of `check --format html`, as people see it: in Chromium, on a desktop and a phone, light and dark."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageStat

from pinned_requests import Pin, PinPolicy
from pinned_requests.cli import main
from pinned_requests.testing import Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.chromium import Chromium
    from support.lab import Lab

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
HOSTILE = "<script>alert(1)</script><img src=https://attacker.example/x> 2026\u202eleaf"


@pytest.fixture
def page(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Make the page of a policy with a host of each severity, and hostile names in it."""

    def make() -> Path:
        monkeypatch.chdir(tmp_path)
        names = [f"localhost:{lab.serve(lab.honest).port}" for _ in range(2)]
        leaf, issuer = (Pin.from_certificate(each) for each in lab.honest.chain[:2])
        noted = leaf.with_note(HOSTILE)
        soon = lab.root.intermediate("Hostile <b>CA</b>").issue("localhost", not_after=NOW + 9 * DAY)
        policy: dict[str, Any] = {
            names[0]: {"pins": [noted, issuer], "backup_pins": lab.backup, "expires": NOW + 200 * DAY},
            names[1]: {"pins": [leaf, lab.backup], "blocked_pins": Pin.from_certificate(lab.honest.chain[2])},
            f"localhost:{lab.serve(lab.attacker).port}": {"pins": leaf, "backup_pins": lab.backup},
            f"localhost:{lab.serve(Credential.self_signed('localhost')).port}": [leaf, lab.backup],
            f"localhost:{lab.serve(soon).port}": [Pin.from_certificate(soon.certificate), lab.backup],
            "localhost:1": [leaf, lab.backup],
            "**.example.com": [leaf, lab.backup],
        }
        Path("pins.json").write_text(PinPolicy(policy).to_json())
        arguments = ["--ca-bundle", lab.bundle, "--format", "html", "--output", "page.html", "--state", "state.json"]
        assert main(["check", "pins.json", *arguments]) == 1
        return tmp_path / "page.html"

    return make


def test_what_the_page_says(page: Callable[[], Path], lab: Lab) -> None:
    """Hosts by severity, the matched certificate, notes, pins in reserve, and dates; names are text."""
    text = page().read_text()
    order = [text.index(f">{title}</h2>") for title in ("The next year", "Act now", "Act soon", "Fine")]
    assert order == sorted(order)
    for words in ("matches a pin", "blocked", "in reserve", str(lab.backup), "NOT verified", "**.example.com"):
        assert words in text
    assert "<script>" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert "Hostile \\&lt;b\\&gt;CA" in text  # as RFC 4514 escapes it, and then HTML
    assert "\u202e" not in text
    assert "<svg" in text


@pytest.mark.slow
def test_in_a_browser(page: Callable[[], Path], browser: Chromium) -> None:
    """It is drawn, as wide as the window, in both colour schemes; it asks for nothing, and nothing goes wrong."""
    path = page()
    for size in (browser.DESKTOP, browser.PHONE):
        brightness = []
        for dark in (True, False):
            look = browser.look(path, size, dark=dark)
            assert (look.requested, look.complaints) == ([], [])
            assert look.overflow <= 0
            picture = Image.open(io.BytesIO(look.screenshot)).convert("RGB")
            assert picture.width >= size[0] - 20  # less the bar that scrolls
            assert picture.height > size[1]
            assert len(picture.getcolors(1 << 24) or ()) > 50
            brightness.append(ImageStat.Stat(picture.convert("L")).mean[0])
        assert brightness[0] < 80
        assert brightness[1] > 200

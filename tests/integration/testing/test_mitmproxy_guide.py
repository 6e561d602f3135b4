"""docs/mitmproxy.md: its programs do what it says, with the lab's proxy in the place of mitmproxy.

The same with the real mitmproxy is `tests/attacks/test_mitmproxy.py`.
"""

from __future__ import annotations

import logging
import re
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import PinMismatchError, PinnedSession, PinPolicy

if TYPE_CHECKING:
    from pinned_requests.testing import MITMLab

TEXT = (Path(__file__).parents[3] / "docs" / "mitmproxy.md").read_text("utf-8")
EXPERIMENT, TEST, LOADING = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
(INSPECT,) = re.findall(r"^```toml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
HOST = "api.example.com"


@pytest.fixture
def files(mitm_lab: MITMLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page, the working directory."""
    server = mitm_lab.honest(HOST)
    (tmp_path / "pins.toml").write_text(PinPolicy({HOST: [*server.pins, *server.backup_pins]}).to_toml())
    (tmp_path / "inspect.toml").write_text(INSPECT)
    (tmp_path / "experiment.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("how", "verdict"), [("plain", "accepted"), ("pins.toml", "rejected"), ("inspect.toml", "accepted")]
)
@pytest.mark.usefixtures("files")
def test_the_experiment(mitm_lab: MITMLab, how: str, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy reads along without pins, gets nothing with them, and reads along where the host is exempt."""
    monkeypatch.setattr(sys, "argv", ["experiment.py", how])
    with mitm_lab.impersonate(HOST, as_="connect-proxy") as attack:
        if verdict == "rejected":
            with pytest.raises(PinMismatchError):
                runpy.run_path("experiment.py")
        else:
            runpy.run_path("experiment.py")["session"].close()
    assert attack.verdict == verdict, attack.reason
    assert (b"not-a-real-token" in attack.received) is (verdict == "accepted")


def test_the_test(mitm_lab: MITMLab) -> None:
    """The test of the page passes."""
    names: dict[str, Any] = {"PinnedSession": PinnedSession}
    exec(TEST, names)  # noqa: S102  of this project's documentation
    names["test_the_experiment"](mitm_lab)


def test_loading_a_policy(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The shipped policy loads in silence; a weaker one is refused in production, and elsewhere said aloud."""
    names: dict[str, Any] = {}
    exec(LOADING, names)  # noqa: S102  of this project's documentation
    load = names["load_policy"]
    assert load("pins.toml") == PinPolicy.from_file("pins.toml")
    assert not caplog.records

    pins = (files / "pins.toml").read_text()
    weaker = {
        "inspect.toml": INSPECT,
        "reporting.toml": pins + "report_only = true\n",
        "elsewhere.toml": pins.replace('"block"', '"allow"').replace(HOST, "other.example.com"),
    }
    for name, text in weaker.items():
        (files / name).write_text(text)
        with pytest.raises(SystemExit, match=f"{name} does not pin {HOST}: not in production"):
            load(name)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load(name, is_production=False)
        assert f"{HOST} is NOT PINNED, by {name}" in caplog.text
